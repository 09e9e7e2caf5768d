"""The best hard labels under bounds of their counts: a flow of least cost among the clusters.

The labels z maximise ``sum_n score[n, z_n]`` over those whose counts lie in the bounds. As a linear programme this is
a transport problem, and its dual function of the prices p, one per cluster,

    F(p) = sum_n max_k(score[n, k] + p[k]) - sum_k (p[k]+ low[k] - p[k]- high[k]),

is what the one of `core.dual` becomes at temperature 0. Labels that attain each row's largest ``score + p`` are the
best for their own counts, whatever the prices. So these begin at some prices and are brought into the bounds by
successive shortest paths, on which labels and prices stay optimal for each other: from cluster to cluster, an arc costs
what the cheapest row loses that changes its label; to and from a hub, arcs carry the counts, between their bounds, at
no cost. (Ahuja, Magnanti and Orlin, *Network Flows*, 1993, section 9.7.)

There are as many paths as rows to be moved, few where the prices are good. So a sample of the rows is solved first,
and its prices are where a larger one begins: at the end about ``3 sqrt(n)`` of n rows are moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bayessoft.errors import OptionError

__all__ = ["Assignment", "best_labels"]

SAMPLE = 512  # rows of the first sample
GROWTH = 4  # each sample is so many times as large as the one before
AT_HAND = 32  # cheapest rows of an arc that are kept at hand, and more where more are to be moved
BLOCK = 1 << 16  # rows that the certificate looks at together


@dataclass(frozen=True, eq=False)
class Assignment:
    """The best labels under bounds of their counts.

    Attributes
    ----------
    labels : array of shape (n,), int
        The cluster of each row.
    value : float
        Sum of the scores that the labels choose.
    gap : float
        Dual value minus `value`, >= 0: no allowed labels are better by more than this. Rounding aside it is 0.
    prices : array of shape (k,)
        Above 0 only where a count is at its low bound, below 0 only where it is at its high one. Each row's label has
        the largest ``score + price``. Where all counts are fixed, their sum of prices is 0.
    """

    labels: Int[np.ndarray, " n"]
    value: float
    gap: float
    prices: Float[np.ndarray, " k"]


def best_labels(
    scores: Float[np.ndarray, "n k"], low: Int[np.ndarray, " k"], high: Int[np.ndarray, " k"]
) -> Assignment:
    """Give the labels with the largest sum of scores among those whose counts lie in the bounds.

    Parameters
    ----------
    scores : array of shape (n, k)
        What each row gains by each label: numbers, or -inf where a row may not have a label.
    low, high : array of shape (k,), int
        Smallest and largest number of rows with each label.

    Returns
    -------
    Assignment
        The labels, with a certificate.

    Raises
    ------
    OptionError
        Where no labels are allowed.

    Notes
    -----
    The sum is the largest whatever the ties; which of several best labels are given is not specified, but the same
    scores and bounds give the same labels.

    Examples
    --------
    >>> best_labels(np.array([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0]]), np.array([0, 2]), np.array([3, 3])).labels
    array([0, 1, 1])
    """
    scores = np.asarray(scores, np.float64)
    n, k = scores.shape
    low, high = np.maximum(np.asarray(low, np.int64), 0), np.minimum(np.asarray(high, np.int64), n)
    _check(scores, low, high)
    order = np.random.default_rng(0).permutation(n)  # any order is good, but for one that goes with the clusters
    numbers = [n]
    while numbers[-1] > SAMPLE:
        numbers.append(-(-numbers[-1] // GROWTH))
    prices = np.zeros(k)
    for m in reversed(numbers):
        sample = scores if m == n else scores[order[:m]]
        least, most = low * m // max(n, 1), -(-high * m // max(n, 1))
        labels, prices, allowed = _solve(sample, least, most, prices)  # a sample may have none that are allowed
    if not allowed:
        raise OptionError(
            f"no labels of the {n} rows have counts between {low.tolist()} and {high.tolist()}, since scores of -inf "
            "keep rows out of clusters: widen the bounds, or allow rows more clusters"
        )
    if n and (low == high).all():
        prices = prices - prices @ low / n
    return _certified(scores, low, high, labels, prices)


def _check(scores: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Refuse bounds that no labels meet whatever the scores, and rows that no cluster may have."""
    n = len(scores)
    if (low > high).any() or low.sum() > n or high.sum() < n:
        raise OptionError(
            f"no {n} rows have counts between {low.tolist()} and {high.tolist()}: pass low <= high with sums at most, "
            f"and at least, {n}"
        )
    best = scores.max(1)
    if not np.isfinite(best).all():
        row = int(np.isfinite(best).argmin())
        raise OptionError(
            f"the largest score of row {row} is {best[row]:g}: pass numbers, or -inf where a row may not have a label, "
            "and at least one number for each row"
        )


