"""The quadratic model of a dual function, minimised exactly with its corners: by pivots."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Float

__all__ = ["best_prices"]

PATIENCE = 3  # rounds of block pivots that may go by without progress


def best_prices(
    low: Float[Array, " m"],
    high: Float[Array, " m"],
    prices: Float[Array, " m"],
    sizes: Float[Array, " m"],
    hessian: Float[Array, "m m"],
) -> Float[Array, " m"]:
    """Give the prices that minimise the quadratic model of the dual about given ones.

    Sizes are at their low bound, at their high bound, or have price 0. Each round finds the prices that a choice of
    these means, and changes the choice wherever it contradicts itself. Where the matrix has no positive entry off its
    diagonal, as for one resource, that ends after finitely many rounds (Hintermueller, Ito and Kunisch, SIAM J. Optim.
    13, 2002). Elsewhere it may go round in circles: when the number of contradictions no longer falls, only the last
    one is mended, which always ends (Júdice and Pires, Computers and Operations Research 21, 1994).
    """
    m = len(prices)
    exact, at = low == high, jnp.arange(m)

    def new_prices(side: Array) -> Array:
        """Prices where `side` is +1 (low bound), -1 (high bound) or 0 (price 0)."""
        active = side != 0
        wanted = jnp.where(side > 0, low, high) - sizes + hessian @ jnp.where(active, 0.0, prices)
        both = active[:, None] & active
        matrix = jnp.where(both, hessian, jnp.eye(m, dtype=hessian.dtype))
        change = cho_solve(cho_factor(matrix), jnp.where(active, wanted, 0.0))
        return jnp.where(active, prices + change, 0.0)

    def better(side: Array) -> Array:
        new = new_prices(side)
        predicted = sizes + hessian @ (new - prices)
        kept = jnp.where(side * new > 0, side, 0)
        entered = jnp.where(predicted < low, 1, jnp.where(predicted > high, -1, 0))
        return jnp.where(exact, 1, jnp.where(side != 0, kept, entered)).astype(side.dtype)

    def body(carry: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        side, _, least, patience, rounds = carry
        wanted = better(side)
        odd = wanted != side
        count = odd.sum()
        fewer = count < least
        patience = jnp.where(fewer, PATIENCE, patience - 1)
        mended = odd & (fewer | (patience >= 0) | (at == jnp.max(jnp.where(odd, at, -1))))
        return jnp.where(mended, wanted, side), count, jnp.minimum(least, count), patience, rounds + 1

    def going(carry: tuple[Array, Array, Array, Array, Array]) -> Array:
        return (carry[1] > 0) & (carry[4] < 4 * m + 8)

    start = jnp.where(exact, 1, jnp.sign(prices)).astype(jnp.int32)
    many = jnp.asarray(m + 1)
    return new_prices(lax.while_loop(going, body, (start, many, many, jnp.asarray(PATIENCE), jnp.asarray(0)))[0])
