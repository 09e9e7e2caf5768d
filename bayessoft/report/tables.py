"""The tables that a person reads, drawn from the JSON document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bayessoft.errors import counted

__all__ = ["print_fit", "print_prediction"]

SHORT = (1e-4, 1e9)  # numbers written without an exponent
CELL = 14  # width of a cluster's column, when clusters are spread over several tables


def print_fit(document: Mapping[str, Any], console: Console) -> None:
    """Print the clusters of a fit, one a column, and how the fit ended.

    Parameters
    ----------
    document : mapping
        What `report.document.fit_document` gave.
    console : Console
        Where to print.
    """
    lines: list[tuple[str, Sequence[str]]] = []
    for name, text, key in (("rows", "{:.1f}", "size"), ("share", "{:.1%}", "weight")):
        lines.append((name, [text.format(value) for value in document[f"{key}s"]]))
        if intervals := document[f"{key}_intervals"]:
            between = [f"{text.format(low)} to {text.format(high)}" for low, high in intervals]
            lines.append((f"  {document['interval']:.0%} interval", between))
    if document["prices"]:
        lines.append(("price (nats a row)", [_number(price, 3) for price in document["prices"]]))
    spreads = zip(*document["standard_deviations"], strict=True)
    for name, means, deviations in zip(document["columns"], zip(*document["means"], strict=True), spreads, strict=True):
        lines.append((str(name), [_spread(m, s) for m, s in zip(means, deviations, strict=True)]))
    head = len(lines) - len(document["columns"])
    _print_clusters(console, document["clusters"], lines, head, "mean ± sd")
    for sentence in _ending(document):
        console.print(Text(sentence), soft_wrap=True)


def print_prediction(document: Mapping[str, Any], console: Console) -> None:
    """Print how many rows fall to each cluster.

    Parameters
    ----------
    document : mapping
        What `report.document.predict_document` gave.
    console : Console
        Where to print.
    """
    lines = [
        ("rows, each counted once", [str(rows) for rows in document["rows"]]),
        ("rows, by probability", [f"{size:.1f}" for size in document["sizes"]]),
    ]
    _print_clusters(console, document["clusters"], lines, len(lines), "")
    for sentence in [_rows(document), f"written: {document['out']}"]:
        console.print(Text(sentence), soft_wrap=True)


def _print_clusters(
    console: Console, clusters: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]], head: int, title: str
) -> None:
    """Print lines of cells, one column a cluster, in as many tables as the width asks for."""
    first = max(len(name) for name, _ in lines) + 2
    widest = max([CELL, *(len(cell) + 2 for _, cells in lines for cell in cells)])
    at_once = max(1, (console.width - first) // widest)
    for start in range(0, len(clusters), at_once):
        shown = slice(start, start + at_once)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("", no_wrap=True)
        for cluster in clusters[shown]:
            table.add_column(cluster, justify="right", no_wrap=True)
        for position, (name, cells) in enumerate(lines):
            if position == head:
                table.add_section()
                table.add_row(Text(title, style="dim"))
            table.add_row(Text(name), *map(Text, cells[shown]))
        console.print(table)
        console.print()


def _ending(document: Mapping[str, Any]) -> list[str]:
    """Say how the fit ended, what it was made of, and where it lies."""
    found = [document["status_text"]]
    if document["checks"]:
        found.append(document["checks"]["text"])
    if document["checks"] is None:
        found[0] += f" ({counted(document['n_iter'], 'iteration')})"
    if document["elbo"] is not None:
        across = document["elbo"] + document["log_relabellings"]
        found.append(f"evidence lower bound {document['elbo']:.7g} nats ({across:.7g} with log k! for their names)")
    elif document["checks"] is None:
        found.append(f"lower bound {document['lower_bound']:.6g} nats a row, BIC {_number(document['bic'], 7)}")
    if document["duality_gap"] is not None:
        found.append(f"sizes held to a duality gap of {document['duality_gap']:.1e}")
    made = f"{_rows(document)}; {document['dtype']} on {document['device']}"
    took = f"{sum(document['seconds'].values()):.1f} s, seed {document['seed']}"
    written = f"written: {document['out']}/ ({', '.join(document['files'].values())})"
    return [f"status: {'; '.join(found)}", f"{made}; {took}", written]


def _rows(document: Mapping[str, Any]) -> str:
    """Say which rows and columns were used, and which were not."""
    text = f"{counted(document['n'], 'row')}, {counted(len(document['columns']), 'column')}"
    if document["dropped"]:
        text += f"; {counted(document['dropped'], 'incomplete row')} dropped"
    if document["left_out"]:
        text += f"; left out, not numeric: {', '.join(document['left_out'])}"
    return text


def _number(value: float | None, digits: int) -> str:
    """Write a number in so many significant digits, without an exponent where it stays short."""
    if value is None:
        return "-"
    rounded = float(f"{value:.{digits - 1}e}")
    if rounded == 0:
        return "0"
    if not SHORT[0] <= abs(rounded) < SHORT[1]:
        return f"{value:.{digits - 1}e}"
    return f"{rounded:.{max(0, digits - 1 - _exponent(rounded))}f}"


def _spread(mean: float, deviation: float) -> str:
    """Write a mean to the last digit that the standard deviation shows."""
    last = _exponent(float(f"{deviation:.1e}")) - 1 if deviation > 0 else 0
    whole = all(SHORT[0] <= abs(value) < SHORT[1] for value in (mean, deviation) if value)
    if deviation > 0 and whole and last < 0:
        return f"{mean:.{-last}f} ± {_number(deviation, 2)}"
    return f"{_number(mean, 4)} ± {_number(deviation, 2)}"


def _exponent(value: float) -> int:
    """Give the power of ten of the first digit."""
    return math.floor(math.log10(abs(value)))
