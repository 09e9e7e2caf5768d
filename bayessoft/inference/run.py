"""The only loop over engine steps: it owns compilation, status, trace, progress, early ends and the best start."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.dual import tolerance
from bayessoft.core.sweep import Tiles
from bayessoft.errors import FitError
from bayessoft.fit import Fit
from bayessoft.inference.checkpoint import Checkpoint
from bayessoft.inference.engine import Climber, Engine, Problem, Sampler
from bayessoft.mixture import Mixture
from bayessoft.posteriors import Conjugate, Draws, Guided, Point
from bayessoft.status import Status

__all__ = ["climb", "run"]

BLOCK = 64  # steps whose records one compiled block holds
PATIENCE = 0.5  # seconds between two looks at progress and interrupts, about

SIZES_MET = 1e-6  # violation of a size constraint, as a share of the total weight, above which the status tells of it

FEW = 4  # draws that each chain has to have kept for an early end to leave a fit: fewer cannot be checked
COUNTED, SHARE = 5.0, 0.05  # seconds between two counts of effective draws at least, and their share of the time

Progress = Callable[[int, float, float | None], None]
"""``progress(step, objective, effective)``, called now and then; `effective` draws are None where not known."""


class _Now(NamedTuple):
    """Where a run is: replaced as a whole, so that an interrupt finds no half of a step.

    Attributes
    ----------
    states
        Of all starts, after `done` steps.
    done : int
    blocks : list
        The records of each start, by block.
    """

    states: Any
    done: int
    blocks: list[list[Any]]


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


def run(
    engine: Climber | Sampler,
    problem: Problem,
    progress: Progress | None = None,
    *,
    effective: Callable[[Float[np.ndarray, "c s"]], float] | None = None,
    checkpoint: Checkpoint | None = None,
    time_limit: float | None = None,
) -> Fit:
    """Fit a mixture to rows, inside `numerics.scoped`.

    Parameters
    ----------
    engine : Climber or Sampler
        The algorithm.
    problem : Problem
        The mixture and the rows.
    progress : callable, optional
        Called with the number of steps, the objective so far (the best one of the starts, or the chains' mean), and the
        effective draws so far.
    effective : callable, optional
        Counts effective draws, of the log densities of a sampler.
    checkpoint : Checkpoint, optional
        Of a sampler: where the run is kept, and goes on from.
    time_limit : float, optional
        Of a sampler: seconds after which it ends with the draws so far.

    Returns
    -------
    Fit
        The result, of NumPy arrays.

    Raises
    ------
    FitError
        Every start failed, or the time ended before there were draws; carries the status.
    KeyboardInterrupt
        It came before there were draws; after that, the fit has the draws so far.
    """
    deadline = np.inf if time_limit is None else time.monotonic() + time_limit
    tell = None if progress is None else _Teller(engine, problem, progress, effective)
    now, early = _walk(engine, problem, tell, checkpoint, deadline)
    records = [[block[start] for block in now.blocks] for start in range(len(jax.tree.leaves(now.states)[0]))]
    posterior: Point | Conjugate | Draws
    if isinstance(engine, Sampler):
        if early is Status.TIME_LIMIT and not _enough(engine, now.done):
            raise _nothing_drawn(engine, now.done, checkpoint)
        posterior, status, trace = _drawn(engine, problem, now.states, records, early or Status.SAMPLED)
    else:
        posterior, status, trace = _climbed(engine, problem, now.states, records)
    return Fit(
        mixture=problem.mixture,
        frame=problem.frame,
        posterior=posterior,
        status=status,
        trace=trace,
        n=problem.data.n,
        total_weight=problem.data.total_weight,
        dtype=str(problem.data.values.dtype),
        device=problem.device,
        named=problem.data.evidence is not None,
    )


def climb(
    engine: Climber, problem: Any, progress: Progress | None = None
) -> tuple[Any, Status, Float[np.ndarray, " steps"]]:
    """Climb with an engine whose result is no fit of a mixture, inside `numerics.scoped`.

    Parameters
    ----------
    engine : Climber
        The algorithm.
    problem
        With the rows: ``standard``, what the engine's steps take, ``tiles`` and ``data``.
    progress : callable, optional
        As of `run`.

    Returns
    -------
    state, status, objectives
        Of the best start.

    Raises
    ------
    FitError
        Every start failed; carries the status.
    """
    tell = None if progress is None else _Teller(engine, problem, progress, None)
    now, _ = _walk(engine, problem, tell, None, np.inf)
    records = [[block[start] for block in now.blocks] for start in range(len(jax.tree.leaves(now.states)[0]))]
    return _best(engine, now.states, records)


def _walk(
    engine: Engine,
    problem: Problem,
    tell: Callable[[_Now], None] | None,
    checkpoint: Checkpoint | None,
    deadline: float,
) -> tuple[_Now, Status | None]:
    """Step from several starts at once until each is finished; give where that led, and what ended it early, if any."""
    now, limit = _begun(engine, problem, checkpoint), 8
    try:
        while now.done < engine.steps:
            began = time.monotonic()
            if began > deadline:
                return now, Status.TIME_LIMIT
            limit = min(limit, engine.steps - now.done)
            now, over = _stepped(engine.program, problem, now, limit)
            if checkpoint is not None and checkpoint.due:
                checkpoint.save(*now)
            if tell is not None:
                tell(now)
            if over:
                break
            slow = time.monotonic() - began > PATIENCE
            limit = max(1, limit // 2) if slow else min(BLOCK, 2 * limit)
    except KeyboardInterrupt:
        if not _enough(engine, now.done):
            raise
        return now, Status.INTERRUPTED if now.done < engine.steps else None
    finally:
        if checkpoint is not None:
            checkpoint.save(*now)
    return now, None


def _begun(engine: Engine, problem: Problem, checkpoint: Checkpoint | None) -> _Now:
    """Give where a run begins, or goes on."""
    if checkpoint is None:
        return _Now(engine.begin(problem), 0, [])
    if checkpoint.steps is not None:
        states, blocks = checkpoint.load()
        return _Now(states, checkpoint.steps, blocks)
    now = _Now(engine.begin(problem), 0, [])
    checkpoint.save(*now)
    return now


def _stepped(program: Any, problem: Problem, now: _Now, limit: int) -> tuple[_Now, bool]:
    """Take up to `limit` steps from each start, and tell whether all are finished."""
    block = _block(program, problem.standard, problem.tiles, now.states, jnp.asarray(limit))
    states, found, counts = jax.block_until_ready(block)
    found, counts = jax.tree.map(np.asarray, (found, counts))
    own = [jax.tree.map(lambda leaf: leaf[i, :count].copy(), found) for i, count in enumerate(counts)]  # noqa: B023
    over = counts.max() < limit or bool(jax.vmap(program.finished)(states).all())
    return _Now(states, now.done + limit, [*now.blocks, own]), over


class _Teller:
    """Tells of progress, and counts effective draws now and then."""

    def __init__(self, engine: Engine, problem: Problem, progress: Progress, effective: Any) -> None:
        self.engine, self.weight = engine, problem.data.total_weight
        self.progress, self.effective = progress, effective
        self.number: float | None = None
        self.next = time.monotonic() + COUNTED

    def __call__(self, now: _Now) -> None:
        engine, began = self.engine, time.monotonic()
        due = self.effective is not None and began > self.next
        if due and isinstance(engine, Sampler) and now.done > engine.warmup:
            blocks = [np.stack([own.stats["log_density"] for own in block]) for block in now.blocks]
            self.number = self.effective(np.concatenate(blocks, axis=1)[:, engine.warmup :])
            ended = time.monotonic()
            self.next = ended + max(COUNTED, (ended - began) / SHARE)
        self.progress(now.done, engine.objective(now.blocks[-1], self.weight), self.number)


def _enough(engine: Engine, done: int) -> bool:
    """Tell whether an early end leaves draws."""
    return isinstance(engine, Sampler) and done - engine.warmup >= min(FEW, engine.draws)


def _nothing_drawn(engine: Sampler, done: int, checkpoint: Checkpoint | None) -> FitError:
    """Say that the time ended too early, and where to go on."""
    where = f"step {done} of {engine.warmup} of the warmup" if done < engine.warmup else "the first few draws"
    advice = "raise time_limit, or pass checkpoint= to go on in a later call"
    if checkpoint is not None:
        advice = f"fit again with checkpoint={str(checkpoint.path)!r} to go on from there, or raise time_limit"
    return FitError(f"time_limit ended the run at {where}, so nothing is kept", status=Status.TIME_LIMIT, advice=advice)


def _failed(status: Status, step: int, remark: str = "") -> FitError:
    return FitError(f"the fit failed at step {step}{remark}", status=status, advice=status.text)


def _climbed(
    engine: Climber, problem: Problem, states: Any, records: list[list[Any]]
) -> tuple[Point | Conjugate | Guided, Status, Float[np.ndarray, " steps"]]:
    """Give the best start's result, status and objectives in original units."""
    state, status, objectives = _best(engine, states, records)
    posterior = engine.posterior(problem, state)
    if isinstance(posterior, Conjugate | Guided):
        units = problem.frame.log_det  # divergences have no units
    else:
        units = _units(problem, posterior.weights, posterior.parameters)
    return posterior, _status(status, problem, posterior), objectives + units


def _drawn(
    engine: Sampler, problem: Problem, states: Any, records: list[list[Any]], status: Status
) -> tuple[Draws, Status, Float[np.ndarray, " s"]]:
    """Give the draws of all chains, and the chains' mean log density per unit weight in original units."""
    chains = [jax.tree.map(lambda *parts: np.concatenate(parts), *own) for own in records]
    together = jax.tree.map(lambda *parts: np.stack(parts)[:, : engine.steps], *chains)
    posterior = engine.posterior(problem, together, states)
    finite = np.isfinite(posterior.log_density)
    if not finite.all():
        raise _failed(Status.NON_FINITE, engine.warmup + int(np.argmin(finite.all(0))) + 1)
    first = jax.tree.map(lambda leaf: leaf[0, 0], (posterior.weights, posterior.parameters))
    densities = posterior.log_density.astype(np.float64).mean(0) / problem.data.total_weight
    return posterior, status, densities + _units(problem, *first)


def _units(problem: Problem, weights: np.ndarray, inside: Any) -> float:
    """Give what the objective per unit weight gains in original units: the volume of a standardised unit."""
    weights = weights.astype(np.float64)
    outside = problem.mixture.family.map_parameters(inside, problem.frame)
    prior = problem.mixture.log_prior(weights, outside) - problem.standard.log_prior(weights, inside)
    volume = problem.mixture.family.power * problem.frame.log_det
    return volume + float(prior) / problem.data.total_weight


def _status(status: Status, problem: Problem, posterior: Point | Conjugate | Guided) -> Status:
    """Look at what a converged state cannot know: the original units."""
    if isinstance(posterior, Guided):
        return status
    met = max(SIZES_MET, 2 * tolerance(problem.data.values.dtype))
    if posterior.sizes is not None and posterior.sizes.violation > met:
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
