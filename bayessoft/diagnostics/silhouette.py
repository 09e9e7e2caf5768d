"""The silhouette of soft clusters: whether rows are nearer to the rows of their cluster than to those of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bayessoft.data.memberships import together
from bayessoft.data.rows import fresh
from bayessoft.data.tables import TableLike
from bayessoft.errors import DataError
from bayessoft.numerics import HIGHEST, bucket, scoped

__all__ = ["Silhouette", "soft_silhouette"]

TILE = 512  # rows; of two tiles all distances are held at a time
NEAR = {np.dtype(np.float32): 2e-3, np.dtype(np.float64): 1e-6}
"""Squared distance, as a share of the squared lengths, below which products leave less than 4 digits of it, or 9."""


@dataclass(frozen=True, eq=False)
class Silhouette:
    """What a soft silhouette says.

    Attributes
    ----------
    values : array of shape (n,)
        Of each row, -1 to 1: 1 well inside of its clusters, 0 between two, below 0 nearer to another one.
    mean : float
        Their mean, with the weights of the rows.
    """

    values: Float[np.ndarray, " n"]
    mean: float


def soft_silhouette(X: TableLike, memberships: TableLike, sample_weight: object = None) -> Silhouette:
    """Give the soft silhouette of each row, and their mean.

    Parameters
    ----------
    X : array, DataFrame or table of shape (n, d)
        Rows; columns count by their units. float32 is computed in float32.
    memberships : array or DataFrame of shape (n, k)
        Memberships >= 0; rows sum to 1.
    sample_weight : array of shape (n,), optional
        Weights of the rows, >= 0. Weight 2 counts as the row twice, and so as a neighbour at distance 0.

    Returns
    -------
    Silhouette
        ``values`` (n,) in the dtype of the rows, and ``mean``.

    Raises
    ------
    DataError
        Unusable rows, memberships or weights, or fewer than two clusters with members.

    Notes
    -----
    With a_k(i) the mean Euclidean distance of row i from the other rows under their memberships in cluster k, ``sum_j
    w_j r_jk d_ij / sum_{j != i} w_j r_jk``, and b_k(i) the least a_l(i) of the other clusters l, the silhouette is
    ``sum_k r_ik (b_k - a_k) / max(a_k, b_k)``: Vardakas, Papakostas and Likas, *Deep Clustering Using the Soft
    Silhouette Score*, arXiv:2402.00608 (2024), section 3. A cluster without any other row adds 0. Of hard labels it is
    Rousseeuw's silhouette (J. Computational and Applied Mathematics 20 (1987)).

    All ``n^2`` distances are looked at, in tiles of rows against tiles of rows: memory grows with n, time with its
    square; 20 000 rows of 4 columns take 2 to 3 s on two cores. Squared distances are matrix products of rows about
    their mean, but for tiles in which two rows are near to each other: those are subtracted, column by column.

    Examples
    --------
    >>> found = soft_silhouette([[0.0], [1.0], [9.0], [10.0]], [[1, 0], [1, 0], [0, 1], [0.5, 0.5]])
    >>> found.values.round(2)
    array([0.57, 0.56, 0.86, 0.  ])
    """
    rows, shares = together(X, memberships, sample_weight)
    power = -int(np.frexp(shares.weights.max())[1])  # of 2: no unit of the weights changes a silhouette
    loads = shares.values.astype(np.float64) * np.ldexp(shares.weights, power)[:, None]
    if (loads.sum(0) > 0).sum() < 2:
        raise DataError("soft_silhouette compares clusters, and only one has members: pass memberships in two or more")
    dtype = rows.values.dtype
    centred = rows.values - np.average(rows.values, axis=0, weights=rows.weights)  # in float64
    reach = np.abs(centred).max()
    centred /= reach if reach > 0 else 1.0  # no unit changes a silhouette, and no square overflows
    with scoped(dtype):
        sums = np.asarray(_summed(*(_tiled(part, dtype) for part in (centred, loads))), np.float64)
    sums = sums.reshape(-1, shares.k)[: rows.n]
    copies = np.ldexp(np.maximum(shares.weights - 1, 0), power)[:, None] * shares.values
    others = _others(loads) + copies
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(others > np.finfo(dtype).tiny, sums / others, np.inf)
    first, second = np.partition(apart, 1, axis=1)[:, :2].T
    nearest = np.where(np.arange(shares.k) == apart.argmin(1)[:, None], second[:, None], first[:, None])
    with np.errstate(invalid="ignore"):
        each = (nearest - apart) / np.maximum(nearest, apart)
    each[~np.isfinite(nearest) | ~np.isfinite(apart) | (np.maximum(nearest, apart) == 0)] = 0.0
    values = (shares.values * each).sum(1)
    return Silhouette(values.astype(dtype), float(np.average(values, weights=shares.weights)))


def _others(loads: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Sum, for each row, the loads of all others, without the difference of two nearly equal sums."""
    before, after = np.zeros_like(loads), np.zeros_like(loads)
    np.cumsum(loads[:-1], 0, out=before[1:])
    np.cumsum(loads[:0:-1], 0, out=after[-2::-1])
    return before + after


def _tiled(values: Float[np.ndarray, "n c"], dtype: np.dtype[Any]) -> Float[Array, "T t c"]:
    """Lay an array out in tiles, filled with zeros."""
    n, width = values.shape
    t = min(TILE, bucket(n))
    count = 1 if n <= t else bucket(-(-n // t))
    padded = np.zeros((count * t, width), dtype)
    padded[:n] = values
    return jnp.asarray(fresh(padded.reshape(count, t, width)))


@jax.jit
def _summed(rows: Float[Array, "T t d"], loads: Float[Array, "T t k"]) -> Float[Array, "T t k"]:
    """Sum, for every row, its distances from all rows times their loads."""
    squares = jnp.sum(rows**2, 2)

    def one(own: tuple[Array, Array]) -> Array:
        def add(total: Array, other: tuple[Array, Array, Array]) -> tuple[Array, None]:
            return total + jnp.matmul(_distances(*own, *other[:2]), other[2], precision=HIGHEST), None

        return lax.scan(add, jnp.zeros_like(loads[0]), (rows, squares, loads))[0]

    return lax.map(one, (rows, squares))


def _distances(
    x: Float[Array, "t d"], xx: Float[Array, " t"], y: Float[Array, "u d"], yy: Float[Array, " u"]
) -> Float[Array, "t u"]:
    """Give Euclidean distances between the rows of two tiles, given their squared lengths."""
    lengths = xx[:, None] + yy
    squared = lengths - 2 * jnp.matmul(x, y.T, precision=HIGHEST)

    def subtracted() -> Array:
        def add(j: Array, total: Array) -> Array:
            return total + (x[:, j, None] - y[:, j]) ** 2

        return lax.fori_loop(0, x.shape[1], add, jnp.zeros_like(lengths))

    near = jnp.any(squared < NEAR[np.dtype(x.dtype)] * lengths)
    return jnp.sqrt(lax.cond(near, subtracted, lambda: squared))
