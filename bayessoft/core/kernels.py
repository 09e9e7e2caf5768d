"""Densities of mixtures with very many components: rows by components in blocks, never all pairs at once.

The log-sum-exp over components is streamed: a block of rows meets one block of components after the other. A covariance
that all components share is taken out of rows and means beforehand, so that what is left are distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.special import logsumexp
from jaxtyping import Float

from bayessoft.core.sweep import Tiles
from bayessoft.families.family import pytree
from bayessoft.numerics import HIGHEST, bucket

__all__ = ["Components", "components", "leave_one_out", "log_density", "memberships", "product_is_safe"]

PAIRS = 1 << 16  # numbers of a block of rows by components: half a megabyte stays in a core's cache
TOGETHER = 256  # components of a block
PRODUCT = 8  # columns from which distances by a matrix product are the faster ones, measured
SAFE = 2e4  # squared radius up to which they are right to 1e-11: they lose it times the rounding of float64
ROWS = PAIRS // TOGETHER


@pytree()
@dataclass(frozen=True, eq=False)
class Components:
    """Gaussian components in blocks, the last one filled with components of weight 0.

    Attributes
    ----------
    constants : array of shape (S, s)
        Log weights plus the logs of the normalising constants; -inf for filling.
    means : array of shape (S, d, s)
    factors : array of shape (S, s, d, d) or None
        Upper triangular factors of the precisions; None where every covariance is the identity.
    """

    constants: Float[Array, "S s"]
    means: Float[Array, "S d s"]
    factors: Float[Array, "S s d d"] | None = None


def components(
    weights: Float[np.ndarray, " k"],
    means: Float[np.ndarray, "k d"],
    factors: Float[np.ndarray, "k d d"] | None,
    dtype: np.dtype[Any],
) -> Components:
    """Lay components out in blocks on the device, inside `numerics.scoped`."""
    k, d = means.shape
    s = min(bucket(k), TOGETHER if factors is None else max(8, TOGETHER // d))
    count = 1 if k <= s else bucket(-(-k // s))
    constants = np.full(count * s, -np.inf, dtype)
    with np.errstate(divide="ignore"):
        constants[:k] = np.log(weights) - 0.5 * d * np.log(2 * np.pi)
    centres = np.zeros((count * s, d), dtype)
    centres[:k] = means
    laid = jnp.asarray(np.ascontiguousarray(centres.reshape(count, s, d).swapaxes(1, 2)))
    if factors is None:
        return Components(jnp.asarray(constants.reshape(count, s)), laid)
    constants[:k] += np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
    filled = np.broadcast_to(np.eye(d, dtype=dtype), (count * s, d, d)).copy()
    filled[:k] = factors
    return Components(jnp.asarray(constants.reshape(count, s)), laid, jnp.asarray(filled.reshape(count, s, d, d)))


def product_is_safe(of: Components, rows: Tiles) -> bool:
    """Tell whether distances by a matrix product pay, and are right to 1e-11."""
    if of.factors is not None or rows.x.shape[1] < PRODUCT or rows.x.dtype != np.float64:
        return False
    furthest = float(jnp.sqrt((of.means**2).sum(1).max()))
    return max(furthest, float(rows.radius)) ** 2 <= SAFE


def _squares(means: Array, factors: Array | None, x: Float[Array, "d t"], product: bool) -> Float[Array, "s t"]:
    """Give the squared distances of rows from components, each in its own coordinates."""
    if factors is not None:
        at = jnp.einsum("sde,ds->se", factors, means, precision=HIGHEST)
        own = jnp.einsum("sde,dt->set", factors, x, precision=HIGHEST) - at[:, :, None]
        return jnp.sum(own * own, axis=1)
    if product:
        cross = jnp.matmul(means.T, x, precision=HIGHEST)
        return jnp.maximum((means**2).sum(0)[:, None] + (x**2).sum(0) - 2 * cross, 0)

    def add(j: Any, total: Array) -> Array:
        return total + (means[j][:, None] - x[j]) ** 2

    none = jnp.zeros((means.shape[1], x.shape[1]), x.dtype)
    d = len(x)
    return lax.fori_loop(0, d, add, none, unroll=True) if d <= 16 else lax.fori_loop(0, d, add, none, unroll=8)


def _summed(of: Components, terms: Any) -> Float[Array, " t"]:
    """Give the log of the sum over all components of `terms`, block after block of them."""

    def add(total: Array, block: tuple[Array, Any]) -> tuple[Array, None]:
        return jnp.logaddexp(total, logsumexp(terms(*block), axis=0)), None

    blocks = jnp.arange(len(of.constants)), of
    shape = jax.eval_shape(terms, *jax.tree.map(lambda a: a[0], blocks))
    return lax.scan(add, jnp.full(shape.shape[1:], -jnp.inf, shape.dtype), blocks)[0]


@partial(jax.jit, static_argnames="product")
def log_density(of: Components, rows: Tiles, product: bool = False) -> Float[Array, "T t"]:
    """Give the log density of every row, in nats; `product` as `product_is_safe` says."""

    def tile(x: Array) -> Array:
        def terms(_: Array, block: Components) -> Array:
            return block.constants[:, None] - 0.5 * _squares(block.means, block.factors, x, product)

        return _summed(of, terms)

    return lax.map(tile, rows.x)


@jax.jit
def memberships(of: Components, rows: Tiles) -> Float[Array, "T S s t"]:
    """Give the probability that each row comes from each component."""

    def tile(x: Array) -> Array:
        def terms(block: Components) -> Array:
            return block.constants[:, None] - 0.5 * _squares(block.means, block.factors, x, False)

        logs = lax.map(terms, of)
        return jnp.exp(logs - logsumexp(logs, axis=(0, 1)))

    return lax.map(tile, rows.x)


@jax.jit
def leave_one_out(of: Components, rows: Tiles, width: Array) -> Array:
    """Give the mean log density of rows, each under the kernels of all others.

    Parameters
    ----------
    of : Components
        A kernel at each row, in the order of the rows, of covariance the identity.
    rows : Tiles
        The rows; their weights sum to 1.
    width : scalar
        Standard deviation of the kernels.

    Returns
    -------
    scalar
        ``sum_i w_i log (sum_{j != i} w_j N(x_i; x_j, width^2 I) / (1 - w_i))`` (Habbema, Hermans and van den Broek,
        COMPSTAT 1974).
    """
    count, d, t = rows.x.shape
    s = of.constants.shape[1]

    def tile(each: tuple[Array, Array, Array]) -> Array:
        first, x, w = each
        own = first * t + jnp.arange(t)

        def terms(at: Array, block: Components) -> Array:
            logs = block.constants[:, None] - 0.5 * _squares(block.means, None, x, False) / width**2
            return jnp.where((at * s + jnp.arange(s))[:, None] == own, -jnp.inf, logs)

        logs = _summed(of, terms) - jnp.log1p(-w)
        return jnp.sum(jnp.where(w > 0, w * logs, 0.0))  # a row of weight 0 may be filling, and far from all others

    total = lax.map(tile, (jnp.arange(count), rows.x, rows.w)).sum()
    return total - d * jnp.log(width)
