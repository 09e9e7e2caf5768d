"""Number formats, row buckets, and the affine map that standardises rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float
from scipy.linalg import solve_triangular

from bayessoft.errors import OptionError

__all__ = ["HIGHEST", "Affine", "Affines", "all_finite", "balanced", "bucket", "platform", "scoped", "standardising"]

HIGHEST = lax.Precision.HIGHEST
"""Precision of every matrix product: GPUs and TPUs otherwise round float32 to a few digits."""

WHITENABLE = 1e-10  # smallest eigenvalue of the correlation matrix that whitening may divide by
CHUNK = 1 << 16  # rows mapped at a time: bounds the temporary memory


def platform() -> str:
    """Where JAX computes by default, the user's choice of a device heeded: "cpu", "gpu" or "tpu"."""
    device = getattr(jax.config, "jax_default_device", None)
    return device if isinstance(device, str) else getattr(device, "platform", None) or jax.default_backend()


def scoped(dtype: np.dtype[Any]) -> AbstractContextManager[Any]:
    """Let JAX compute in `dtype` for as long as the context lasts, whatever its global setting.

    Raises
    ------
    OptionError
        float64 on a device that has none.
    """
    if dtype == np.float64 and platform() == "tpu":
        raise OptionError("float64 is not available on this device (tpu): pass X.astype(numpy.float32), or use the CPU")
    return jax.enable_x64(dtype == np.float64)


def all_finite(tree: Any) -> Array:
    """Tell whether every number in the leaves of a tree is finite."""
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))


