"""What engines share that meet sizes by prices: bounds and prices to begin with, and the certificate at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.certificate import certificate
from bayessoft.core.demand import SizeResult
from bayessoft.core.dual import Bounds, centred, first_prices, solve
from bayessoft.core.feasible import refuse_clash
from bayessoft.core.sweep import Tiles, sweep
from bayessoft.families.family import SweptFamily
from bayessoft.inference.engine import Problem
from bayessoft.inference.start import matched

__all__ = ["bounded", "certified"]


def bounded(
    problem: Problem, weights: Float[Array, "starts k"], parameters: Any
) -> tuple[Float[Array, "starts k"], Bounds | None, Float[Array, "starts *c k"] | None]:
    """Give each start its proportions, its bounds, matched to its clusters where their order is free, and prices.

    Bounds and prices are None where sizes are free.
    """
    demand = problem.demand
    if demand is None:
        return weights, None, None
    total, dtype = problem.data.total_weight, problem.tiles.x.dtype
    sides = matched(problem, weights, parameters, demand.low, demand.high)
    for low, high in zip(*sides, strict=True):
        refuse_clash(replace(demand, low=low, high=high), problem.data.weights, problem.data.evidence)
    lows, highs = (jnp.asarray(side, dtype) for side in sides)
    bounds = Bounds(lows, highs, jnp.full(len(weights), demand.pinned))
    if demand.pinned:
        weights = jax.vmap(lambda own: own.fixed)(bounds) / total
    return weights, bounds, _first(problem.standard.family, problem.tiles, weights, parameters, bounds)


@jax.jit
def _first(family: SweptFamily, rows: Tiles, weights: Array, parameters: Any, bounds: Bounds) -> Array:
    """Give each start prices near those that meet its bounds."""

    def one(start: tuple[Array, Any, Bounds]) -> Array:
        weights, parameters, bounds = start
        return first_prices(family, parameters, jnp.log(weights), rows, bounds)

    return lax.map(one, (weights, parameters, bounds))


def certified(
    problem: Problem, parameters: Any, log_weights: Float[Array, " k"], bounds: Bounds, prices: Array
) -> SizeResult:
    """Give what a constraint did at the last parameters: sizes, prices, violation, and the gap at a feasible point."""
    demand = problem.demand
    assert demand is not None
    found = _last(problem.standard.family, parameters, log_weights, problem.tiles, bounds, prices)
    low, high = (np.asarray(side, np.float64) for side in (bounds.low, bounds.high))
    return replace(demand, low=low, high=high).result(problem.data.total_weight, *map(np.asarray, found))


@jax.jit
def _last(
    family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, bounds: Bounds, prices: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Give numbers of rows, amounts, duality gap, prices and violation."""
    model = (family, parameters, log_weights, rows)
    dual, _ = solve(*model, bounds, prices)
    sizes = dual.sizes if prices.ndim == 1 else sweep(*model, dual.prices)[1].weight
    violation = jnp.abs(bounds.residual(dual.prices, dual.sizes)).max()
    return sizes, dual.sizes, certificate(*model, bounds, dual), centred(bounds, dual), violation
