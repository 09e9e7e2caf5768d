"""Expectation-maximisation for the maximum of the likelihood or, under a prior, of the posterior density."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.dual import Bounds, centred, certificate, first_prices, meeting_prices, solve
from bayessoft.core.sizes import SizeConstraint, SizeResult, match
from bayessoft.core.sweep import Tiles, sweep
from bayessoft.errors import OptionError
from bayessoft.families.family import pytree
from bayessoft.inference.engine import Climber, Problem, modes_only
from bayessoft.inference.start import begin
from bayessoft.mixture import Mixture
from bayessoft.numerics import all_finite
from bayessoft.posteriors import Point
from bayessoft.status import Status

__all__ = ["EM", "EMState"]

RUNNING, CONVERGED, FELL, NON_FINITE, COLLAPSED, SINGULAR = range(6)


@pytree()
@dataclass(frozen=True, eq=False)
class EMState:
    """What the next step needs.

    Attributes
    ----------
    weights : array of shape (k,)
    parameters
        Of the components.
    objective : scalar
        Of the step before, per unit weight; -inf before the first.
    code : int
        0 while running, else why it ended.
    tol : scalar
        Change of the objective that ends it.
    floor : array
        Added to the covariances, in the standardised rows' units.
    monotone : bool
        Whether the objective must not fall.
    bounds : Bounds or None
        Of the sizes.
    prices : array of shape (k,) or None
        Of the last E-step under them.
    """

    weights: Float[Array, " k"]
    parameters: Any
    objective: Array
    code: Array
    tol: Array
    floor: Array
    monotone: Array
    bounds: Any = None
    prices: Any = None


@dataclass(frozen=True)
class EM(Climber):
    """Expectation-maximisation.

    Parameters
    ----------
    max_iter : int >= 0
        Most iterations from one start.
    tol : float >= 0
        Ends when the objective per unit weight changes by less, in nats.
    n_init : int >= 1
        Number of starts; the best one is kept.
    init : {"kmeans", "k-means++", "random", "random_from_data"}
        How a start is found.

    Notes
    -----
    Dempster, Laird and Rubin (1977). The update and the stop are scikit-learn's.

    Examples
    --------
    >>> EM(tol=1e-6).max_iter
    100
    """

    BAYESIAN = False
    CODES: ClassVar[dict[int, Status]] = {
        RUNNING: Status.NOT_CONVERGED,
        CONVERGED: Status.CONVERGED,
        FELL: Status.FELL,
        NON_FINITE: Status.NON_FINITE,
        COLLAPSED: Status.COLLAPSED,
        SINGULAR: Status.ILL_CONDITIONED,
    }

    def posterior(self, problem: Problem, state: EMState) -> Point:
        """Give the result; under a size constraint, with the sizes and prices of a last E-step."""
        sizes = None
        if state.bounds is not None:
            low, high = np.asarray(state.bounds.low, np.float64), np.asarray(state.bounds.high, np.float64)
            found = _last_prices(problem.standard, problem.tiles, state)
            expected, gap, prices, violation = (np.asarray(part, np.float64) for part in found)
            sizes = SizeResult(expected, low, high, prices, max(float(gap), 0.0), float(violation))
        return Point(np.asarray(state.weights), state.parameters, sizes)

    def check(self, mixture: Mixture) -> None:
        """Refuse a mixture that has no mode to climb to."""
        if mixture.family.TIER == "a":
            raise OptionError(
                f"{mixture.family.name} has no M-step, which inference='em' needs: use 'map', or 'nuts' for draws"
            )
        modes_only(mixture, "EM")

    def begin(self, problem: Problem) -> EMState:
        """Give the state before the first step, for each start."""
        family, dtype = problem.standard.family, problem.tiles.x.dtype
        penalised = family.prior is None
        floor = family.floor(problem.reg_covar if penalised else 0.0, problem.frame)
        weights, parameters = begin(problem, self.init, self.n_init, jnp.asarray(floor, dtype))
        starts = len(weights)

        def repeated(value: Any, kind: Any) -> Array:
            array = jnp.asarray(value, kind)
            return jnp.broadcast_to(array, (starts, *array.shape))

        bounds, prices = None, None
        if problem.mixture.sizes is not None:
            weights, bounds, prices = _under_sizes(problem, problem.mixture.sizes, weights, parameters)
        return EMState(
            weights,
            parameters,
            repeated(-jnp.inf, dtype),
            repeated(RUNNING, int),
            repeated(self.tol, dtype),
            repeated(floor, dtype),
            repeated(not penalised or problem.reg_covar == 0, bool),
            bounds,
            prices,
        )

    @staticmethod
    def step(mixture: Mixture, rows: Tiles, state: EMState) -> tuple[EMState, Array]:
        """One E-step and one M-step."""
        log_weights, total, prices = jnp.log(state.weights), rows.w.sum(), state.prices
        gain = 0.0
        if state.bounds is not None:
            prices = meeting_prices(mixture.family, state.parameters, log_weights, rows, state.bounds, prices)[0]
            gain = -state.bounds.linear(prices)
        value, statistics = sweep(mixture.family, state.parameters, log_weights, rows, prices)
        objective = (value + gain + mixture.log_prior(state.weights, state.parameters)) / total
        weights, parameters = mixture.mode(statistics, state.floor)
        if state.bounds is not None:
            weights = jnp.where(state.bounds.pinned, state.bounds.low / total, weights)
        change = objective - state.objective
        slack = jnp.sqrt(jnp.finfo(objective.dtype).eps) * (1 + jnp.abs(objective))  # rounding: half of the digits
        fell = state.monotone & (change < -slack)
        settled = jnp.abs(change) < state.tol
        singular = ~all_finite(parameters)
        thin = statistics.weight.min() <= rows.x.shape[1] + 1
        ends = ((settled, CONVERGED), (fell, FELL), (~jnp.isfinite(objective), NON_FINITE))
        code = jnp.full_like(state.code, RUNNING)
        for happened, end in (*ends, (singular, SINGULAR), (singular & thin, COLLAPSED)):
            code = jnp.where(happened, jnp.full_like(code, end), code)
        after = replace(state, weights=weights, parameters=parameters, objective=objective, code=code, prices=prices)
        return after, objective

    @staticmethod
    def finished(state: EMState) -> Array:
        """Tell whether the objective settled or the step failed."""
        return state.code != RUNNING


def _under_sizes(
    problem: Problem, constraint: SizeConstraint, weights: Array, parameters: Any
) -> tuple[Array, Bounds, Array]:
    """Give each start its bounds, matched to its clusters where their order is free, and prices to begin with."""
    total, dtype = problem.data.total_weight, problem.tiles.x.dtype
    low, high = constraint.bounds(problem.mixture.k, total)
    pairs = [(low, high)] * len(weights)
    if constraint.order == "any":
        natural = np.asarray(_natural_sizes(problem.standard, problem.tiles, weights, parameters))
        pairs = [match(low, high, sizes.astype(np.float64)) for sizes in natural]
    lows, highs = (jnp.asarray(np.array(side), dtype) for side in zip(*pairs, strict=True))
    bounds = Bounds(lows, highs, jnp.full(len(weights), constraint.pinned))
    if constraint.pinned:
        weights = lows / total
    return weights, bounds, _begin_prices(problem.standard, problem.tiles, weights, parameters, bounds)


@jax.jit
def _natural_sizes(mixture: Mixture, rows: Tiles, weights: Array, parameters: Any) -> Array:
    """Give the sizes of each start's clusters while nothing constrains them."""

    def one(start: tuple[Array, Any]) -> Array:
        return sweep(mixture.family, start[1], jnp.log(start[0]), rows)[1].weight

    return lax.map(one, (weights, parameters))


@jax.jit
def _begin_prices(mixture: Mixture, rows: Tiles, weights: Array, parameters: Any, bounds: Bounds) -> Array:
    """Give each start prices near those that meet its bounds."""

    def one(start: tuple[Array, Any, Bounds]) -> Array:
        weights, parameters, bounds = start
        return first_prices(mixture.family, parameters, jnp.log(weights), rows, bounds)

    return lax.map(one, (weights, parameters, bounds))


@jax.jit
def _last_prices(mixture: Mixture, rows: Tiles, state: EMState) -> tuple[Array, Array, Array, Array]:
    """Give sizes, duality gap, prices and violation at the last parameters."""
    model = (mixture.family, state.parameters, jnp.log(state.weights), rows, state.bounds)
    dual, _ = solve(*model, state.prices)
    violation = jnp.abs(state.bounds.residual(dual.prices, dual.sizes)).max()
    return dual.sizes, certificate(*model, dual), centred(state.bounds, dual), violation
