"""Soft k-means: EM until memberships settle, at one inverse temperature or along rising ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.assign import Beside, assign
from bayessoft.core.dual import reach
from bayessoft.core.sweep import Tiles, over_tiles
from bayessoft.errors import DataError, OptionError
from bayessoft.families.family import SweptFamily, pytree
from bayessoft.inference.em import COLLAPSED, EM, RUNNING, EMState
from bayessoft.inference.engine import Climber, Problem, whole
from bayessoft.inference.priced import bounded, certified
from bayessoft.inference.seeding import by_evidence, joined, known_init, seeded_centres
from bayessoft.mixture import Mixture
from bayessoft.posteriors import AnnealingPath, Point
from bayessoft.status import Status

__all__ = ["Annealing", "AnnealingState", "largest_change"]

SETTLED, EXHAUSTED = 101, 102  # beside the codes of EM
BELOW = 0.8  # share of the first critical inverse temperature that annealing begins at
NUDGE = 0.01  # in standardised units: what moves centres that lie together apart at each level
LEVEL = 100  # most steps at a level but the last
LOOKED = 500.0  # times tol: a bound of the change of memberships above which nobody looks at them
STILL = 8  # times rounding: moves of the centres that are none
LEVELS = 16  # numbers of levels are rounded up to a multiple of this, so that few programs are compiled


@pytree()
@dataclass(frozen=True, eq=False)
class AnnealingState:
    """What the next step needs.

    Attributes
    ----------
    em : EMState
    before : tuple
        Log proportions, parameters and prices of the step before.
    code, level, steps : int
        Why it ended; the level, and the steps made at it.
    betas : array of shape (L,)
        Inverse temperature of each level, the last one again and again at the end.
    levels : int
        How many levels there are.
    path : array of shape (L, k, d)
        Where the centres were at the end of each level.
    tol, most : scalar
        Change of the memberships that ends a level, and most steps at the last one.
    key : array
        Data of the key of what moves centres apart.
    """

    em: EMState
    before: Any
    code: Array
    level: Array
    steps: Array
    betas: Float[Array, " L"]
    levels: Array
    path: Float[Array, "L k d"]
    tol: Array
    most: Array
    key: Array


@dataclass(frozen=True)
class Annealing(Climber):
    """EM for components that share one rate, which ends when no membership changes by `tol`.

    Parameters
    ----------
    max_iter : int >= 0
        Most iterations from one start, at the last inverse temperature.
    tol : float >= 0
        Ends when the largest change of any membership is below.
    n_init : int >= 1
        Number of starts; the best one is kept.
    init : {"k-means++", "kmeans", "random_from_data"}
        How centres to start from are found, without a `rate`.
    rate : float > 1 or None
        Factor by which the inverse temperature rises, from below the first split on; None begins at the last one.

    Notes
    -----
    Rose, *Proceedings of the IEEE* 86 (1998): at a low inverse temperature all centres lie at the mean; they part
    where it passes critical values, the first of which is ``1 / (2 lambda)`` for squared distances, with the largest
    eigenvalue lambda of the covariance of the rows.
    """

    BAYESIAN = False
    CODES: ClassVar[dict[int, Status]] = EM.CODES | {SETTLED: Status.CONVERGED, EXHAUSTED: Status.NOT_CONVERGED}

    max_iter: int = 300
    tol: float = 1e-4
    init: str = "k-means++"
    rate: float | None = None

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        super().__post_init__()
        whole("max_iter", self.max_iter)
        known_init(self.init)
        if self.rate is not None and not (isinstance(self.rate, Real) and 1 < float(self.rate) < np.inf):
            raise OptionError(f"anneal is {self.rate!r}: pass True, False, or a factor above 1, such as 1.2")

    @property
    def steps(self) -> int:
        return 1 << 20  # the state knows its own

    def check(self, mixture: Mixture) -> None:
        """Refuse a family that is not radial."""
        family: Any = mixture.family
        if not hasattr(family, "critical"):
            raise OptionError(f"{family.name} components have no common rate to anneal: use EM")
        if self.rate is not None and family.beta is None:
            raise OptionError("anneal rises to a beta, and beta='auto' is none yet: pass a number, or anneal=False")

    def posterior(self, problem: Problem, state: AnnealingState) -> Point:
        """Give the result, and the path that led there; under sizes, with prices of a last E-step."""
        em, sizes = state.em, None
        if em.bounds is not None:
            sizes = certified(problem, em.parameters, jnp.log(em.weights), em.bounds, em.prices)
        path = None
        if self.rate is not None:
            levels = int(state.levels)
            family: Any = problem.standard.family
            own = family.map_parameters(family.placed(state.path, state.betas), problem.frame)
            path = AnnealingPath(own.beta[:levels], np.asarray(own.means)[:levels])
        return Point(np.asarray(em.weights), em.parameters, sizes, path)

    def begin(self, problem: Problem) -> AnnealingState:
        """Give the state before the first step, for each start."""
        family: Any = problem.standard.family
        dtype = problem.tiles.x.dtype
        given = problem.given.parameters.get("means")
        if given is not None:
            found = problem.frame.apply(np.asarray(given))[None]
        elif self.rate is not None:
            found = np.zeros((self.n_init, problem.mixture.k, problem.data.d))
        else:
            found = self._seeded(problem)
        betas, levels = self._levels(problem, found)
        starts, k = found.shape[:2]
        parameters = family.placed(jnp.asarray(found, dtype), jnp.asarray(betas[:, 0], dtype))
        weights = jnp.full((starts, k), 1 / k, dtype)
        weights, bounds, prices = bounded(problem, weights, parameters)

        def repeated(value: Any, kind: Any) -> Array:
            return jnp.full(starts, value, kind)

        descends = family.squared or family.stepwise
        em = EMState(
            weights,
            parameters,
            repeated(-jnp.inf, dtype),
            repeated(RUNNING, int),
            repeated(0, dtype),
            repeated(0, dtype),
            repeated(descends, bool),
            repeated(True, bool),
            bounds,
            prices,
        )
        far = replace(parameters, means=jnp.full_like(parameters.means, jnp.inf))
        zero = repeated(0, int)
        return AnnealingState(
            em,
            (jnp.log(weights), far, prices),
            repeated(RUNNING, int),
            zero,
            zero,
            jnp.asarray(betas, dtype),
            repeated(levels, int),
            jnp.zeros((starts, betas.shape[1], k, problem.data.d), dtype),
            repeated(self.tol, dtype),
            repeated(self.max_iter, int),
            jax.random.key_data(jax.random.split(jax.random.key(problem.seed), starts)),
        )

    def _seeded(self, problem: Problem) -> Float[np.ndarray, "n_init k d"]:
        """Give each start centres, in the order that suits the evidence."""
        x, data = problem.standard_values, problem.data
        found = seeded_centres(x, data.weights, problem.mixture.k, self.init, problem.seed, self.n_init)
        if data.evidence is None:
            return found
        orders = [by_evidence(joined(x, own), data.evidence, data.weights) for own in found]
        return np.stack([own[np.argsort(order)] for own, order in zip(found, orders, strict=True)])

    def _levels(self, problem: Problem, found: Float[np.ndarray, "starts k d"]) -> tuple[np.ndarray, int]:
        """Give the inverse temperatures of each start, (starts, L), and how many there are."""
        family: Any = problem.standard.family
        x, w = problem.standard_values.astype(np.float64), problem.data.weights
        if family.beta is None:
            first = [family.likely(x, w, own) for own in found]
            return np.array(first)[:, None], 1
        if self.rate is None:
            return np.full((len(found), 1), family.beta), 1
        if not problem.frame.varies.any():
            raise DataError("all rows are equal, so that no inverse temperature parts centres: leave out anneal")
        low = BELOW * family.critical(x, w)
        levels = 1 + max(0, int(np.ceil(np.log(family.beta / low) / np.log(self.rate))))
        rising = np.full(-(-levels // LEVELS) * LEVELS, family.beta)
        rising[:levels] = np.minimum(family.beta, low * float(self.rate) ** np.arange(levels))
        rising[levels - 1] = family.beta
        return np.broadcast_to(rising, (len(found), len(rising))).copy(), levels

    @staticmethod
    def step(mixture: Mixture, rows: Tiles, state: AnnealingState) -> tuple[AnnealingState, Array]:
        """One E-step and one M-step, at the inverse temperature of the level."""
        family: Any = mixture.family
        em, level = state.em, state.level
        if family.beta is not None:
            beta = state.betas[level]
            mixture = replace(mixture, family=replace(family, beta=beta))
            em = replace(em, parameters=family.placed(em.parameters.means, beta))
        after, objective = EM.step(mixture, rows, em)
        now = jnp.log(em.weights), em.parameters, after.prices
        bound = _bound(family, state.before, now, rows, em.bounds)
        change = lax.cond(
            (bound <= LOOKED * state.tol) | _still(state.before[1].means, em.parameters.means, rows.radius),
            lambda: largest_change(mixture.family, state.before, now, rows),
            lambda: jnp.ones_like(bound),
        )
        last = level >= state.levels - 1
        settled = (change <= state.tol) & after.met
        over = settled | (state.steps + 1 >= jnp.where(last, state.most, LEVEL))
        code = jnp.where(over & last, jnp.where(settled, SETTLED, EXHAUSTED), RUNNING)
        code = jnp.where(after.code != RUNNING, after.code, code.astype(state.code.dtype))
        code = jnp.where(family.collapsed(after.parameters), COLLAPSED, code)
        path = state.path.at[level].set(em.parameters.means)
        # The next level: centres that lie together are moved apart, and the objective is another one.
        up = over & ~last
        means = lax.cond(up, lambda: _nudged(state.key, level, after.parameters.means), lambda: after.parameters.means)
        after = replace(after, parameters=replace(after.parameters, means=means))
        after = replace(after, objective=jnp.where(up, -jnp.inf, after.objective))
        after = replace(after, code=jnp.full_like(after.code, RUNNING))
        steps = jnp.where(up, 0, state.steps + 1)
        moved = replace(state, em=after, before=now, code=code, level=level + up, steps=steps, path=path)
        return moved, objective

    @staticmethod
    def finished(state: AnnealingState) -> Array:
        """Tell whether the memberships settled at the last level, or the step failed."""
        return state.code != RUNNING


def _nudged(key: Array, level: Array, means: Float[Array, "k d"]) -> Float[Array, "k d"]:
    """Move centres apart that lie together."""
    own = jax.random.fold_in(jax.random.wrap_key_data(key), level)
    return means + NUDGE * jax.random.normal(own, means.shape, means.dtype)


def _bound(family: Any, before: Any, now: Any, rows: Tiles, bounds: Any) -> Array:
    """Bound the change of any membership: at most a quarter of the range of the changes of a row's terms."""
    (old_weights, old, old_prices), (weights, new, prices) = before, now
    most = (family.most_change(old, new, rows.radius) + jnp.abs(weights - old_weights)).max()
    if prices is not None:
        most = most + jnp.sum(reach(rows, bounds) * jnp.abs(jnp.atleast_2d(prices - old_prices)), 0).max()
    return most / 2


def _still(before: Array, now: Array, radius: Array) -> Array:
    """Tell whether centres moved by rounding alone, which times a large inverse temperature bounds nothing."""
    return jnp.abs(now - before).max() <= STILL * jnp.finfo(now.dtype).eps * radius


def largest_change(family: SweptFamily, before: Any, now: Any, rows: Tiles) -> Array:
    """Give the largest change of any row's membership between two (log proportions, parameters, prices)."""

    def tile(x: Array, w: Array, beside: Beside | None) -> Array:
        shares = [
            assign(family.tile_scores(parameters, x, False), log_weights, prices, beside)[1]
            for log_weights, parameters, prices in (before, now)
        ]
        return jnp.max(jnp.abs(shares[0] - shares[1]) * (w > 0))

    return over_tiles(tile, rows, rows.beside, unrolled=False, joined=jnp.maximum)
