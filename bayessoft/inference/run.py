"""The only loop over engine steps: it owns compilation, status, trace, progress and the choice of the best start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bayessoft.core.sweep import Tiles
from bayessoft.errors import FitError
from bayessoft.fit import Fit, Point, Status
from bayessoft.inference.engine import Climber, Problem
from bayessoft.mixture import Mixture

__all__ = ["run"]

BLOCK = 64  # steps whose records one compiled block holds
PATIENCE = 0.5  # seconds between two looks at progress and interrupts, about

SIZES_MET = 1e-4  # violation of a size constraint, as a share of the total weight, that the status tells of

Progress = Callable[[int, float], None]
"""``progress(step, objective)``, called now and then."""


@dataclass(frozen=True, eq=False)
class Climb:
    """What a loop over steps left.

    Attributes
    ----------
    state
        The best start's last state, of NumPy arrays.
    code : int
        How it ended, in the engine's own codes.
    objectives : array of shape (steps,)
        The objective at each of its steps.
    """

    state: Any
    code: int
    objectives: np.ndarray


@partial(jax.jit, static_argnums=0)
def _block(engine: type[Climber], mixture: Mixture, rows: Tiles, states: Any, limit: Array) -> tuple[Any, Array, Array]:
    """Take up to `limit` steps from each start, as one program."""

    def one(state: Any) -> tuple[Any, Array, Array]:
        def body(carry: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
            state, records, i = carry
            state, objective = engine.step(mixture, rows, state)
            return state, records.at[i].set(objective), i + 1

        def going(carry: tuple[Any, Array, Array]) -> Array:
            return (carry[2] < limit) & ~engine.finished(carry[0])

        records = jnp.zeros(BLOCK, rows.x.dtype)
        return lax.while_loop(going, body, (state, records, jnp.asarray(0)))

    return lax.map(one, states)


def run(engine: Climber, problem: Problem, progress: Progress | None = None) -> Fit:
    """Fit a mixture to rows, inside `numerics.scoped`.

    Parameters
    ----------
    engine : Climber
        The algorithm.
    problem : Problem
        The mixture and the rows.
    progress : callable, optional
        Called with the number of steps and the best objective so far.

    Returns
    -------
    Fit
        The result, of NumPy arrays.

    Raises
    ------
    FitError
        Every start failed; carries the status.
    """
    climb = _climb(engine, problem.standard, problem.tiles, engine.begin(problem), progress)
    posterior = engine.posterior(problem, climb.state)
    return Fit(
        mixture=problem.mixture,
        frame=problem.frame,
        posterior=posterior,
        status=_status(engine.CODES[climb.code], problem, posterior),
        trace=climb.objectives.astype(np.float64) + _units(problem, posterior),
        n=problem.data.n,
        total_weight=problem.data.total_weight,
        dtype=str(problem.data.values.dtype),
        device=next(iter(problem.tiles.x.devices())).device_kind,
    )


def _units(problem: Problem, posterior: Point) -> float:
    """Give what the objective per unit weight gains in original units: the volume of a standardised unit."""
    weights, inside = posterior.weights.astype(np.float64), posterior.parameters
    family = problem.mixture.family
    outside = family.map_parameters(inside, problem.frame)
    prior = problem.mixture.log_prior(weights, outside) - problem.standard.log_prior(weights, inside)
    return problem.frame.log_det + float(prior) / problem.data.total_weight


def _status(status: Status, problem: Problem, posterior: Point) -> Status:
    """Look at what a converged state cannot know: the original units."""
    if posterior.sizes is not None and posterior.sizes.violation > SIZES_MET * problem.data.total_weight:
        return Status.SIZES_NOT_MET
    family = problem.mixture.family
    doubt = family.doubt(posterior.parameters, problem.frame, problem.data.values.dtype, problem.reg_covar)
    if doubt == "ill-conditioned":
        raise FitError(
            "the fit ended, but its result cannot be held",
            status=Status.ILL_CONDITIONED,
            advice=Status.ILL_CONDITIONED.text,
        )
    return Status.REG_COVAR_DOMINATES if doubt and status is Status.CONVERGED else status


def _climb(engine: Climber, mixture: Mixture, rows: Tiles, states: Any, progress: Progress | None) -> Climb:
    """Step from several starts at once until each is finished, and keep the best."""
    traces: list[list[np.ndarray]] = [[] for _ in range(len(jax.tree.leaves(states)[0]))]
    max_iter, done, limit = engine.max_iter, 0, 8
    while done < max_iter:
        began = time.perf_counter()
        limit = min(limit, max_iter - done)
        states, records, counts = jax.block_until_ready(_block(type(engine), mixture, rows, states, jnp.asarray(limit)))
        done += limit
        for trace, record, count in zip(traces, np.asarray(records), np.asarray(counts), strict=True):
            trace.append(record[:count])
        if progress is not None:
            progress(done, max(float(trace[-1][-1]) for trace in traces if len(trace[-1])))
        if np.asarray(counts).max() < limit or bool(jax.vmap(engine.finished)(states).all()):
            break
        slow = time.perf_counter() - began > PATIENCE
        limit = max(1, limit // 2) if slow else min(BLOCK, 2 * limit)
    return _best(engine, states, [np.concatenate([np.zeros(0), *trace]) for trace in traces])


def _best(engine: Climber, states: Any, objectives: list[np.ndarray]) -> Climb:
    """Keep the start with the highest objective among those that did not fail."""
    codes = np.asarray(states.code)
    ends = [engine.CODES[int(code)] for code in codes]
    good = [i for i, end in enumerate(ends) if not end.failed]
    if not good:
        status, path = ends[0], objectives[0]
        fall = f" by {path[-2] - path[-1]:.3g} nats per row" if status is Status.FELL else ""
        raise FitError(f"the fit failed at step {len(path)}{fall}", status=status, advice=status.text)
    best = max(good, key=lambda i: objectives[i][-1] if len(objectives[i]) else -np.inf)
    state = jax.tree.map(lambda leaf: np.array(leaf[best]), states)
    return Climb(state, int(codes[best]), objectives[best])
