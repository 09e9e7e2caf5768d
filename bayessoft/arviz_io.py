"""The only module that knows ArviZ: its diagnostics on arrays, and a fit as its tree of data sets.

ArviZ 0.x (Python 3.11) holds data sets in an InferenceData, ArviZ 1.x (from 3.12 on) in an xarray DataTree; what
differs between the two is here and nowhere else. Intervals never come from ArviZ, whose lines have other defaults.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import xarray
from jaxtyping import Float

from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError
from bayessoft.fit import Fit
from bayessoft.posteriors import Draws, Point

__all__ = ["ess", "quantities", "rhat", "smoothed", "to_arviz", "write_netcdf"]

LEAST_DRAWS = 4  # of a chain, for ArviZ to compare its halves


def _arviz() -> Any:
    """Import ArviZ once it is needed, since that takes a second, and without what 0.x tells of 1.x."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz


def rhat(values: Float[np.ndarray, "c s ..."]) -> Float[np.ndarray, "..."]:
    """Give the rank-normalised split R-hat of each quantity; NaN where one is constant or the draws are too few.

    Notes
    -----
    Vehtari et al., Bayesian Analysis 16 (2021). A single chain is compared with itself, in halves.
    """
    if len(values) == 1:
        half = values.shape[1] // 2
        values = values[0, : 2 * half].reshape(2, half, *values.shape[2:])
    return _each(_arviz().rhat, values)


def ess(values: Float[np.ndarray, "c s ..."], of: str = "bulk") -> Float[np.ndarray, "..."]:
    """Give the effective number of draws of each quantity, for its bulk or its "mean"; NaN where they are too few."""
    return _each(partial(_arviz().ess, method=of), values)


def smoothed(log_ratios: Float[np.ndarray, " s"], efficiency: float = 1.0) -> tuple[Float[np.ndarray, " s"], float]:
    """Give the logs of Pareto-smoothed importance weights, which sum to 1, and the shape k of their tail.

    Parameters
    ----------
    log_ratios : array of shape (s,)
        Logs of the raw weights, up to a constant.
    efficiency : float
        Effective share of the draws.
    """
    log_ratios, arviz = log_ratios.astype(np.float64), _arviz()
    if np.ptp(log_ratios) == 0:  # which has no tail
        return np.full(len(log_ratios), -np.log(len(log_ratios))), 0.0
    if arviz.__version__.startswith("0."):
        weights, k = arviz.psislw(log_ratios, efficiency)
    else:
        stats = import_module("arviz_stats.base").array_stats
        weights, k = stats.psislw(-log_ratios, efficiency)
    return np.asarray(weights), float(k)


def _each(function: Callable[[np.ndarray], Any], values: np.ndarray) -> np.ndarray:
    """Apply a diagnostic of (c, s) arrays to each quantity."""
    values = values.astype(np.float64)
    flat = values.reshape(*values.shape[:2], -1)
    found = np.full(flat.shape[2], np.nan)
    if values.shape[1] >= LEAST_DRAWS:
        for j in np.flatnonzero(np.ptp(flat, axis=(0, 1)) > 0):
            found[j] = float(function(flat[:, :, j]))
    return found.reshape(values.shape[2:])


def quantities(fit: Fit) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Give the dimensions and values, with leading axes (c, s), of what is drawn: aligned, in original units."""
    if isinstance(fit.posterior, Point):
        raise OptionError("the fit is a point, not a set of draws: fit with inference='cavi', 'svi', 'gibbs' or 'nuts'")
    weights, inside = fit.aligned()
    family = fit.mixture.family
    found = family.quantities(family.map_parameters(inside, fit.frame))
    return {"weights": (("cluster",), weights.astype(np.float64))} | {
        name: (dims, array.astype(np.float64)) for name, (dims, array) in found.items()
    }


def to_arviz(
    fit: Fit,
    data: Rows | None = None,
    columns: Sequence[str] | None = None,
    log_likelihood: bool = False,
) -> Any:
    """Give a fit's draws as ArviZ holds them.

    Parameters
    ----------
    fit : Fit
        A fit whose posterior is `Draws`, or `Conjugate`: then 1000 draws from it stand for it, as one chain.
    data : Rows, optional
        The rows it was fitted to: they make the group ``observed_data``; without names they are "0", "1", ...
    columns : sequence of str, optional
        Names of the columns; "x0", "x1", ... without.
    log_likelihood : bool
        Whether to add the log density of each row under each draw, c s n numbers.

    Returns
    -------
    InferenceData or DataTree
        Of ArviZ 0.x or 1.x. Groups ``posterior`` (aligned, in original units), ``sample_stats`` of samplers, and of the
        rows ``observed_data`` and ``log_likelihood``; dimensions ``cluster``, ``feature``, ``feature_bis``, ``obs_id``.
    """
    if log_likelihood and data is None:
        raise OptionError("log_likelihood=True needs the rows: pass X")
    found = quantities(fit)
    c, s, k = found["weights"][1].shape
    names = [f"x{j}" for j in range(len(fit.frame.shift))] if columns is None else list(map(str, columns))
    coords: dict[str, Any] = {
        "chain": np.arange(c),
        "draw": np.arange(s),
        "cluster": np.array([str(j) for j in range(k)]),
        "feature": np.array(names),
    } | {dim: np.array(labels) for dim, labels in fit.mixture.family.coordinates(names).items()}
    groups = {"posterior": _dataset(found, coords)}
    if isinstance(fit.posterior, Draws):
        stats = {name: ((), array) for name, array in fit.posterior.stats.items()}
        groups["sample_stats"] = _dataset(stats, coords)
    if data is not None:
        coords["obs_id"] = np.array([str(i) for i in range(data.n)] if data.ids is None else list(data.ids))
        if log_likelihood:
            each = fit.log_likelihood(data.values).reshape(c, s, -1)
            groups["log_likelihood"] = _dataset({"x": (("obs_id",), each)}, coords)
        groups["observed_data"] = _dataset({"x": (("obs_id", "feature"), data.values)}, coords, lead=())
    arviz = _arviz()
    if arviz.__version__.startswith("0."):  # 1.x has the name, too, as a shim that warns and takes other arguments
        return arviz.InferenceData(**groups)
    return xarray.DataTree.from_dict({f"/{name}": dataset for name, dataset in groups.items()})


def _dataset(
    variables: Mapping[str, tuple[tuple[str, ...], np.ndarray]],
    coords: Mapping[str, np.ndarray],
    lead: tuple[str, ...] = ("chain", "draw"),
) -> xarray.Dataset:
    """Give a data set with just the coordinates that its variables have."""
    data = {name: ((*lead, *dims), array) for name, (dims, array) in variables.items()}
    used = {dim for dims, _ in data.values() for dim in dims}
    attributes = {"inference_library": "bayessoft"}
    return xarray.Dataset(data, {dim: coord for dim, coord in coords.items() if dim in used}, attributes)


def write_netcdf(tree: Any, path: str | os.PathLike[str]) -> None:
    """Write what `to_arviz` gave as a netCDF file."""
    tree.to_netcdf(str(path), engine="h5netcdf")
