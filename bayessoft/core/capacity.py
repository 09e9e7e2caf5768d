"""Constraints on what clusters take of resources other than rows, and several constraints at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count, permutations
from typing import Any

import numpy as np
from jaxtyping import Float

from bayessoft.core.demand import ROWS, SLACK, Demand, together
from bayessoft.core.sizes import (
    RowConstraint,
    SizeConstraint,
    bounds_of,
    by_name,
    check_sides,
    check_words,
    one_or_each,
)
from bayessoft.errors import OptionError

__all__ = ["Capacity", "Several"]


@dataclass(frozen=True, eq=False)
class Capacity(SizeConstraint):
    """What all rows of a cluster take of a resource lies between bounds: a vehicle's load, a ward's hours of care.

    Parameters
    ----------
    resource : array of shape (n,)
        What each row takes, >= 0; of a pandas Series the name is kept. A row of weight 2 takes twice of it.
    low, high : float, sequence of float or None
        Lowest and highest amount of each cluster; a number serves every cluster, None (also inside a sequence) leaves a
        side open. A mapping states them by the names of clusters.
    unit : {"amount", "share"}
        Amounts, as of the resource, or shares of its sum.
    order : {"any", "given"}
        As for `Fixed`.
    name : str, optional
        Of the resource; "rows" is that of numbers of rows.

    Notes
    -----
    It holds for expected amounts, ``sum_n w[n] r[n, k] resource[n]``.

    Examples
    --------
    >>> Capacity([3.0, 1.0, 2.0], high=4.0).demand(2, np.ones(3)).high
    array([[2., 2.]])
    """

    resource: Any
    low: Any = None
    high: Any = None
    unit: str = "amount"
    order: str = "any"
    name: str | None = None
    clusters: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check what can be checked without a table."""
        by_name(self, "low", "high")
        check_words(self.unit, self.order, ("amount", "share"))
        named = self.name or getattr(self.resource, "name", None)
        object.__setattr__(self, "name", "resource" if named is None else str(named))
        if self.name == ROWS:
            raise OptionError(f"a resource is named {ROWS!r}, as numbers of rows are: pass another name")
        try:
            resource = np.array(self.resource, dtype=np.float64)
        except (TypeError, ValueError):
            raise OptionError(
                f"the resource {self.name!r} holds no numbers: pass one number >= 0 for each row"
            ) from None
        if resource.ndim != 1 or not np.isfinite(resource).all() or (resource < 0).any() or not resource.any():
            least, most = resource.min(initial=np.inf), resource.max(initial=-np.inf)
            raise OptionError(
                f"the resource {self.name!r} has shape {resource.shape} and numbers from {least:g} to {most:g}: pass "
                "one finite number >= 0 for each row, not all 0"
            )
        object.__setattr__(self, "resource", resource)
        for side in ("low", "high"):
            object.__setattr__(self, side, one_or_each(side, getattr(self, side)))
        check_sides(self.low, self.high, self.unit, "Capacity", "amount")

    def __repr__(self) -> str:
        return f"Capacity({self.name!r} of {len(self.resource)} rows, low={self.low}, high={self.high})"

    @property
    def pinned(self) -> bool:
        return False

    def demand(self, k: int, weights: Float[np.ndarray, " n"]) -> Demand:
        if len(self.resource) != len(weights):
            raise OptionError(
                f"the resource {self.name!r} has {len(self.resource)} numbers but there are {len(weights)} rows: pass "
                "one for each row"
            )
        total, weight = float(weights @ self.resource), float(weights.sum())
        if not total > 0:
            raise OptionError(f"rows of weight above 0 take nothing of {self.name!r}: leave the constraint out")
        low, high = bounds_of(self.low, self.high, self.unit, k, total, self.name or "")
        unit = total / weight
        names = (self.name or "",)
        return Demand(
            names, low[None] / unit, high[None] / unit, np.array([unit]), self.resource[:, None] / unit, False
        )


@dataclass(frozen=True, eq=False)
class Several(SizeConstraint):
    """Constraints that all hold, the i-th bounds of each for the same cluster.

    Parameters
    ----------
    parts : tuple of Fixed, Between and Capacity
        One on numbers of rows at most. Of resources that share a name, the second becomes "name 2", and so on.
    """

    parts: tuple[SizeConstraint, ...]

    def __post_init__(self) -> None:
        """Refuse parts that do not go together."""
        if sum(isinstance(part, RowConstraint) for part in self.parts) > 1:
            raise OptionError(f"{self.parts} bound numbers of rows twice: pass one Fixed or Between with both bounds")
        if len({part.order for part in self.parts}) > 1:
            raise OptionError("order differs among the constraints: pass 'given' to all of them, or 'any'")
        object.__setattr__(self, "parts", _told_apart(self.parts))

    def ordered(self, names: Sequence[str] | None) -> Several:
        parts = tuple(part.ordered(names) for part in self.parts)
        if any(part.clusters is not None for part in self.parts):  # the order of names is that of all parts
            parts = tuple(replace(part, order="given") for part in parts)  # type: ignore[type-var]
        return Several(parts)

    @property
    def order(self) -> str:  # type: ignore[override] # of all parts
        return self.parts[0].order

    @property
    def pinned(self) -> bool:
        return any(part.pinned for part in self.parts)

    def demand(self, k: int, weights: Float[np.ndarray, " n"]) -> Demand:
        found = together(tuple(part.demand(k, weights) for part in self.parts), weights)
        _check_together(found, weights)
        return found


def _told_apart(parts: tuple[SizeConstraint, ...]) -> tuple[SizeConstraint, ...]:
    """Give resources names of their own, by which what became of them is found again."""
    found: list[SizeConstraint] = []
    names: set[str | None] = set()
    for part in parts:
        if isinstance(part, Capacity):
            numbered = (f"{part.name} {number}" for number in count(2))
            name = part.name if part.name not in names else next(name for name in numbered if name not in names)
            names.add(name)
            part = part if name == part.name else replace(part, name=name)
        found.append(part)
    return tuple(found)


def _check_together(demand: Demand, weights: Float[np.ndarray, " n"]) -> None:
    """Refuse bounds of a cluster that no rows could keep: those that take least of a resource take too much of it."""
    assert demand.resources is not None
    for i, j in permutations(range(len(demand.names)), 2):
        some = demand.resources[:, i] > 0
        one, other, w = demand.resources[some, i], demand.resources[some, j], weights[some]
        order = np.argsort(other / one)  # what little of the other goes with it
        have = np.concatenate([[0.0], np.cumsum((w * one)[order])])
        least = np.interp(demand.low[i], have, np.concatenate([[0.0], np.cumsum((w * other)[order])]))
        if (least > demand.high[j] * (1 + SLACK)).any():
            k = int(np.argmax(least - demand.high[j]))
            raise OptionError(
                f"no rows with {demand.low[i, k] * demand.units[i]:g} of {demand.names[i]!r}, the low bound of size "
                f"{k}, take less than {least[k] * demand.units[j]:g} of {demand.names[j]!r}, of which its high bound "
                f"is {demand.high[j, k] * demand.units[j]:g}: lower the one, or raise the other"
            )
