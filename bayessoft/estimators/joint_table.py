"""Joint tables of rows and columns: their cells checked, and where clusters and inverse temperatures begin."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import sparse
from sklearn.cluster import kmeans_plusplus
from sklearn.utils.validation import validate_data

from bayessoft.core.annealing import correlations
from bayessoft.data.rows import Rows, row_ids, rows, table
from bayessoft.data.tables import place_of
from bayessoft.errors import DataError, OptionError

__all__ = ["betas_of", "cells_of", "joint_of", "normalised", "starts_of"]

SPREAD = 0.1  # of a start's memberships that all clusters share: none would come back from 0
POINTS = 60  # inverse temperatures of a path
ABOVE, BELOW = 10.0, 2.0  # how far a path goes beyond where the last cluster, and the first two, part
NONE = 1e-9  # squared correlation that is none
DTYPES = [np.float64, np.float32]


def cells_of(estimator: Any, X: Any, sample_weight: Any = None, *, reset: bool) -> tuple[sparse.csr_array, Rows]:
    """Check rows, and give their cells as a sparse matrix; of those that came so, the rows hold the sums alone."""
    if sparse.issparse(X):
        cells = sparse.csr_array(validate_data(estimator, X, reset=reset, accept_sparse="csr", dtype=DTYPES), copy=True)
        cells.sum_duplicates()
        data = rows(np.asarray(cells.sum(1))[:, None].astype(cells.dtype), sample_weight=sample_weight)
    else:
        names = list(map(str, getattr(X, "columns", ()))) or None
        values = validate_data(estimator, table(X), reset=reset, dtype=DTYPES, ensure_all_finite=False)
        data = rows(values, columns=names, ids=row_ids(X), sample_weight=sample_weight)
        cells = sparse.csr_array(values)
    if (wrong := np.flatnonzero(cells.data < 0)).size:
        row = int(np.searchsorted(cells.indptr, wrong[0], side="right")) - 1
        place = place_of((row, int(cells.indices[wrong[0]])), None if sparse.issparse(X) else data.columns, data.ids)
        raise DataError(
            f"Negative values in data passed to InformationBottleneck: X holds {cells.data[wrong[0]]:g} at {place} "
            "(rows count from 0): pass counts or probabilities, >= 0"
        )
    cells.eliminate_zeros()
    return cells.astype(np.float64), data


def joint_of(estimator: Any, X: Any, sample_weight: Any) -> tuple[sparse.csr_array, Rows]:
    """Give p(x, y) of rows to be fitted."""
    cells, data = cells_of(estimator, X, sample_weight, reset=True)
    if data.n < estimator.n_clusters:
        raise DataError(
            f"n_clusters={estimator.n_clusters} but n_samples = {data.n}: pass at least as many rows as clusters, or "
            "fewer clusters"
        )
    weighed = sparse.csr_array(sparse.diags_array(data.weights) @ cells)
    total = float(weighed.sum())
    if not 0 < total < np.inf:
        raise DataError(f"the cells of X, weighed, sum to {total}: pass counts that are not all 0, and finite sums")
    joint = sparse.csr_array(weighed / total)
    joint.eliminate_zeros()
    return joint, data


def starts_of(joint: sparse.csr_array, k: int, n_init: int, rng: np.random.RandomState) -> Float[np.ndarray, "s n k"]:
    """Give memberships to start from; the last ones have no clusters at all, which is best where beta is small."""
    weights = joint.sum(1)
    counted = np.flatnonzero(weights)
    roots = sparse.csr_matrix(np.sqrt(normalised(joint[counted])))
    starts = np.full((n_init + 1, len(weights), k), 1 / k)
    for start in starts[:-1]:
        few = min(k, len(counted))
        seeds = kmeans_plusplus(roots, few, sample_weight=weights[counted], random_state=rng)[1]
        nearest = (roots @ roots[seeds].T).toarray().argmax(1)
        start[counted] = SPREAD / k
        start[counted, nearest] += 1 - SPREAD
    return starts


def normalised(cells: sparse.csr_array) -> sparse.csr_array:
    """Give the shares of each row; rows of 0 stay 0."""
    totals = np.asarray(cells.sum(1))
    return sparse.csr_array(
        sparse.diags_array(np.divide(1.0, totals, out=np.zeros(len(totals)), where=totals > 0)) @ cells
    )


def betas_of(given: Any, joint: sparse.csr_array, k: int) -> Float[np.ndarray, " b"]:
    """Give inverse temperatures from the largest down, those for a table where none are given."""
    if given is not None:
        try:
            values = np.asarray(given, np.float64)
        except (TypeError, ValueError):
            values = np.zeros(0)
        if values.ndim != 1 or not values.size or not (np.isfinite(values) & (values > 0)).all():
            raise OptionError(f"betas is {given!r}: pass one or more finite numbers > 0")
        return np.unique(values)[::-1]
    found = correlations(joint, max(k - 1, 1))
    found = found[found > NONE]
    first, last = (1 / found[0], 1 / found[-1]) if len(found) else (1.0, 1.0)
    return np.geomspace(ABOVE * last, max(1.0, first / BELOW), POINTS)
