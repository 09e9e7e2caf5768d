"""Memberships that a user has: the one place where they are checked."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse import issparse

from bayessoft.data.rows import Rows, fresh, row_ids, rows, table, weights_of
from bayessoft.errors import DataError, counted

__all__ = ["Memberships", "memberships_of", "together"]

SLACK = {np.dtype(np.float16): 1e-2, np.dtype(np.float32): 1e-3}
"""How far the sum of a row may be from 1: what rounding leaves of a dozen clusters, and of a mean over a thousand
draws."""
SLACK_ELSE = 1e-6
"""The same of float64, in which tables also hold what was computed in float32."""


@dataclass(frozen=True, eq=False)
class Memberships:
    """Memberships that passed every check.

    Attributes
    ----------
    values : array of shape (n, k), float32 or float64
        Finite, >= 0, each row divided by its sum. Read-only.
    weights : array of shape (n,), float64
        Weight of each row, 1 where none were given. Read-only.
    clusters : tuple of str
        Names of the clusters: of the columns where these have names, else "0", "1", ...
    ids : tuple of str or None
        Names of the rows, None where they have none.
    """

    values: Float[np.ndarray, "n k"]
    weights: Float[np.ndarray, " n"]
    clusters: tuple[str, ...]
    ids: tuple[str, ...] | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    @property
    def k(self) -> int:
        """Number of clusters."""
        return int(self.values.shape[1])


def memberships_of(given: object, sample_weight: object = None, name: str = "memberships") -> Memberships:
    """Check memberships, and the weights of their rows.

    Parameters
    ----------
    given : array, DataFrame or table of shape (n, k)
        Memberships >= 0 whose rows sum to 1, but for rounding; float32 stays, every other real dtype becomes float64.
    sample_weight : None, number or array of shape (n,), optional
        Weights of the rows, finite and >= 0, not all 0. None is 1 for every row.
    name : str
        What an error calls them.

    Returns
    -------
    Memberships
        Every row divided by its sum, so that no measure depends on what rounding left.

    Raises
    ------
    DataError
        No table of numbers, a number below 0 or not finite, a row that does not sum to 1, unusable weights.

    Examples
    --------
    >>> memberships_of([[1, 0], [0.25, 0.75]]).values
    array([[1.  , 0.  ],
           [0.25, 0.75]])
    """
    if issparse(given):
        raise DataError(f"{name} is sparse, which is not supported: pass {name}.toarray()")
    try:
        read = table(given)
    except DataError as problem:  # which calls every table X
        raise DataError(re.sub(r"\bX\b", name, str(problem))) from None
    array = np.asarray(read)
    if array.dtype.kind not in "fiub" or array.ndim != 2 or 0 in array.shape:
        raise DataError(
            f"{name} has dtype {array.dtype} and shape {array.shape}: pass numbers, a row for each row of the table "
            "and a column for each cluster; of labels, numpy.eye(k)[labels]"
        )
    values = np.array(array, dtype=None if array.dtype == np.float32 else np.float64, order="C")
    for wrong, what in ((~np.isfinite(values), "NaN or infinite"), (values < 0, "negative")):
        if wrong.any():
            i, j = map(int, np.argwhere(wrong)[0])
            raise DataError(
                f"{name} is {what} in {counted(int(wrong.any(1).sum()), 'row')}, first row {i} cluster {j} "
                f"({values[i, j]!s}): pass numbers >= 0 whose rows sum to 1"
            )
    sums = values.sum(1, dtype=np.float64)
    if (off := np.abs(sums - 1) > SLACK.get(array.dtype, SLACK_ELSE)).any():
        first = int(np.argmax(off))
        raise DataError(
            f"{name} does not sum to 1 in {counted(int(off.sum()), 'row')}, first row {first} ({sums[first]:.6g}): "
            "divide each row by its sum, or, where the rest is noise, add it as one more column"
        )
    values /= sums[:, None].astype(values.dtype)
    names = getattr(read, "columns", range(values.shape[1]))
    weights = weights_of(sample_weight, len(values))
    values.flags.writeable = weights.flags.writeable = False
    return Memberships(fresh(values), weights, tuple(map(str, names)), row_ids(given))


def together(X: object, memberships: object, sample_weight: object = None) -> tuple[Rows, Memberships]:
    """Check rows of shape (n, d), and memberships (n, k) of the same rows.

    Raises
    ------
    DataError
        Also where their numbers of rows differ.
    """
    read = table(X)
    columns = list(map(str, read.columns)) if hasattr(read, "columns") else None
    values = read if columns is None else read.to_numpy()
    found = rows(values, columns=columns, ids=row_ids(X), sample_weight=sample_weight)
    shares = memberships_of(memberships, sample_weight)
    if found.n != shares.n:
        raise DataError(f"X has {counted(found.n, 'row')} and memberships has {shares.n}: pass those of the same rows")
    return found, shares
