"""The dual of size constraints: prices that bring the expected sizes of clusters into their bounds.

For fixed parameters the constrained memberships maximise ``sum w (sum_k q score - sum_k q log q)`` over q whose sizes
lie in the bounds. The dual function of the prices p, one per cluster,

    F(p) = sum_n w[n] logsumexp_k(score[n, k] + p[k]) - sum_k (p[k]+ low[k] - p[k]- high[k]),

is convex, and its smallest value is the largest of the primal. Its gradient is the sizes minus the bounds, and its
Hessian ``diag(sizes) - R' W R`` comes with the sizes from the same pass over the rows. (Boyd and Vandenberghe, *Convex
Optimization*, section 5.5; Ganchev et al., JMLR 11, 2010, for the use in EM.)

Where rows take c resources of which clusters have limited amounts, there is a price per resource and cluster, a row's
term is ``sum_c a[n, c] p[c, k]``, and the *size* of a cluster is its amount of each resource. Resources are scaled such
that all together a table has as much of each as it has weight. With one resource, 1 for each row, prices and sizes have
the shape (k,), else (c, k).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.assign import Beside, assign
from bayessoft.core.pivots import best_prices
from bayessoft.core.sweep import LONG, Tiles, either_form, over_tiles
from bayessoft.families.family import SweptFamily, pytree
from bayessoft.numerics import HIGHEST

__all__ = [
    "Bounds",
    "Dual",
    "centred",
    "curvature",
    "first_prices",
    "meeting_prices",
    "natural_sizes",
    "price_step",
    "reach",
    "solve",
    "tolerance",
]

PASSES = 300  # most passes of one solve
SAMPLE = 8192  # rows that the first prices are found on
SMOOTHING = 0.1  # nats over which the first prices round the corner of the dual at 0
LARGER = 65536  # rows of the next sample
FIRST_STEPS = 200  # most L-BFGS steps for them
SHRINK, SEEN = 0.05, 0.5  # shares of the damping, and of what the last step was short of, that a good step leaves
STEADY = 0.002  # damping of a step that a sample makes, where memberships are all but hard: prices may go far there


@pytree()
@dataclass(frozen=True, eq=False)
class Bounds:
    """Lowest and highest size of each cluster, in units of weight, of resources the scaled amount.

    Attributes
    ----------
    low, high : array of shape (k,) or (c, k)
    pinned : bool
        Whether the numbers of rows, the first of several resources, are all fixed.
    """

    low: Float[Array, "*c k"]
    high: Float[Array, "*c k"]
    pinned: Array

    @property
    def fixed(self) -> Float[Array, " k"]:
        """The numbers of rows, where they are fixed."""
        return self.low.reshape(-1, self.low.shape[-1])[0]

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
        missing = (sizes - inside).sum(-1, keepdims=True)
        room = jnp.where(missing > 0, self.high - inside, inside - self.low)
        return inside + missing * room / jnp.maximum(room.sum(-1, keepdims=True), jnp.finfo(room.dtype).tiny)


def tolerance(dtype: Any) -> float:
    """Largest residual that counts as met, as a share of the total weight: sums round to about this."""
    return 1e-10 if dtype == jnp.float64 else 1e-6


def _dual_pass(
    family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, prices: Array, plain: bool = False
) -> tuple[Array, Array, Array]:
    """Sum of log-normalisers, sizes, and the Hessian, in one pass; `plain` as of `sweep`."""

    def pass_(fast: bool) -> tuple[Array, Array, Array]:
        def tile(x: Array, w: Array, beside: Beside | None) -> tuple[Array, Array, Array, Array | None]:
            scores = family.tile_scores(parameters, x, fast)
            log_normaliser, r = assign(scores, log_weights, prices, beside)
            taken, square = r, None
            if prices.ndim > 1:
                assert beside is not None and beside.resources is not None
                a = beside.resources
                taken = (a[:, None] * r).reshape(-1, a.shape[1])
                square = jnp.einsum("ct,dt,kt->cdk", a * w, a, r, precision=HIGHEST)
            weighted = taken * w
            overlap = jnp.einsum("it,jt->ij", weighted, taken, precision=HIGHEST)
            return jnp.sum(w * log_normaliser), weighted.sum(1), overlap, square

        narrow = rows.w.shape[1] > LONG  # of wide rows the passes of a solve would take too much memory
        value, sizes, overlap, square = over_tiles(tile, rows, rows.beside, unrolled=narrow)
        if square is None:
            return value, sizes, jnp.diag(sizes) - overlap
        own = jnp.einsum("cdk,kj->ckdj", square, jnp.eye(square.shape[-1], dtype=square.dtype))
        return value, sizes.reshape(prices.shape), own.reshape(overlap.shape) - overlap

    return pass_(False) if plain else either_form(family, parameters, rows, pass_)


def natural_sizes(
    family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, of_several: bool
) -> Float[Array, "*c k"]:
    """Give the sizes while nothing constrains them: numbers of rows, or amounts of all resources that rows have."""
    shape: tuple[int, ...] = log_weights.shape
    if of_several:
        assert rows.beside is not None and rows.beside.resources is not None
        shape = (rows.beside.resources.shape[1], *shape)
    return _dual_pass(family, parameters, log_weights, rows, jnp.zeros(shape, rows.x.dtype), plain=True)[1]


def reach(rows: Tiles, bounds: Bounds) -> Array:
    """Give the most that a row takes of each resource, (c, 1), or 1."""
    if bounds.low.ndim == 1:
        return jnp.ones((), rows.x.dtype)
    assert rows.beside is not None and rows.beside.resources is not None
    return jnp.max(rows.beside.resources, axis=(0, 2))[:, None]


def _second(rows: Tiles, bounds: Bounds) -> Array:
    """Give the mean square of each resource over its mean, (c, 1), or 1."""
    if bounds.low.ndim == 1:
        return jnp.ones((), rows.x.dtype)
    assert rows.beside is not None and rows.beside.resources is not None
    return jnp.einsum("nt,nct->c", rows.w, rows.beside.resources**2)[:, None] / rows.w.sum()


@pytree()
@dataclass(frozen=True, eq=False)
class Dual:
    """The dual at some prices.

    Attributes
    ----------
    prices, sizes : array of shape (k,) or (c, k)
        The prices, and the expected sizes under them.
    value : scalar
        The dual function.
    hessian : array of shape (k, k) or (c * k, c * k)
    """

    prices: Array
    value: Array
    sizes: Array
    hessian: Array


def _residual(bounds: Bounds, dual: Dual) -> Array:
    return jnp.abs(bounds.residual(dual.prices, dual.sizes)).max()


def _foreseen(bounds: Bounds, total: Array, most: Array, dual: Dual, ahead: Array) -> Array:
    """Bound the residual at prices ahead that nobody has looked at, by Taylor's theorem.

    Along a change of a row's terms with range D, a membership's second derivative is at most D^2 / (6 sqrt(3)); half of
    that is below 0.05 D^2. `most` is the most that a row takes of each resource.
    """
    change = ahead - dual.prices
    moved = (dual.hessian @ change.reshape(-1)).reshape(change.shape)
    predicted = jnp.abs(bounds.residual(ahead, dual.sizes + moved)).max()
    return predicted + 0.05 * total * jnp.sum(most * jnp.ptp(change, axis=-1, keepdims=True)) ** 2


def _metric(dual: Dual, total: Array) -> Array:
    """Give the lengths, squared, of changes of the prices by 1, all but a factor of each resource."""
    return dual.sizes + total / dual.sizes.shape[-1]


def _ahead(bounds: Bounds, dual: Dual, damping: Array, total: Array) -> Array:
    """Give the prices where the quadratic model of the dual is smallest, damped in the metric of the sizes."""
    regular = 1e4 * jnp.finfo(dual.prices.dtype).eps * jnp.diag(dual.hessian)  # to all prices a constant may be added
    metric = jnp.diag((_metric(dual, total) * damping).reshape(-1) + regular)
    low, high, now, sizes = (each.reshape(-1) for each in (bounds.low, bounds.high, dual.prices, dual.sizes))
    return best_prices(low, high, now, sizes, dual.hessian + metric).reshape(dual.prices.shape)


def price_step(
    family: SweptFamily,
    parameters: Any,
    log_weights: Array,
    rows: Tiles,
    bounds: Bounds,
    prices: Array,
    curvature: Array,
    rate: Array,
) -> tuple[Float[Array, "*c k"], Array]:
    """Give the prices, and the average Hessian, that a step of a length leads to where `rows` stand for all rows.

    Robbins and Monro, Annals of Mathematical Statistics 22 (1951), with the average Hessian so far for a metric, in
    which the samples to come have no part: prices after many samples, by ever shorter steps, are those at which the
    sizes of all rows meet their bounds.
    """
    value, sizes, hessian = _dual_pass(family, parameters, log_weights, rows, prices)
    damping = STEADY * _second(rows, bounds) / rate
    dual = Dual(prices, value, sizes, curvature / rate)
    return _ahead(bounds, dual, damping, rows.w.sum()), curvature + rate * (hessian - curvature)


def curvature(family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, prices: Array) -> Array:
    """Give the Hessian of the dual at some prices."""
    return _dual_pass(family, parameters, log_weights, rows, prices)[2]


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
    Hessian vanishes, and the damped step goes towards the bounds, ever further while it succeeds. How much damping a
    step lacked tells the slope of the dual along it, before and after.
    """
    total, second = rows.w.sum(), _second(rows, bounds)
    eps = jnp.finfo(rows.x.dtype).eps

    def body(carry: tuple[Dual, Array, Array, Array]) -> tuple[Dual, Array, Array, Array]:
        old, ahead, damping, passes = carry
        first = passes == 0
        value, sizes, hessian = _dual_pass(family, parameters, log_weights, rows, ahead)
        new = Dual(ahead, value - bounds.linear(ahead), sizes, hessian)
        change = ahead - old.prices
        before, after = (jnp.sum(change * bounds.residual(at.prices, at.sizes)) for at in (old, new))
        rounding = 8 * eps * jnp.abs(old.value)
        level = new.value <= old.value + rounding  # no lower by rounding: let the slopes along the step decide
        accepted = first | (new.value < old.value - rounding) | (level & (after < -0.5 * before))
        flat, length = change.reshape(-1), jnp.sum(change**2 * _metric(old, total) * second)
        lacked = (after - before - flat @ old.hessian @ flat) / jnp.maximum(length, jnp.finfo(length.dtype).tiny)
        shrunk = jnp.where(first, damping, jnp.maximum(jnp.maximum(damping * SHRINK, lacked * SEEN), eps))
        damping = jnp.where(accepted, shrunk, jnp.maximum(jnp.maximum(damping * 2, lacked), 1e-6))
        dual = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)
        return dual, _ahead(bounds, dual, damping * second, total), damping, passes + 1

    def going(carry: tuple[Dual, Array, Array, Array]) -> Array:
        dual, ahead, damping, passes = carry
        return (passes == 0) | (~enough(dual, ahead) & (passes < PASSES) & (damping < 1e8))

    zero = jnp.zeros_like(prices)
    start = Dual(prices, jnp.zeros((), prices.dtype), zero, jnp.diag(zero.reshape(-1)))
    damping = jnp.asarray(1e-6, prices.dtype)
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
) -> tuple[Float[Array, "*c k"], Array, Array]:
    """Find the prices of `solve`, without a last pass where they are sure to meet the bounds.

    Returns
    -------
    prices : array of shape (k,) or (c, k)
    met : bool
        Whether they meet the bounds.
    passes : int
    """
    total, most = rows.w.sum(), reach(rows, bounds)
    met = tolerance(rows.x.dtype) * total

    def sure(dual: Dual, ahead: Array) -> Array:
        return (_residual(bounds, dual) > met) & (_foreseen(bounds, total, most, dual, ahead) <= met)

    def enough(dual: Dual, ahead: Array) -> Array:
        return (_residual(bounds, dual) <= met) | sure(dual, ahead)

    dual, ahead, passes = _newton(family, parameters, log_weights, rows, bounds, prices, enough)
    return jnp.where(sure(dual, ahead), ahead, dual.prices), enough(dual, ahead), passes


