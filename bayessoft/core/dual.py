"""The dual of a size constraint: prices that bring the expected sizes of clusters into their bounds.

For fixed parameters the constrained memberships maximise ``sum w (sum_k q score - sum_k q log q)`` over q whose sizes
lie in the bounds. The dual function of the prices p, one per cluster,

    F(p) = sum_n w[n] logsumexp_k(score[n, k] + p[k]) - sum_k (p[k]+ low[k] - p[k]- high[k]),

is convex, and its smallest value is the largest of the primal. Its gradient is the sizes minus the bounds, and its
Hessian ``diag(sizes) - R' W R`` comes with the sizes from the same pass over the rows. (Boyd and Vandenberghe, *Convex
Optimization*, section 5.5; Ganchev et al., JMLR 11, 2010, for the use in EM.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.scipy.linalg import cho_factor, cho_solve
from jax.scipy.special import logsumexp, xlogy
from jaxtyping import Float

from bayessoft.core.assign import assign
from bayessoft.core.sweep import Tiles, either_form, over_tiles
from bayessoft.families.family import SweptFamily, pytree
from bayessoft.numerics import HIGHEST

__all__ = ["Bounds", "Dual", "centred", "certificate", "first_prices", "meeting_prices", "solve", "tolerance"]

PASSES = 60  # most passes of one solve
SAMPLE = 8192  # rows that the first prices are found on
SMOOTHING = 0.1  # nats over which the first prices round the corner of the dual at 0
FIRST_STEPS = 200  # most L-BFGS steps for them


@pytree()
@dataclass(frozen=True, eq=False)
class Bounds:
    """Lowest and highest size of each cluster, (k,), in units of weight; `pinned` where the constraint fixes all."""

    low: Float[Array, " k"]
    high: Float[Array, " k"]
    pinned: Array

    def linear(self, prices: Array) -> Array:
        """Give what the dual function subtracts."""
        return jnp.sum(jnp.where(prices > 0, prices * self.low, prices * self.high))

    def residual(self, prices: Array, sizes: Array) -> Array:
        """Sizes minus what the prices' signs want them to be."""
        wanted = jnp.where(prices > 0, self.low, jnp.where(prices < 0, self.high, jnp.clip(sizes, self.low, self.high)))
        return sizes - wanted

    def nearest(self, sizes: Array) -> Array:
        """Give sizes inside the bounds, with the same sum as the given ones, close to them."""
        inside = jnp.clip(sizes, self.low, self.high)
        missing = sizes.sum() - inside.sum()
        room = jnp.where(missing > 0, self.high - inside, inside - self.low)
        return inside + missing * room / jnp.maximum(room.sum(), jnp.finfo(room.dtype).tiny)


def tolerance(dtype: Any) -> float:
    """Largest residual that counts as met, as a share of the total weight: sums round to about this."""
    return 1e-10 if dtype == jnp.float64 else 2e-5


def _dual_pass(
    family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, prices: Array
) -> tuple[Array, Array, Array]:
    """Sum of log-normalisers, sizes, and the Hessian, in one pass."""

    def pass_(fast: bool) -> tuple[Array, Array, Array]:
        def tile(x: Array, w: Array) -> tuple[Array, Array, Array]:
            scores = family.tile_scores(parameters, x, fast)
            log_normaliser, r = assign(scores, log_weights, prices)
            weighted = r * w
            return jnp.sum(w * log_normaliser), weighted.sum(1), jnp.einsum("kt,jt->kj", weighted, r, precision=HIGHEST)

        value, sizes, overlap = over_tiles(tile, rows)
        return value, sizes, jnp.diag(sizes) - overlap

    return either_form(family, parameters, rows, pass_)


