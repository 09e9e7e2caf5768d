"""A Gaussian mixture in long double by plain loops over columns: the reference of the precision benchmark."""

from __future__ import annotations

import numpy as np

LONG = np.longdouble


def cholesky(matrix: np.ndarray) -> np.ndarray:
    """The lower triangular L with ``L L'`` equal to the matrix, column by column."""
    d = len(matrix)
    lower = np.zeros((d, d), LONG)
    for j in range(d):
        rest = matrix[j:, j] - lower[j:, :j] @ lower[j, :j]
        if not rest[0] > 0:
            raise ValueError(f"the matrix is not positive definite (column {j})")
        lower[j:, j] = rest / np.sqrt(rest[0])
    return lower


def solve(lower: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The Y with ``lower Y`` equal to the right-hand side, of shape (d, m), row by row."""
    y = np.array(right, LONG)
    for i in range(len(lower)):
        y[i] = (y[i] - lower[i, :i] @ y[:i]) / lower[i, i]
    return y


def joint(x: np.ndarray, weights: np.ndarray, means: np.ndarray, roots: list[np.ndarray]) -> np.ndarray:
    """Log of weight times density, of shape (n, k); `roots` are Cholesky factors of the covariances."""
    columns = []
    for weight, mean, root in zip(weights.astype(LONG), means.astype(LONG), roots, strict=True):
        white = solve(root, (x.astype(LONG) - mean).T)
        constant = len(mean) * np.log(2 * PI) / 2
        columns.append(np.log(weight) - constant - np.log(np.diag(root)).sum() - (white**2).sum(0) / 2)
    return np.stack(columns, axis=1)


PI = 4 * np.arctan(LONG(1))


def log_density(joint: np.ndarray) -> np.ndarray:
    """Log density of every row, of shape (n,)."""
    peak = joint.max(axis=1)
    return peak + np.log(np.exp(joint - peak[:, None]).sum(axis=1))


def covariance(x: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Covariance of rows under the responsibilities of one cluster."""
    r = r.astype(LONG)
    mean = r @ x.astype(LONG) / r.sum()
    difference = x.astype(LONG) - mean
    return (difference * r[:, None]).T @ difference / r.sum()


def whitened_error(found: np.ndarray, reference: np.ndarray) -> float:
    """The largest entry of ``|L^-1 C L^-T - I|``, L L' being the reference."""
    root = cholesky(reference)
    half = solve(root, found.astype(LONG))
    return float(np.abs(solve(root, half.T) - np.eye(len(root))).max())
