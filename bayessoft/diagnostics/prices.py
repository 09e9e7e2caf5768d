"""What sizes cost under each draw from a posterior: prices with their uncertainty."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bayessoft.core.demand import Demand
from bayessoft.core.dual import Bounds, centred, first_prices, solve
from bayessoft.core.sweep import Tiles
from bayessoft.data.rows import Rows
from bayessoft.families.family import SweptFamily
from bayessoft.fit import Fit
from bayessoft.numerics import scoped
from bayessoft.posteriors import on_device

__all__ = ["price_draws"]

MOST = 200  # draws that are looked at


def price_draws(fit: Fit, data: Rows, demand: Demand) -> Float[np.ndarray, "s *c k"]:
    """Give the prices of bounds under some of a posterior's draws, evenly taken.

    Parameters
    ----------
    fit : Fit
        With draws, or a posterior in closed form, from which they are taken.
    data : Rows
        The rows, with their weights.
    demand : Demand
        The bounds of each cluster, for these rows.

    Returns
    -------
    array of shape (s, k) or (s, c, k)
        Nats per row, or per unit of each resource: those that bring the expected sizes under a draw into the bounds.
    """
    dtype = data.values.dtype
    weights, parameters = fit.flat()
    chosen = np.unique(np.linspace(0, len(weights) - 1, MOST).round().astype(int))
    with scoped(dtype):
        draws = on_device(jax.tree.map(lambda leaf: leaf[chosen], (weights, parameters)), dtype)
        rows = fit.mixture.lay_out(
            data.values, data.weights, fit.frame, resources=demand.resources, evidence=data.evidence
        )
        low, high = (jnp.asarray(side, dtype) for side in (demand.low, demand.high))
        found = _every_price(fit.mixture.family.with_prior(None), draws, rows, Bounds(low, high, jnp.asarray(False)))
        return np.stack([demand.per_unit(np.asarray(each, np.float64)) for each in found])


@jax.jit
def _every_price(family: SweptFamily, draws: tuple[Array, Any], rows: Tiles, bounds: Bounds) -> Array:
    """Give the prices under each draw, each found from those before."""

    def one(prices: Array, draw: tuple[Array, Any]) -> tuple[Array, Array]:
        dual, _ = solve(family, draw[1], jnp.log(draw[0]), rows, bounds, prices)
        return dual.prices, centred(bounds, dual)

    first = jax.tree.map(lambda leaf: leaf[0], draws)
    return jax.lax.scan(one, first_prices(family, first[1], jnp.log(first[0]), rows, bounds), draws)[1]
