"""How far memberships under prices can be from the best ones that are allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import xlogy

from bayessoft.core.assign import Beside, assign
from bayessoft.core.dual import Bounds, Dual, reach, tolerance
from bayessoft.core.sweep import Tiles, over_tiles
from bayessoft.families.family import SweptFamily
from bayessoft.numerics import HIGHEST

__all__ = ["certificate"]


def certificate(
    family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, bounds: Bounds, dual: Dual
) -> Array:
    """Give the duality gap at a feasible point: dual value minus primal value, in nats, >= 0 up to rounding.

    The better one of two feasible points; infinite where neither was found.
    """
    ways = [_corrected(rows, bounds, dual)]
    if dual.sizes.size == len(log_weights) and (rows.beside is None or rows.beside.evidence is None):
        ways.append(_mixed(bounds, dual))

    def tile(x: Array, w: Array, beside: Beside | None) -> Array:
        scores = family.tile_scores(parameters, x, False)
        r = assign(scores, log_weights, dual.prices, beside)[1]
        scores = scores + log_weights[:, None]
        if beside is not None and beside.evidence is not None:
            scores = scores + beside.evidence

        def primal(q: Array) -> Array:
            expected = jnp.where(q > 0, q * scores, 0.0)
            return jnp.sum(w * jnp.sum(expected - xlogy(q, q), axis=0))

        return jnp.stack([primal(allowed(r, beside)) for allowed, _ in ways])

    primals = over_tiles(tile, rows, rows.beside, unrolled=False)  # once, where compiling takes longer than computing
    return jnp.min(jnp.where(jnp.stack([found for _, found in ways]), dual.value - primals, jnp.inf))


def _mixed(bounds: Bounds, dual: Dual) -> tuple[Callable[[Array, Beside | None], Array], Array]:
    """Give a map to feasible memberships, of one resource where rows may belong anywhere: there is one.

    They mix those under the prices with one distribution over clusters for all rows, as little as brings every size
    inside its bounds.
    """
    sizes, tiny = dual.sizes.reshape(-1), jnp.finfo(dual.sizes.dtype).tiny
    feasible = bounds.nearest(dual.sizes).reshape(-1)
    share = jnp.max(jnp.maximum(sizes - feasible, 0) / jnp.maximum(sizes, tiny))
    common = jnp.maximum(feasible - (1 - share) * sizes, 0)
    common = common / jnp.maximum(common.sum(), tiny)
    return lambda r, _: (1 - share) * r + share * common[:, None], jnp.asarray(True)


def _corrected(rows: Tiles, bounds: Bounds, dual: Dual) -> tuple[Callable[[Array, Beside | None], Array], Array]:
    """Give a map to feasible memberships near those under the prices, and whether there is one.

    Memberships ``r (1 + v - sum_j r_j v_j)`` sum to 1, and with ``v[n, k] = sum_c a[n, c] t[c, k]`` change the sizes by
    the Hessian times t, exactly: where t is small enough for them to stay above 0, they are allowed. Only sizes at a
    bound are brought there, so that others take what is left.
    """
    sizes = dual.sizes.reshape(-1)
    low, high, inside = (each.reshape(-1) for each in (bounds.low, bounds.high, bounds.nearest(dual.sizes)))
    active = (low == high) | (dual.prices.reshape(-1) != 0)
    matrix = jnp.where(active[:, None] & active, dual.hessian, 0.0)
    tilt = jnp.linalg.pinv(matrix, hermitian=True) @ jnp.where(active, jnp.clip(inside, low, high) - sizes, 0.0)
    after = sizes + dual.hessian @ tilt
    left = jnp.maximum(jnp.maximum(low - after, after - high).max(), 0.0)
    tilt = tilt.reshape(dual.sizes.shape)
    small = jnp.sum(reach(rows, bounds) * jnp.ptp(tilt, axis=-1, keepdims=True)) <= 1
    met = left <= 0.1 * tolerance(rows.x.dtype) * rows.w.sum()

    def allowed(r: Array, beside: Beside | None) -> Array:
        v = tilt[:, None]
        if tilt.ndim > 1:
            assert beside is not None and beside.resources is not None
            v = jnp.einsum("ct,ck->kt", beside.resources, tilt, precision=HIGHEST)
        return r * (1 + v - jnp.sum(r * v, axis=0))

    return allowed, small & met
