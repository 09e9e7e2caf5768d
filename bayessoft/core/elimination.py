"""Determinants, distances and inverses of many small covariances at once, by elimination: matrices along the last axes.

Each step is one operation on all matrices, whose numbers lie side by side; batched LAPACK calls on 2 by 2 matrices take
some ten times as long. Elimination in the order of the columns is stable for positive definite matrices (Golub and Van
Loan, *Matrix Computations*, section 4.2).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

__all__ = ["Swept", "log_det", "log_det_and_square", "swept"]


class Swept(NamedTuple):
    """What sweeping a matrix P and a vector v gives.

    Attributes
    ----------
    log_det : array of shape (...)
        Of P.
    square : array of shape (...)
        ``v' inv(P) v``.
    solved : array of shape (d, ...)
        ``inv(P) v``.
    inverse : array of shape (d, d, ...)
        Of P.
    """

    log_det: Array
    square: Array
    solved: Array
    inverse: Array


def log_det(matrices: Float[Array, "d d *m"]) -> Float[Array, "*m"]:
    """Give the log determinants of positive definite matrices; NaN or -inf where one is not."""
    total = jnp.zeros((), matrices.dtype)
    while matrices.shape[0]:
        pivot, matrices = matrices[0, 0], _without_first(matrices)
        if matrices.shape[0]:  # two pivots at a time: a logarithm costs as much as the rest of a step
            pivot, matrices = pivot * matrices[0, 0], _without_first(matrices)
        total = total + jnp.log(pivot)
    return total


def log_det_and_square(
    matrices: Float[Array, "d d *m"], vectors: Float[Array, "d *m"]
) -> tuple[Float[Array, "*m"], Float[Array, "*m"]]:
    """Give log determinants, and ``v' inv(P) v``: minus what is left in the corner of ``[[P, v], [v', 0]]``."""
    bordered, total = _bordered(matrices, vectors), jnp.zeros((), matrices.dtype)
    while bordered.shape[0] > 1:
        total, bordered = total + jnp.log(bordered[0, 0]), _without_first(bordered)
    return total, -bordered[0, 0]


def swept(matrices: Float[Array, "d d *m"], vectors: Float[Array, "d *m"]) -> Swept:
    """Give log determinants, distances, solutions and inverses, by sweeping ``[[P, v], [v', 0]]`` on all columns of P.

    Notes
    -----
    The sweep operator in place: Goodnight, *A tutorial on the SWEEP operator*, The American Statistician 33 (1979).
    """
    d = len(vectors)

    def sweep(p: int, at: tuple[Array, Array]) -> tuple[Array, Array]:
        matrix, total = at
        column = lax.dynamic_index_in_dim(matrix, p, 0, keepdims=False)
        pivot = lax.dynamic_index_in_dim(column, p, 0, keepdims=False)
        inside = jnp.arange(d + 1).reshape(-1, *(1,) * pivot.ndim) == p
        quotient = column / pivot
        beside = jnp.where(inside, -1 / pivot, quotient)
        rest = matrix - column[:, None] * quotient[None]
        matrix = jnp.where(inside[:, None], beside[None], jnp.where(inside[None], beside[:, None], rest))
        return matrix, total + jnp.log(pivot)

    began = _bordered(matrices, vectors), jnp.zeros(vectors.shape[1:], vectors.dtype)
    matrix, total = lax.fori_loop(0, d, sweep, began)
    return Swept(total, -matrix[d, d], matrix[:d, d], -matrix[:d, :d])


def _bordered(matrices: Float[Array, "d d *m"], vectors: Float[Array, "d *m"]) -> Float[Array, "e e *m"]:
    """Give ``[[P, v], [v', 0]]``."""
    corner = jnp.zeros((1, 1, *vectors.shape[1:]), vectors.dtype)
    above = jnp.concatenate([matrices, vectors[:, None]], axis=1)
    return jnp.concatenate([above, jnp.concatenate([vectors[None], corner], axis=1)])


def _without_first(matrices: Float[Array, "e e *m"]) -> Float[Array, "f f *m"]:
    """Give the Schur complements of the first entries."""
    return matrices[1:, 1:] - matrices[1:, :1] * (matrices[:1, 1:] / matrices[0, 0])
