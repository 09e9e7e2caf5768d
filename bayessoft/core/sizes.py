"""Constraints on the sizes of clusters: what a user states, and the bounds that it means for a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from bayessoft.core.demand import ROWS, SLACK, Demand
from bayessoft.errors import OptionError, listed
from bayessoft.families.weights import Dirichlet

__all__ = [
    "Between",
    "Fixed",
    "Near",
    "RowConstraint",
    "SizeConstraint",
    "bounds_of",
    "by_name",
    "check_sides",
    "check_words",
    "one_or_each",
]


class SizeConstraint(ABC):
    """Bounds on sizes: on expected ones, ``sum_n w[n] r[n, k]``, or on counts, as the engine takes them."""

    order: str
    clusters: tuple[str, ...] | None = None
    """The names of the clusters that sizes were stated for, in their order; None where they were stated by place."""

    @property
    @abstractmethod
    def pinned(self) -> bool:
        """Whether the constraint states every number of rows exactly."""

    def ordered(self, names: Sequence[str] | None) -> SizeConstraint:
        """Give the constraint with its sizes in the order of the clusters' names, where it states them by name.

        Raises
        ------
        OptionError
            Names that no cluster has, or a fixed size missing; or nothing tells the clusters' names.
        """
        if self.clusters is None:
            return self
        if names is None:
            raise OptionError(
                f"sizes are stated for {listed(self.clusters)}, and nothing says which cluster is which: pass evidence "
                "with these names of columns, or means_init with these names of rows, as DataFrames"
            )
        if odd := [name for name in self.clusters if name not in names]:
            raise OptionError(f"there is no cluster {odd[0]!r}: they are {listed(list(names))}")
        sides = {}
        for side in ("sizes", "low", "high"):
            value = getattr(self, side, None)
            if isinstance(value, tuple):
                stated = dict(zip(self.clusters, value, strict=True))
                sides[side] = tuple(stated.get(name) for name in names)
        if None in sides.get("sizes", ()):
            raise OptionError(
                f"sizes are stated for {listed(self.clusters)} of {listed(list(names))}: pass all of them"
            )
        return replace(self, **sides, clusters=None, order="given")  # type: ignore[type-var] # all are dataclasses

    @abstractmethod
    def demand(self, k: int, weights: Float[np.ndarray, " n"]) -> Demand:
        """Give what the constraint comes to for rows with these weights, or refuse it.

        Parameters
        ----------
        k : int
            Number of clusters.
        weights : array of shape (n,)
            Weights of the rows, ones where they have none.
        """

    def counts(self, k: int, n: int, nearest: bool = False) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
        """Give the smallest and largest whole number of rows of each cluster, or refuse the constraint."""
        raise OptionError(
            f"{self!r} is about other resources than rows, and labels that are drawn have counts alone: use "
            "inference='em', 'cavi' or 'svi', or bound numbers of rows"
        )


class RowConstraint(SizeConstraint):
    """Bounds on numbers of rows."""

    unit: str

    @abstractmethod
    def bounds(self, k: int, total: float) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Give the lowest and highest size of each cluster in units of weight, or refuse the constraint.

        Parameters
        ----------
        k : int
            Number of clusters.
        total : float
            Total weight of the rows, their number where they have no weights.
        """

    def demand(self, k: int, weights: Float[np.ndarray, " n"]) -> Demand:
        return Demand((ROWS,), *self.bounds(k, float(weights.sum())), np.ones(1), None, self.pinned)

    def counts(self, k: int, n: int, nearest: bool = False) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
        """Give the smallest and largest whole number of rows of each cluster, or refuse the constraint.

        Parameters
        ----------
        k, n : int
            Numbers of clusters and rows.
        nearest : bool
            Whether shares that are no whole numbers of rows go to those next to them.
        """
        low, high = self.bounds(k, float(n))
        if nearest and self.unit == "share":
            if self.pinned:
                return (whole := np.array(_whole(low, n, 0))), whole
            least, most = np.ceil(low - SLACK), np.floor(high + SLACK)
            if (least > most).any() or least.sum() > n or most.sum() < n:  # no whole numbers lie inside
                least, most = np.floor(low + SLACK), np.ceil(high - SLACK)
            return least.astype(np.int64), most.astype(np.int64)
        least, most = np.ceil(low - SLACK), np.floor(high + SLACK)
        if (least > most).any() or least.sum() > n or most.sum() < n:
            sizes = ", ".join(f"{size:g}" for size in (low if self.pinned else np.concatenate([low, high])))
            near = f"sizes in whole rows, such as Fixed({_whole(low, n)})" if self.pinned else "wider bounds"
            raise OptionError(
                f"no whole numbers of rows are such sizes ({sizes}), and labels that are drawn have whole numbers: "
                f"pass {near}"
            )
        return least.astype(np.int64), most.astype(np.int64)


