"""Bandwidths of kernels, as the covariance that all of them share."""

from __future__ import annotations

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular
from scipy.optimize import bracket, minimize_scalar

from bayessoft.core.kernels import ROWS, components, leave_one_out
from bayessoft.core.sweep import tiles
from bayessoft.data.rows import Rows
from bayessoft.errors import DataError, OptionError
from bayessoft.numerics import WHITENABLE, scoped

__all__ = ["RULES", "kernel_covariance"]

RULES = ("scott", "silverman", "likelihood")
REPEATED = 0.1  # share of rows that repeat others from which rounding may decide the width


def kernel_covariance(data: Rows, bandwidth: Any) -> Float[np.ndarray, "d d"]:
    """Give the covariance of a kernel, in original units: see `MixtureDensity.from_kernels`."""
    if isinstance(bandwidth, str):
        if bandwidth not in RULES:
            raise OptionError(f"bandwidth is {bandwidth!r}: pass one of {', '.join(RULES)}, or numbers")
        covariance, factor = _spread(data)
        width = _best_width(data, factor) if bandwidth == "likelihood" else _rule(bandwidth, data)
        return width**2 * covariance
    numbers = np.asarray(bandwidth)
    wanted = f"a standard deviation > 0, {data.d} of them, or a ({data.d}, {data.d}) covariance"
    if numbers.dtype.kind not in "fiu" or numbers.shape not in ((), (data.d,), (data.d, data.d)):
        got = f"an array of shape {numbers.shape}" if numbers.ndim else repr(bandwidth)
        raise OptionError(f"bandwidth is {got}: pass {', '.join(RULES)}, {wanted}")
    numbers = numbers.astype(np.float64)
    if numbers.ndim == 2:
        return numbers  # looked at by the density, as every covariance
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        raise OptionError(f"bandwidth is {bandwidth!r}: pass {wanted}")
    return np.diag(np.broadcast_to(numbers, data.d) ** 2)


def _spread(data: Rows) -> tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d d"]]:
    """Give the covariance of the rows and its lower factor, refusing rows that lie in fewer dimensions."""
    used = data.weights > 0
    values, weights = data.values[used].astype(np.float64), data.weights[used]
    low, high = values.min(0), values.max(0)
    if (constant := low == high).any():
        first = int(np.argmax(constant))
        name = repr(data.columns[first]) if data.columns else first
        raise DataError(f"column {name} is constant, which gives kernels no width: drop it, or pass a bandwidth")
    covariance = np.atleast_2d(np.cov(values.T, aweights=weights / weights.max()))
    spread = np.sqrt(np.diag(covariance))
    if np.linalg.eigvalsh(covariance / np.outer(spread, spread))[0] < WHITENABLE:
        raise DataError(
            f"{len(values)} rows of {data.d} columns span fewer dimensions, so their covariance gives kernels no "
            "width: drop columns that are combinations of others, or pass a bandwidth in numbers"
        )
    return covariance, np.linalg.cholesky(covariance)


def _rule(name: str, data: Rows) -> float:
    """Give Scott's or Silverman's factor, with the effective number of rows in the place of their number."""
    shares = data.weights / data.weights.sum()
    effective, d = 1 / (shares @ shares), data.d
    return float((effective if name == "scott" else effective * (d + 2) / 4) ** (-1 / (d + 4)))


def _best_width(data: Rows, factor: Float[np.ndarray, "d d"]) -> float:
    """Give the factor at which rows are most probable, each under the kernels of all that differ from it."""
    used = data.weights > 0
    values, group = np.unique(data.values[used], axis=0, return_inverse=True)
    weights = np.bincount(group.reshape(-1), data.weights[used] / data.weights.sum())
    if (repeats := 1 - len(values) / used.sum()) > REPEATED:
        warnings.warn(
            f"{repeats:.0%} of the rows repeat others; each was left out with all that equal it, or kernels of no "
            "width would be the best: if cells were rounded, look whether the width is below the rounding, and pass a "
            "bandwidth",
            UserWarning,
            stacklevel=4,
        )
    middle = values.astype(np.float64).mean(0)

    def own(x: np.ndarray) -> np.ndarray:
        return solve_triangular(factor, (x.astype(np.float64) - middle).T, lower=True).T

    dtype = values.dtype
    with scoped(dtype):
        laid = tiles(values, weights, dtype, ROWS, own)
        kernels = components(weights, own(values), None, dtype)

        def loss(log_width: float) -> float:
            return -float(leave_one_out(kernels, laid, jnp.asarray(np.exp(log_width), dtype)))

        began = float(np.log(_rule("scott", data)))
        # The loss rises on both sides without end: narrow kernels reach no other row, wide ones thin out.
        ends = bracket(loss, began - 0.5, began)[:3]
        found = minimize_scalar(loss, bounds=(min(ends), max(ends)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))
