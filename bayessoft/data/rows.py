"""Rows of numbers: the one place where input is checked.

`table` makes any table ready for scikit-learn's ``validate_data``; `rows` checks what comes out of it, and the sample
weights. What is trusted later is stated by `Rows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import issparse

from bayessoft.data.tables import TableLike, floats, odd_cell, place_of, row_ids, table
from bayessoft.errors import DataError, counted

__all__ = ["Rows", "TableLike", "evidence_of", "fresh", "row_ids", "rows", "table", "weights_of"]

SHOWN = 3  # places that a message names


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows that passed every check.

    Attributes
    ----------
    values : array of shape (n, d), float32 or float64
        Finite, C-contiguous and read-only, an array object of its own, so safe to hand to JAX (see `fresh`). The spread
        of every column is 0 or a normal number of that dtype.
    weights : array of shape (n,), float64
        Weight of each row: finite, >= 0, not all 0; ones where none were given. Read-only.
    columns : tuple of str or None
        Names of the columns, None where the input had none.
    ids : tuple of str or None
        Name of each row, None where the input had none.
    resources : array of shape (n, c) or None
        What each row takes of resources of which clusters have limited amounts.
    evidence : array of shape (n, k) or None
        What else is known of the cluster of each row: log-odds in nats, -inf where it cannot be that one.
    """

    values: Float[np.ndarray, "n d"]
    weights: Float[np.ndarray, " n"]
    columns: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    resources: Float[np.ndarray, "n c"] | None = None
    evidence: Float[np.ndarray, "n k"] | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    @property
    def d(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def total_weight(self) -> float:
        """Sum of the weights."""
        return float(self.weights.sum())

    def reordered(self, order: Int[np.ndarray, " n"]) -> Rows:
        """Give the same rows in another order."""
        values, weights = self.values[order], self.weights[order]
        values.flags.writeable = weights.flags.writeable = False
        ids = self.ids and tuple(self.ids[i] for i in order)
        more = {
            name: None if (part := getattr(self, name)) is None else part[order] for name in ("resources", "evidence")
        }
        return replace(self, values=values, weights=weights, ids=ids, **more)

    def among(self, at: Sequence[int]) -> Rows:
        """Give the same rows with some columns, named by their positions here where they have no names."""
        values = np.ascontiguousarray(self.values[:, list(at)])
        values.flags.writeable = False
        names: Any = tuple(self.columns[j] if self.columns else j for j in at)
        return replace(self, values=values, columns=names)


def fresh(array: np.ndarray) -> np.ndarray:
    """Give the same memory as a new base-class array object, safe to hand to JAX.

    JAX may remember an array *object*: one that passed through a 32-bit computation can come back as float32 inside
    ``jax.enable_x64``. A view is another object. See "Scoped float64 and NumPy arrays" in ``docs/design.md``.
    """
    return array.view(np.ndarray)


def rows(
    values: np.ndarray,
    *,
    columns: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    sample_weight: object = None,
) -> Rows:
    """Check everything about the numbers and give them as `Rows`.

    Parameters
    ----------
    values : array of shape (n, d)
        Real numbers. float32 stays; every other real dtype, float16 and long double among them, becomes float64.
    columns : sequence of d str, optional
        Names of the columns.
    ids : sequence of n str, optional
        Names of the rows.
    sample_weight : None, number or array of shape (n,), optional
        Weights, finite and >= 0, not all 0. None is 1 for every row; a number is that number for every row.

    Returns
    -------
    Rows
        Views where nothing had to change, never the array object that was given.

    Raises
    ------
    DataError
        NaN or infinite cells, no rows, no columns, not two dimensions, not real numbers, a column whose spread its
        dtype cannot hold, names that do not fit, unusable weights. Constant columns are no error here.

    Examples
    --------
    >>> rows(np.array([[1, 2], [3, 4]]), columns=["a", "b"]).total_weight
    2.0
    """
    array = _real(values)
    n, d = array.shape
    names = _names(columns, d, "columns")
    labels = _names(ids, n, "ids")
    low, high = _extremes(array)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise _not_finite(array, names, labels)
    _check_spread(low, high, array.dtype, names)
    array = fresh(array)
    weights = weights_of(sample_weight, n)
    array.flags.writeable = weights.flags.writeable = False
    return Rows(values=array, weights=weights, columns=names, ids=labels)


def evidence_of(given: Any, n: int, k: int) -> Float[np.ndarray, "n k"] | None:
    """Give checked evidence on the clusters of rows as a new float64 array.

    Raises
    ------
    DataError
        Not of shape (n, k), NaN or +inf, or a row that no cluster is left for.
    """
    if given is None:
        return None
    try:
        array = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("evidence holds no numbers: pass log-odds in nats, one for each row and cluster") from None
    if array.shape != (n, k):
        raise DataError(f"evidence has shape {array.shape}, and there are {n} rows and {k} clusters: pass ({n}, {k})")
    for wrong, what in ((np.isnan(array), "NaN"), (np.isposinf(array), "infinite")):
        if wrong.any():
            first = int(np.argmax(wrong.any(1)))
            raise DataError(
                f"evidence is {what} for {counted(int(wrong.any(1).sum()), 'row')}, first row {first}: pass log-odds "
                "in nats, 0 where nothing is known, and for a row whose cluster is certain -inf for the others"
            )
    if (none := np.isneginf(array).all(1)).any():
        raise DataError(f"evidence of row {int(np.argmax(none))} is -inf for every cluster: leave one that it can have")
    array.flags.writeable = False
    return array


def _real(values: np.ndarray) -> np.ndarray:
    """Give a C-contiguous float32 or float64 array with two dimensions, at least one row and one column."""
    if issparse(values):
        raise DataError("Sparse data is not supported: pass X.toarray(), if that fits into memory")
    array = np.asarray(values)
    if array.dtype.kind == "c":
        raise DataError("Complex data not supported: pass real numbers, for example X.real and X.imag side by side")
    if array.dtype.kind not in "fiub":
        raise DataError(f"X has dtype {array.dtype}, not numbers: pass X.astype(float) if its cells are numbers")
    if array.ndim != 2:
        raise DataError(
            f"X has {counted(array.ndim, 'dimension')}, shape {array.shape}, and needs 2: rows and columns; "
            "X.reshape(-1, 1) makes one column, X.reshape(1, -1) one row"
        )
    for size, what in zip(array.shape, ("sample", "feature"), strict=True):
        if size == 0:
            raise DataError(f"Found array with 0 {what}(s) (shape={array.shape}) while a minimum of 1 is required.")
    with np.errstate(over="ignore"):  # a long double too large for float64 becomes inf, refused next
        return np.ascontiguousarray(array, dtype=None if array.dtype == np.float32 else np.float64)


def _names(names: Sequence[str] | None, size: int, what: str) -> tuple[str, ...] | None:
    """Give names as a tuple of text, one for each of `size`."""
    if names is None:
        return None
    if len(names) != size:
        raise DataError(f"{what} has {len(names)} names but X has {size} {'rows' if what == 'ids' else what}")
    return tuple(map(str, names))


def _extremes(array: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Give the smallest and largest cell of each column; NaN where the column has one."""
    n, d = array.shape
    fold = min(n, max(1, 512 // d))  # NumPy reduces narrow tables slowly: fold rows side by side, 20 times faster
    whole = n - n % fold
    folded = array[:whole].reshape(-1, fold * d)
    low = np.vstack([folded.min(axis=0).reshape(fold, d), array[whole:]]).min(axis=0)
    high = np.vstack([folded.max(axis=0).reshape(fold, d), array[whole:]]).max(axis=0)
    return low, high


def _not_finite(
    array: Float[np.ndarray, "n d"], columns: tuple[str, ...] | None, ids: tuple[str, ...] | None
) -> DataError:
    """Name the first cells that are NaN or infinite."""
    problems = []
    for mask, what in ((np.isnan(array), "missing cell (NaN)"), (np.isinf(array), "infinite cell (inf)")):
        if mask.any():
            hit = int(mask.any(axis=1).sum())
            problems.append(f"{counted(int(mask.sum()), what)} in {hit} of {counted(len(array), 'row')}")
            problems[-1] += f": {_places(mask, columns, ids)}"
    return DataError(
        f"X has {' and '.join(problems)} (rows count from 0): drop or fill these rows, for example "
        "X[np.isfinite(X).all(axis=1)], or X.dropna() for a DataFrame"
    )


def _places(mask: Bool[np.ndarray, "n d"], columns: tuple[str, ...] | None, ids: tuple[str, ...] | None) -> str:
    """Name the first places where a mask holds."""
    hits = np.argwhere(mask)
    shown = [place_of(tuple(hit), columns, ids) for hit in hits[:SHOWN].tolist()]
    return ", ".join(shown) + (", ..." if len(hits) > SHOWN else "")


def _check_spread(
    low: Float[np.ndarray, " d"], high: Float[np.ndarray, " d"], dtype: np.dtype[Any], columns: tuple[str, ...] | None
) -> None:
    """Refuse columns whose spread overflows, or is subnormal and so flushed to 0 on many devices."""
    with np.errstate(over="ignore"):
        spread = high - low
    tiny = np.finfo(dtype).tiny
    for j in np.flatnonzero(~np.isfinite(spread) | ((spread > 0) & (spread < tiny))).tolist():
        raise DataError(
            f"column {repr(columns[j]) if columns else j} spans from {low[j]!s} to {high[j]!s}, a spread that {dtype} "
            f"cannot hold (0, or {tiny:.2g} to {np.finfo(dtype).max:.2g}): rescale the column"
        )


def weights_of(given: Any, n: int) -> Float[np.ndarray, " n"]:
    """Give checked weights of the rows as a new float64 array: 1 where none are given."""
    if given is None:
        return np.ones(n)
    array = np.asarray(given)
    if array.ndim == 0:
        array = np.full(n, array[()])
    if array.shape != (n,):
        raise DataError(
            f"sample_weight has shape {array.shape} but X has {counted(n, 'row')}: pass {n} numbers, or one"
        )
    if array.dtype.kind == "O" and not odd_cell(array):
        array = floats(array)
    if array.dtype.kind not in "fiub":
        raise DataError(f"sample_weight holds {array.dtype}, not numbers: pass finite weights >= 0")
    weights = array.astype(np.float64)
    for wrong, what in ((~np.isfinite(weights), "NaN or infinite"), (weights < 0, "negative")):
        if wrong.any():
            first = int(np.argmax(wrong))
            raise DataError(
                f"sample_weight is {what} for {int(wrong.sum())} of {counted(n, 'row')}, first row {first} "
                f"({weights[first]!s}): pass finite weights >= 0, and leave rows out by weight 0"
            )
    if not weights.any():
        raise DataError(f"sample_weight is zero for all of {counted(n, 'row')}: give at least one row a weight above 0")
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.finfo(np.float64).tiny <= total < np.inf:
        raise DataError(f"sample_weight sums to {total}, which float64 cannot hold: rescale the weights")
    return weights
