"""Starting points: labels of the rows, and the parameters that fit them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int

from bayessoft.core.sweep import Tiles, over_tiles, sweep
from bayessoft.data.rows import fresh
from bayessoft.inference.engine import Problem
from bayessoft.mixture import Mixture
from bayessoft.numerics import all_finite

__all__ = ["begin", "begin_chains", "begin_inside", "labels"]

WAYS, TRIES = ("kmeans", "k-means++"), 4  # a chain has so many clusterings of each to start from: most modes are traps
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
    given, family, frame, k = problem.given, problem.standard.family, problem.frame, problem.mixture.k
    if given.complete:
        parameters = family.given_parameters(given.means, given.covariances, frame)
        return jax.tree.map(lambda leaf: _cast(leaf, problem)[None], (given.weights, parameters))
    seeds = np.random.SeedSequence(problem.seed).generate_state(n_init)
    x, w = problem.standard_values, problem.data.weights
    label = np.zeros((n_init, *problem.tiles.w.shape), np.int32)
    for start, seed in zip(label.reshape(n_init, -1), seeds, strict=True):
        start[: len(x)] = labels(x, w, k, method, int(seed))
    weights, parameters = _from_labels(problem.standard, problem.tiles, jnp.asarray(fresh(label)), floor)
    if given.weights is not None:
        weights = jnp.broadcast_to(_cast(given.weights, problem), weights.shape)
    replaced = family.given_parameters(given.means, given.covariances, frame)
    return weights, jax.tree.map(
        lambda found, new: found if new is None else jnp.broadcast_to(_cast(new, problem), found.shape),
        parameters,
        replaced,
    )


def inside(mixture: Mixture) -> Mixture:
    """Give a mixture with the modes of whose proportions are their means, inside the simplex: one more of each."""
    return replace(mixture, weights=mixture.weights and mixture.weights.raised(1.0))


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
    if problem.given.complete:
        return jax.tree.map(lambda leaf: leaf[:, 0], starts)
    return _densest(problem.standard, inside(problem.standard), problem.tiles, starts)


@jax.jit
def _densest(mixture: Mixture, climbing: Mixture, rows: Tiles, starts: Any) -> tuple[Array, Any]:
    """Give each chain the one of its starts with the highest posterior density after some steps under `climbing`."""

    def climbed(start: Any) -> Any:
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
        centre = family.centres(rough.first / jnp.maximum(rough.weight, jnp.finfo(rows.x.dtype).tiny)[:, None])

        def better(_: int, found: tuple[Array, Any]) -> tuple[Array, Any]:
            usable = all_finite(found[1])
            about = jax.tree.map(lambda new, old: jnp.where(usable, new, old), found[1], centre)
            return mixture.mode(statistics(about, label), floor)

        return lax.fori_loop(0, 2, better, (jnp.zeros(k, rows.x.dtype), centre))

    return lax.map(one, label)
