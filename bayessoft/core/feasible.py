"""Whether rows that may not belong to every cluster can keep bounds on sizes at all: by maximum flow."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linprog
from scipy.sparse import coo_array

from bayessoft.core.demand import ROWS, SLACK, Demand
from bayessoft.errors import OptionError, listed

__all__ = ["refuse_clash"]


def refuse_clash(demand: Demand, weights: Float[np.ndarray, " n"], evidence: Float[np.ndarray, "n k"] | None) -> None:
    """Refuse bounds that rows with hard evidence cannot keep, and name the clusters and sums that clash.

    Parameters
    ----------
    demand : Demand
        The bounds of each cluster.
    weights : array of shape (n,)
        Weights of the rows.
    evidence : array of shape (n, k) or None
        -inf where a row may not belong.

    Notes
    -----
    Rows that may belong to the same clusters are one supply. By the theorem of maximum flow and minimum cut, bounds
    can be kept unless, for some set of clusters, the rows that may belong nowhere else weigh more than the sum of its
    high bounds, or the rows that may belong there weigh less than the sum of its low ones. (Ford and Fulkerson, *Flows
    in Networks*, 1962, section II.2.)
    """
    if evidence is None or not np.isneginf(evidence).any():
        return
    patterns, which = np.unique(~np.isneginf(evidence), axis=0, return_inverse=True)
    for c, name in enumerate(demand.names):
        taken = weights if demand.resources is None else weights * demand.resources[:, c]
        supply = np.bincount(which.ravel(), taken, len(patterns))
        low, high = np.atleast_2d(demand.low)[c], np.atleast_2d(demand.high)[c]
        unit = float(demand.units[c])
        words = "rows" if name == ROWS else f"rows' {name}"
        cut = _cut(patterns, supply, high)
        if (alone := supply[~(patterns & ~cut).any(1)].sum()) > high[cut].sum() * (1 + SLACK):
            raise OptionError(
                f"the {words} that may only belong to clusters {_numbers(cut)} come to {alone * unit:g}, and the high "
                f"bounds of these sum to {high[cut].sum() * unit:g}: raise them, or let evidence be finite"
            )
        cut = ~_cut(patterns, supply, low)
        if (able := supply[(patterns & cut).any(1)].sum()) < low[cut].sum() * (1 - SLACK):
            raise OptionError(
                f"the {words} that may belong to clusters {_numbers(cut)} come to {able * unit:g}, and the low bounds "
                f"of these sum to {low[cut].sum() * unit:g}: lower them, or let evidence be finite"
            )


def _cut(
    patterns: Bool[np.ndarray, "g k"], supply: Float[np.ndarray, " g"], room: Float[np.ndarray, " k"]
) -> Bool[np.ndarray, " k"]:
    """Give the clusters whose room a minimum cut between supplies and room goes through."""
    group, cluster = np.nonzero(patterns)
    edges, (g, k) = np.arange(len(group)), patterns.shape
    ones = np.ones(2 * len(group))
    ends = coo_array((ones, (np.concatenate([group, g + cluster]), np.tile(edges, 2))), (g + k, len(group)))
    unit = max(supply.max(), 1e-300)
    found = linprog(-np.ones(len(group)), A_ub=ends.tocsr(), b_ub=np.concatenate([supply, room]) / unit, method="highs")
    return np.asarray(found.ineqlin.marginals)[g:] < -0.5


def _numbers(chosen: Bool[np.ndarray, " k"]) -> str:
    return listed(np.flatnonzero(chosen).tolist(), str, len(chosen))
