"""Constraints on the sizes of clusters: what a user states, and the bounds that it means for a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from bayessoft.errors import OptionError
from bayessoft.families.weights import Dirichlet

__all__ = ["Between", "Fixed", "Near", "SizeConstraint", "SizeResult", "match"]

SUM_TOLERANCE = 1e-6  # relative: sums of decimals such as 0.1 + 0.2 + 0.7 are not exact


class SizeConstraint(ABC):
    """Bounds on sizes: on expected ones, ``sum_n w[n] r[n, k]``, or on counts, as the engine takes them."""

    unit: str
    order: str

    @property
    @abstractmethod
    def pinned(self) -> bool:
        """Whether the constraint states every size exactly."""

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

    def counts(self, k: int, n: int) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
        """Give the smallest and largest whole number of rows of each cluster, or refuse the constraint.

        Parameters
        ----------
        k, n : int
            Numbers of clusters and rows.
        """
        low, high = self.bounds(k, float(n))
        least, most = np.ceil(low - SUM_TOLERANCE), np.floor(high + SUM_TOLERANCE)
        if (least > most).any() or least.sum() > n or most.sum() < n:
            sizes = ", ".join(f"{size:g}" for size in (low if self.pinned else np.concatenate([low, high])))
            near = f"sizes in whole rows, such as Fixed({_whole(low, n)})" if self.pinned else "wider bounds"
            raise OptionError(
                f"no whole numbers of rows are such sizes ({sizes}), and labels that are drawn have whole numbers: "
                f"pass {near}"
            )
        return least.astype(np.int64), most.astype(np.int64)


@dataclass(frozen=True)
class Fixed(SizeConstraint):
    """The size of every cluster is known.

    Parameters
    ----------
    sizes : sequence of float > 0
        One size per cluster.
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

    def __post_init__(self) -> None:
        """Check what can be checked without a table."""
        object.__setattr__(self, "sizes", _numbers("sizes", self.sizes))
        _check_words(self.unit, self.order)
        if any(size is None or not 0 < size < np.inf for size in self.sizes):
            raise OptionError(f"sizes are {self.sizes}: pass finite numbers above 0, or fewer components")
        total = sum(self.sizes)
        if self.unit == "share" and abs(total - 1) > SUM_TOLERANCE:
            other = ", or unit='rows' for numbers of rows" if total > 1 else ""
            raise OptionError(f"sizes sum to {total:g} but shares sum to 1: pass shares that sum to 1{other}")

    @property
    def pinned(self) -> bool:
        return True

    def bounds(self, k: int, total: float) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        _check_number("sizes", self.sizes, k)
        sizes = np.array(self.sizes)
        whole = 1.0 if self.unit == "share" else total
        if abs(sizes.sum() - whole) > SUM_TOLERANCE * whole:
            other = ", unit='share' for shares" if abs(sizes.sum() - 1) <= SUM_TOLERANCE else ""
            raise OptionError(
                f"sizes sum to {sizes.sum():g} but the rows sum to {total:g}: pass sizes that sum to {total:g}{other}, "
                "or Between(low, high)"
            )
        sizes = sizes * (total / sizes.sum())
        return sizes, sizes


