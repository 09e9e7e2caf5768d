"""Integrals of products of Gaussian mixtures, and the integrated squared error between two."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from bayessoft.core.elimination import log_det_and_square
from bayessoft.core.merging import Parts

__all__ = ["overlap", "pairs", "squared_error", "together"]

NUMBERS = 1 << 17  # of a block of pairs


def together(d: int, others: int) -> int:
    """Tell how many components meet `others` at once."""
    return max(1, NUMBERS // (d * d * others))


def pairs(some: Parts, others: Parts) -> Array:
    """Give ``sum_ij w_i v_j N(m_i; m_j, P_i + P_j)`` of few components and all others, which is ``integral f g dx``."""
    d = len(some.means)
    apart = some.means[:, :, None] - others.means[:, None, :]
    logs, squares = log_det_and_square(some.covariances[..., None] + others.covariances[:, :, None, :], apart)
    values = jnp.exp(-0.5 * (logs + squares + d * math.log(2 * math.pi)))
    return some.weights @ (values @ others.weights)


@jax.jit
def overlap(some: Parts, count: Array, others: Parts) -> Array:
    """Give the integral of the product of two mixtures, of which the first has `count` components and filling behind.

    Time grows with `count`, whatever the filling: so one program serves mixtures of any number of components.
    """
    d, k = some.means.shape
    s = min(k, together(d, others.weights.shape[0]))

    def add(block: Array, total: Array) -> Array:
        first = jnp.minimum(block * s, k - s)  # the last block goes back over some of the one before
        part = Parts(*(lax.dynamic_slice_in_dim(leaf, first, s, -1) for leaf in some))
        new = first + jnp.arange(s) >= block * s
        return total + pairs(part._replace(weights=jnp.where(new, part.weights, 0)), others)

    return lax.fori_loop(0, -(-count // s), add, jnp.zeros((), some.means.dtype))


def squared_error(first: Any, both: Any, second: Any) -> Any:
    """Give ``integral (f - g)^2 dx`` from those of f f, f g and g g.

    Notes
    -----
    In closed form between Gaussian mixtures: Williams and Maybeck, 6th International Conference on Information Fusion
    (2003).
    """
    return first - 2 * both + second
