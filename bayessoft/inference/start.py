"""Starting points: labels of the rows, and the parameters that fit them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jaxtyping import Float, Int
from scipy.special import softmax

from bayessoft.core.demand import match
from bayessoft.core.dual import natural_sizes
from bayessoft.core.sweep import Tiles, over_tiles, sweep
from bayessoft.data.rows import fresh
from bayessoft.families.family import GibbsFamily, SweptFamily, lacking, seeded
from bayessoft.inference.engine import Problem
from bayessoft.inference.seeding import LLOYD, by_evidence, centres, joined
from bayessoft.inference.unconstrained import constrained, log_joint, unconstrained
from bayessoft.mixture import Mixture
from bayessoft.numerics import all_finite, balanced, standardising

__all__ = ["begin", "begin_chains", "begin_inside", "matched"]

WAYS, TRIES = ("kmeans", "k-means++"), 4  # a chain has so many clusterings of each to start from: most modes are traps
STEPS = 50  # of L-BFGS, where there is no M-step
CLIMB = 30  # steps of EM from each, since k-means does not know the shapes of clusters
CHOSEN_FROM, FEW_ROWS, FEW_OF_EACH = 10, 2000, 50  # k-means clusterings, and of how many rows (of each cluster)
SURE = 0.5  # membership by evidence alone from which a row starts there
FEW_VALUES = 5  # of a column that says nothing of where clusters of measurements start


def begin(problem: Problem, method: str, n_init: int, floor: Array, shortest: bool = False) -> tuple[Array, Any]:
    """Give proportions and parameters in the standardised rows' units, with a leading axis over starts.

    What the problem gives of the start replaces what was found; where it gives everything, there is one start. Of
    clusterings that lead to the same top, `shortest` takes the one that begins densest, for engines that climb slowly.
    """
    if problem.started:
        return jax.tree.map(lambda leaf: _cast(leaf, problem)[None], problem.start)
    choosing = method == "kmeans" and problem.mixture.k > 1 and problem.standard.family.TIER != "a"
    label = _chosen(problem, n_init, shortest) if choosing else _labelled(problem, method, n_init)
    return _begun(problem, label, floor)


def _labelled(problem: Problem, method: str, n_init: int) -> Int[np.ndarray, "n_init n"]:
    """Give each start labels of its own: at random, or by the nearest of some centres."""
    seeds = np.random.SeedSequence(problem.seed).generate_state(n_init)
    x, w, k = problem.standard.family.embedded(problem.standard_values), problem.data.weights, problem.mixture.k
    if method == "random":
        return np.stack([np.random.default_rng(seed).permutation(np.arange(len(x)) % k) for seed in map(int, seeds)])
    return np.stack([joined(x, centres(x, w, k, method, int(seed))) for seed in seeds])


def _begun(problem: Problem, label: Int[np.ndarray, "n_init n"], floor: Array) -> tuple[Array, Any]:
    """Give what fits labels of the rows, with what is given of the start in its place."""
    label = _agreeing(problem, label)
    padded = np.zeros((len(label), *problem.tiles.w.shape), np.int32)
    padded.reshape(len(label), -1)[:, : label.shape[1]] = label
    standard, tiles, own = problem.standard, problem.tiles, jnp.asarray(fresh(padded))
    if standard.family.TIER == "a":
        found = _fitted(standard, tiles, own, jax.random.key(problem.seed))
    else:
        found = _from_labels(standard, tiles, own, floor)
    if not problem.given.numbered and problem.given.weights is None and problem.data.evidence is None:
        found = _placed(standard, *found)
    return jax.tree.map(
        lambda found, new: found if new is None else jnp.broadcast_to(_cast(new, problem), found.shape),
        found,
        problem.start,
    )


def _agreeing(problem: Problem, label: Int[np.ndarray, "n_init n"]) -> Int[np.ndarray, "n_init n"]:
    """Give labels that agree with the evidence: clusters in the order that suits it best, rows where it puts them."""
    evidence, k = problem.data.evidence, problem.mixture.k
    if evidence is None:
        return label
    known = softmax(evidence, axis=1)
    found = np.empty_like(label)
    for own, new in zip(label, found, strict=True):
        order = np.arange(k) if problem.given.numbered else by_evidence(own, evidence, problem.data.weights)
        new[:] = np.where(known.max(1) > SURE, known.argmax(1), order[own])
    return found


def _placed(mixture: Mixture, weights: Float[Array, "starts k"], parameters: Any) -> tuple[Array, Any]:
    """Give each start's clusters in the order that suits the prior on the proportions, where the others do not mind.

    Where only their concentrations tell the clusters apart, the largest cluster belongs to the largest one.
    """
    family: Any = mixture.family
    if mixture.weights is None or np.ptp(mixture.weights.concentration) == 0:
        return weights, parameters
    if family.prior is not None and (lacking(family, GibbsFamily) or not np.all(family.same_prior(mixture.k))):
        return weights, parameters
    alpha = np.asarray(mixture.weights.concentration)
    order = jnp.argsort(weights, -1, stable=True)[:, np.argsort(np.argsort(alpha, kind="stable"))]
    return jnp.take_along_axis(weights, order, -1), family.arranged(parameters, order)


def _chosen(problem: Problem, n_init: int, shortest: bool) -> Int[np.ndarray, "n_init n"]:
    """Give each start labels by k-means: of clusterings of a few rows, the one densest after some steps of EM on those.

    K-means knows neither the shapes of clusters nor, in standardised rows, where they lie furthest apart; the density
    does. Those steps are under a weak prior where none is given, so that no component collapses. Biernacki, Celeux and
    Govaert, Computational Statistics and Data Analysis 41 (2003).
    """
    from threadpoolctl import threadpool_limits

    few = _few(problem)
    weights, k = few.data.weights, few.mixture.k
    seeds = np.random.SeedSequence(few.seed).generate_state(CHOSEN_FROM * n_init)
    views = _views(problem, few)
    seen = [views[i // n_init % len(views)] for i in range(len(seeds))]
    with threadpool_limits(1, "openmp"):  # threads that wait for each other take longer than so few rows
        found = [centres(own, weights, k, "kmeans", int(seed)) for (_, own), seed in zip(seen, seeds, strict=True)]
        label = np.stack([joined(own, at) for (_, own), at in zip(seen, found, strict=True)])
    posed = few.standard.proper()
    if few.standard.family.prior is None:
        posed = posed.build(replace(few.data, values=few.frame.apply(few.data.values)))
    starts = _begun(replace(few, standard=inside(posed)), label, jnp.zeros((), few.tiles.x.dtype))
    best = _densest(_climbed(few.standard, inside(posed), few.tiles, starts)[1], n_init, shortest)
    return label[best] if few is problem else np.stack([joined(seen[i][0], found[i]) for i in best])


def _densest(density: Float[Array, "2 starts"], n: int, shortest: bool = False) -> Int[np.ndarray, " n"]:
    """Give n numbers of starts, of start i and every n-th one after it: the one that comes to the densest place.

    Of those that come to the same, the first; with `shortest`, the first of those that begin densest.
    """
    best = np.ones((density.shape[1] // n, n), bool)
    for each in np.asarray(density).reshape(2, -1, n)[: 1 + shortest]:
        each = np.where(np.isnan(each) | ~best, -np.inf, each)
        most = each.max(0)
        rounding = np.sqrt(np.finfo(each.dtype).eps) * np.abs(most)
        best &= each >= most - np.where(np.isfinite(most), rounding, 0)
    return best.argmax(0) * n + np.arange(n)


def _few(problem: Problem) -> Problem:
    """Give the problem with a few of its rows, taken at random: as often as they weigh."""
    data, most = problem.data, max(FEW_ROWS, FEW_OF_EACH * problem.mixture.k)
    candidates = np.flatnonzero(data.weights > 0)
    if len(candidates) <= most:
        return problem
    rng, share = np.random.default_rng(problem.seed), data.weights[candidates] / data.total_weight
    alike = np.ptp(share) == 0
    taken = np.sort(rng.choice(candidates, size=most, replace=not alike, p=None if alike else share))
    weights = np.full(most, data.total_weight / most)
    known = None if data.evidence is None else data.evidence[taken]
    data = replace(data, values=data.values[taken], weights=weights, ids=None, resources=None, evidence=known)
    tiles = problem.mixture.lay_out(data.values, data.weights, problem.frame, evidence=known)
    return replace(problem, data=data, tiles=tiles)


def _views(whole: Problem, few: Problem) -> list[tuple[np.ndarray, np.ndarray]]:
    """Give the rows of a problem, and a few of them, as points where k-means may find clusters.

    Where columns may be scaled, those of few values are left out: a component on a single value of one is dense beyond
    measure, and means nothing. A second view has axes along which the rows cluster long.
    """
    w, k, family = few.data.weights, few.mixture.k, few.standard.family
    sides = zip(*(family.split(each.data.values, each.standard_values) for each in (whole, few)), strict=True)
    every = [_views_of(one[0], one[1:], other[1:], w, k) for one, other in sides]
    return [balanced([views[i % len(views)] for views in every]) for i in range(max(map(len, every)))]


def _views_of(
    family: SweptFamily, whole: tuple[np.ndarray, ...], few: tuple[np.ndarray, ...], weights: np.ndarray, k: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Give `_views` of rows, and a few of them, in original units and encoded, that are of one family."""
    x, some = family.embedded(whole[1]), family.embedded(few[1])
    if family.group not in ("affine", "columns"):
        return [(x, some)]
    many = [len(np.unique(column)) > max(k, FEW_VALUES) for column in few[0].T]
    if any(many) and not all(many):
        frame = standardising(few[0][:, many], weights, family.group)
        x, some = frame.apply(whole[0][:, many]), frame.apply(few[0][:, many])
    telling = _telling(some, weights, k, family.group)
    return [(x, some), (x @ telling, some @ telling)]


