"""The tables that a person reads, drawn from the JSON document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bayessoft.core.demand import ROWS, SLACK
from bayessoft.errors import counted

__all__ = ["print_diagnosis", "print_fit", "print_prediction"]

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
    under = document["size_bounds"] or {}
    lines: list[tuple[str, Sequence[str]]] = []
    for name, text, key in ((ROWS, "{:.1f}", "size"), ("share", "{:.1%}", "weight")):
        lines.append((name, [text.format(value) for value in document[f"{key}s"]]))
        if intervals := document[f"{key}_intervals"]:
            between = [f"{text.format(low)} to {text.format(high)}" for low, high in intervals]
            lines.append((f"  {document['interval']:.0%} interval", between))
        if name == ROWS and ROWS in under:
            lines += _bounds(name, under[name])
    for name in (name for name in under if name != ROWS):
        lines += _bounds(name, under[name])
    head, title = len(lines), f"{document['quantity']} by column"
    deviations = document["standard_deviations"]
    for j, (name, values) in enumerate(document["shown"].items()):
        cells = [_number(value, 3) for value in values]
        if deviations:
            title = "mean ± sd"
            cells = [_spread(value, own[j]) for value, own in zip(values, deviations, strict=True)]
        lines.append((name, cells))
    _print_clusters(console, document["clusters"], lines, head, title)
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


def print_diagnosis(document: Mapping[str, Any], console: Console) -> None:
    """Print how a fit ended, and what its draws say of themselves.

    Parameters
    ----------
    document : mapping
        What `report.document.diagnosis_document` gave.
    console : Console
        Where to print.
    """
    made = f"{counted(len(document['clusters']), document['family'] + ' cluster')} by {document['inference']}"
    sentences = [f"status: {'; '.join(_ended(document))}"]
    if checks := document["checks"]:
        made += f", {counted(document['chains'], 'chain')} of {counted(document['draws'], 'draw')}"
        sentences = [*_overall(checks, document["limits"]), f"status: {document['status_text']}"]
    console.print(Text(made), soft_wrap=True)
    if checks and checks["rhat"]:
        console.print()
        _print_quantities(checks, document["limits"], console)
        console.print()
    for sentence in sentences:
        console.print(Text(sentence), soft_wrap=True)


def _bounds(name: str, bounds: Mapping[str, Any]) -> list[tuple[str, Sequence[str]]]:
    """Give the lines on a resource under bounds: amounts, unless they are sizes, what they may be, and prices."""
    if None in bounds["amount"]:  # where clusters cannot be told apart
        return []
    whole = sum(bounds["amount"])
    sides = zip(bounds["low"], bounds["high"], bounds["bound"], strict=True)
    lines: list[tuple[str, Sequence[str]]] = [("  bounds", [_side(*each, whole) for each in sides])]
    if name != ROWS:
        lines.insert(0, (name, [_bare(amount) for amount in bounds["amount"]]))
    if None not in bounds["price"]:
        what = "a row" if name == ROWS else "a unit"
        lines.append((f"  price (nats {what})", [_number(price, 3) for price in bounds["price"]]))
    return lines


def _side(low: float, high: float, active: str | None, whole: float) -> str:
    """Write what an amount may be, an active bound with a star."""
    stars = {side: "*" if active == side else "" for side in ("low", "high")}
    least, most = (f"{_bare(value)}{stars[name]}" for name, value in (("low", low), ("high", high)))
    if active == "fixed":
        return f"{least}*"
    if high >= whole * (1 - SLACK):
        return f"{least} or more" if low > 0 else "any"
    return f"{least} to {most}" if low > 0 else f"up to {most}"


def _print_quantities(checks: Mapping[str, Any], limits: Mapping[str, Any], console: Console) -> None:
    """Print the worst R-hat and number of effective draws of each quantity, under what they are to keep to."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    for name in ("R-hat", "effective draws", ""):
        table.add_column(name, no_wrap=True, justify="right" if name else "left")
    table.add_row(*(Text(text, style="dim") for text in ("", f"{limits['rhat']} at most", f"{limits['ess']} at least")))
    for name, rhat in checks["rhat"].items():
        ess = checks["ess"][name]
        wrong = ["R-hat is high"] if rhat is not None and rhat > limits["rhat"] else []
        wrong += ["few draws"] if ess is not None and ess < limits["ess"] else []
        cells = "-" if rhat is None else f"{rhat:.3f}", "-" if ess is None else f"{ess:.0f}"
        table.add_row(Text(name.replace("_", " ")), *cells, ", ".join(wrong))
    console.print(table)


def _overall(checks: Mapping[str, Any], limits: Mapping[str, Any]) -> list[str]:
    """Say what concerns the draws as a whole."""
    found = [f"clusters unclear in {checks['unclear']:.1%} of the draws ({limits['unclear']:.0%} at most)"]
    if checks["pareto_k"] is not None:
        return [*found, f"Pareto k of the guide {checks['pareto_k']:.2f} ({limits['pareto_k']} at most)"]
    modes = list(dict.fromkeys(checks["modes"]))
    members = [", ".join(str(i) for i, own in enumerate(checks["modes"]) if own == mode) for mode in modes]
    which = f": chains {'; '.join(members)}" if len(modes) > 1 else ""
    found.append(f"chains in {counted(len(modes), 'mode')}{which} (1 is wanted)")
    if checks["divergent"] is not None:
        found.append(f"{checks['divergent']:.1%} of the transitions divergent ({limits['divergent']:.0%} at most)")
    return found


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
    made = f"{_rows(document)}; {document['dtype']} on {document['device']}"
    took = f"{sum(document['seconds'].values()):.1f} s, seed {document['seed']}"
    written = f"written: {document['out']}/ ({', '.join(document['files'].values())})"
    return [f"status: {'; '.join(_ended(document))}", f"{made}; {took}", written]


def _ended(document: Mapping[str, Any]) -> list[str]:
    """Say how the fit ended, and what it came to."""
    found = [document["status_text"]]
    if document["checks"]:
        found.append(document["checks"]["text"])
    else:
        found[0] += f" ({counted(document['n_iter'], 'iteration')})"
    if document["elbo"] is not None:
        across = document["elbo"] + document["log_relabellings"]
        found.append(f"evidence lower bound {document['elbo']:.7g} nats ({across:.7g} with log k! for their names)")
    elif not document["checks"]:
        bic = f", BIC {_number(document['bic'], 7)}" if "bic" in document else ""
        found.append(f"lower bound {document['lower_bound']:.6g} nats a row{bic}")
    if document["duality_gap"] is not None:
        found.append(f"sizes held to a duality gap of {document['duality_gap']:.1e}")
    return found


def _rows(document: Mapping[str, Any]) -> str:
    """Say which rows and columns were used, and which were not."""
    text = f"{counted(document['n'], 'row')}, {counted(len(document['columns']), 'column')}"
    if document["dropped"]:
        text += f"; {counted(document['dropped'], 'incomplete row')} dropped"
    if document["left_out"]:
        text += f"; left out, {document['left_out_as']}: {', '.join(document['left_out'])}"
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


def _bare(value: float) -> str:
    """Write a number in four digits, without zeros that say nothing."""
    text = _number(value, 4)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


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
