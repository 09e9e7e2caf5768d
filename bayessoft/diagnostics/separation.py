"""How far apart soft clusters lie, compared with how wide they are: scatter matrices and ratios of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from numbers import Real

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh
from scipy.spatial.distance import pdist

from bayessoft.data.memberships import Memberships, together
from bayessoft.data.rows import Rows
from bayessoft.data.tables import TableLike
from bayessoft.errors import DataError, OptionError

__all__ = ["KINDS", "SoftScatter", "fisher_ratio", "soft_scatter", "xie_beni"]

TILE = 1 << 13  # rows looked at at a time
KINDS = ("trace", "determinant")
"""The ratios of `fisher_ratio`."""


@dataclass(frozen=True, eq=False)
class SoftScatter:
    """How rows scatter within and between soft clusters: sums of squares and products, not divided by any weight.

    Attributes
    ----------
    sizes : array of shape (k,)
        Sums of the memberships, in units of weight.
    means : array of shape (k, d)
        Means under the memberships; NaN for a cluster without members.
    within : array of shape (k, d, d)
        Scatter of the rows of each cluster about its mean; divided by its size, its covariance.
    between : array of shape (d, d)
        Scatter of the means about the mean of all rows.
    total : array of shape (d, d)
        Scatter of all rows about their mean, summed on its own: ``pooled + between`` but for rounding.
    """

    sizes: Float[np.ndarray, " k"]
    means: Float[np.ndarray, "k d"]
    within: Float[np.ndarray, "k d d"]
    between: Float[np.ndarray, "d d"]
    total: Float[np.ndarray, "d d"]

    @property
    def pooled(self) -> Float[np.ndarray, "d d"]:
        """Scatter within all clusters together."""
        return self.within.sum(0)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Loads, means, and squares about these means, of columns of loads; of empty ones the mean is 0."""

    size: Float[np.ndarray, " k"]
    mean: Float[np.ndarray, "k d"]
    second: Float[np.ndarray, "k d *d"]

    @classmethod
    def of(cls, x: Float[np.ndarray, "t d"], loads: Float[np.ndarray, "t k"], dense: bool) -> _Moments:
        size = loads.sum(0)
        mean = loads.T @ x / np.where(size > 0, size, 1)[:, None]
        parts, ends = [], (x.min(0), x.max(0))
        for own, load in zip(mean, loads.T, strict=True):
            some = load > 0
            if some.any():  # of equal cells the mean is that cell, and their scatter 0: rounding leaves neither
                low, high = ends if some.all() else (x[some].min(0), x[some].max(0))
                own.clip(low, high, out=own)
            apart = x - own
            parts.append((apart * load[:, None]).T @ apart if dense else load @ apart**2)
        return cls(size, mean, np.stack(parts))

    def merged(self, other: _Moments) -> _Moments:
        """Add two parts without loss of digits: Chan, Golub and LeVeque, American Statistician 37 (1983)."""
        size = self.size + other.size
        share = other.size / np.where(size > 0, size, 1)
        step = other.mean - self.mean
        square = step[:, :, None] * step[:, None] if self.second.ndim == 3 else step**2
        pull = (self.size * share).reshape(-1, *(1,) * (square.ndim - 1))
        return _Moments(size, self.mean + share[:, None] * step, self.second + other.second + pull * square)


def _moments(
    values: Float[np.ndarray, "n d"], parts: Iterator[Float[np.ndarray, "t k"]], dense: bool
) -> tuple[_Moments, Float[np.ndarray, " d"]]:
    """Give moments about a centre, and the centre, in one pass over rows in tiles, in float64."""
    centre = values[:TILE].mean(0, dtype=np.float64)
    found: _Moments | None = None
    for first, loads in zip(range(0, len(values), TILE), parts, strict=True):
        own = _Moments.of(values[first : first + TILE] - centre, loads, dense)
        found = own if found is None else found.merged(own)
    assert found is not None
    return found, centre


def _loads(shares: Memberships, power: float = 1.0) -> Iterator[Float[np.ndarray, "t k"]]:
    """Give weight times a power of the memberships, tile by tile."""
    for first in range(0, shares.n, TILE):
        part = slice(first, first + TILE)
        yield shares.values[part].astype(np.float64) ** power * shares.weights[part, None]


def _checked(X: TableLike, memberships: TableLike, sample_weight: object) -> tuple[Rows, Memberships]:
    """Check rows and memberships, and that squares of the rows are numbers that float64 holds."""
    rows, shares = together(X, memberships, sample_weight)
    spread = np.ptp(rows.values, axis=0).astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        squares = spread**2 * shares.weights.sum()
    known = np.finfo(np.float64)
    for j in np.flatnonzero((spread > 0) & ~((squares > known.tiny / known.eps) & (squares < known.max * known.eps))):
        raise DataError(
            f"column {repr(rows.columns[j]) if rows.columns else j} spans {spread[j]:.3g}, under weights that sum to "
            f"{shares.weights.sum():.3g}, and float64 cannot hold its squares: rescale the column, or the weights"
        )
    return rows, shares