def _telling(x: Float[np.ndarray, "n d"], weights: np.ndarray, k: int, group: str) -> Float[np.ndarray, "d d"]:
    """Give a matrix of a group that maps standardised rows such that axes along which they cluster are long.

    An axis of unit variance is divided by the share of it that k-means along this axis leaves within clusters. Of maps
    of all kinds the axes are those of the fourth moments, which turn with the rows: invariant coordinate selection,
    Tyler, Critchley, Dümbgen and Oja, J. Royal Statistical Society B 71 (2009).
    """
    axes = np.eye(x.shape[1])
    if group == "affine":
        axes = np.linalg.eigh((x * (weights * (x**2).sum(1))[:, None]).T @ x / weights.sum())[1]
    return axes / np.maximum([_share_within(along, weights, k) for along in (x @ axes).T], 1e-3)


def _share_within(x: Float[np.ndarray, " n"], weights: np.ndarray, k: int) -> float:
    """Give the share of the variance of numbers that k-means from their quantiles leaves within k clusters."""
    order = np.argsort(x)
    x, w = x[order] - weights @ x / weights.sum(), weights[order]
    mass, sums = (np.concatenate([[0.0], np.cumsum(part)]) for part in (w, w * x))
    total = w @ x**2
    if not total > 1e-12 * mass[-1]:  # all the same
        return 1.0
    centres = np.interp((np.arange(k) + 0.5) / k * mass[-1], mass[1:], x)
    for _ in range(LLOYD):
        edges = np.concatenate([[0], np.searchsorted(x, (centres[1:] + centres[:-1]) / 2), [len(x)]])
        of_mass, of_sums = np.diff(mass[edges]), np.diff(sums[edges])
        centres = np.divide(of_sums, of_mass, out=centres, where=of_mass > 0)
    return float(1 - (of_mass @ centres**2) / total)


