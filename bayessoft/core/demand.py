"""What constraints on sizes come to for a table: bounds in units of weight, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

__all__ = ["ROWS", "SLACK", "Demand", "SizeResult", "match", "together"]

ROWS = "rows"
"""The resource of which each row takes its weight."""

SLACK = 1e-6
"""Share of a resource that is none: decimals such as 0.1 + 0.2 + 0.7 are not exact, and prices meet bounds up to it."""


@dataclass(frozen=True, eq=False)
class Demand:
    """Bounds on what clusters may have of one resource or several.

    Attributes
    ----------
    names : tuple of c str
        The resources; `ROWS`, where it is one of them, is the first.
    low, high : array of shape (k,) or, of several resources or of others than rows, (c, k)
        Lowest and highest amounts, scaled such that a table has as much of a resource as it has weight.
    units : array of shape (c,)
        What an amount of 1 is in the resource's own units.
    resources : array of shape (n, c) or None
        What each row takes, scaled; None where it is 1 of its weight.
    pinned : bool
        Whether the numbers of rows are all fixed.
    """

    names: tuple[str, ...]
    low: Float[np.ndarray, "*c k"]
    high: Float[np.ndarray, "*c k"]
    units: Float[np.ndarray, " c"]
    resources: Float[np.ndarray, "n c"] | None
    pinned: bool

    @property
    def raw_resources(self) -> Float[np.ndarray, "n c"] | None:
        """What each row takes, in the resources' own units."""
        return None if self.resources is None else self.resources * self.units

    def result(
        self,
        total_weight: float,
        sizes: np.ndarray,
        amounts: np.ndarray,
        gap: np.ndarray,
        prices: np.ndarray,
        violation: np.ndarray,
    ) -> SizeResult:
        """Give what these bounds did, from numbers of rows, scaled amounts, and prices of those."""
        return SizeResult(
            sizes.astype(np.float64),
            self.names,
            self.outside(amounts.astype(np.float64)),
            self.outside(self.low),
            self.outside(self.high),
            self.per_unit(prices.astype(np.float64)),
            max(float(gap), 0.0),
            float(violation) / total_weight,
        )

    def outside(self, scaled: Float[np.ndarray, "*c k"]) -> Float[np.ndarray, "*c k"]:
        """Give scaled amounts in the resources' own units."""
        return scaled * (self.units[:, None] if scaled.ndim > 1 else self.units)

    def inside(self, amounts: Float[np.ndarray, "*c k"]) -> Float[np.ndarray, "*c k"]:
        """Give amounts in the resources' own units scaled."""
        return amounts / (self.units[:, None] if amounts.ndim > 1 else self.units)

    def per_unit(self, scaled: Float[np.ndarray, "*c k"]) -> Float[np.ndarray, "*c k"]:
        """Give prices of scaled amounts in nats per own unit of the resource."""
        return self.inside(scaled)


def together(parts: tuple[Demand, ...], weights: Float[np.ndarray, " n"]) -> Demand:
    """Give bounds that all have to hold."""
    parts = tuple(sorted(parts, key=lambda part: part.names != (ROWS,)))
    ones = np.ones((len(weights), 1))
    return Demand(
        tuple(name for part in parts for name in part.names),
        np.vstack([part.low for part in parts]),
        np.vstack([part.high for part in parts]),
        np.concatenate([part.units for part in parts]),
        np.hstack([ones if part.resources is None else part.resources for part in parts]),
        any(part.pinned for part in parts),
    )


@dataclass(frozen=True, eq=False)
class SizeResult:
    """What constraints on sizes did to a fit.

    Attributes
    ----------
    sizes : array of shape (k,)
        Expected sizes of the clusters, in units of weight.
    names : tuple of c str
        The resources that were constrained: "rows", or the names of others.
    amounts, low, high : array of shape (k,) or, of several resources, (c, k)
        What each cluster has of them, and the bounds that held for it, in their own units.
    prices : array of the same shape
        Lagrange multipliers in nats per unit of the resource: above 0 where a low bound is active, below 0 where a high
        one is, 0 elsewhere. One more unit would change the objective by minus the price.
    duality_gap : float
        How far the constrained memberships can be from the best ones, in nats, at a feasible point, up to rounding;
        infinite where none was found.
    violation : float
        The largest distance of an amount from its bounds, as a share of what the table has of the resource.
    """

    sizes: Float[np.ndarray, " k"]
    names: tuple[str, ...]
    amounts: Float[np.ndarray, "*c k"]
    low: Float[np.ndarray, "*c k"]
    high: Float[np.ndarray, "*c k"]
    prices: Float[np.ndarray, "*c k"]
    duality_gap: float
    violation: float

    def broken(self, share: float) -> list[str]:
        """Tell of each bound that is broken by more than a share of the table's resource, the worst ones first."""
        amounts, low, high = (np.atleast_2d(each) for each in (self.amounts, self.low, self.high))
        total = amounts.sum(1, keepdims=True)
        beyond = np.maximum(low - amounts, amounts - high) / total
        worst = [(int(c), int(j)) for c, j in zip(*np.nonzero(beyond > share), strict=True)]
        worst.sort(key=lambda at: -beyond[at])
        return [
            f"{self.names[c]} of cluster {j} {amounts[c, j]:g}, "
            + (f"at least {low[c, j]:g}" if amounts[c, j] < low[c, j] else f"at most {high[c, j]:g}")
            for c, j in worst
        ]


def match(
    low: Float[np.ndarray, "*c k"], high: Float[np.ndarray, "*c k"], sizes: Float[np.ndarray, "*c k"]
) -> tuple[Float[np.ndarray, "*c k"], Float[np.ndarray, "*c k"]]:
    """Give each cluster the bounds that suit its present size, by optimal assignment on the squared distance."""
    sizes = sizes[..., None]
    distance = np.maximum(low[..., None, :] - sizes, 0) + np.maximum(sizes - high[..., None, :], 0)
    _, chosen = linear_sum_assignment((distance**2).reshape(-1, *distance.shape[-2:]).sum(0))
    return low[..., chosen], high[..., chosen]