@dataclass(frozen=True)
class Fixed(RowConstraint):
    """The size of every cluster is known.

    Parameters
    ----------
    sizes : sequence of float > 0, or mapping of str to float
        One size per cluster; by the names of clusters, where evidence or starting means have them.
    unit : {"rows", "share"}
        Rows (units of weight) that sum to their number, or shares that sum to 1.
    order : {"any", "given"}
        "any": the sizes belong to whichever clusters they suit best, by optimal assignment to those a fit starts from.
        "given": size i belongs to cluster i, which needs starting means (`means_init`).

    Examples
    --------
    >>> Fixed([59, 71, 48]).sizes
    (59.0, 71.0, 48.0)
    """

    sizes: Sequence[float]
    unit: str = "rows"
    order: str = "any"
    clusters: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check what can be checked without a table."""
        by_name(self, "sizes")
        object.__setattr__(self, "sizes", _numbers("sizes", self.sizes))
        check_words(self.unit, self.order, ("rows", "share"))
        if any(size is None or not 0 < size < np.inf for size in self.sizes):
            raise OptionError(f"sizes are {self.sizes}: pass finite numbers above 0, or fewer components")
        total = sum(self.sizes)
        if self.unit == "share" and abs(total - 1) > SLACK:
            other = ", or unit='rows' for numbers of rows" if total > 1 else ""
            raise OptionError(f"sizes sum to {total:g} but shares sum to 1: pass shares that sum to 1{other}")

    @property
    def pinned(self) -> bool:
        return True

    def bounds(self, k: int, total: float) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        _check_number("sizes", self.sizes, k)
        sizes = np.array(self.sizes)
        whole = 1.0 if self.unit == "share" else total
        if abs(sizes.sum() - whole) > SLACK * whole:
            other = ", unit='share' for shares" if abs(sizes.sum() - 1) <= SLACK else ""
            raise OptionError(
                f"sizes sum to {sizes.sum():g} but the rows sum to {total:g}: pass sizes that sum to {total:g}{other}, "
                "or Between(low, high)"
            )
        sizes = sizes * (total / sizes.sum())
        return sizes, sizes


@dataclass(frozen=True)
class Between(RowConstraint):
    """The size of every cluster lies between bounds.

    Parameters
    ----------
    low, high : float, sequence of float or None
        Lowest and highest size; a number serves every cluster, None (also inside a sequence) leaves a side open. A
        mapping states them by the names of clusters, and leaves others open.
    unit : {"rows", "share"}
        Rows (units of weight) or shares of their sum.
    order : {"any", "given"}
        As for `Fixed`.

    Examples
    --------
    >>> Between(0.2, 0.5, unit="share").bounds(3, 100.0)[0]
    array([20., 20., 20.])
    """

    low: Any = None
    high: Any = None
    unit: str = "rows"
    order: str = "any"
    clusters: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check what can be checked without a table."""
        by_name(self, "low", "high")
        check_words(self.unit, self.order, ("rows", "share"))
        for name in ("low", "high"):
            value = getattr(self, name)
            object.__setattr__(self, name, one_or_each(name, value))
        check_sides(self.low, self.high, self.unit, "Between()", "rows")

    @property
    def pinned(self) -> bool:
        return False

    def bounds(self, k: int, total: float) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        return bounds_of(self.low, self.high, self.unit, k, total, "rows")


@dataclass(frozen=True)
class Near:
    """The proportions are near a target, how near being up to the rows as well: a prior, not a constraint.

    Parameters
    ----------
    target : sequence of float > 0
        One size per cluster, as rows or shares: only their ratios count. They belong to whichever clusters they suit
        best, unless starting values tell the clusters apart.
    strength : float > 0
        How many rows the target counts as.

    Notes
    -----
    The prior is Dirichlet(strength * target / sum(target)), with every engine. Its mean is the target; its mode, to
    which "em" and "map" draw, has one row less for each cluster.

    Examples
    --------
    >>> Near([3, 1], strength=8.0).prior().concentration
    array([6., 2.])
    """

    target: Sequence[float]
    strength: float

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        object.__setattr__(self, "target", _numbers("target", self.target))
        if not self.target or any(size is None or not 0 < size < np.inf for size in self.target):
            raise OptionError(f"target is {self.target}: pass finite numbers above 0, one per cluster")
        if isinstance(self.strength, bool) or not isinstance(self.strength, Real) or not 0 < self.strength < np.inf:
            raise OptionError(f"strength is {self.strength!r}: pass a number of rows above 0")

    def prior(self) -> Dirichlet:
        """Give the prior on the proportions."""
        target = np.array(self.target)
        return Dirichlet(float(self.strength) * target / target.sum())


