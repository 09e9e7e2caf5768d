"""The JSON document of a run: everything that the tables show, for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from bayessoft.data.readers import CsvTable
from bayessoft.diagnostics.convergence import DIVERGENT, ESS, PARETO, RHAT, UNCLEAR
from bayessoft.families import FAMILIES
from bayessoft.inference import ENGINES
from bayessoft.posteriors import Point
from bayessoft.report.base import INTERVAL, Outcome, cluster_names, shown, summary
from bayessoft.store import version

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["diagnosis_document", "fit_document", "plain", "predict_document"]

FAMILIES_BY_CLASS = {path.rpartition(":")[2]: name for name, (path, _) in FAMILIES.items()}
ENGINES_BY_CLASS = {path.rpartition(":")[2]: name for name, path in ENGINES.items()}
PACKAGES = ("jax", "numpyro", "numpy", "scikit-learn", "arviz")


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
        the clusters, lists by column in the order of ``columns``. ``shown`` holds for each column, or answer, what
        ``quantity`` says; ``means`` and ``standard_deviations`` are those of Gaussian components, else None. Under
        ``size_bounds`` is for each resource, "rows" or a column, what ``size_bounds_`` of the estimator holds, with
        ``bound`` None where none is active.
    """
    estimator = outcome.estimator
    table = summary(outcome)
    quantity, numbers = shown(outcome)
    document: dict[str, Any] = {
        "command": "fit",
        **_source(outcome.table, outcome.id),
        "options": outcome.options,
        "family": outcome.options["family"],
        "inference": outcome.options["inference"],
        "seed": outcome.options["seed"],
        "out": str(outcome.out),
        "files": dict(files),
        "status": estimator.status_.name.lower(),
        "status_text": str(estimator.status_.value),
        "converged": estimator.converged_,
        "n_iter": estimator.n_iter_,
        "lower_bound": None if outcome.distributed else estimator.lower_bound_,
        "log_likelihood": getattr(estimator, "log_likelihood_", None),
        "elbo": getattr(estimator, "elbo_", None),
        "log_relabellings": getattr(estimator, "log_relabellings_", None),
        "bic": None if outcome.distributed else estimator.bic(outcome.table.frame),
        "clusters": cluster_names(len(estimator.weights_)),
        "weights": estimator.weights_,
        "sizes": getattr(estimator, "sizes_", estimator.responsibilities_.sum(axis=0)),
        "prices": getattr(estimator, "prices_", None),
        "duality_gap": getattr(estimator, "duality_gap_", None),
        "size_bounds": _size_bounds(estimator) if outcome.constrained else None,
        "quantity": quantity,
        "shown": numbers,
        "means": getattr(estimator, "means_", None),
        "standard_deviations": _spreads(estimator),
        "interval": INTERVAL if outcome.distributed else None,
        "weight_intervals": _intervals(table, "weight"),
        "size_intervals": _intervals(table, "size"),
        "checks": _checks(estimator),
        "summary": table.to_dict(orient="list"),
        "device": outcome.device,
        "dtype": str(estimator.weights_.dtype),
        "seconds": {phase: round(seconds, 3) for phase, seconds in outcome.seconds.items()},
        "versions": _versions(),
    }
    return {key: plain(value) for key, value in document.items()}


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
    fit, inference, checks = estimator.fit_, estimator.inference, _checks(estimator)
    lead = None if checks is None else fit.posterior.log_density.shape
    document = {
        "command": "diagnose",
        "model": str(model),
        "family": _registered(FAMILIES_BY_CLASS, fit.mixture.family),
        "inference": inference if isinstance(inference, str) else _registered(ENGINES_BY_CLASS, inference),
        "clusters": cluster_names(len(estimator.weights_)),
        "status": fit.status.name.lower(),
        "status_text": fit.status.text,
        "converged": estimator.converged_,
        "n_iter": None if checks else estimator.n_iter_,
        "lower_bound": estimator.lower_bound_ if isinstance(fit.posterior, Point) else None,
        "log_likelihood": getattr(estimator, "log_likelihood_", None),
        "elbo": getattr(estimator, "elbo_", None),
        "log_relabellings": getattr(estimator, "log_relabellings_", None),
        "duality_gap": getattr(estimator, "duality_gap_", None),
        "chains": lead and lead[0],
        "draws": lead and lead[1],
        "checks": checks,
        "limits": lead
        and {
            "rhat": RHAT,
            "ess": ESS * lead[0],
            "unclear": UNCLEAR,
            "divergent": DIVERGENT,
            "modes": 1,
            "pareto_k": PARETO,
        },
        "versions": _versions(),
    }
    return {key: plain(value) for key, value in document.items()}


def _registered(names: Mapping[str, str], value: Any) -> str:
    """Give the name of an object's class in a registry; the class's own where it is not there."""
    return names.get(type(value).__name__, type(value).__name__)


def predict_document(
    model: Path, out: Path, table: CsvTable, id: str | None, memberships: Float[np.ndarray, "n k"]
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
    memberships : array of shape (n, k)
        What was predicted.

    Returns
    -------
    dict
        Plain values that JSON can hold.
    """
    k = memberships.shape[1]
    document = {
        "command": "predict",
        **_source(table, id),
        "model": str(model),
        "out": str(out),
        "clusters": cluster_names(k),
        "rows": np.bincount(memberships.argmax(axis=1), minlength=k),
        "sizes": memberships.sum(axis=0),
        "versions": _versions(),
    }
    return {key: plain(value) for key, value in document.items()}


def plain(value: Any) -> Any:
    """Give a value as JSON can hold it.

    Examples
    --------
    >>> plain({"a": np.array([1.0, np.inf]), "b": (np.int64(2), None)})
    {'a': [1.0, None], 'b': [2, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _source(table: CsvTable, id: str | None) -> dict[str, Any]:
    """Describe the table."""
    return {
        "table": str(table.path),
        "n": len(table.frame),
        "columns": list(table.frame),
        "id": id,
        "answers": table.answers or None,
        "left_out": table.left_out,
        "left_out_as": f"not {table.kind}",
        "dropped": table.dropped,
    }


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
    checks = getattr(estimator.fit_.posterior, "checks", None)
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


def _versions() -> dict[str, str]:
    """Give the versions of what the numbers depend on."""
    return {"bayessoft": version(), **{package: metadata.version(package) for package in PACKAGES}}
