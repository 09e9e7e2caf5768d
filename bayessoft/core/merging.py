"""Greedy merging of Gaussian components, by the least that a merge can cost in Kullback-Leibler discrimination."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

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
        both together (Runnalls, IEEE Trans. Aerospace and Electronic Systems 43(3), 2007, equation 21); 0 or more.
    """
    merged = _one_of(first, second)
    gained = first.weights * (log_det(merged.covariances) - first_log_det)
    return jnp.maximum(0.5 * (gained + second.weights * (log_det(merged.covariances) - second_log_det)), 0.0)


class _Search(NamedTuple):
    """Where the merging stands.

    Of each component, a column of `table`: the best partner known, what merging with it costs, infinite for one that is
    gone, and a lower bound of that with any other. A partner is *stale* where it has changed since: then the best cost
    is a lower bound, too.
    """

    table: Float[Array, "f k"]
    best: Float[Array, " k"]
    second: Float[Array, " k"]
    partner: Int[Array, " k"]
    stale: Bool[Array, " k"]
    done: Array
    kept: Int[Array, " k"]
    gone: Int[Array, " k"]
    costs: Float[Array, " k"]


def _packed(parts: Parts) -> Float[Array, "f *k"]:
    """Put weights, log determinants, means and covariances into one table: one thing to read, one to write."""
    covariances = parts.covariances.reshape(-1, *parts.covariances.shape[2:])
    return jnp.concatenate([parts.weights[None], log_det(parts.covariances)[None], parts.means, covariances])


def _unpacked(table: Float[Array, "f *k"]) -> tuple[Parts, Array]:
    """Give the components of a table, and their log determinants."""
    d = next(d for d in range(len(table)) if 2 + d + d * d == len(table))
    return Parts(table[0], table[2 : 2 + d], table[2 + d :].reshape(d, d, *table.shape[1:])), table[1]


def _pick(array: Array, i: Array) -> Array:
    return lax.dynamic_index_in_dim(array, i, -1, keepdims=False)


def _put(array: Array, value: Array, i: Array) -> Array:
    return lax.dynamic_update_index_in_dim(array, value, i, -1)


def _smallest(costs: Float[Array, " k"]) -> tuple[Array, Array]:
    """Give the least of some numbers, and its place; jnp.argmin takes four times as long."""
    least, places = costs.min(), jnp.arange(len(costs), dtype=jnp.int32)
    return least, jnp.where(costs == least, places, len(costs) - 1).min()


def _row(one: Float[Array, " f"], table: Float[Array, "f k"], others: Bool[Array, " k"]) -> tuple[Array, ...]:
    """Give the costs of one component with all others, the least and whose it is, and the least but one."""
    (first, first_log_det), (every, log_dets) = _unpacked(one[:, None]), _unpacked(table)
    costs = jnp.where(others, merge_cost(first, every, first_log_det, log_dets), jnp.inf)
    costs = lax.optimization_barrier(costs)  # or XLA computes them again for everything that is made of them
    least, at = _smallest(costs)
    return costs, least, at, jnp.where(jnp.arange(len(costs)) == at, jnp.inf, costs).min()


def _step(at: _Search) -> _Search:
    """Merge the cheapest pair, or look again for a partner of the component that seemed to be in it."""
    places = jnp.arange(at.table.shape[1])
    i = _smallest(at.best)[1]
    j, cost, merging = _pick(at.partner, i), _pick(at.best, i), ~_pick(at.stale, i)
    one, other = (_unpacked(_pick(at.table, place))[0] for place in (i, j))
    joined = _packed(_one_of(one, other._replace(weights=jnp.where(merging, other.weights, 0))))
    joined, i, j, cost, merging = lax.optimization_barrier((joined, i, j, cost, merging))
    own = places == i
    alive = (at.best < jnp.inf) & ~(merging & (places == j))
    costs, least, nearest, second = _row(joined, at.table, alive & ~own)
    costs = jnp.where(merging, costs, jnp.inf)
    lost = merging & ((at.partner == i) | (at.partner == j))
    floor = jnp.where(lost, at.second, at.best)  # what any other but the joined one costs at least
    nearer = costs <= floor
    further = jnp.where(nearer, at.best, jnp.minimum(at.second, costs))
    return _Search(
        _put(at.table, joined, i),
        jnp.where(own, least, jnp.where(alive, jnp.minimum(costs, floor), jnp.inf)),
        jnp.where(own, second, jnp.where(lost, at.second, further)),
        jnp.where(own, nearest, jnp.where(nearer, i, at.partner)),
        (at.stale | lost) & ~nearer & ~own,
        at.done + merging,
        _put(at.kept, i, at.done),  # a step that merges nothing is written over
        _put(at.gone, j, at.done),
        _put(at.costs, cost, at.done),
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
    is gone is looked at again only when a lower bound of its cost, here that of its second best, is the smallest of
    all. Each step looks at one component beside all others, whether to merge or to find its partner: k numbers at a
    time, no table of pairs.
    """
    count = len(alive)
    table, places = _packed(parts), jnp.arange(count, dtype=jnp.int32)
    best, partner, second = lax.map(lambda i: _row(_pick(table, i), table, alive & (places != i))[1:], places)
    none = jnp.zeros_like(places)
    fresh, started = jnp.zeros(count, bool), jnp.zeros((), jnp.int32)
    began = _Search(table, jnp.where(alive, best, jnp.inf), second, partner, fresh, started, none, none, 0 * table[0])
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
