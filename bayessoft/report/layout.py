"""Tables as wide as the terminal, and numbers as short as they may be."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["bare", "number", "print_columns", "spread"]

SHORT = (1e-4, 1e9)  # numbers written without an exponent
CELL = 14  # width of a column, when columns are spread over several tables


def print_columns(
    console: Console,
    names: Sequence[str],
    lines: Sequence[tuple[str, Sequence[str]]],
    head: int | None = None,
    title: str = "",
) -> None:
    """Print lines of cells under the names of columns, in as many tables as the width asks for.

    Parameters
    ----------
    console : Console
        Where to print.
    names : sequence of str
        The columns.
    lines : sequence of pairs
        What stands before each line, and its cells, one a column.
    head : int, optional
        Position of the line before which the title comes.
    title : str
        What to print there.
    """
    first = max(len(name) for name, _ in lines) + 2
    widest = max([CELL, *(len(cell) + 2 for _, cells in lines for cell in cells)])
    at_once = max(1, (console.width - first) // widest)
    for start in range(0, len(names), at_once):
        shown = slice(start, start + at_once)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("", no_wrap=True)
        for name in names[shown]:
            table.add_column(name, justify="right", no_wrap=True)
        for position, (before, cells) in enumerate(lines):
            if position == head:
                table.add_section()
                table.add_row(Text(title, style="dim"))
            table.add_row(Text(before), *map(Text, cells[shown]))
        console.print(table)
        console.print()


def number(value: float | None, digits: int) -> str:
    """Write a number in so many significant digits, without an exponent where it stays short."""
    if value is None:
        return "-"
    rounded = float(f"{value:.{digits - 1}e}")
    if rounded == 0:
        return "0"
    if not SHORT[0] <= abs(rounded) < SHORT[1]:
        return f"{value:.{digits - 1}e}"
    return f"{rounded:.{max(0, digits - 1 - _exponent(rounded))}f}"


def bare(value: float) -> str:
    """Write a number in four digits, without zeros that say nothing."""
    text = number(value, 4)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def spread(mean: float, deviation: float) -> str:
    """Write a mean to the last digit that the standard deviation shows."""
    last = _exponent(float(f"{deviation:.1e}")) - 1 if deviation > 0 else 0
    whole = all(SHORT[0] <= abs(value) < SHORT[1] for value in (mean, deviation) if value)
    if deviation > 0 and whole and last < 0:
        return f"{mean:.{-last}f} ± {number(deviation, 2)}"
    return f"{number(mean, 4)} ± {number(deviation, 2)}"


def _exponent(value: float) -> int:
    """Give the power of ten of the first digit."""
    return math.floor(math.log10(abs(value)))
