"""Gibbs sampling: labels given parameters in one pass over the rows, then parameters given labels, in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int

from bayessoft.core.allocate import allocate
from bayessoft.core.assignment import best_labels
from bayessoft.core.rearrange import counted, filled, rearrange, settled
from bayessoft.core.sweep import Tiles, logits
from bayessoft.errors import OptionError
from bayessoft.families.family import pytree, seeded
from bayessoft.inference.engine import Draw, Problem, Sampler, whole
from bayessoft.inference.kernel import GibbsKernel
from bayessoft.inference.refusals import drawable_only
from bayessoft.inference.start import begin_chains, matched
from bayessoft.mixture import Mixture
from bayessoft.posteriors import Draws

__all__ = ["Gibbs", "GibbsState"]

KEPT, KEPT_LEAST, KEPT_CELLS = 1000, 16, 1 << 25  # draws of a chain whose labels are kept, and labels: 32 MB


@pytree()
@dataclass(frozen=True, eq=False)
class Labels:
    """Labels that stay from sweep to sweep, since their counts have bounds; b inverse temperatures, N places of rows.

    Attributes
    ----------
    now : array of shape (b, N), int
    low, high : array of shape (k,), int
        Smallest and largest number of rows of each component.
    kept : array of shape (m, N), int
        Those of the last of every few draws, in turn.
    first, every : int
        The sweep from which draws count, and of how many draws one has its labels kept.
    """

    now: Int[Array, "b N"]
    low: Int[Array, " k"]
    high: Int[Array, " k"]
    kept: Int[Array, "m N"]
    first: Array
    every: Array

    def with_draw(self, own: Int[Array, " N"], sweeps: Array) -> Int[Array, "m N"]:
        """Give those kept, with the labels of a draw in the place of the oldest, if they are to be kept."""
        m = len(self.kept)
        if m == 0:
            return self.kept
        number = sweeps - self.first
        place = jnp.where((number >= 0) & (number % self.every == 0), number // self.every % m, m)
        return self.kept.at[place].set(own, mode="drop")


@pytree(static=("repeated",))
@dataclass(frozen=True, eq=False)
class GibbsState:
    """What the next sweep of a chain needs; b inverse temperatures.

    Attributes
    ----------
    key : key
    sweeps : int
        How many were made.
    weights : array of shape (b, k)
    parameters
        Of the components, with a leading axis over the temperatures.
    groups : array of shape (k,), int
        Clusters with the same number may change places.
    ancestry : array of shape (k,), int
        The clusters of the start that the components were.
    repeated : bool
        Whether some rows have weights above 1.
    labels : Labels or None
        None where sizes are free.
    """

    key: Array
    sweeps: Array
    weights: Float[Array, "b k"]
    parameters: Any
    groups: Int[Array, " k"]
    ancestry: Int[Array, " k"]
    repeated: bool
    labels: Labels | None = None


@dataclass(frozen=True)
class Gibbs(Sampler):
    """Gibbs sampling of labels and parameters in turn.

    Parameters
    ----------
    draws : int >= 1
        Draws that each chain keeps, one after each sweep over the rows.
    warmup : int >= 1
        Sweeps before them, which are dropped.
    chains : int >= 1
        Number of chains, run from different starts.
    inverse_temperatures : tuple of float
        1 first, then falling numbers above 0: copies of each chain in which the rows' densities are raised to these
        powers, and which change places with their neighbours. Hot copies cross between modes that a chain alone would
        not leave. The default is no copy.
    permute : bool
        Whether clusters with the same priors change places at random after each sweep, so that draws come from all the
        labellings that the posterior has.

    Notes
    -----
    Diebolt and Robert, J. Royal Statistical Society B 56 (1994); random permutations after Frühwirth-Schnatter, J.
    American Statistical Association 96 (2001). Copies at inverse temperature b have the density p(parameters, labels)
    p(rows given both)^b, and neighbours change places in turn, even pairs after odd ones (Syed et al., J. Royal
    Statistical Society B 84 (2022)). Weights of the rows are whole numbers: a row of weight 3 counts as three, each
    with a label of its own.

    Under a size constraint the *counts* of the labels are allowed ones in every draw, which have the density of
    proportions, parameters, labels and rows restricted to such labels. Labels then stay from sweep to sweep: disjoint
    pairs of rows swap theirs, and where counts have room, blocks of rows draw theirs anew.

    Examples
    --------
    >>> Gibbs(draws=500).chains
    4
    """

    WHOLE_WEIGHTS: ClassVar[bool] = True
    SIDE_BY_SIDE: ClassVar[int] = 256

    draws: int = 1000
    warmup: int = 1000
    chains: int = 4
    inverse_temperatures: tuple[float, ...] = (1.0,)
    permute: bool = True

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        for name in ("draws", "warmup", "chains"):
            whole(name, getattr(self, name))
        given = self.inverse_temperatures
        if not (isinstance(given, tuple) and given and all(isinstance(b, Real) and 0 < b <= 1 for b in given)):
            raise OptionError(
                f"inverse_temperatures is {given!r}: pass a tuple of numbers in (0, 1], such as (1.0, 0.5)"
            )
        if given[0] != 1 or any(b >= a for a, b in zip(given, given[1:], strict=False)):
            raise OptionError(f"inverse_temperatures is {given!r}: start with 1.0, and let the others fall")

    @property
    def program(self) -> Gibbs:
        return replace(self, draws=1, warmup=1, chains=1)  # none of which takes part in a sweep

    def check(self, mixture: Mixture) -> None:
        drawable_only(mixture, "gibbs")
        free, prior = mixture.sizes is not None and mixture.sizes.order == "any", mixture.weights
        known = not isinstance(mixture.family.prior, str | None)
        known = known and prior is not None and np.shape(prior.concentration) == (mixture.k,)  # else not looked at yet
        if free and known and np.any(mixture.exchangeable()):
            raise OptionError(
                "the priors tell the clusters apart, and sizes of any order would go to other clusters in other "
                "chains: pass order='given' with means_init"
            )
        family: Any = mixture.family
        if len(self.inverse_temperatures) > 1 and not family.labels_alone:
            raise OptionError(
                f"inverse_temperatures is {self.inverse_temperatures!r}, but {family.name} draws more of a row than "
                "its label, which copies at other temperatures cannot: leave it out, or use inference='nuts'"
            )

    def begin(self, problem: Problem) -> GibbsState:
        """Give the state before the first sweep, for each chain."""
        starts = begin_chains(problem, self.chains)
        states, counts = self.begin_at(problem, *starts), _counts(problem)
        if states.labels is None or counts is None:
            return states
        low, high = (jnp.asarray(each, jnp.int32) for each in matched(problem, *starts, *counts))
        labels = replace(states.labels, low=low, high=high)
        labels = replace(labels, now=_best(problem, states, labels))
        return _settled(problem.standard, problem.tiles, replace(states, labels=labels))

    def begin_at(self, problem: Problem, weights: Array, parameters: Any) -> GibbsState:
        keys = jax.random.split(jax.random.key(problem.seed, impl="threefry2x32"), self.chains)
        counts = _counts(problem)
        kept = 0 if counts is None else max(KEPT_LEAST, min(KEPT, KEPT_CELLS // problem.tiles.w.size))

        def one(weights: Array, parameters: Any, key: Array) -> GibbsState:
            return self.at(problem.standard, problem.tiles, weights, parameters, key, counts, kept)

        every = jax.vmap(one)(weights, parameters, keys)
        return replace(every, repeated=bool((problem.data.weights > 1).any()))

    def at(
        self,
        mixture: Mixture,
        rows: Tiles,
        weights: Array,
        parameters: Any,
        key: Array,
        counts: tuple[Any, Any] | None = None,
        kept: int = 0,
    ) -> GibbsState:
        copies = len(self.inverse_temperatures)
        weights, parameters = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (copies, *leaf.shape)), (weights, parameters)
        )
        groups, ancestry, labels = _exchangeable(mixture, rows), jnp.arange(mixture.k), None
        if counts is not None:
            low, high = (jnp.asarray(side, jnp.int32) for side in counts)
            begun = filled(low, high, rows.w.reshape(-1), jnp.uint8 if mixture.k <= 256 else jnp.uint16)
            labels = Labels(
                jnp.broadcast_to(begun, (copies, len(begun))),
                low,
                high,
                jnp.zeros((kept, len(begun)), begun.dtype),
                jnp.asarray(self.warmup),
                jnp.asarray(-(-min(KEPT, self.draws) // max(kept, 1))),
            )
            groups = _alike(groups, low, high)
        return GibbsState(key, jnp.zeros((), jnp.int32), weights, parameters, groups, ancestry, False, labels)

    def step(self, mixture: Mixture, rows: Tiles, state: GibbsState) -> tuple[GibbsState, Draw]:
        """Give the state after a sweep, and the draw before it, whose log-likelihood the sweep has found."""
        key, sweep_key, swap_key, permute_key = jax.random.split(state.key, 4)
        betas = jnp.asarray(self.inverse_temperatures, rows.x.dtype)
        labels, sweeps = state.labels, state.sweeps
        copies = (state.weights, state.parameters, None if labels is None else labels.now)

        def sweep(copy: Any) -> tuple[Array, Any, Array]:
            return _sweep(mixture, rows, state, *copy)

        values, after, complete = lax.map(sweep, (*copies, betas, jax.random.split(sweep_key, len(betas))))
        weights, parameters, own = jax.tree.map(lambda leaf: leaf[0], copies)
        stats = {"log_density": values[0] + mixture.log_prior(weights, parameters)}
        if len(betas) > 1:
            order, stats["swap_rate"] = _swaps(betas, complete, sweeps % 2, swap_key)
            after = jax.tree.map(lambda leaf: leaf[order], after)
        counts = None if labels is None else counted(own, rows.w.reshape(-1), mixture.k)
        draw = Draw(weights, parameters, stats, state.ancestry, counts)
        if self.permute:
            order = _permutation(state.groups, permute_key)
            state = replace(state, ancestry=state.ancestry[order])
            after = _arranged(mixture, after, order)
        if labels is not None:
            labels = replace(labels, now=after[2], kept=labels.with_draw(own, sweeps))
        after = replace(state, key=key, sweeps=sweeps + 1, weights=after[0], parameters=after[1], labels=labels)
        return after, draw

    def posterior(self, problem: Problem, records: Any, states: Any) -> Draws:
        """Give the draws; where sizes are constrained, with the labels that were kept of them, in their order."""
        found = super().posterior(problem, records, states)
        if states.labels is None:
            return found
        kept, drawn = np.asarray(states.labels.kept), int(states.sweeps[0]) - self.warmup
        every = int(states.labels.every[0])
        last = -(-drawn // every)
        numbers = np.arange(max(0, last - kept.shape[1]), last)
        numbers = numbers[numbers * every < found.weights.shape[1]]
        if not len(numbers):  # of a run that was longer
            return found
        labels = kept[:, numbers % kept.shape[1], : problem.data.n]
        return replace(found, labels=labels, labelled=numbers * every)

    def kernel(self, mixture: Mixture) -> GibbsKernel:
        """Give the sweep as a kernel for ``numpyro.infer.MCMC``, which says how many chains and draws there are."""
        return GibbsKernel(mixture, self)


def _sweep(
    mixture: Mixture,
    rows: Tiles,
    state: GibbsState,
    weights: Array,
    parameters: Any,
    labels: Array | None,
    beta: Array,
    key: Array,
) -> tuple[Array, tuple[Array, Any, Array | None], Array]:
    """Draw labels, then proportions and parameters.

    Gives the rows' log-normaliser before, the draws, and the log density of the rows under the drawn parameters and
    labels.
    """
    family = mixture.drawable()[0]
    labels_key, draw_key = jax.random.split(key)
    given = (family, parameters, jnp.log(weights), rows)
    if labels is None or state.labels is None:
        value, statistics = allocate(*given, labels_key, beta, state.repeated)
    else:
        bounds = state.labels.low, state.labels.high
        value, labels, statistics = rearrange(*given, labels, *bounds, labels_key, beta)
    weights, parameters = mixture.redraw(parameters, statistics, statistics.weight / beta, seeded(draw_key))
    weights = jnp.maximum(weights, jnp.finfo(weights.dtype).tiny)  # small concentrations draw less than is held
    return value, (weights, parameters, labels), family.statistics_log_density(parameters, statistics) / beta


def _swaps(betas: Array, complete: Array, parity: Array, key: Array) -> tuple[Array, Array]:
    """Give the order of the copies after neighbours changed places or not, and the share of the tried that did."""
    pairs = len(betas) - 1
    gain = (betas[:-1] - betas[1:]) * (complete[1:] - complete[:-1])
    tried = jnp.arange(pairs) % 2 == (parity if pairs > 1 else 0)
    accepted = tried & (jnp.log(jax.random.uniform(key, (pairs,), gain.dtype)) < gain)
    none = jnp.zeros(1, bool)
    up, down = jnp.concatenate([accepted, none]), jnp.concatenate([none, accepted])
    order = jnp.arange(len(betas)) + up - down
    return order, accepted.sum() / tried.sum().astype(gain.dtype)


def _permutation(groups: Int[Array, " k"], key: Array) -> Int[Array, " k"]:
    """Draw an order of clusters that moves them within their groups alone."""
    places = jnp.argsort(groups, stable=True)
    shuffled = jnp.lexsort((jax.random.uniform(key, groups.shape), groups))
    return jnp.zeros_like(groups).at[places].set(shuffled.astype(groups.dtype))


def _arranged(mixture: Mixture, copies: Any, order: Int[Array, " k"]) -> Any:
    """Give copies whose component i is the one that was `order[i]`."""
    weights, parameters, labels = copies
    every = jnp.broadcast_to(order, weights.shape)
    if labels is not None:
        labels = jnp.argsort(order).astype(labels.dtype)[labels]
    return jnp.take_along_axis(weights, every, -1), mixture.family.arranged(parameters, every), labels


def _exchangeable(mixture: Mixture, rows: Tiles) -> Int[Array, " k"]:
    """Give each cluster the number of the first one that it may change places with: evidence tells them apart."""
    if rows.beside is not None and rows.beside.evidence is not None:
        return jnp.arange(mixture.k)
    return jnp.asarray(mixture.exchangeable())


def _alike(groups: Int[Array, " k"], low: Array, high: Array) -> Int[Array, " k"]:
    """Give each cluster the number of the first one of its group that has the same bounds."""
    same = (groups[:, None] == groups) & (low[:, None] == low) & (high[:, None] == high)
    return jnp.argmax(same, axis=0)


def _counts(problem: Problem) -> tuple[np.ndarray, np.ndarray] | None:
    """Give the smallest and the largest number of rows of each cluster; None where sizes are free."""
    if problem.mixture.sizes is None:
        return None
    return problem.mixture.sizes.counts(problem.mixture.k, int(problem.data.total_weight))


def _best(problem: Problem, states: GibbsState, labels: Labels) -> Int[Array, "c b N"]:
    """Give each chain the best labels under its proportions and parameters, of those with allowed counts."""
    counts = problem.tiles.w.reshape(-1) > 0
    found = np.zeros(labels.now.shape, labels.now.dtype)
    for chain, own in enumerate(found):
        at = jax.tree.map(lambda leaf: leaf[chain, 0], (states.weights, states.parameters))  # noqa: B023
        scores = np.asarray(_scores(problem.standard, problem.tiles, *at)).swapaxes(1, 2).reshape(counts.size, -1)
        bounds = np.asarray(labels.low[chain]), np.asarray(labels.high[chain])
        own[:, np.asarray(counts)] = best_labels(scores[np.asarray(counts)], *bounds).labels
    return jnp.asarray(found)


@jax.jit
def _scores(mixture: Mixture, rows: Tiles, weights: Array, parameters: Any) -> Float[Array, "T k t"]:
    """Give the log of the proportion times the density of each component for every row."""
    return logits(mixture.family.with_prior(None), parameters, jnp.log(weights), rows)


@jax.jit
def _settled(mixture: Mixture, rows: Tiles, states: GibbsState) -> GibbsState:
    """Give the states with labels that follow their proportions and parameters, as near as the bounds let them."""

    def one(state: GibbsState) -> GibbsState:
        assert state.labels is not None
        weights, parameters = jax.tree.map(lambda leaf: leaf[0], (state.weights, state.parameters))
        key, own = jax.random.split(state.key)
        bounds = state.labels.low, state.labels.high
        begun = state.labels.now[0]
        found = settled(mixture.drawable()[0], parameters, jnp.log(weights), rows, begun, *bounds, own)
        labels = replace(state.labels, now=jnp.broadcast_to(found, state.labels.now.shape))
        return replace(state, key=key, labels=labels, groups=_alike(_exchangeable(mixture, rows), *bounds))

    return lax.map(one, states)
