"""The only loop over engine steps: it owns compilation, status, trace, progress and the choice of the best start."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.dual import tolerance
from bayessoft.core.sweep import Tiles
from bayessoft.errors import FitError
from bayessoft.fit import Conjugate, Draws, Fit, Point
from bayessoft.inference.engine import Climber, Engine, Problem, Sampler
from bayessoft.mixture import Mixture
from bayessoft.status import Status

__all__ = ["run"]

BLOCK = 64  # steps whose records one compiled block holds
PATIENCE = 0.5  # seconds between two looks at progress and interrupts, about

SIZES_MET = 1e-6  # violation of a size constraint, as a share of the total weight, above which the status tells of it

Progress = Callable[[int, float], None]
"""``progress(step, objective)``, called now and then."""


@partial(jax.jit, static_argnums=0)
def _block(program: Any, mixture: Mixture, rows: Tiles, states: Any, limit: Array) -> tuple[Any, Any, Array]:
    """Take up to `limit` steps from each start, as one program; give states, records and their numbers."""

    def one(state: Any) -> tuple[Any, Any, Array]:
        def body(carry: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
            state, records, i = carry
            state, record = program.step(mixture, rows, state)
            return state, jax.tree.map(lambda all_, new: all_.at[i].set(new), records, record), i + 1

        def going(carry: tuple[Any, Any, Array]) -> Array:
            return (carry[2] < limit) & ~program.finished(carry[0])

        record = jax.eval_shape(lambda state: program.step(mixture, rows, state)[1], state)
        records = jax.tree.map(lambda leaf: jnp.zeros((BLOCK, *leaf.shape), leaf.dtype), record)
        return lax.while_loop(going, body, (state, records, jnp.asarray(0)))

    return program.together(one, states)


def run(engine: Climber | Sampler, problem: Problem, progress: Progress | None = None) -> Fit:
    """Fit a mixture to rows, inside `numerics.scoped`.

    Parameters
    ----------
    engine : Climber or Sampler
        The algorithm.
    problem : Problem
        The mixture and the rows.
    progress : callable, optional
        Called with the number of steps and the objective so far: the best one of the starts, or the chains' mean.

    Returns
    -------
    Fit
        The result, of NumPy arrays.

    Raises
    ------
    FitError
        Every start failed; carries the status.
    """
    states, records = _walk(engine, problem, progress)
    posterior: Point | Conjugate | Draws
    if isinstance(engine, Sampler):
        posterior, status, trace = _drawn(engine, problem, records)
    else:
        posterior, status, trace = _climbed(engine, problem, states, records)
    return Fit(
        mixture=problem.mixture,
        frame=problem.frame,
        posterior=posterior,
        status=status,
        trace=trace,
        n=problem.data.n,
        total_weight=problem.data.total_weight,
        dtype=str(problem.data.values.dtype),
        device=next(iter(problem.tiles.x.devices())).device_kind,
    )


def _walk(engine: Engine, problem: Problem, progress: Progress | None) -> tuple[Any, list[list[Any]]]:
    """Step from several starts at once until each is finished; give the last states and each start's records."""
    states, program = engine.begin(problem), engine.program
    records: list[list[Any]] = [[] for _ in range(len(jax.tree.leaves(states)[0]))]
    done, limit = 0, 8
    while done < engine.steps:
        began = time.perf_counter()
        limit = min(limit, engine.steps - done)
        block = _block(program, problem.standard, problem.tiles, states, jnp.asarray(limit))
        states, found, counts = jax.block_until_ready(block)
        found, counts = jax.tree.map(np.asarray, (found, counts))
        done += limit
        for start, (own, count) in enumerate(zip(records, counts, strict=True)):
            own.append(jax.tree.map(lambda leaf: leaf[start, :count].copy(), found))  # noqa: B023 - used at once
        if progress is not None:
            progress(done, engine.objective([own[-1] for own in records], problem.data.total_weight))
        if counts.max() < limit or bool(jax.vmap(program.finished)(states).all()):
            break
        slow = time.perf_counter() - began > PATIENCE
        limit = max(1, limit // 2) if slow else min(BLOCK, 2 * limit)
    return states, records


def _failed(status: Status, step: int, remark: str = "") -> FitError:
    return FitError(f"the fit failed at step {step}{remark}", status=status, advice=status.text)


def _climbed(
    engine: Climber, problem: Problem, states: Any, records: list[list[Any]]
) -> tuple[Point | Conjugate, Status, Float[np.ndarray, " steps"]]:
    """Give the best start's result, status and objectives in original units."""
    state, status, objectives = _best(engine, states, records)
    posterior = engine.posterior(problem, state)
    if isinstance(posterior, Conjugate):
        units = problem.frame.log_det  # divergences have no units
    else:
        units = _units(problem, posterior.weights, posterior.parameters)
    return posterior, _status(status, problem, posterior), objectives + units


def _drawn(
    engine: Sampler, problem: Problem, records: list[list[Any]]
) -> tuple[Draws, Status, Float[np.ndarray, " s"]]:
    """Give the draws of all chains, and the chains' mean log density per unit weight in original units."""
    chains = [jax.tree.map(lambda *parts: np.concatenate(parts), *own) for own in records]
    together = jax.tree.map(lambda *parts: np.stack(parts), *chains)
    posterior = engine.posterior(problem, together)
    finite = np.isfinite(posterior.log_density)
    if not finite.all():
        raise _failed(Status.NON_FINITE, engine.steps - finite.shape[1] + int(np.argmin(finite.all(0))) + 1)
    first = jax.tree.map(lambda leaf: leaf[0, 0], (posterior.weights, posterior.parameters))
    densities = posterior.log_density.astype(np.float64).mean(0) / problem.data.total_weight
    return posterior, Status.SAMPLED, densities + _units(problem, *first)


def _units(problem: Problem, weights: np.ndarray, inside: Any) -> float:
    """Give what the objective per unit weight gains in original units: the volume of a standardised unit."""
    weights = weights.astype(np.float64)
    outside = problem.mixture.family.map_parameters(inside, problem.frame)
    prior = problem.mixture.log_prior(weights, outside) - problem.standard.log_prior(weights, inside)
    return problem.frame.log_det + float(prior) / problem.data.total_weight


def _status(status: Status, problem: Problem, posterior: Point | Conjugate) -> Status:
    """Look at what a converged state cannot know: the original units."""
    met = max(SIZES_MET, 2 * tolerance(problem.data.values.dtype)) * problem.data.total_weight
    if isinstance(posterior, Point) and posterior.sizes is not None and posterior.sizes.violation > met:
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


def _best(engine: Climber, states: Any, records: list[list[Any]]) -> tuple[Any, Status, np.ndarray]:
    """Keep the start with the highest objective among those that did not fail: its state, status and objectives."""
    objectives = [np.concatenate([np.zeros(0), *own]) for own in records]
    ends = [engine.CODES[int(code)] for code in np.asarray(states.code)]
    good = [i for i, end in enumerate(ends) if not end.failed]
    if not good:
        status, path = ends[0], objectives[0]
        fall = f" by {path[-2] - path[-1]:.3g} nats per row" if status is Status.FELL else ""
        raise _failed(status, len(path), fall)
    best = max(good, key=lambda i: objectives[i][-1] if len(objectives[i]) else -np.inf)
    return jax.tree.map(lambda leaf: np.array(leaf[best]), states), ends[best], objectives[best]
