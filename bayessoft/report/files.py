"""The files of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayessoft import store
from bayessoft.report.base import Outcome, membership_intervals, memberships_table, shown, summary

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_json", "file_names", "write_fit", "write_table"]


def file_names(outcome: Outcome) -> dict[str, str]:
    """Name the files of a fit, by what they hold."""
    names = {"memberships": "memberships.csv"}
    if outcome.constrained:
        names |= {"memberships_constrained": "memberships_constrained.csv", "size_bounds": "size_bounds.csv"}
    names |= {"summary": "summary.csv", "model": store.INNER, "plot": "plot.png"}
    if outcome.distributed:
        names["posterior"] = "posterior.nc"
    return names | {"fit": "fit.json"}


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
    from bayessoft.plots import memberships, profiles, save

    folder.mkdir()
    estimator, frame = outcome.estimator, outcome.table.frame
    names = file_names(outcome)
    free = estimator.predict_proba(frame)
    intervals = membership_intervals(estimator, frame)
    write_table(memberships_table(free, frame.index, outcome.id, intervals), folder / names["memberships"])
    used = free
    if outcome.constrained:
        used = estimator.responsibilities_
        constrained = memberships_table(used, frame.index, outcome.id)
        write_table(constrained, folder / names["memberships_constrained"])
        write_table(estimator.size_bounds_.reset_index(), folder / names["size_bounds"])
    summary(outcome).to_csv(folder / names["summary"], index_label="cluster")
    store.save(estimator, folder / names["model"], notes=outcome.notes)
    if estimator.fit_.mixture.family.SHOWN == "mean":
        axes = memberships(estimator, frame, probabilities=used)
    else:
        axes = profiles(estimator, labels=list(shown(outcome)[1]))
    save(axes, folder / names["plot"])
    if outcome.distributed:
        from bayessoft import arviz_io  # ArviZ takes a second to import

        arviz_io.write_netcdf(estimator.to_arviz(frame), folder / names["posterior"])
    (folder / names["fit"]).write_text(as_json(document) + "\n", encoding="utf-8")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, ten digits a number."""
    table.to_csv(path, index=False, float_format="%.10g")


def as_json(document: Mapping[str, Any]) -> str:
    """Write a document as JSON text."""
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