def soft_scatter(X: TableLike, memberships: TableLike, sample_weight: object = None) -> SoftScatter:
    """Split the scatter of rows into that within soft clusters and that between them.

    Parameters
    ----------
    X : array, DataFrame or table of shape (n, d)
        Rows.
    memberships : array or DataFrame of shape (n, k)
        Memberships >= 0; rows sum to 1.
    sample_weight : array of shape (n,), optional
        Weights of the rows, >= 0.

    Returns
    -------
    SoftScatter
        Sizes, means, and scatter matrices within each cluster, between them, and in total, in float64.

    Raises
    ------
    DataError
        Unusable rows, memberships or weights.

    Notes
    -----
    With ``N_k = sum_n w_n r_nk``, ``W_k = sum_n w_n r_nk (x_n - m_k)(x_n - m_k)'``, ``B = sum_k N_k (m_k - m)(m_k -
    m)'`` and T the scatter about m, ``sum_k W_k + B = T`` whatever the memberships: the law of total covariance
    (Fukunaga, *Introduction to Statistical Pattern Recognition*, 2nd ed. (1990), section 10.2, for hard labels). One
    pass over tiles of rows, each about its own means, which are merged exactly.

    Examples
    --------
    >>> found = soft_scatter([[0.0], [2.0], [10.0]], [[1, 0], [1, 0], [0, 1]])
    >>> found.pooled, found.between.round(2)
    (array([[2.]]), array([[54.]]))
    """
    rows, shares = _checked(X, memberships, sample_weight)
    both = (np.column_stack([loads, loads.sum(1)]) for loads in _loads(shares))  # the last column is that of all rows
    found, centre = _moments(rows.values, both, dense=True)
    sizes, means = found.size[:-1], found.mean[:-1]
    apart = means - found.mean[-1]
    return SoftScatter(
        sizes,
        np.where(sizes[:, None] > 0, centre + means, np.nan),
        found.second[:-1],
        (apart * sizes[:, None]).T @ apart,
        found.second[-1],
    )


def fisher_ratio(
    X: TableLike | SoftScatter,
    memberships: TableLike | None = None,
    sample_weight: object = None,
    *,
    kind: str = "trace",
    pairs: bool = False,
) -> float | Float[np.ndarray, "k k"]:
    """Compare the scatter between clusters with that within: larger is better separated.

    Parameters
    ----------
    X : array, DataFrame or table of shape (n, d), or SoftScatter
        Rows, or what `soft_scatter` made of them, without anything else.
    memberships : array or DataFrame of shape (n, k)
        Memberships >= 0; rows sum to 1.
    sample_weight : array of shape (n,), optional
        Weights of the rows, >= 0.
    kind : {"trace", "determinant"}
        "trace" is ``tr B / tr W``, 0 or more; it changes with the units of columns. "determinant" is ``det T / det W``,
        1 or more, which no invertible linear map of the rows changes.
    pairs : bool, default False
        Whether to compare each two clusters, as if there were no others.

    Returns
    -------
    float, or array of shape (k, k)
        inf where nothing scatters within, in some direction. Of pairs a symmetric table whose diagonal is 0, or 1 of
        determinants; NaN where a cluster has no members, or two of them do not scatter in all directions.

    Raises
    ------
    DataError
        Unusable rows, memberships or weights; rows that do not scatter at all, or for determinants in some direction.
    OptionError
        Another kind; rows without memberships, or a `SoftScatter` with memberships or weights.

    Notes
    -----
    ``det T / det W`` is Friedman and Rubin's criterion (J. American Statistical Association 62 (1967)), the inverse of
    Wilks' lambda; ``tr B / tr W`` is J4 of Fukunaga, *Introduction to Statistical Pattern Recognition*, 2nd ed. (1990),
    section 10.2. Of clusters i and j alone, B is ``N_i N_j / (N_i + N_j) (m_i - m_j)(m_i - m_j)'`` and W is ``W_i +
    W_j``, so that the determinant form is ``1 + N_i N_j / (N_i + N_j) (m_i - m_j)' W^-1 (m_i - m_j)``: Fisher's
    discriminant ratio (Annals of Eugenics 7 (1936)) of the best direction, times a number that the sizes make.

    Examples
    --------
    >>> fisher_ratio([[0.0], [2.0], [10.0]], [[1, 0], [1, 0], [0, 1]])
    27.0
    """
    if kind not in KINDS:
        raise OptionError(f"kind is {kind!r}: pass {' or '.join(map(repr, KINDS))}")
    beside = memberships is not None or sample_weight is not None
    if beside if isinstance(X, SoftScatter) else memberships is None:
        raise OptionError("fisher_ratio takes rows with memberships, or a SoftScatter alone: pass either")
    found = X if isinstance(X, SoftScatter) else soft_scatter(X, memberships, sample_weight)
    ratio = _trace_ratio if kind == "trace" else _determinant_ratio
    if not pairs:
        value = ratio(found.pooled, found.between)
        if np.isnan(value):
            raise DataError(
                "all rows are one point, which do not scatter: pass rows that differ"
                if kind == "trace"
                else "the rows do not scatter in all directions: drop columns that are constant or sums of others, or "
                "pass kind='trace'"
            )
        return value
    k = len(found.sizes)
    table = np.full((k, k), np.nan)
    np.fill_diagonal(table, np.where(found.sizes > 0, 0.0 if kind == "trace" else 1.0, np.nan))
    for i, j in combinations(np.flatnonzero(found.sizes > 0), 2):
        apart = found.means[i] - found.means[j]
        between = found.sizes[i] / (found.sizes[i] + found.sizes[j]) * found.sizes[j] * np.outer(apart, apart)
        table[i, j] = table[j, i] = ratio(found.within[i] + found.within[j], between)
    return table