def inside(mixture: Mixture) -> Mixture:
    """Give a mixture all of whose modes lie inside: one more count of each proportion."""
    return replace(mixture, family=mixture.family.raised(), weights=mixture.weights and mixture.weights.raised(1.0))


def begin_inside(problem: Problem, method: str, n_init: int, shortest: bool = False) -> tuple[Array, Any]:
    """Give what `begin` does for a mixture with priors, whatever its concentrations."""
    posed = replace(problem, standard=inside(problem.standard))
    return begin(posed, method, n_init, jnp.zeros((), problem.tiles.x.dtype), shortest)


def begin_chains(problem: Problem, chains: int) -> tuple[Array, Any]:
    """Give each chain proportions and parameters to start from: as they are where all are given.

    Else the densest of some clusterings of its own, after some steps of EM. The mixture has priors.
    """
    if problem.started:
        one = jax.tree.map(lambda leaf: _cast(leaf, problem), problem.start)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (chains, *leaf.shape)), one)
    posed = replace(problem, standard=inside(problem.standard))
    every = [_labelled(replace(problem, seed=problem.seed + i), way, TRIES * chains) for i, way in enumerate(WAYS)]
    starts = _begun(posed, np.concatenate(every), jnp.zeros((), problem.tiles.x.dtype))
    found, density = _climbed(problem.standard, posed.standard, problem.tiles, starts)
    return jax.tree.map(lambda leaf: leaf[_densest(density, chains)], found)


def matched(
    problem: Problem, weights: Float[Array, "starts k"], parameters: Any, low: np.ndarray, high: np.ndarray
) -> tuple[Float[np.ndarray, "starts *c k"], Float[np.ndarray, "starts *c k"]]:
    """Give the bounds of the sizes of each start's clusters: those that suit them best where their order is free."""
    if problem.mixture.sizes is None or problem.mixture.sizes.order == "given":
        low, high = (np.broadcast_to(side, (len(weights), *side.shape)) for side in (low, high))
        return low, high
    of_several = low.ndim > 1
    natural = np.asarray(_natural_sizes(problem.standard, problem.tiles, weights, parameters, of_several))
    lows, highs = zip(*(match(low, high, sizes.astype(np.float64)) for sizes in natural), strict=True)
    return np.array(lows), np.array(highs)


