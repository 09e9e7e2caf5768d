"""Expectation-maximisation for the maximum of the likelihood or, under a prior, of the posterior density."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bayessoft.core.dual import meeting_prices
from bayessoft.core.sweep import Tiles, sweep
from bayessoft.errors import OptionError
from bayessoft.families.family import pytree
from bayessoft.inference.engine import Climber, Problem
from bayessoft.inference.priced import bounded, certified
from bayessoft.inference.refusals import modes_only
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
    met : bool
        Whether the last E-step met the bounds: while none does, the objective is too high.
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
    met: Array
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
            sizes = certified(problem, state.parameters, jnp.log(state.weights), state.bounds, state.prices)
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

        weights, bounds, prices = bounded(problem, weights, parameters)
        return EMState(
            weights,
            parameters,
            repeated(-jnp.inf, dtype),
            repeated(RUNNING, int),
            repeated(self.tol, dtype),
            repeated(floor, dtype),
            repeated(not penalised or problem.reg_covar == 0, bool),
            repeated(True, bool),
            bounds,
            prices,
        )

    @staticmethod
    def step(mixture: Mixture, rows: Tiles, state: EMState) -> tuple[EMState, Array]:
        """One E-step and one M-step."""
        log_weights, total, prices = jnp.log(state.weights), rows.w.sum(), state.prices
        gain, met = 0.0, state.met
        if state.bounds is not None:
            given = mixture.family, state.parameters, log_weights, rows, state.bounds
            prices, met, _ = meeting_prices(*given, prices)
            gain = -state.bounds.linear(prices)
        value, statistics = sweep(mixture.family, state.parameters, log_weights, rows, prices)
        objective = (value + gain + mixture.log_prior(state.weights, state.parameters)) / total
        weights, parameters = mixture.mode(statistics, state.floor)
        if state.bounds is not None:
            weights = jnp.where(state.bounds.pinned, state.bounds.fixed / total, weights)
        change = objective - state.objective
        slack = jnp.sqrt(jnp.finfo(objective.dtype).eps) * (1 + jnp.abs(objective))  # rounding: half of the digits
        fell = state.monotone & state.met & met & (change < -slack)
        settled = jnp.abs(change) < state.tol
        singular = ~all_finite(parameters)
        thin = mixture.family.members(statistics).min() <= rows.x.shape[1] + 1
        ends = ((settled, CONVERGED), (fell, FELL), (~jnp.isfinite(objective), NON_FINITE))
        code = jnp.full_like(state.code, RUNNING)
        for happened, end in (*ends, (singular, SINGULAR), (singular & thin, COLLAPSED)):
            code = jnp.where(happened, jnp.full_like(code, end), code)
        after = replace(state, weights=weights, parameters=parameters, objective=objective, code=code, prices=prices)
        return replace(after, met=met), objective

    @staticmethod
    def finished(state: EMState) -> Array:
        """Tell whether the objective settled or the step failed."""
        return state.code != RUNNING