def _trace_ratio(within: Float[np.ndarray, "d d"], between: Float[np.ndarray, "d d"]) -> float:
    """Give ``tr B / tr W``; NaN where both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.trace(between) / np.trace(within))


def _determinant_ratio(within: Float[np.ndarray, "d d"], between: Float[np.ndarray, "d d"]) -> float:
    """Give ``det(W + B) / det W`` by the eigenvalues of W in units of W + B; NaN where W + B is singular."""
    total = within + between
    unit = np.sqrt(np.diag(total))
    if not unit.all():
        return float("nan")
    within, total = within / np.outer(unit, unit), total / np.outer(unit, unit)
    none = len(unit) * np.finfo(np.float64).eps  # what rounding leaves of 0
    if np.linalg.eigvalsh(total)[0] <= none:
        return float("nan")
    left = eigh(within, total, eigvals_only=True)
    return float(np.exp(-np.log(left).sum())) if left[0] > none else float("inf")


def xie_beni(
    X: TableLike,
    memberships: TableLike,
    centers: object = None,
    m: float = 2.0,
    sample_weight: object = None,
) -> float:
    """Compare the squared distances from the centres with the least one between two centres: smaller is better.

    Parameters
    ----------
    X : array, DataFrame or table of shape (n, d)
        Rows.
    memberships : array or DataFrame of shape (n, k)
        Memberships >= 0; rows sum to 1.
    centers : array of shape (k, d), optional
        Centres of the clusters; by default the means of the rows under ``memberships**m``, as fuzzy c-means has them.
    m : float >= 1
        Power of the memberships.
    sample_weight : array of shape (n,), optional
        Weights of the rows, >= 0.

    Returns
    -------
    float
        >= 0; inf where two centres are one.

    Raises
    ------
    DataError
        Unusable rows, memberships, weights or centres; a single cluster; a cluster without members, unless `centers`
        are given.
    OptionError
        A power below 1.

    Notes
    -----
    ``sum_nk w_n r_nk^m |x_n - v_k|^2 / (sum_n w_n min_{j != k} |v_j - v_k|^2)``: Xie and Beni, IEEE Trans. Pattern
    Analysis and Machine Intelligence 13 (1991), whose power is 2. It falls on its own as k nears n. Columns count by
    their units.

    Examples
    --------
    >>> xie_beni([[0.0], [2.0], [10.0], [12.0]], [[1, 0], [1, 0], [0, 1], [0, 1]])
    0.01
    """
    if isinstance(m, bool) or not isinstance(m, Real) or not 1 <= float(m) < np.inf:
        raise OptionError(f"m is {m!r}: pass a power of 1 or more, usually 2")
    rows, shares = _checked(X, memberships, sample_weight)
    if shares.k < 2:
        raise DataError("xie_beni compares centres, and there is one cluster only: pass memberships in two or more")
    found, centre = _moments(rows.values, _loads(shares, float(m)), dense=False)
    spread = found.second.sum(1)
    if centers is None:
        if (empty := found.size == 0).any():
            raise DataError(f"cluster {shares.clusters[int(empty.argmax())]} has no members: leave it out")
        at = found.mean
    else:
        at = _centers(centers, rows, shares.k) - centre
        with np.errstate(over="ignore"):
            spread = spread + found.size * ((found.mean - at) ** 2).sum(1)
    least = pdist(at, "sqeuclidean").min()
    if not np.isfinite(spread.sum() + least):
        raise DataError("centers lie so far out that float64 cannot hold squares of distances: check their units")
    return float(spread.sum() / shares.weights.sum() / least) if least > 0 else float("inf")


def _centers(given: object, rows: Rows, k: int) -> Float[np.ndarray, "k d"]:
    """Check centres."""
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("centers holds no numbers: pass one row for each cluster") from None
    if array.shape != (k, rows.d) or not np.isfinite(array).all():
        raise DataError(f"centers has shape {array.shape}, or is not finite: pass finite numbers of shape {k, rows.d}")
    return array