class _Path(NamedTuple):
    """Nodes of a shortest path, first to last, and the distances of all nodes, up to the end's."""

    nodes: list[int]
    distance: Float[np.ndarray, " k+1"]


def _solve(
    scores: Float[np.ndarray, "n k"], low: Int[np.ndarray, " k"], high: Int[np.ndarray, " k"], prices: np.ndarray
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " k"], bool]:
    """Give the best labels, their prices, and whether they are allowed; `prices` are where to begin.

    Node k is the hub. A node has an excess of rows, or lacks some (below 0); a flow and prices stay optimal for each
    other throughout.
    """
    n, k = scores.shape
    labels = (scores + prices).argmax(1)
    counts = np.bincount(labels, minlength=k)
    flow = np.where(prices > 0, low, np.where(prices < 0, high, np.clip(counts, low, high)))
    excess = np.append(counts - flow, flow.sum() - n)
    potential = np.append(prices, 0.0)
    to_move = int(excess[excess > 0].sum())
    rows = _Rows.of(scores, labels, AT_HAND + to_move // (2 * k)) if to_move else None
    while rows and (excess > 0).any():
        path = _shortest(rows.costs(flow < high, flow > low), potential, excess)
        if path is None:
            return labels, potential[:k], False
        potential += path.distance
        potential -= potential[k]
        arcs = list(pairwise(path.nodes))
        moving = {(i, j): rows.cheapest(i, j) for i, j in arcs if k not in (i, j)}
        room = [high[i] - flow[i] for i, j in arcs if j == k] + [flow[j] - low[j] for i, j in arcs if i == k]
        first, last = path.nodes[0], path.nodes[-1]
        number = min(excess[first], -excess[last], *map(len, moving.values()), *room)
        for (i, j), places in moving.items():
            rows.move(i, j, places[:number])
        for i, j in arcs:
            flow[i if j == k else j] += number * ((j == k) - (i == k))
        excess[first] -= number
        excess[last] += number
    prices = np.where(flow > low, np.minimum(potential[:k], 0), potential[:k])  # exactly 0 between the bounds
    return labels, np.where(flow < high, np.maximum(prices, 0), prices), True


def _shortest(
    costs: Float[np.ndarray, "k+1 k+1"], potential: Float[np.ndarray, " k+1"], excess: Int[np.ndarray, " k+1"]
) -> _Path | None:
    """Give the shortest way from any node with an excess to any that lacks rows, None where there is none.

    Bellman and Ford's method, on costs that the potential makes >= 0. Only rounding makes them less: held at 0 they
    keep the nodes before each other free of circles, for a strictly nearer node comes before each.
    """
    reduced = np.maximum(costs + potential[:, None] - potential, 0)
    distance = np.where(excess > 0, 0.0, np.inf)
    before = np.full(len(excess), -1)
    while True:
        through = distance[:, None] + reduced
        source = through.argmin(0)
        found = through[source, np.arange(len(source))]
        nearer = found < distance
        if not nearer.any():
            break
        before[nearer] = source[nearer]
        distance = np.minimum(distance, found)
    end = int(np.where(excess < 0, distance, np.inf).argmin())
    if distance[end] == np.inf or excess[end] >= 0:
        return None
    nodes = [end]
    while before[nodes[-1]] >= 0:
        nodes.append(int(before[nodes[-1]]))
    return _Path(nodes[::-1], np.minimum(distance, distance[end]))


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows, and what moving them costs; arrays and lists change in place.

    Of each cluster the rows that are cheapest to move to any other are at hand, with all that tie with them, and of
    the rest the smallest loss is known: so costs are exact, and a cluster's rows are gone through only to move one of
    the rest.

    Attributes
    ----------
    scores : array of shape (n, k)
    labels : array of shape (n,), int
    number : int
        How many rows of an arc are at hand.
    at_hand : list of arrays of shape (m,), int
        For each cluster, the rows at hand.
    losses : list of arrays of shape (k, m)
        What they lose in each other cluster; inf for rows that have left.
    near, rest : array of shape (k, k)
        The smallest loss from cluster to cluster of a row at hand, and of the rest.
    """

    scores: Float[np.ndarray, "n k"]
    labels: Int[np.ndarray, " n"]
    number: int
    at_hand: list[Int[np.ndarray, " m"]]
    losses: list[Float[np.ndarray, "k m"]]
    near: Float[np.ndarray, "k k"]
    rest: Float[np.ndarray, "k k"]

    @classmethod
    def of(cls, scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], number: int) -> _Rows:
        """Lay out rows with labels."""
        k = scores.shape[1]
        none, no_loss = np.empty(0, np.int64), np.empty((k, 0))
        rows = cls(scores, labels, number, [none] * k, [no_loss] * k, np.empty((k, k)), np.empty((k, k)))
        for i in range(k):
            rows.look(i)
        return rows

    def look(self, i: int) -> None:
        """Go through all rows of cluster i."""
        members = np.flatnonzero(self.labels == i)
        losses = _losses(self.scores, members, i)
        at_hand: Bool[np.ndarray, " m"] = np.ones(len(members), bool)
        if len(members) > self.number:
            last = np.partition(losses, self.number, axis=1)[:, self.number, None]
            at_hand = np.any((losses <= last) & (losses < np.inf), axis=0)
        self.rest[i] = losses[:, ~at_hand].min(1, initial=np.inf)
        self._hold(i, members[at_hand], losses[:, at_hand])

    def costs(self, to_hub: Bool[np.ndarray, " k"], from_hub: Bool[np.ndarray, " k"]) -> Float[np.ndarray, "k+1 k+1"]:
        """Give the cost of every arc, inf for those without room."""
        k = len(self.near)
        costs = np.full((k + 1, k + 1), np.inf)
        np.minimum(self.near, self.rest, out=costs[:k, :k])
        costs[:k, k][to_hub] = 0
        costs[k, :k][from_hub] = 0
        return costs

    def cheapest(self, i: int, j: int) -> Int[np.ndarray, " t"]:
        """Give the places, among the rows at hand in cluster i, of those cheapest to move to j: all that tie."""
        if self.rest[i, j] < self.near[i, j]:
            self.look(i)
        return np.flatnonzero(self.losses[i][j] == self.near[i, j])

    def move(self, i: int, j: int, places: Int[np.ndarray, " t"]) -> None:
        """Move rows at hand in cluster i to j, where they are at hand, too."""
        moved = self.at_hand[i][places]
        self.labels[moved] = j
        self.losses[i][:, places] = np.inf
        self._hold(i, self.at_hand[i], self.losses[i])
        losses = np.concatenate([self.losses[j], _losses(self.scores, moved, j)], axis=1)
        self._hold(j, np.concatenate([self.at_hand[j], moved]), losses)

    def _hold(self, i: int, at_hand: Int[np.ndarray, " m"], losses: Float[np.ndarray, "k m"]) -> None:
        self.at_hand[i], self.losses[i] = at_hand, losses
        self.near[i] = losses.min(1, initial=np.inf)


def _losses(scores: Float[np.ndarray, "n k"], rows: Int[np.ndarray, " m"], i: int) -> Float[np.ndarray, "k m"]:
    """Give what rows of cluster i lose in the other clusters; inf in their own."""
    own = scores[rows]
    losses = np.subtract(own[:, i], own.T, order="C")
    losses[i] = np.inf
    return losses


def _certified(
    scores: Float[np.ndarray, "n k"],
    low: Int[np.ndarray, " k"],
    high: Int[np.ndarray, " k"],
    labels: Int[np.ndarray, " n"],
    prices: Float[np.ndarray, " k"],
) -> Assignment:
    """Measure the labels against the dual, by sums of terms that are >= 0: none of them loses digits to the others."""
    value, gap = 0.0, 0.0
    for first in range(0, len(scores), BLOCK):
        own, z = scores[first : first + BLOCK], labels[first : first + BLOCK, None]
        chosen, priced = np.take_along_axis(own, z, 1), own + prices
        value += float(chosen.sum())
        gap += float((priced.max(1, keepdims=True) - np.take_along_axis(priced, z, 1)).sum())
    counts = np.bincount(labels, minlength=len(prices))
    gap += float((np.maximum(prices, 0) * (counts - low) + np.maximum(-prices, 0) * (high - counts)).sum())
    return Assignment(labels, value, gap, prices)
