"""Starting points: labels of the rows, and the parameters that fit them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jaxtyping import Float, Int

from bayessoft.core.sweep import Tiles, over_tiles, sweep
from bayessoft.data.rows import fresh
from bayessoft.families.family import seeded
from bayessoft.inference.engine import Problem
from bayessoft.inference.unconstrained import constrained, log_joint, unconstrained
from bayessoft.mixture import Mixture
from bayessoft.numerics import all_finite

__all__ = ["begin", "begin_chains", "begin_inside", "labels"]

WAYS, TRIES = ("kmeans", "k-means++"), 4  # a chain has so many clusterings of each to start from: most modes are traps
STEPS = 50  # of L-BFGS, where there is no M-step
CLIMB = 30  # steps of EM from each, since k-means does not know the shapes of clusters
KMEANS_ROWS = 50_000  # k-means looks at no more rows than these; the others join the nearest centre


def labels(
    x: Float[np.ndarray, "n d"], weights: Float[np.ndarray, " n"], k: int, method: str, seed: int
) -> Int[np.ndarray, " n"]:
    """Give a label in 0..k-1 to every standardised row.

    Parameters
    ----------
    x : array of shape (n, d)
        Standardised rows.
    weights : array of shape (n,)
        Their weights.
    k : int
        Number of clusters.
    method : str
        One of `engine.METHODS`. The last one takes rows at random for centres, and every row joins the nearest.
    seed : int
        Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    if method == "random":
        return rng.permutation(np.arange(len(x)) % k)
    from sklearn.metrics import pairwise_distances_argmin

    candidates = np.flatnonzero(weights > 0)
    if method == "random_from_data":
        chosen = rng.choice(candidates, size=k, replace=len(candidates) < k)
        return pairwise_distances_argmin(x, x[chosen])
    if len(candidates) > KMEANS_ROWS:
        candidates = np.sort(rng.choice(candidates, size=KMEANS_ROWS, replace=False))
    some, share = (x, weights) if len(candidates) == len(x) else (x[candidates], weights[candidates])
    with warnings.catch_warnings():  # fewer distinct rows than clusters: the fit's own status tells
        warnings.simplefilter("ignore")
        return pairwise_distances_argmin(x, _centres(some, share, k, method, seed))


def _centres(x: np.ndarray, weights: np.ndarray, k: int, method: str, seed: int) -> np.ndarray:
    """Centres by k-means, or by its seeding alone."""
    from sklearn.cluster import KMeans, kmeans_plusplus

    seed = seed % (1 << 32)
    k = min(k, len(x))
    if method == "kmeans":
        return KMeans(k, n_init=1, random_state=seed).fit(x, sample_weight=weights).cluster_centers_
    return kmeans_plusplus(np.ascontiguousarray(x), k, sample_weight=weights, random_state=seed)[0]


def begin(problem: Problem, method: str, n_init: int, floor: Array) -> tuple[Array, Any]:
    """Give proportions and parameters in the standardised rows' units, with a leading axis over starts.

    What the problem gives of the start replaces what was found; where it gives everything, there is one start.
    """
    if problem.started:
        return jax.tree.map(lambda leaf: _cast(leaf, problem)[None], problem.start)
    seeds = np.random.SeedSequence(problem.seed).generate_state(n_init)
    x, w, k = problem.standard.family.embedded(problem.standard_values), problem.data.weights, problem.mixture.k
    label = np.zeros((n_init, *problem.tiles.w.shape), np.int32)
    for start, seed in zip(label.reshape(n_init, -1), seeds, strict=True):
        start[: len(x)] = labels(x, w, k, method, int(seed))
    standard, tiles, own = problem.standard, problem.tiles, jnp.asarray(fresh(label))
    if standard.family.TIER == "a":
        found = _fitted(standard, tiles, own, jax.random.key(problem.seed))
    else:
        found = _from_labels(standard, tiles, own, floor)
    return jax.tree.map(
        lambda found, new: found if new is None else jnp.broadcast_to(_cast(new, problem), found.shape),
        found,
        problem.start,
    )


def inside(mixture: Mixture) -> Mixture:
    """Give a mixture all of whose modes lie inside: one more count of each proportion."""
    return replace(mixture, family=mixture.family.raised(), weights=mixture.weights and mixture.weights.raised(1.0))


def begin_inside(problem: Problem, method: str, n_init: int) -> tuple[Array, Any]:
    """Give what `begin` does for a mixture with priors, whatever its concentrations."""
    posed = replace(problem, standard=inside(problem.standard))
    return begin(posed, method, n_init, jnp.zeros((), problem.tiles.x.dtype))


def begin_chains(problem: Problem, chains: int) -> tuple[Array, Any]:
    """Give each chain proportions and parameters to start from: as they are where all are given.

    Else the densest of some clusterings of its own, after some steps of EM. The mixture has priors.
    """

    def by_chain(leaf: Array) -> Array:
        each = len(leaf) // chains or 1  # one for all where it is given
        every = jnp.broadcast_to(leaf, (each * chains, *leaf.shape[1:]))
        return every.reshape(chains, each, *leaf.shape[1:])

    ways = [
        jax.tree.map(by_chain, begin_inside(replace(problem, seed=problem.seed + i), way, TRIES * chains))
        for i, way in enumerate(WAYS)
    ]
    starts = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *ways)
    if problem.started:
        return jax.tree.map(lambda leaf: leaf[:, 0], starts)
    return _densest(problem.standard, inside(problem.standard), problem.tiles, starts)


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
def _densest(mixture: Mixture, climbing: Mixture, rows: Tiles, starts: Any) -> tuple[Array, Any]:
    """Give each chain the one of its starts with the highest posterior density after some steps under `climbing`."""

    def climbed(start: Any) -> Any:
        if mixture.family.TIER == "a":
            return *start, log_joint(mixture, rows, *start)

        def step(_: int, now: tuple[Array, Any, Array]) -> tuple[Array, Any, Array]:
            weights, parameters = now[:2]
            value, statistics = sweep(mixture.family, parameters, jnp.log(weights), rows)
            return *climbing.mode(statistics, 0.0), value + mixture.log_prior(weights, parameters)

        return lax.fori_loop(0, CLIMB, step, (*start, jnp.full((), -jnp.inf, rows.x.dtype)))

    def one(starts: Any) -> Any:
        *found, densities = lax.map(climbed, starts)
        best = jnp.nanargmax(densities)
        return jax.tree.map(lambda leaf: leaf[best], tuple(found))

    return lax.map(one, starts)


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