@partial(jax.jit, static_argnames="of_several")
def _natural_sizes(mixture: Mixture, rows: Tiles, weights: Array, parameters: Any, of_several: bool) -> Array:
    """Give the sizes of each start's clusters while nothing constrains them: of several resources, all amounts."""

    def one(start: tuple[Array, Any]) -> Array:
        return natural_sizes(mixture.family.with_prior(None), start[1], jnp.log(start[0]), rows, of_several)

    return lax.map(one, (weights, parameters))


@jax.jit
def _fitted(mixture: Mixture, rows: Tiles, label: Int[Array, "starts T t"], key: Array) -> tuple[Array, Any]:
    """Give what `_from_labels` does for a family without an M-step, by L-BFGS from a draw of the prior."""
    uphill = optax.lbfgs()

    def one(start: tuple[Array, Array]) -> tuple[Array, Any]:
        label, key = start

        def loss(z: dict[str, Array]) -> Array:
            weights, parameters = constrained(mixture, z)

            @jax.checkpoint
            def tile(x: Array, w: Array, own: Array) -> Array:
                scores = mixture.family.tile_scores(parameters, x, False) + jnp.log(weights)[:, None]
                return jnp.sum(w * jnp.take_along_axis(scores, own[None], 0)[0])

            return -(over_tiles(tile, rows, label) + mixture.log_prior(weights, parameters)) / rows.w.sum()

        def step(_: int, now: Any) -> Any:
            z, memory = now
            value, slope = optax.value_and_grad_from_state(loss)(z, state=memory)
            move, memory = uphill.update(slope, memory, z, value=value, grad=slope, value_fn=loss)
            return optax.apply_updates(z, move), memory

        z = unconstrained(mixture, *mixture.draw(seeded(key)))
        return constrained(mixture, lax.fori_loop(0, STEPS, step, (z, uphill.init(z)))[0])

    return lax.map(one, (label, jax.random.split(key, len(label))))


@jax.jit
def _climbed(mixture: Mixture, climbing: Mixture, rows: Tiles, starts: Any) -> tuple[Any, Float[Array, "2 starts"]]:
    """Give where each start comes to by some steps under `climbing`; and its posterior density, there and before."""
    plain = rows.w.size <= 2 * FEW_ROWS  # which take less time than compiling a fast form

    def one(start: Any) -> Any:
        if mixture.family.TIER == "a":
            density = log_joint(mixture, rows, *start)
            return start, jnp.stack([density, density])

        def step(i: int, now: tuple[Any, Array]) -> tuple[Any, Array]:
            weights, parameters = now[0]
            value, statistics = sweep(mixture.family, parameters, jnp.log(weights), rows, plain=plain)
            density = value + mixture.log_prior(weights, parameters)
            return climbing.mode(statistics, 0.0), jnp.where(i == 0, density, now[1].at[0].set(density))

        return lax.fori_loop(0, CLIMB, step, (start, jnp.zeros(2, rows.x.dtype)))

    found, density = lax.map(one, starts)
    return found, density.T


def _cast(array: np.ndarray, problem: Problem) -> Array:
    return jnp.asarray(fresh(np.asarray(array)), problem.tiles.x.dtype)


@jax.jit
def _from_labels(mixture: Mixture, rows: Tiles, label: Int[Array, "starts T t"], floor: Array) -> tuple[Array, Any]:
    """Give the proportions and parameters of rows whose labels are known.

    First the means; then all about them; then all once more about what was found, in whose coordinates covariances
    round least.
    """
    family, k, d = mixture.family, mixture.k, rows.x.shape[1]

    def statistics(centre: Any, label: Array) -> Any:
        def tile(x: Array, w: Array, z: Array) -> Any:
            r = jax.nn.one_hot(z, k, axis=0, dtype=x.dtype) * w
            return family.tile_statistics(centre, family.tile_features(centre, x, False), r, False)

        return family.collect(centre, over_tiles(tile, rows, label), False)

    def one(label: Array) -> tuple[Array, Any]:
        rough = statistics(family.centres(jnp.zeros((k, d), rows.x.dtype)), label)
        centre = family.nearby(rough)

        def better(_: int, found: tuple[Array, Any]) -> tuple[Array, Any]:
            usable = all_finite(found[1])
            about = jax.tree.map(lambda new, old: jnp.where(usable, new, old), found[1], centre)
            return mixture.mode(statistics(about, label), floor)

        return lax.fori_loop(0, 2, better, (jnp.zeros(k, rows.x.dtype), centre))

    return lax.map(one, label)
