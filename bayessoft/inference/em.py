"""Expectation-maximisation for the maximum of the likelihood or, under a prior, of the posterior density."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bayessoft.core.sweep import Tiles, sweep
from bayessoft.errors import OptionError
from bayessoft.families.family import pytree
from bayessoft.fit import Point, Status
from bayessoft.inference.engine import Climber, Problem, whole
from bayessoft.inference.start import METHODS, begin
from bayessoft.mixture import Mixture

__all__ = ["EM", "EMState"]

RUNNING, CONVERGED, FELL, NON_FINITE, COLLAPSED = range(5)


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
    """

    weights: Float[Array, " k"]
    parameters: Any
    objective: Array
    code: Array
    tol: Array
    floor: Array
    monotone: Array


@dataclass(frozen=True)
class EM(Climber):
    """Expectation-maximisation.

    Parameters
    ----------
    max_iter : int >= 1
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

    max_iter: int = 100
    tol: float = 1e-3
    n_init: int = 1
    init: str = "kmeans"

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        whole("max_iter", self.max_iter)
        whole("n_init", self.n_init)
        if not (isinstance(self.tol, Real) and self.tol >= 0):
            raise OptionError(f"tol is {self.tol!r}: pass a number >= 0, in nats per row")
        if self.init not in METHODS:
            raise OptionError(f"init is {self.init!r}: pass one of {', '.join(map(repr, METHODS))}")

    CODES: ClassVar[dict[int, Status]] = {
        RUNNING: Status.NOT_CONVERGED,
        CONVERGED: Status.CONVERGED,
        FELL: Status.FELL,
        NON_FINITE: Status.NON_FINITE,
        COLLAPSED: Status.COLLAPSED,
    }

    def posterior(self, state: EMState) -> Point:
        """Give the result."""
        return Point(np.asarray(state.weights), state.parameters)

    def check(self, mixture: Mixture) -> None:
        """Refuse a mixture that has no mode to climb to."""
        if mixture.weights is not None and (np.asarray(mixture.weights.concentration) < 1).any():
            raise OptionError(
                "a Dirichlet concentration below 1 has no mode for EM to find: pass 1 or more, or use inference='nuts'"
            )

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

        return EMState(
            weights,
            parameters,
            repeated(-jnp.inf, dtype),
            repeated(RUNNING, int),
            repeated(self.tol, dtype),
            repeated(floor, dtype),
            repeated(not penalised or problem.reg_covar == 0, bool),
        )

    @staticmethod
    def step(mixture: Mixture, rows: Tiles, state: EMState) -> tuple[EMState, Array]:
        """One E-step and one M-step."""
        value, statistics = sweep(mixture.family, state.parameters, jnp.log(state.weights), rows)
        total = rows.w.sum()
        objective = (value + mixture.log_prior(state.weights, state.parameters)) / total
        weights, parameters = mixture.mode(statistics, state.floor)
        change = objective - state.objective
        slack = jnp.sqrt(jnp.finfo(objective.dtype).eps) * (1 + jnp.abs(objective))  # rounding: half of the digits
        fell = state.monotone & (change < -slack)
        code = jnp.where(jnp.abs(change) < state.tol, CONVERGED, RUNNING)
        code = jnp.where(fell, FELL, code)
        code = jnp.where(jnp.isfinite(objective), code, NON_FINITE)
        code = jnp.where(_all_finite(parameters), code, COLLAPSED)
        after = EMState(weights, parameters, objective, code, state.tol, state.floor, state.monotone)
        return after, objective

    @staticmethod
    def finished(state: EMState) -> Array:
        """Tell whether the objective settled or the step failed."""
        return state.code != RUNNING


def _all_finite(tree: Any) -> Array:
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))
