"""The files of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from bayessoft import store
from bayessoft.report.base import (
    Outcome,
    cluster_names,
    membership_intervals,
    memberships_table,
    noisy,
    placed,
    shown,
    summary,
)
from bayessoft.report.methods import MIXTURE, method_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_json", "file_names", "has_posterior", "write_fit", "write_table"]

POSTERIOR = "posterior.nc"


def file_names(outcome: Outcome) -> dict[str, str]:
    """Name the files of a fit, by what they hold."""
    names = {"memberships": "memberships.csv"}
    if outcome.constrained:
        names |= {"memberships_constrained": "memberships_constrained.csv", "size_bounds": "size_bounds.csv"}
    names |= {"summary": "summary.csv", "model": store.INNER, "plot": "plot.png"}
    if outcome.distributed:
        names["posterior"] = POSTERIOR
    return names | {"fit": "fit.json"}


def has_posterior(folder: Path) -> bool:
    """Tell whether a fit left a posterior in its folder, without loading it."""
    return (folder / POSTERIOR).is_file()


def write_fit(outcome: Outcome, document: Mapping[str, Any], folder: Path) -> None:
    """Write everything that a fit leaves into a new folder.

    Parameters
    ----------
    outcome : Outcome
        The fit.
    document : mapping
        What ``fit.json`` is to hold.
    folder : Path
        Where; it must not exist yet.
    """
    folder.mkdir()
    estimator, frame = outcome.estimator, outcome.table.frame
    names = file_names(outcome)
    free, noise = placed(estimator, estimator.predict_proba(frame)), noisy(estimator)
    intervals = membership_intervals(estimator, frame)
    write_table(memberships_table(free, frame.index, outcome.id, intervals, noise), folder / names["memberships"])
    used = free
    if outcome.constrained:
        used = estimator.responsibilities_
        constrained = memberships_table(used, frame.index, outcome.id)
        write_table(constrained, folder / names["memberships_constrained"])
        write_table(estimator.size_bounds_.reset_index(), folder / names["size_bounds"])
    summary(outcome).to_csv(folder / names["summary"], index_label="cluster")
    store.save(estimator, folder / names["model"], notes=outcome.notes)
    _draw(outcome, used, folder / names["plot"])
    if outcome.distributed:
        from bayessoft import arviz_io  # ArviZ takes a second to import

        arviz_io.write_netcdf(estimator.to_arviz(frame), folder / names["posterior"])
    (folder / names["fit"]).write_text(as_json(document) + "\n", encoding="utf-8")


def _draw(outcome: Outcome, used: Float[np.ndarray, "n p"], path: Path) -> None:
    """Draw the rows, or what tells the clusters apart."""
    from bayessoft.plots import ambiguity_map, membership_profiles, memberships, profiles, save

    estimator, frame = outcome.estimator, outcome.table.frame
    if method_of(estimator) != MIXTURE:
        import pandas as pd

        names = [name.removeprefix("cluster_") for name in cluster_names(used.shape[1], noisy(estimator))]
        named = pd.DataFrame(used, columns=names)
        if method_of(estimator) == "bottleneck":  # which sees the shares of each row
            totals = frame.sum(axis=1)
            frame = frame.div(totals.where(totals > 0, 1.0), axis=0)
        axes = ambiguity_map(frame, named) if frame.shape[1] > 1 else membership_profiles(named)
    elif estimator.fit_.mixture.family.plain.SHOWN == "mean":
        axes = memberships(estimator, frame, probabilities=used)
    else:
        axes = profiles(estimator, labels=list(shown(outcome)[1]))
    save(axes, path)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, ten digits a number."""
    table.to_csv(path, index=False, float_format="%.10g")


def as_json(document: Mapping[str, Any]) -> str:
    """Write a document as JSON text."""
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