def first_prices(
    family: SweptFamily, parameters: Any, log_weights: Array, rows: Tiles, bounds: Bounds
) -> Float[Array, "*c k"]:
    """Find prices to start from, by L-BFGS on a sample of the rows and a dual whose corners are rounded.

    From zero prices and far from the natural sizes the dual is all but piecewise linear, where Newton's iteration on
    all rows takes many passes; scores of a sample are computed once and cost nothing afterwards. Of long tables, a
    larger sample comes next.
    """
    sample, total = _sample(rows, SAMPLE), rows.w.sum()
    scores = lax.map(lambda x: family.tile_scores(parameters, x, False), sample.x)

    def loss(prices: Array) -> Array:
        corner = SMOOTHING * jax.nn.softplus(-prices / SMOOTHING)
        linear = prices * bounds.low - (bounds.high - bounds.low) * corner
        found = jax.vmap(lambda own, beside: assign(own, log_weights, prices, beside)[0])(scores, sample.beside)
        return (jnp.sum(sample.w * found) - jnp.sum(linear)) / total

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
    prices = jnp.where(small | ~jnp.isfinite(prices), 0.0, prices)
    if rows.w.size < 4 * LARGER:
        return prices
    return solve(family, parameters, log_weights, _sample(rows, LARGER), bounds, prices)[0].prices


