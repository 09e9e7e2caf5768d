"""Memberships that meet sizes where the scores of rows are known: prices for a batch, whatever the fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bayessoft.core.assign import assign
from bayessoft.core.certificate import certificate
from bayessoft.core.demand import Demand, SizeResult
from bayessoft.core.dual import Bounds, centred, first_prices, solve
from bayessoft.core.sweep import Tiles, tiles, with_beside
from bayessoft.families.family import pytree
from bayessoft.numerics import scoped

__all__ = ["met", "under_prices"]

TILE_ROWS = 4096


@pytree()
@dataclass(frozen=True, eq=False)
class Scored:
    """What takes the place of a family where the columns of a row are its scores."""

    def tile_scores(self, parameters: None, x: Float[Array, "k t"], fast: bool) -> Float[Array, "k t"]:
        """Give the scores."""
        return x

    def safe(self, parameters: None, radius: Array) -> bool:
        """Tell that there is one form."""
        return False


def met(
    scores: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " n"], demand: Demand
) -> tuple[Float[np.ndarray, "n k"], SizeResult]:
    """Give the memberships closest to those of scores that meet bounds, and what the bounds did.

    Parameters
    ----------
    scores : array of shape (n, k)
        Logs of memberships, up to a constant for each row.
    weights : array of shape (n,)
        Weights of the rows.
    demand : Demand
        The bounds of each cluster.
    """
    k = scores.shape[1]
    with scoped(scores.dtype):
        rows = tiles(scores, weights, scores.dtype, TILE_ROWS)
        rows = with_beside(rows, resources=demand.resources)
        low, high = (jnp.asarray(side, scores.dtype) for side in (demand.low, demand.high))
        parts = _met(rows, Bounds(low, high, jnp.asarray(demand.pinned)))
        shares, *rest = (np.asarray(part) for part in parts)
    return shares.swapaxes(1, 2).reshape(-1, k)[: len(scores)], demand.result(float(weights.sum()), *rest)


@jax.jit
def _met(rows: Tiles, bounds: Bounds) -> tuple[Array, ...]:
    """Give memberships, numbers of rows, amounts, duality gap, prices and violation."""
    family: Any = Scored()
    none = jnp.zeros(rows.x.shape[1], rows.x.dtype)
    model = (family, None, none, rows, bounds)
    dual, _ = solve(*model, first_prices(*model))
    prices = centred(bounds, dual)
    shares = jax.lax.map(lambda own: assign(own[0], none, prices, own[1])[1], (rows.x, rows.beside))
    violation = jnp.abs(bounds.residual(dual.prices, dual.sizes)).max()
    sizes = jnp.einsum("nkt,nt->k", shares, rows.w)
    return shares, sizes, dual.sizes, certificate(*model, dual), prices, violation


def under_prices(
    scores: Float[np.ndarray, "n k"], prices: Float[np.ndarray, "*c k"], resources: Float[np.ndarray, "n c"] | None
) -> Float[np.ndarray, "n k"]:
    """Give memberships under prices that are known, per row or per unit of resources."""
    priced = scores + (prices if prices.ndim == 1 else resources @ prices)
    shares = np.exp(priced - priced.max(1, keepdims=True))
    return (shares / shares.sum(1, keepdims=True)).astype(scores.dtype)
