"""Greedy merging of Gaussian components, by the least that a merge can cost in Kullback-Leibler discrimination."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int

from bayessoft.core.elimination import log_det

__all__ = ["Parts", "grouped", "merge_cost", "merge_order", "moment_matched"]


class Parts(NamedTuple):
    """Gaussian components side by side, along the last axis.

    Attributes
    ----------
    weights : array of shape (k,)
    means : array of shape (d, k)
    covariances : array of shape (d, d, k)
    """

    weights: Any
    means: Any
    covariances: Any


def _one_of(first: Parts, second: Parts) -> Parts:
    """Give the Gaussian with the weight, mean and covariance of two together."""
    weight = first.weights + second.weights
    share = jnp.where(weight > 0, first.weights / jnp.where(weight > 0, weight, 1), 1)
    apart = second.means - first.means
    means = first.means + (1 - share) * apart
    spread = share * (1 - share) * apart[:, None] * apart[None]
    return Parts(weight, means, share * first.covariances + (1 - share) * second.covariances + spread)


def merge_cost(first: Parts, second: Parts, first_log_det: Array, second_log_det: Array) -> Array:
    """Give Runnalls' upper bound on the discrimination of a mixture from the one where two components are merged.

    Returns
    -------
    array
        ``((w_i + w_j) log det P_ij - w_i log det P_i - w_j log det P_j) / 2`` in nats, where P_ij is the covariance of
        both together (Runnalls, IEEE Trans. Aerospace and Electronic Systems 43(3), 2007, equation 16); 0 or more.
    """
    merged = _one_of(first, second)
    gained = first.weights * (log_det(merged.covariances) - first_log_det)
    return jnp.maximum(0.5 * (gained + second.weights * (log_det(merged.covariances) - second_log_det)), 0.0)


class _Search(NamedTuple):
    """Where the merging stands: of each component the best partner known and what merging with it costs.

    A partner is *stale* where it has changed since: then the cost is a lower bound of the best one.
    """

    parts: Parts
    log_dets: Array
    alive: Array
    best: Array
    partner: Array
    stale: Array
    done: Array
    kept: Array
    gone: Array
    costs: Array


def _smallest(costs: Float[Array, " k"]) -> tuple[Array, Array]:
    """Give the least of some numbers, and its place: four times as fast as argmin."""
    least = costs.min()
    return least, jnp.where(costs == least, jnp.arange(len(costs)), len(costs) - 1).min()


def _only(parts: Parts, i: Array) -> Parts:
    """Give one component."""
    return Parts(*(lax.dynamic_index_in_dim(leaf, i, -1, keepdims=False) for leaf in parts))


def _row(one: Parts, one_log_det: Array, at: Parts, log_dets: Array, others: Array) -> tuple[Array, Array, Array]:
    """Give the costs of one component with all others, the least, and whose it is."""
    one = Parts(one.weights, one.means[:, None], one.covariances[:, :, None])
    costs = jnp.where(others, merge_cost(one, at, one_log_det, log_dets), jnp.inf)
    costs = lax.optimization_barrier(costs)  # or XLA computes them again for everything that is made of them
    return costs, *_smallest(costs)


def _step(at: _Search) -> _Search:
    """Merge the cheapest pair, or look again for a partner of the component that seemed to be in it."""
    places = jnp.arange(len(at.alive))
    i = _smallest(at.best)[1]
    j, cost, merging = at.partner[i], at.best[i], ~at.stale[i]
    one, other = _only(at.parts, i), _only(at.parts, j)
    joined = _one_of(one, other._replace(weights=jnp.where(merging, other.weights, 0)))
    joined_log_det = log_det(joined.covariances)
    alive = at.alive.at[j].set(at.alive[j] & ~merging)
    # Nothing is written before all is read, so that it can be written in place.
    costs, least, nearest_now = _row(joined, joined_log_det, at.parts, at.log_dets, alive & (places != i))
    nearer = merging & (costs < at.best)
    lost = merging & ((at.partner == i) | (at.partner == j))
    return _Search(
        Parts(*(old.at[..., i].set(new) for old, new in zip(at.parts, joined, strict=True))),
        at.log_dets.at[i].set(joined_log_det),
        alive,
        jnp.where(alive, jnp.where(nearer, costs, at.best), jnp.inf).at[i].set(least),
        jnp.where(nearer, i, at.partner).at[i].set(nearest_now),
        ((at.stale | lost) & ~nearer).at[i].set(False),
        at.done + merging,
        at.kept.at[at.done].set(i),  # a step that merges nothing is written over
        at.gone.at[at.done].set(j),
        at.costs.at[at.done].set(cost),
    )


@jax.jit
def merge_order(parts: Parts, alive: Array, merges: Array) -> tuple[Array, Array, Array]:
    """Merge the pair that costs least, again and again.

    Parameters
    ----------
    parts : Parts
        k components.
    alive : array of shape (k,), bool
        False for filling.
    merges : int
        How many merges to make.

    Returns
    -------
    kept, gone : array of shape (k,), int
        Of each merge in order the component that takes the other one in, and that one; numbers behind the last merge
        mean nothing.
    costs : array of shape (k,)
        What each merge costs, see `merge_cost`.

    Notes
    -----
    The search is the generic algorithm of Müllner (arXiv:1109.2378, 2011, section 3.1): a component whose best partner
    is gone is looked at again only when its old cost, by then a lower bound, is the smallest of all. Each step looks at
    one component beside all others, whether to merge or to find its partner: k numbers at a time, no table of pairs.
    """
    count = len(alive)
    log_dets = log_det(parts.covariances)

    def nearest(i: Array) -> tuple[Array, Array]:
        return _row(_only(parts, i), log_dets[i], parts, log_dets, alive & (jnp.arange(count) != i))[1:]

    best, partner = lax.map(nearest, jnp.arange(count))

    places = jnp.zeros(count, partner.dtype)
    began = _Search(
        parts,
        log_dets,
        alive,
        jnp.where(alive, best, jnp.inf),
        partner,
        jnp.zeros(count, bool),
        jnp.zeros((), places.dtype),
        places,
        places,
        jnp.zeros_like(log_dets),
    )
    ended = lax.while_loop(lambda at: at.done < merges, _step, began)
    return ended.kept, ended.gone, ended.costs


def grouped(
    kept: Int[np.ndarray, " merges"], gone: Int[np.ndarray, " merges"], k: int, left: int
) -> Int[np.ndarray, " k"]:
    """Give the group, from 0, that each of k components is in when so many are left, in the order of first members."""
    owner = np.arange(k)
    owner[gone[: k - left]] = kept[: k - left]
    while (owner != (further := owner[owner])).any():
        owner = further
    first = np.full(k, k)
    np.minimum.at(first, owner, np.arange(k))
    return np.unique(first[owner], return_inverse=True)[1].reshape(-1)


def moment_matched(parts: Parts, groups: Int[np.ndarray, " k"]) -> Parts:
    """Give a Gaussian for each group of components: their weight, mean and covariance together, in NumPy."""
    count = int(groups.max()) + 1
    d = len(parts.means)
    weights = np.bincount(groups, parts.weights, count)
    sizes = np.bincount(groups, minlength=count)
    within = np.where(weights[groups] > 0, parts.weights / np.where(weights > 0, weights, 1)[groups], 1 / sizes[groups])

    def averaged(values: Float[np.ndarray, " k"]) -> Float[np.ndarray, " count"]:
        return np.bincount(groups, within * values, count)

    means = np.stack([averaged(column) for column in parts.means])
    apart = parts.means - means[:, groups]
    covariances = np.empty((d, d, count))
    for a in range(d):
        for b in range(a + 1):
            spread = parts.covariances[a, b] + apart[a] * apart[b]
            covariances[a, b] = covariances[b, a] = averaged(spread)
    return Parts(weights, means, covariances)
