"""Labels under bounds on resources: by branch and bound for few rows, rounded from prices for many."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from bayessoft.core.demand import Demand
from bayessoft.errors import OptionError

__all__ = ["rounded"]

FEW = 20_000  # labels of rows that branch and bound looks at
PATIENCE = 20.0  # seconds that it has
TOLERANCE = 1e-9  # share of a resource by which rounding may miss a bound
MOVES = 2_000  # of single rows, to mend and to improve: few are split between clusters


def rounded(
    scores: Float[np.ndarray, "n k"], demand: Demand, prices: Float[np.ndarray, "c k"], resources: np.ndarray
) -> tuple[Int[np.ndarray, " n"], float]:
    """Give labels with a large sum of scores among those that keep bounds on several resources.

    Parameters
    ----------
    scores : array of shape (n, k)
        What each row gains by each label; -inf where it may not have it.
    demand : Demand
        The bounds, in scaled amounts.
    prices : array of shape (c, k)
        Those that memberships meet the bounds by, per scaled amount.
    resources : array of shape (n, c)
        What each row takes, scaled.

    Returns
    -------
    labels : array of shape (n,), int
    gap : float
        To the linear programme's bound, or that of branch and bound: no allowed labels are better by more than this.

    Raises
    ------
    OptionError
        No allowed labels, or none that were found.

    Notes
    -----
    The generalised assignment problem, which is hard: up to some rows by branch and bound (HiGHS), of more by the
    labels under the prices, mended and improved row by row. (Martello and Toth, *Knapsack Problems*, 1990, chapter 7.)
    """
    low, high = np.atleast_2d(demand.low), np.atleast_2d(demand.high)
    upper = _bound(scores, resources, low, high, prices)
    labels = None
    if scores.size <= FEW:
        labels, proved = _branched(scores, resources, low, high)
        upper = min(upper, proved)
    if labels is None:
        labels = (scores + resources @ prices).argmax(1)
    labels = _mended(scores, resources, low, high, prices, labels)  # branch and bound rounds, too
    labels = _improved(scores, resources, low, high, labels)
    value = float(scores[np.arange(len(scores)), labels].sum())
    return labels, max(upper - value, 0.0)


def _bound(scores: np.ndarray, a: np.ndarray, low: np.ndarray, high: np.ndarray, prices: np.ndarray) -> float:
    """Give the dual value of the linear programme: no labels within the bounds have a larger sum."""
    return float((scores + a @ prices).max(1).sum() - np.where(prices > 0, prices * low, prices * high).sum())


def _branched(
    scores: np.ndarray, a: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[Int[np.ndarray, " n"] | None, float]:
    """Give the best labels by branch and bound, if it finds any in its time, and what it proved."""
    (n, k), c = scores.shape, a.shape[1]
    at = np.arange(n * k)
    one = LinearConstraint(coo_array((np.ones(n * k), (at // k, at)), (n, n * k)).tocsr(), 1, 1)
    amounts = [coo_array((np.repeat(a[:, i], k), (at % k, at)), (k, n * k)).tocsr() for i in range(c)]
    kept = [LinearConstraint(amounts[i], low[i], high[i]) for i in range(c)]
    possible = np.isfinite(scores)
    found = milp(
        -np.where(possible, scores, 0).ravel(),
        constraints=[one, *kept],
        integrality=np.ones(n * k),
        bounds=Bounds(0, possible.ravel().astype(float)),
        options={"time_limit": PATIENCE, "mip_rel_gap": 0.0},
    )
    if found.status == 2:
        raise OptionError(
            f"no labels of the {n} rows keep these bounds, since rows are not shared: widen the bounds, or pass "
            "hard=False for memberships"
        )
    if found.x is None:
        return None, np.inf
    proved = -found.mip_dual_bound if found.mip_dual_bound is not None else np.inf
    return found.x.reshape(n, k).argmax(1), float(proved)


def _beyond(amounts: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Tell by how much amounts are outside their bounds."""
    return np.maximum(low - amounts, 0) + np.maximum(amounts - high, 0)


def _amounts(a: np.ndarray, labels: np.ndarray, k: int) -> Float[np.ndarray, "c k"]:
    return np.stack([np.bincount(labels, own, k) for own in a.T])


def _after(
    a: np.ndarray, labels: np.ndarray, amounts: np.ndarray, low: np.ndarray, high: np.ndarray
) -> Float[np.ndarray, "n k"]:
    """Give how far all bounds would be missed, in sum, if a row went to a cluster; NaN where it is there."""
    now, rows = _beyond(amounts, low, high), np.arange(len(labels))
    total = now.sum() - now.sum(0)[labels][:, None] - now.sum(0)
    for c, own in enumerate(a.T):
        total = total + _beyond(amounts[c, labels] - own, low[c, labels], high[c, labels])[:, None]
        total = total + _beyond(amounts[c] + own[:, None], low[c], high[c])
    total[rows, labels] = np.nan
    return total


def _mended(
    scores: np.ndarray,
    a: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    prices: np.ndarray,
    labels: Int[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
    """Give labels inside the bounds, with rows moved that mend most for what they lose under the prices."""
    (n, k), priced = scores.shape, scores + a @ prices
    labels, rows = labels.copy(), np.arange(len(scores))
    slack = TOLERANCE * a.sum(0).max()
    for _ in range(MOVES):
        amounts = _amounts(a, labels, k)
        left = _beyond(amounts, low, high).sum()
        if left <= slack:
            return labels
        mends = left - _after(a, labels, amounts, low, high)
        loss = priced[rows, labels][:, None] - priced
        rate = np.where(mends > slack, (loss + 1e-12) / np.maximum(mends, slack), np.inf)
        row, cluster = np.unravel_index(np.argmin(rate), rate.shape)
        if not np.isfinite(rate[row, cluster]):
            break
        labels[row] = cluster
    raise OptionError(
        f"no labels of the {n} rows were found that keep these bounds, since rows are not shared: widen the bounds a "
        "little, or pass hard=False for memberships"
    )


def _improved(
    scores: np.ndarray, a: np.ndarray, low: np.ndarray, high: np.ndarray, labels: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Give labels from which no move of a single row inside the bounds gains anything."""
    labels, rows, slack = labels.copy(), np.arange(len(scores)), TOLERANCE * a.sum(0).max()
    for _ in range(MOVES):
        after = _after(a, labels, _amounts(a, labels, scores.shape[1]), low, high)
        gain = np.where(after <= slack, scores - scores[rows, labels][:, None], -np.inf)
        row, cluster = np.unravel_index(np.argmax(gain), gain.shape)
        if not gain[row, cluster] > 1e-12:
            break
        labels[row] = cluster
    return labels