def bucket(size: int, steps: int = 16) -> int:
    """Round a size up so that few different ones occur: at most `steps` between a power of two and the next.

    Examples
    --------
    >>> [bucket(size) for size in (3, 31, 33, 1000, 1001)]
    [3, 31, 34, 1024, 1024]
    """
    unit = 1 << max(0, (size - 1).bit_length() - steps.bit_length())
    return -(-size // unit) * unit


@dataclass(frozen=True, eq=False)
class Affine:
    """The map ``y = solve(factor, (x - shift) / scale)`` between original units and standardised ones.

    Attributes
    ----------
    shift, scale : array of shape (d,), float64
        Origin and unit of each column, in original units; every unit > 0.
    factor : array of shape (d, d), float64, or None
        Lower triangular; None is the identity.
    varies : array of shape (d,), bool
        Columns that are not constant; the others have a unit of 1 (or the common one).
    """

    shift: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    varies: Bool[np.ndarray, " d"]
    factor: Float[np.ndarray, "d d"] | None = None

    @property
    def log_det(self) -> float:
        """The log of the volume that one original unit of volume has after the map."""
        lengths = 0.0 if self.factor is None else np.log(np.diag(self.factor)).sum()
        return float(-np.log(self.scale).sum() - lengths)

    def apply(self, values: np.ndarray) -> Float[np.ndarray, "n d"]:
        """Map rows of shape (n, d) in float64."""
        result = np.empty(values.shape)
        for first in range(0, len(values), CHUNK):
            z = (values[first : first + CHUNK].astype(np.float64) - self.shift) / self.scale
            if self.factor is not None:
                z = solve_triangular(self.factor, z.T, lower=True, check_finite=False).T
            result[first : first + len(z)] = z
        return result

    def invert(self, values: np.ndarray) -> np.ndarray:
        """Map points of shape (..., d) back to original units."""
        turned = values if self.factor is None else values @ self.factor.T
        return self.shift + self.scale * turned

    def matrix(self) -> Float[np.ndarray, "d d"]:
        """Give B of ``x = shift + B y``."""
        return np.diag(self.scale) if self.factor is None else self.scale[:, None] * self.factor

    def inverse_matrix(self) -> Float[np.ndarray, "d d"]:
        """Give A of ``y = A (x - shift)``."""
        if self.factor is None:
            return np.diag(1 / self.scale)
        return solve_triangular(self.factor, np.diag(1 / self.scale), lower=True, check_finite=False)


@dataclass(frozen=True, eq=False)
class Affines:
    """Maps of blocks of columns, each of its own.

    Attributes
    ----------
    maps : tuple of Affine
    at : tuple of tuple of int
        The positions of the columns of each block; every column is in one.
    """

    maps: tuple[Affine, ...]
    at: tuple[tuple[int, ...], ...]

    @property
    def shift(self) -> Float[np.ndarray, " d"]:
        """Origin of each column, in original units."""
        return np.concatenate([each.shift for each in self.maps])[np.argsort(np.concatenate(self.at))]

    @property
    def log_det(self) -> float:
        """The log of the volume that one original unit of volume has after the map."""
        return sum(each.log_det for each in self.maps)

    def apply(self, values: np.ndarray) -> Float[np.ndarray, "n d"]:
        """Map rows of shape (n, d) in float64."""
        result = np.empty(values.shape)
        for each, at in zip(self.maps, self.at, strict=True):
            result[:, at] = each.apply(values[:, at])
        return result


def standardising(values: np.ndarray, weights: np.ndarray, group: str) -> Affine:
    """Give the map that centres and scales rows within a symmetry group of the model.

    Parameters
    ----------
    values : array of shape (n, d)
        Rows, finite.
    weights : array of shape (n,)
        Weights of the rows, >= 0, not all 0.
    group : {"affine", "columns", "scale", "none"}
        What leaves the model what it is: any affine map (the rows come out uncorrelated with unit variance, where their
        correlation matrix allows), a shift and scale of every column, a shift and one common scale, or no map at all.

    Returns
    -------
    Affine
        Constant columns keep a unit of 1.
    """
    if group == "none":
        d = values.shape[1]
        return Affine(np.zeros(d), np.ones(d), values.max(axis=0) > values.min(axis=0))
    mean, unit, moment = _moments(values, weights)
    spread = np.sqrt(np.diag(moment))
    if group == "scale":
        largest = (unit * spread).max()
        common = largest * np.sqrt(np.mean((unit * spread / largest) ** 2)) if largest > 0 else 1.0
        return Affine(mean, np.full_like(unit, common), spread > 0)
    varies = spread > 0
    safe = np.where(varies, spread, 1.0)
    scale = np.where(varies, unit * safe, 1.0)
    factor = None
    if group == "affine" and varies.all():
        correlation = moment / np.outer(safe, safe)
        if np.linalg.eigvalsh(correlation)[0] > WHITENABLE:
            factor = np.linalg.cholesky(correlation)
    return Affine(mean, scale, varies, factor)


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the mean, a unit per column (half its range), and the covariance in those units, computed in float64."""
    low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    middle = low + (high - low) / 2
    unit = np.where(high > low, (high - low) / 2, 1.0)
    shares = weights / weights.sum()
    first, second = np.zeros(len(unit)), np.zeros((len(unit), len(unit)))
    for start in range(0, len(values), CHUNK):
        z = (values[start : start + CHUNK] - middle) / unit
        share = shares[start : start + CHUNK]
        first += share @ z
        second += (z * share[:, None]).T @ z
    covariance = second - np.outer(first, first)
    np.fill_diagonal(covariance, np.where(high > low, np.maximum(np.diag(covariance), 0.0), 0.0))
    return middle + unit * first, unit, covariance


def balanced(blocks: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Put points of blocks of columns side by side, such that distances count no block for more than another.

    Of each pair of points the first ones are scaled as the second ones, whose variances then sum to 1.
    """
    if len(blocks) == 1:
        return blocks[0]
    units = [np.sqrt(total) if (total := some.var(0).sum()) > 0 else 1.0 for _, some in blocks]
    every = zip(*((x / unit, some / unit) for (x, some), unit in zip(blocks, units, strict=True)), strict=True)
    x, some = (np.concatenate(parts, 1) for parts in every)
    return x, some