def _step(bounds: Bounds, prices: Array, sizes: Array, hessian: Array) -> Array:
    """Give the prices that minimise the quadratic model of the dual exactly, its corners at price 0 included.

    A primal-dual active set method: clusters are at their low bound, at their high bound, or have price 0. It ends
    after finitely many rounds because the matrix has no positive entry off its diagonal (Hintermueller, Ito and
    Kunisch, SIAM J. Optim. 13, 2002).
    """
    k = len(prices)

    def new_prices(side: Array) -> Array:
        """Prices where `side` is +1 (low bound), -1 (high bound) or 0 (price 0)."""
        active = side != 0
        wanted = jnp.where(side > 0, bounds.low, bounds.high) - sizes + hessian @ jnp.where(active, 0.0, prices)
        both = active[:, None] & active
        matrix = jnp.where(both, hessian, jnp.eye(k, dtype=hessian.dtype))
        change = cho_solve(cho_factor(matrix), jnp.where(active, wanted, 0.0))
        return jnp.where(active, prices + change, 0.0)

    def better(side: Array) -> Array:
        new = new_prices(side)
        predicted = sizes + hessian @ (new - prices)
        kept = jnp.where(exact, 1, jnp.where(side * new > 0, side, 0))
        entered = jnp.where(predicted < bounds.low, 1, jnp.where(predicted > bounds.high, -1, 0))
        return jnp.where(side != 0, kept, jnp.where(exact, 1, entered)).astype(side.dtype)

    def body(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        side, _, rounds = carry
        return better(side), side, rounds + 1

    def going(carry: tuple[Array, Array, Array]) -> Array:
        side, before, rounds = carry
        return (side != before).any() & (rounds < 2 * k + 8)

    exact = bounds.low == bounds.high
    start = jnp.where(exact, 1, jnp.sign(prices)).astype(jnp.int32)
    side, _, _ = lax.while_loop(going, body, (start, start + 2, jnp.asarray(0)))
    return new_prices(side)


@pytree()
@dataclass(frozen=True, eq=False)
class Dual:
    """The dual at some prices.

    Attributes
    ----------
    prices, sizes : array of shape (k,)
        The prices, and the expected sizes under them.
    value : scalar
        The dual function.
    hessian : array of shape (k, k)
    """

    prices: Array
    value: Array
    sizes: Array
    hessian: Array


def _residual(bounds: Bounds, dual: Dual) -> Array:
    return jnp.abs(bounds.residual(dual.prices, dual.sizes)).max()


def _foreseen(bounds: Bounds, total: Array, dual: Dual, ahead: Array) -> Array:
    """Bound the residual at prices ahead that nobody has looked at, by Taylor's theorem.

    Along a change of the prices with range D, a membership's second derivative is at most D^2 / (6 sqrt(3)); half of
    that is below 0.05 D^2.
    """
    change = ahead - dual.prices
    predicted = jnp.abs(bounds.residual(ahead, dual.sizes + dual.hessian @ change)).max()
    return predicted + 0.05 * total * jnp.ptp(change) ** 2


def _newton(
    family: SweptFamily,
    parameters: Any,
    log_weights: Array,
    rows: Tiles,
    bounds: Bounds,
    prices: Array,
    enough: Callable[[Dual, Array], Array],
) -> tuple[Dual, Array, Array]:
    """Step until ``enough(dual, ahead)``; give the last dual, the prices ahead of it, and the passes over the rows.

    A Newton iteration with Levenberg's damping in the metric of the sizes: where memberships are all but hard the
    Hessian vanishes, and the damped step goes towards the bounds, ever further while it succeeds.
    """
    total = rows.w.sum()
    eps = jnp.finfo(rows.x.dtype).eps
    least = 1e4 * eps  # a constant added to all prices changes nothing: damping keeps the system regular

    def body(carry: tuple[Dual, Array, Array, Array]) -> tuple[Dual, Array, Array, Array]:
        old, ahead, damping, passes = carry
        first = passes == 0
        value, sizes, hessian = _dual_pass(family, parameters, log_weights, rows, ahead)
        new = Dual(ahead, value - bounds.linear(ahead), sizes, hessian)
        rounding = 8 * eps * jnp.abs(old.value)
        level = new.value <= old.value + rounding  # no lower by rounding: let the residual decide
        lower_residual = _residual(bounds, new) < _residual(bounds, old)
        accepted = first | (new.value < old.value - rounding) | (level & lower_residual)
        shrunk = jnp.where(first, damping, jnp.maximum(damping * 0.05, least))
        damping = jnp.where(accepted, shrunk, jnp.maximum(damping, 1e-4) * 8)
        dual = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)
        metric = jnp.diag(dual.sizes + total / len(dual.sizes))
        ahead = _step(bounds, dual.prices, dual.sizes, dual.hessian + damping * metric)
        return dual, ahead, damping, passes + 1

    def going(carry: tuple[Dual, Array, Array, Array]) -> Array:
        dual, ahead, damping, passes = carry
        return (passes == 0) | (~enough(dual, ahead) & (passes < PASSES) & (damping < 1e8))

    zero = jnp.zeros_like(prices)
    start = Dual(prices, jnp.zeros((), prices.dtype), zero, jnp.diag(zero))
    damping = jnp.asarray(max(1e-6, float(least)), prices.dtype)
    dual, ahead, _, passes = lax.while_loop(going, body, (start, prices, damping, jnp.asarray(0)))
    return dual, ahead, passes


def solve(
    family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, bounds: Bounds, prices: Array
) -> tuple[Dual, Array]:
    """Find the prices that meet the bounds, starting from given ones.

    Returns
    -------
    dual : Dual
        With the sizes that its prices give.
    passes : int
        Passes over the rows.
    """
    met = tolerance(rows.x.dtype) * rows.w.sum()

    def enough(dual: Dual, _: Array) -> Array:
        return _residual(bounds, dual) <= met

    dual, _, passes = _newton(family, parameters, log_weights, rows, bounds, prices, enough)
    return dual, passes


