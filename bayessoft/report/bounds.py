"""The options of a fit on sizes and capacities as a person types them, made into the library's constraints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayessoft.errors import OptionError, listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Capacities", "capacities", "check", "constraints", "numbers_of", "spelled_out"]

FORM = "COLUMN=LOW:HIGH, such as load=:120, hours=10%:40% or cost=:100,200,200"


@dataclass(frozen=True)
class Capacities:
    """What one --capacity says.

    Attributes
    ----------
    column : str
        The column of the table that holds the resource.
    low, high : tuple of float or None
        One number for all clusters, or one each; None leaves a side open.
    unit : {"amount", "share"}
        What the numbers are.
    """

    column: str
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None
    unit: str


def check(options: Mapping[str, Any]) -> None:
    """Refuse sizes and capacities that cannot be read, or that contradict each other."""
    bounds = [f"--{name.replace('_', '-')}" for name in ("min_size", "max_size") if options.get(name) is not None]
    if options.get("sizes") is not None and bounds:
        raise OptionError(f"--sizes fixes what {' and '.join(bounds)} would bound: leave one of them out")
    _size_lists(options)
    for found in capacities(options):
        for name, side in (("LOW", found.low), ("HIGH", found.high)):
            if side is not None and len(side) not in (1, options["components"]):
                raise OptionError(
                    f"--capacity {found.column}: {name} has {len(side)} numbers but there are {options['components']} "
                    f"clusters: give one number for all, or {options['components']}"
                )


def capacities(options: Mapping[str, Any]) -> list[Capacities]:
    """Read every --capacity, refusing what is none."""
    found = [_capacity(text) for text in options.get("capacity") or ()]
    columns = [each.column for each in found]
    if twice := [column for column in dict.fromkeys(columns) if columns.count(column) > 1]:
        raise OptionError(f"--capacity bounds {listed(twice)} twice: give both bounds at once, as LOW:HIGH")
    return found


def constraints(options: Mapping[str, Any], resources: pd.DataFrame | None) -> Any:
    """Build the constraints that the options describe; None without any.

    Parameters
    ----------
    options : mapping
        As the command line understood them.
    resources : DataFrame or None
        The columns that a --capacity names, of the rows to be fitted.
    """
    from bayessoft.core.capacity import Capacity

    found = [] if (sizes := _sizes(options)) is None else [sizes]
    for each in capacities(options):
        assert resources is not None
        taken = resources[each.column].to_numpy()
        if (taken < 0).any():
            raise OptionError(
                f"column {each.column!r} goes down to {taken.min():g}, and what a row takes of a capacity is 0 or "
                "more: correct it, or bound another column"
            )
        low, high = (_one_or_each(side) for side in (each.low, each.high))
        found.append(Capacity(taken, low, high, unit=each.unit, name=each.column))
    return found if len(found) > 1 else found[0] if found else None


@contextmanager
def spelled_out() -> Iterator[None]:
    """Add to an error about sizes how their units are written on the command line."""
    try:
        yield
    except OptionError as problem:
        hint = " (on the command line, unit='rows' is 40 and unit='share' is 40%)" if "unit=" in str(problem) else ""
        raise OptionError(f"{problem}{hint}") from None


def _capacity(text: str) -> Capacities:
    """Read one --capacity."""
    column, equals, bounds = text.rpartition("=")
    low, colon, high = bounds.partition(":")
    if not (column.strip() and equals and colon) or ":" in high or not (low.strip() or high.strip()):
        raise OptionError(f"--capacity is {text!r}: give {FORM}; one side may be empty, which leaves it open")
    sides = {name: side for name, side in (("LOW", low), ("HIGH", high)) if side.strip()}
    read = {name: numbers_of(f"{name} of --capacity {text}", side, "amounts") for name, side in sides.items()}
    lows, highs = (read[name][0] if name in read else None for name in ("LOW", "HIGH"))
    units = {unit for _, unit in read.values()}
    if len(units) > 1:
        raise OptionError(f"--capacity {text} mixes amounts and shares: give both as amounts, or both with %")
    unit = units.pop()
    for number in (*(lows or ()), *(highs or ())):
        if not 0 <= number < math.inf or unit == "share" and number > 1:
            shown = f"{100 * number:g}%" if unit == "share" else f"{number:g}"
            most = "to 100%" if unit == "share" else "up"
            raise OptionError(f"--capacity {text} has {shown}: give finite numbers from 0 {most}")
    if any(least > most for least, most in _pairs(lows, highs)):
        raise OptionError(f"--capacity {text} has a LOW above its HIGH: swap or widen them")
    return Capacities(column.strip(), lows, highs, "share" if unit == "share" else "amount")


def _pairs(low: tuple[float, ...] | None, high: tuple[float, ...] | None) -> list[tuple[float, float]]:
    """Pair the bounds of each cluster, as far as there are both."""
    if low is None or high is None:
        return []
    k = max(len(low), len(high))
    lows, highs = (side * k if len(side) == 1 else side for side in (low, high))
    return list(zip(lows, highs, strict=False))  # of different numbers, which are refused later


def _sizes(options: Mapping[str, Any]) -> Any:
    """Build the constraint on sizes that the options describe; None without one."""
    lists, unit = _size_lists(options)
    if not lists:
        return None
    from bayessoft.core.sizes import Between, Fixed

    if "sizes" in lists:
        return Fixed(lists["sizes"], unit=unit)
    return Between(_one_or_each(lists.get("min_size")), _one_or_each(lists.get("max_size")), unit=unit)


def _one_or_each(side: tuple[float, ...] | None) -> Any:
    """Give a number that serves all clusters as such."""
    return side[0] if side is not None and len(side) == 1 else side


def _size_lists(options: Mapping[str, Any]) -> tuple[dict[str, tuple[float, ...]], str]:
    """Read the options on sizes, and the unit they share."""
    given = {name: options[name] for name in ("sizes", "min_size", "max_size") if options.get(name) is not None}
    lists = {name: numbers_of(f"--{name.replace('_', '-')}", text) for name, text in given.items()}
    units = {unit for _, unit in lists.values()}
    if len(units) > 1:
        mixed = " and ".join(f"--{name.replace('_', '-')} {text}" for name, text in given.items())
        raise OptionError(f"{mixed} mix rows and shares: give both as rows, or both with %")
    return {name: numbers for name, (numbers, _) in lists.items()}, units.pop() if units else "rows"


def numbers_of(option: str, text: str, what: str = "rows") -> tuple[tuple[float, ...], str]:
    """Read numbers: rows (or what else they are of), or shares where every one has its %."""
    cells = [cell.strip() for cell in text.split(",")]
    shares = [cell for cell in cells if cell.endswith("%")]
    plain = [cell for cell in cells if not cell.endswith("%")]
    if shares and plain:
        raise OptionError(
            f"{option} mixes {what} ({listed(plain, str)}) and shares ({listed(shares, str)}): give all of them as "
            f"{what}, such as 151,123,68, or all with %, such as 40%,40%,20%"
        )
    try:
        numbers = tuple(float(cell.removesuffix("%")) for cell in cells)
    except ValueError:
        raise OptionError(f"{option} is {text!r}: give numbers separated by commas, such as 151,123,68") from None
    return (tuple(number / 100 for number in numbers), "share") if shares else (numbers, what)
