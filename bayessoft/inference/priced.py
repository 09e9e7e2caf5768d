"""What engines share that meet sizes by prices: bounds and prices to begin with, and the certificate at the end."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.dual import Bounds, centred, certificate, first_prices, solve
from bayessoft.core.sizes import SizeResult
from bayessoft.core.sweep import Tiles
from bayessoft.families.family import SweptFamily
from bayessoft.inference.engine import Problem
from bayessoft.inference.start import matched

__all__ = ["bounded", "certified"]


def bounded(
    problem: Problem, weights: Float[Array, "starts k"], parameters: Any
) -> tuple[Float[Array, "starts k"], Bounds | None, Float[Array, "starts k"] | None]:
    """Give each start its proportions, its bounds, matched to its clusters where their order is free, and prices.

    Bounds and prices are None where sizes are free.
    """
    constraint = problem.mixture.sizes
    if constraint is None:
        return weights, None, None
    total, dtype = problem.data.total_weight, problem.tiles.x.dtype
    sides = matched(problem, weights, parameters, *constraint.bounds(problem.mixture.k, total))
    lows, highs = (jnp.asarray(side, dtype) for side in sides)
    bounds = Bounds(lows, highs, jnp.full(len(weights), constraint.pinned))
    if constraint.pinned:
        weights = lows / total
    return weights, bounds, _first(problem.standard.family, problem.tiles, weights, parameters, bounds)


@jax.jit
def _first(family: SweptFamily, rows: Tiles, weights: Array, parameters: Any, bounds: Bounds) -> Array:
    """Give each start prices near those that meet its bounds."""

    def one(start: tuple[Array, Any, Bounds]) -> Array:
        weights, parameters, bounds = start
        return first_prices(family, parameters, jnp.log(weights), rows, bounds)

    return lax.map(one, (weights, parameters, bounds))


def certified(
    family: SweptFamily, parameters: Any, log_weights: Float[Array, " k"], rows: Tiles, bounds: Bounds, prices: Array
) -> SizeResult:
    """Give what a constraint did at the last parameters: sizes, prices, violation, and the gap at a feasible point."""
    found = _last(family, parameters, log_weights, rows, bounds, prices)
    sizes, gap, centre, violation = (np.asarray(part, np.float64) for part in found)
    low, high = np.asarray(bounds.low, np.float64), np.asarray(bounds.high, np.float64)
    return SizeResult(sizes, low, high, centre, max(float(gap), 0.0), float(violation))


@jax.jit
def _last(
    family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, bounds: Bounds, prices: Array
) -> tuple[Array, Array, Array, Array]:
    """Give sizes, duality gap, prices and violation."""
    model = (family, parameters, log_weights, rows, bounds)
    dual, _ = solve(*model, prices)
    violation = jnp.abs(bounds.residual(dual.prices, dual.sizes)).max()
    return dual.sizes, certificate(*model, dual), centred(bounds, dual), violation