@dataclass(frozen=True)
class Between(SizeConstraint):
    """The size of every cluster lies between bounds.

    Parameters
    ----------
    low, high : float, sequence of float or None
        Lowest and highest size; a number serves every cluster, None (also inside a sequence) leaves a side open.
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

    def __post_init__(self) -> None:
        """Check what can be checked without a table."""
        _check_words(self.unit, self.order)
        for name in ("low", "high"):
            value = getattr(self, name)
            object.__setattr__(self, name, _bound(name, value))
        if self.low is None and self.high is None:
            raise OptionError("Between() bounds nothing: pass low, high or both")
        if self.unit == "share":
            for name in ("low", "high"):
                largest = max(_filled(getattr(self, name), 0.0), default=0.0)
                if largest > 1:
                    raise OptionError(f"{name} is {largest:g}, more than a share can be: pass shares, or unit='rows'")

    @property
    def pinned(self) -> bool:
        return False

    def bounds(self, k: int, total: float) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        unit = total if self.unit == "share" else 1.0
        low = self._side("low", k, 0.0) * unit
        high = np.minimum(self._side("high", k, np.inf) * unit, total)
        if (low < 0).any() or (high <= 0).any():
            raise OptionError(f"sizes cannot be negative, or at most 0: got low {low} and high {high}")
        if (low > high).any():
            j = int(np.argmax(low > high))
            raise OptionError(f"low is above high for size {j} ({low[j]:g} > {high[j]:g}, in rows): swap or widen them")
        hint = "" if self.unit == "share" or max(low.max(), high.max()) > 1 else "; for shares pass unit='share'"
        slack = SUM_TOLERANCE * total
        if low.sum() > total + slack:
            raise OptionError(f"the low bounds sum to {low.sum():g}, more than the rows' {total:g}: lower them{hint}")
        if high.sum() < total - slack:
            raise OptionError(f"the high bounds sum to {high.sum():g}, less than the rows' {total:g}: raise them{hint}")
        return low, high

    def _side(self, name: str, k: int, open_: float) -> Float[np.ndarray, " k"]:
        value = getattr(self, name)
        if isinstance(value, tuple):
            _check_number(name, value, k)
        filled = np.array(_filled(value, open_))
        if np.isnan(filled).any():
            raise OptionError(f"{name} holds NaN: pass numbers, or None for an open side")
        return np.broadcast_to(filled if filled.size > 1 or k == 1 else filled[:1], (k,)).astype(np.float64)


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


@dataclass(frozen=True, eq=False)
class SizeResult:
    """What a size constraint did to a fit.

    Attributes
    ----------
    sizes : array of shape (k,)
        Expected sizes of the clusters, in units of weight.
    low, high : array of shape (k,)
        The bounds that held for each of them.
    prices : array of shape (k,)
        Lagrange multipliers in nats per unit of weight: above 0 where a low bound is active, below 0 where a high one
        is, 0 elsewhere. One more unit of size would change the objective by minus the price.
    duality_gap : float
        How far the constrained memberships can be from the best ones, in nats, at a feasible point.
    violation : float
        The largest distance of a size from its bounds, in units of weight.
    """

    sizes: Float[np.ndarray, " k"]
    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]
    prices: Float[np.ndarray, " k"]
    duality_gap: float
    violation: float

    @property
    def active(self) -> tuple[str, ...]:
        """Which bound of each cluster is active: "low", "high", "fixed" or ""."""
        return tuple(
            "fixed" if low == high else "low" if price > 0 else "high" if price < 0 else ""
            for low, high, price in zip(self.low, self.high, self.prices, strict=True)
        )


def match(
    low: Float[np.ndarray, " k"], high: Float[np.ndarray, " k"], sizes: Float[np.ndarray, " k"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Give each cluster the bounds that suit its present size, by optimal assignment on the squared distance."""
    distance = np.maximum(low[None] - sizes[:, None], 0) + np.maximum(sizes[:, None] - high[None], 0)
    _, chosen = linear_sum_assignment(distance**2)
    return low[chosen], high[chosen]


def _whole(sizes: Float[np.ndarray, " k"], n: int) -> list[int]:
    """Give the whole numbers closest to sizes that have the sum n: those of the largest remainders are rounded up."""
    found = np.maximum(np.floor(sizes + SUM_TOLERANCE), 1).astype(int)
    found[np.argsort(found - sizes, kind="stable")[: n - found.sum()]] += 1
    return found.tolist()


def _numbers(name: str, values: Any) -> tuple[float | None, ...]:
    try:
        return tuple(None if value is None else float(value) for value in values)
    except (TypeError, ValueError):
        raise OptionError(f"{name} is {values!r}: pass a sequence of numbers, one per cluster") from None


def _bound(name: str, value: Any) -> float | tuple[float | None, ...] | None:
    """One number or None for all clusters, or one each."""
    if value is None:
        return None
    return _numbers(name, value) if np.ndim(value) else _numbers(name, [value])[0]


def _filled(value: Any, open_: float) -> list[float]:
    values = value if isinstance(value, tuple) else (value,)
    return [open_ if v is None else float(v) for v in values]


def _check_words(unit: str, order: str) -> None:
    if unit not in ("rows", "share"):
        raise OptionError(f"unit is {unit!r}: pass 'rows' or 'share'")
    if order not in ("any", "given"):
        raise OptionError(f"order is {order!r}: pass 'any' or 'given'")


def _check_number(name: str, values: Sequence[Any], k: int) -> None:
    if len(values) != k:
        raise OptionError(f"{name} has {len(values)} numbers but there are {k} clusters: pass {k}")