def _sample(rows: Tiles, size: int) -> Tiles:
    """Give about so many of the rows, evenly taken, that weigh as much as all."""
    count, t = rows.w.shape
    stride = -(-count * t // size)
    number = -(-count * t // stride)
    t = min(t, number)
    filling = -number % t

    def taken(each: Array) -> Array:
        """Take rows of (T, t), or columns of (T, d, t)."""
        flat = jnp.moveaxis(each, -2, 0) if each.ndim == 3 else each[None]
        some = jnp.pad(flat.reshape(len(flat), -1)[:, ::stride], ((0, 0), (0, filling)), mode="edge")
        return jnp.moveaxis(some.reshape(len(flat), -1, t), 1, 0)

    x, beside = jax.tree.map(taken, (rows.x, rows.beside))
    w = taken(rows.w)[:, 0] * (jnp.arange(number + filling) < number).reshape(-1, t)
    return Tiles(x, w * (rows.w.sum() / jnp.maximum(w.sum(), jnp.finfo(w.dtype).tiny)), rows.radius, beside)


def centred(bounds: Bounds, dual: Dual) -> Array:
    """Give the prices in their convention.

    Where every cluster is at a bound, a constant may be added to all prices: the sum of size times price is brought as
    near to 0 as the prices' signs allow.
    """
    prices, sizes = dual.prices, dual.sizes
    exact, total = bounds.low == bounds.high, sizes.sum(-1, keepdims=True)
    everyone = (exact | (prices != 0)).all(-1, keepdims=True)
    shift = -jnp.sum(sizes * prices, -1, keepdims=True) / total
    lowest = jnp.max(jnp.where(~exact & (prices > 0), -prices, -jnp.inf), -1, keepdims=True)
    highest = jnp.min(jnp.where(~exact & (prices < 0), -prices, jnp.inf), -1, keepdims=True)
    at_bounds = jnp.where(prices > 0, bounds.low, bounds.high).sum(-1, keepdims=True)
    tight = jnp.abs(at_bounds - total) <= 1e-6 * total
    return jnp.where(everyone & tight, prices + jnp.clip(shift, lowest, highest), prices)
