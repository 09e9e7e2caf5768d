"""The JSON document of a run: everything that the tables show, for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from bayessoft.data.readers import CsvTable
from bayessoft.diagnostics.convergence import DIVERGENT, ESS, PARETO, RHAT, UNCLEAR
from bayessoft.families import FAMILIES
from bayessoft.inference import ENGINES
from bayessoft.posteriors import Point
from bayessoft.report.base import (
    INTERVAL,
    Outcome,
    cluster_names,
    dtype_of,
    noisy,
    objective_of,
    posterior_of,
    shown,
    sizes_of,
    summary,
)
from bayessoft.report.methods import CLIMBING, METHODS, MIXTURE, SIZING, method_of
from bayessoft.report.record import plain, source, versions
from bayessoft.report.units import units_apart

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["diagnosis_document", "fit_document", "predict_document"]

FAMILIES_BY_CLASS = {path.rpartition(":")[2]: name for name, (path, _) in FAMILIES.items()}
ENGINES_BY_CLASS = {path.rpartition(":")[2]: name for name, path in ENGINES.items()}


def fit_document(outcome: Outcome, files: Mapping[str, str]) -> dict[str, Any]:
    """Give the document of a fit.

    Parameters
    ----------
    outcome : Outcome
        The fit.
    files : mapping of str to str
        Names of the files in the output folder, by what they hold.

    Returns
    -------
    dict
        Plain values that JSON can hold; numbers that are not finite are None. Lists by cluster are in the order of
        the clusters, lists by column in the order of ``columns``; what the method has not is None, or left out.
        ``shown`` holds for each column, or answer, what ``quantity`` says; ``means`` and ``standard_deviations`` are
        those of Gaussian components, else None. Under ``size_bounds`` is for each resource, "rows" or a column, what
        ``size_bounds_`` of the estimator holds, with ``bound`` None where none is active.
    """
    estimator, options = outcome.estimator, outcome.options
    document: dict[str, Any] = {
        "command": "fit",
        **source(outcome.table, outcome.id),
        "method": options["method"],
        "options": options,
        "family": options.get("family"),
        "inference": options.get("inference"),
        "seed": options["seed"],
        "out": str(outcome.out),
        "files": dict(files),
        **_ended(estimator),
        "n_iter": estimator.n_iter_,
        "bic": None if outcome.distributed or not hasattr(estimator, "bic") else estimator.bic(outcome.table.frame),
        **(_of_mixture(outcome) if options["method"] == MIXTURE else _of_clusters(outcome)),
        "prices": getattr(estimator, "prices_", None),
        "size_bounds": _size_bounds(estimator) if outcome.constrained else None,
        "summary": summary(outcome).to_dict(orient="list"),
        "device": outcome.device,
        "dtype": str(dtype_of(estimator)),
        "seconds": {phase: round(seconds, 3) for phase, seconds in outcome.seconds.items()},
        "versions": versions(),
    }
    return {key: plain(value) for key, value in document.items()}


def _ended(estimator: Any) -> dict[str, Any]:
    """Give how a fit ended, and what it came to; None for what the method has not."""
    posterior, (objective, words) = posterior_of(estimator), objective_of(estimator)
    return {
        "status": estimator.status_.name.lower(),
        "status_text": estimator.status_.text,
        "converged": estimator.converged_,
        "objective": objective,
        "objective_is": words,
        "lower_bound": estimator.lower_bound_ if isinstance(posterior, Point) else None,
        "log_likelihood": getattr(estimator, "log_likelihood_", None),
        "elbo": getattr(estimator, "elbo_", None),
        "log_relabellings": getattr(estimator, "log_relabellings_", None),
        "beta": getattr(estimator, "beta_", None),
        "information_x": getattr(estimator, "information_x_", None),
        "information_y": getattr(estimator, "information_y_", None),
        "n_clusters_used": getattr(estimator, "n_clusters_used_", None),
        "duality_gap": getattr(estimator, "duality_gap_", None),
        "checks": _checks(estimator),
    }


def _of_mixture(outcome: Outcome) -> dict[str, Any]:
    """Give what the clusters of a mixture are."""
    estimator, table = outcome.estimator, summary(outcome)
    quantity, numbers = shown(outcome)
    return {
        "clusters": cluster_names(len(estimator.weights_)),
        "weights": estimator.weights_,
        "sizes": getattr(estimator, "sizes_", estimator.responsibilities_.sum(axis=0)),
        "quantity": quantity,
        "shown": numbers,
        "means": getattr(estimator, "means_", None),
        "standard_deviations": _spreads(estimator),
        "interval": INTERVAL if outcome.distributed else None,
        "weight_intervals": _intervals(table, "weight"),
        "size_intervals": _intervals(table, "size"),
    }


def _of_clusters(outcome: Outcome) -> dict[str, Any]:
    """Give what clusters that are no components of a mixture are; noise, where there is any, comes last."""
    quantity, numbers = shown(outcome)
    sizes = sizes_of(outcome.estimator)
    return {
        "clusters": cluster_names(len(sizes), noisy(outcome.estimator)),
        "shares": sizes / sizes.sum(),
        "sizes": sizes,
        "inertia": getattr(outcome.estimator, "inertia_", None),
        "quantity": quantity,
        "shown": numbers,
        "remark": units_apart(outcome.table.frame) if quantity == "centre" else None,
    }


def diagnosis_document(model: Path, estimator: Any) -> dict[str, Any]:
    """Give the document of a diagnosis.

    Parameters
    ----------
    model : Path
        Folder of the fit.
    estimator : estimator
        The fitted estimator.

    Returns
    -------
    dict
        Plain values that JSON can hold. Under ``limits`` is what each check may be at most, the effective draws at
        least. What the kind of fit has not is None.
    """
    method, posterior = method_of(estimator), posterior_of(estimator)
    checks = _checks(estimator)
    lead = None if checks is None else posterior.log_density.shape
    document = {
        "command": "diagnose",
        "model": str(model),
        "method": method,
        **(_mixture_named(estimator) if method == MIXTURE else _method_named(estimator, method)),
        **_ended(estimator),
        "n_iter": None if checks else estimator.n_iter_,
        "chains": lead and lead[0],
        "draws": lead and lead[1],
        "limits": lead
        and {
            "rhat": RHAT,
            "ess": ESS * lead[0],
            "unclear": UNCLEAR,
            "divergent": DIVERGENT,
            "modes": 1,
            "pareto_k": PARETO,
        },
        "versions": versions(),
    }
    return {key: plain(value) for key, value in document.items()}


def _mixture_named(estimator: Any) -> dict[str, Any]:
    """Name the family and the engine of a mixture, and its clusters."""
    inference = estimator.inference
    return {
        "family": _registered(FAMILIES_BY_CLASS, estimator.fit_.mixture.family.plain),
        "inference": inference if isinstance(inference, str) else _registered(ENGINES_BY_CLASS, inference),
        "clusters": cluster_names(len(estimator.weights_)),
    }


def _method_named(estimator: Any, method: str) -> dict[str, Any]:
    """Give the options that make a method what it is, and its clusters."""
    names = [name for name in METHODS[method] if name not in (*SIZING, *CLIMBING)]
    options = {name: value for name in names if (value := getattr(estimator, name)) is not None and value is not False}
    return {
        "family": None,
        "inference": None,
        "options": options,
        "clusters": cluster_names(len(sizes_of(estimator)), noisy(estimator)),
    }


def _registered(names: Mapping[str, str], value: Any) -> str:
    """Give the name of an object's class in a registry; the class's own where it is not there."""
    return names.get(type(value).__name__, type(value).__name__)


def predict_document(
    model: Path, out: Path, table: CsvTable, id: str | None, memberships: Float[np.ndarray, "n p"], noise: bool = False
) -> dict[str, Any]:
    """Give the document of a prediction.

    Parameters
    ----------
    model : Path
        Folder of the fit.
    out : Path
        The file of memberships.
    table : CsvTable
        The rows.
    id : str or None
        Column that names the rows.
    memberships : array of shape (n, p)
        What was predicted, p clusters, as `base.placed` gives them.
    noise : bool
        Whether the last one is noise.

    Returns
    -------
    dict
        Plain values that JSON can hold.
    """
    names = cluster_names(memberships.shape[1], noise)
    document = {
        "command": "predict",
        **source(table, id),
        "model": str(model),
        "out": str(out),
        "clusters": names,
        "rows": np.bincount(memberships.argmax(axis=1), minlength=len(names)),
        "sizes": memberships.sum(axis=0),
        "versions": versions(),
    }
    return {key: plain(value) for key, value in document.items()}


def _size_bounds(estimator: Any) -> dict[str, dict[str, list[Any]]]:
    """Give what bounds came to, by resource."""
    tables = estimator.size_bounds_.groupby(level="resource", sort=False)
    return {name: table.replace({"bound": {"": None}}).to_dict(orient="list") for name, table in tables}


def _intervals(table: pd.DataFrame, name: str) -> Float[np.ndarray, "k 2"] | None:
    """Take intervals out of a summary; None where it has none, or refuses them."""
    if f"{name}_low" not in table:
        return None
    found = table[[f"{name}_low", f"{name}_high"]].to_numpy()
    return None if np.isnan(found).any() else found


def _checks(estimator: Any) -> dict[str, Any] | None:
    """Give what the draws say of themselves."""
    checks = getattr(posterior_of(estimator), "checks", None)
    return None if checks is None else {**asdict(checks), "text": checks.text}


def _spreads(estimator: Any) -> Float[np.ndarray, "k d"] | None:
    """Give the standard deviation of each column within each component, of Gaussian ones."""
    if not hasattr(estimator, "means_"):
        return None
    k, d = estimator.means_.shape
    given = np.asarray(estimator.covariances_)
    if estimator.covariance_type in ("full", "tied"):
        given = np.diagonal(given, axis1=-2, axis2=-1)
    elif estimator.covariance_type == "spherical":
        given = given[:, None]
    return np.sqrt(np.broadcast_to(given, (k, d)))