def bounds_of(
    low: Any, high: Any, unit: str, k: int, total: float, what: str
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Give the bounds of each cluster on what it has of a resource, of which there is a total, or refuse them."""
    scale = total if unit == "share" else 1.0
    lows = _side("low", low, k, 0.0) * scale
    highs = np.minimum(_side("high", high, k, np.inf) * scale, total)
    if (lows < 0).any() or (highs <= 0).any():
        raise OptionError(f"sizes cannot be negative, or at most 0: got low {lows} and high {highs}")
    if (lows > highs).any():
        j = int(np.argmax(lows > highs))
        raise OptionError(f"low is above high for size {j} ({lows[j]:g} > {highs[j]:g}, in {what}): swap or widen them")
    hint = "" if unit == "share" or max(lows.max(), highs.max()) > 1 else "; for shares pass unit='share'"
    slack = SLACK * total
    whole = f"the rows' {total:g}" if what == ROWS else f"the {total:g} of {what!r} that the rows take"
    if lows.sum() > total + slack:
        raise OptionError(f"the low bounds sum to {lows.sum():g}, more than {whole}: lower them{hint}")
    if highs.sum() < total - slack:
        raise OptionError(f"the high bounds sum to {highs.sum():g}, less than {whole}: raise them{hint}")
    return lows, highs


def _side(name: str, value: Any, k: int, open_: float) -> Float[np.ndarray, " k"]:
    """Give one side of the bounds for each cluster."""
    if isinstance(value, tuple):
        _check_number(name, value, k)
    filled = np.array(_filled(value, open_))
    return np.broadcast_to(filled if filled.size > 1 or k == 1 else filled[:1], (k,)).astype(np.float64)


def _whole(sizes: Float[np.ndarray, " k"], n: int, least: int = 1) -> list[int]:
    """Give the whole numbers closest to sizes that have the sum n: those of the largest remainders are rounded up."""
    found = np.maximum(np.floor(sizes + SLACK), least).astype(int)
    found[np.argsort(found - sizes, kind="stable")[: n - found.sum()]] += 1
    return found.tolist()


def _numbers(name: str, values: Any) -> tuple[float | None, ...]:
    try:
        return tuple(None if value is None else float(value) for value in values)
    except (TypeError, ValueError):
        raise OptionError(f"{name} is {values!r}: pass a sequence of numbers, one per cluster") from None


def one_or_each(name: str, value: Any) -> float | tuple[float | None, ...] | None:
    """One number or None for all clusters, or one each."""
    if value is None:
        return None
    return _numbers(name, value) if np.ndim(value) else _numbers(name, [value])[0]


def _filled(value: Any, open_: float) -> list[float]:
    values = value if isinstance(value, tuple) else (value,)
    return [open_ if v is None else float(v) for v in values]


def check_sides(low: Any, high: Any, unit: str, what: str, plain: str) -> None:
    """Refuse sides that bound nothing, and shares that are none; `plain` is the unit of what are no shares."""
    if all(value is None for side in (low, high) for value in (side if isinstance(side, tuple) else (side,))):
        raise OptionError(f"{what} bounds nothing: pass low, high or both")
    for name, side in (("low", low), ("high", high)):
        largest = max(_filled(side, 0.0), default=0.0)
        if unit == "share" and largest > 1:
            raise OptionError(f"{name} is {largest:g}, more than a share can be: pass shares, or unit={plain!r}")
        if np.isnan(_filled(side, 0.0)).any():
            raise OptionError(f"{name} holds NaN: pass numbers, or None for an open side")


def by_name(constraint: SizeConstraint, *sides: str) -> None:
    """Set the names of the clusters, where sides of a new constraint are mappings, and these as sequences."""
    stated = {side: getattr(constraint, side) for side in sides}
    if not any(isinstance(value, Mapping) for value in stated.values()):
        return
    names = tuple(dict.fromkeys(name for value in stated.values() if isinstance(value, Mapping) for name in value))
    for side, value in stated.items():
        if isinstance(value, Mapping):
            object.__setattr__(constraint, side, tuple(value.get(name) for name in names))
        elif np.ndim(value) > 0:
            raise OptionError(f"{side} is {value!r} and the other side goes by name: pass a mapping, a number or None")
    object.__setattr__(constraint, "clusters", tuple(map(str, names)))


def check_words(unit: str, order: str, units: tuple[str, str]) -> None:
    """Refuse units and orders that are none."""
    if unit not in units:
        raise OptionError(f"unit is {unit!r}: pass {units[0]!r} or {units[1]!r}")
    if order not in ("any", "given"):
        raise OptionError(f"order is {order!r}: pass 'any' or 'given'")


def _check_number(name: str, values: Sequence[Any], k: int) -> None:
    if len(values) != k:
        raise OptionError(f"{name} has {len(values)} numbers but there are {k} clusters: pass {k}")
