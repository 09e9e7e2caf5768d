"""The most probable parameters by gradients alone, for families without an M-step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from bayessoft.core.sweep import Tiles
from bayessoft.families.family import pytree
from bayessoft.inference.engine import Climber, Problem
from bayessoft.inference.refusals import modes_only, unconstrained_only
from bayessoft.inference.start import begin_inside
from bayessoft.inference.unconstrained import constrained, log_joint, unconstrained
from bayessoft.mixture import Mixture
from bayessoft.numerics import all_finite
from bayessoft.posteriors import Point
from bayessoft.status import Status

__all__ = ["ClimbState", "GradientMAP"]

RUNNING, CONVERGED, FELL, NON_FINITE = range(4)
SLACK = 1e-5  # of the objective: optax's line search takes a fall of 1e-6 of it for rounding
QUIET = 3  # steps in a row that change less than tol: a single one may be a short step of the line search


@pytree()
@dataclass(frozen=True, eq=False)
class ClimbState:
    """What the next step needs.

    Attributes
    ----------
    z : dict of str to array
        Position, see `inference.unconstrained`.
    memory : pytree
        What optax remembers of the steps before.
    objective : scalar
        Of the step before, per unit weight; -inf before the first.
    quiet : int
        Steps in a row that changed the objective by less than `tol`.
    code : int
        0 while running, else why it ended.
    tol : scalar
        Change of the objective below which a step is quiet.
    """

    z: dict[str, Array]
    memory: Any
    objective: Array
    quiet: Array
    code: Array
    tol: Array


@dataclass(frozen=True)
class GradientMAP(Climber):
    """Maximum a posteriori by gradients: L-BFGS with a line search, by optax.

    Parameters
    ----------
    max_iter : int >= 0
        Most steps from one start.
    tol : float >= 0
        Ends when three steps in a row change the objective by less, in nats per unit weight.
    n_init : int >= 1
        Number of starts; the best one is kept.
    init : {"kmeans", "k-means++", "random", "random_from_data"}
        How a start is found; a family stated by draw and likelihood alone is fitted to its clusters by gradients.

    Notes
    -----
    Liu and Nocedal, Mathematical Programming 45 (1989). The objective is the one of EM, with respect to proportions and
    parameters, whatever the coordinates of the steps; EM gets there sooner where a family has an M-step.

    Examples
    --------
    >>> GradientMAP(tol=1e-6).max_iter
    100
    """

    CODES: ClassVar[dict[int, Status]] = {
        RUNNING: Status.NOT_CONVERGED,
        CONVERGED: Status.CONVERGED,
        FELL: Status.FELL,
        NON_FINITE: Status.NON_FINITE,
    }

    def check(self, mixture: Mixture) -> None:
        unconstrained_only(mixture, "map")
        modes_only(mixture, "MAP")

    def begin(self, problem: Problem) -> ClimbState:
        """Give the state before the first step, for each start."""
        weights, parameters = begin_inside(problem, self.init, self.n_init, shortest=True)
        z = _positions(problem.standard, weights, parameters)
        dtype, starts = problem.tiles.x.dtype, len(weights)
        return ClimbState(
            z,
            jax.vmap(optax.lbfgs().init)(z),
            jnp.full(starts, -jnp.inf, dtype),
            jnp.zeros(starts, int),
            jnp.full(starts, RUNNING),
            jnp.full(starts, self.tol, dtype),
        )

    @staticmethod
    def step(mixture: Mixture, rows: Tiles, state: ClimbState) -> tuple[ClimbState, Array]:
        """Take a step uphill."""

        def loss(z: dict[str, Array]) -> Array:
            return -log_joint(mixture, rows, *constrained(mixture, z)) / rows.w.sum()

        value, gradient = optax.value_and_grad_from_state(loss)(state.z, state=state.memory)
        uphill = optax.lbfgs()
        move, memory = uphill.update(gradient, state.memory, state.z, value=value, grad=gradient, value_fn=loss)
        z = optax.apply_updates(state.z, move)
        objective = -value
        finite = jnp.isfinite(objective) & all_finite(z)
        change = objective - state.objective
        quiet = jnp.where(jnp.abs(change) < state.tol, state.quiet + 1, 0)
        code = jnp.where(quiet >= QUIET, CONVERGED, RUNNING)
        code = jnp.where(change < -SLACK * (1 + jnp.abs(objective)), FELL, code)
        code = jnp.where(finite, code, NON_FINITE)
        return replace(state, z=z, memory=memory, objective=objective, quiet=quiet, code=code), objective

    @staticmethod
    def finished(state: ClimbState) -> Array:
        """Tell whether the objective settled or the step failed."""
        return state.code != RUNNING

    def posterior(self, problem: Problem, state: ClimbState) -> Point:
        """Give the proportions and parameters at the last position."""
        return Point(*jax.tree.map(np.asarray, _at(problem.standard, state.z)))


@jax.jit
def _positions(mixture: Mixture, weights: Array, parameters: Any) -> dict[str, Array]:
    """Give the positions of each start."""
    return jax.vmap(lambda *start: unconstrained(mixture, *start))(weights, parameters)


@jax.jit
def _at(mixture: Mixture, z: dict[str, Array]) -> tuple[Array, Any]:
    """Give proportions and parameters at a position."""
    return constrained(mixture, z)