def meeting_prices(
    family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, bounds: Bounds, prices: Array
) -> tuple[Float[Array, " k"], Array]:
    """Find the prices of `solve`, without a last pass where they are sure to meet the bounds; and the passes."""
    total = rows.w.sum()
    met = tolerance(rows.x.dtype) * total

    def sure(dual: Dual, ahead: Array) -> Array:
        return (_residual(bounds, dual) > met) & (_foreseen(bounds, total, dual, ahead) <= met)

    def enough(dual: Dual, ahead: Array) -> Array:
        return (_residual(bounds, dual) <= met) | sure(dual, ahead)

    dual, ahead, passes = _newton(family, parameters, log_weights, rows, bounds, prices, enough)
    return jnp.where(sure(dual, ahead), ahead, dual.prices), passes


def first_prices(
    family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, bounds: Bounds
) -> Float[Array, " k"]:
    """Find prices to start from, by L-BFGS on a sample of the rows and a dual whose corners are rounded.

    From zero prices and far from the natural sizes the dual is all but piecewise linear, where Newton's iteration on
    all rows takes many passes; scores of a sample are computed once and cost nothing afterwards.
    """
    stride = -(-rows.w.size // SAMPLE)
    x, w = jnp.moveaxis(rows.x, 1, 0).reshape(rows.x.shape[1], -1)[:, ::stride], rows.w.reshape(-1)[::stride]
    w = w * (rows.w.sum() / jnp.maximum(w.sum(), jnp.finfo(w.dtype).tiny))
    scores = family.tile_scores(parameters, x, False) + log_weights[:, None]
    total = rows.w.sum()

    def loss(prices: Array) -> Array:
        corner = SMOOTHING * jax.nn.softplus(-prices / SMOOTHING)
        linear = prices * bounds.low - (bounds.high - bounds.low) * corner
        return (jnp.sum(w * logsumexp(scores + prices[:, None], axis=0)) - jnp.sum(linear)) / total

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def body(carry: tuple[Array, Any, Array, Array]) -> tuple[Array, Any, Array, Array]:
        prices, state, step, _ = carry
        value, gradient = value_and_grad(prices, state=state)
        updates, state = solver.update(gradient, state, prices, value=value, grad=gradient, value_fn=loss)
        return optax.apply_updates(prices, updates), state, step + 1, jnp.abs(gradient).max()

    def going(carry: tuple[Array, Any, Array, Array]) -> Array:
        return (carry[2] < FIRST_STEPS) & (carry[3] > 1e-4)

    zero = jnp.zeros_like(bounds.low)
    start = (zero, solver.init(zero), jnp.asarray(0), jnp.asarray(jnp.inf, zero.dtype))
    prices = lax.while_loop(going, body, start)[0]
    small = (jnp.abs(prices) < 3 * SMOOTHING) & (bounds.low < bounds.high)
    return jnp.where(small | ~jnp.isfinite(prices), 0.0, prices)


def certificate(
    family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, bounds: Bounds, dual: Dual
) -> Array:
    """Give the duality gap at a feasible point: dual value minus primal value, in nats, >= 0 up to rounding.

    The feasible memberships mix those under the prices with one distribution over clusters for all rows, as little as
    brings every size inside its bounds.
    """
    sizes, tiny = dual.sizes, jnp.finfo(dual.sizes.dtype).tiny
    feasible = bounds.nearest(sizes)
    share = jnp.max(jnp.maximum(sizes - feasible, 0) / jnp.maximum(sizes, tiny))
    common = jnp.maximum(feasible - (1 - share) * sizes, 0)
    common = common / jnp.maximum(common.sum(), tiny)

    def pass_(fast: bool) -> Array:
        def tile(x: Array, w: Array) -> Array:
            scores = family.tile_scores(parameters, x, fast)
            q = (1 - share) * assign(scores, log_weights, dual.prices)[1] + share * common[:, None]
            expected = jnp.where(q > 0, q * (scores + log_weights[:, None]), 0.0)
            return jnp.sum(w * jnp.sum(expected - xlogy(q, q), axis=0))

        return over_tiles(tile, rows)

    return dual.value - either_form(family, parameters, rows, pass_)


def centred(bounds: Bounds, dual: Dual) -> Array:
    """Give the prices in their convention.

    Where every cluster is at a bound, a constant may be added to all prices: the sum of size times price is brought as
    near to 0 as the prices' signs allow.
    """
    prices, sizes = dual.prices, dual.sizes
    exact = bounds.low == bounds.high
    everyone = (exact | (prices != 0)).all()
    shift = -jnp.sum(sizes * prices) / sizes.sum()
    lowest = jnp.max(jnp.where(~exact & (prices > 0), -prices, -jnp.inf))
    highest = jnp.min(jnp.where(~exact & (prices < 0), -prices, jnp.inf))
    tight = jnp.abs(jnp.where(prices > 0, bounds.low, bounds.high).sum() - sizes.sum()) <= 1e-6 * sizes.sum()
    return jnp.where(everyone & tight, prices + jnp.clip(shift, lowest, highest), prices)
