"""The tables that a person reads, drawn from the JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bayessoft.core.demand import ROWS, SLACK
from bayessoft.errors import counted
from bayessoft.report.layout import bare, number, print_columns, spread

__all__ = ["print_diagnosis", "print_fit", "print_prediction"]


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
    shares = document["shares" if "shares" in document else "weights"]
    lines: list[tuple[str, Sequence[str]]] = []
    for name, text, key, values in ((ROWS, "{:.1f}", "size", document["sizes"]), ("share", "{:.1%}", "weight", shares)):
        lines.append((name, [text.format(value) for value in values]))
        if intervals := document.get(f"{key}_intervals"):
            between = [f"{text.format(low)} to {text.format(high)}" for low, high in intervals]
            lines.append((f"  {document['interval']:.0%} interval", between))
        if name == ROWS and ROWS in under:
            lines += _bounds(name, under[name])
    for name in (name for name in under if name != ROWS):
        lines += _bounds(name, under[name])
    head, title = len(lines), f"{document['quantity']} by column"
    deviations = document.get("standard_deviations")
    for j, (name, values) in enumerate(document["shown"].items()):
        cells = [number(value, 4 if title.startswith("centre") else 3) for value in values]
        if deviations:
            title = "mean ± sd"
            cells = [spread(value, own[j]) for value, own in zip(values, deviations, strict=True)]
        lines.append((name, cells))
    print_columns(console, document["clusters"], lines, head, title)
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
    print_columns(console, document["clusters"], lines, len(lines), "")
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
    made = _made(document)
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


def _made(document: Mapping[str, Any]) -> str:
    """Say what clusters they are."""
    names = document["clusters"]
    if document["family"] is not None:
        return f"{counted(len(names), document['family'] + ' cluster')} by {document['inference']}"
    noise = "noise" in names
    options = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in document["options"].items())
    return f"{counted(len(names) - noise, 'cluster')}{' beside noise' * noise} by {document['method']}: {options}"


def _bounds(name: str, bounds: Mapping[str, Any]) -> list[tuple[str, Sequence[str]]]:
    """Give the lines on a resource under bounds: amounts, unless they are sizes, what they may be, and prices."""
    if None in bounds["amount"]:  # where clusters cannot be told apart
        return []
    whole = sum(bounds["amount"])
    sides = zip(bounds["low"], bounds["high"], bounds["bound"], strict=True)
    lines: list[tuple[str, Sequence[str]]] = [("  bounds", [_side(*each, whole) for each in sides])]
    if name != ROWS:
        lines.insert(0, (name, [bare(amount) for amount in bounds["amount"]]))
    if None not in bounds["price"]:
        what = "a row" if name == ROWS else "a unit"
        lines.append((f"  price (nats {what})", [number(price, 3) for price in bounds["price"]]))
    return lines


def _side(low: float, high: float, active: str | None, whole: float) -> str:
    """Write what an amount may be, an active bound with a star."""
    stars = {side: "*" if active == side else "" for side in ("low", "high")}
    least, most = (f"{bare(value)}{stars[name]}" for name, value in (("low", low), ("high", high)))
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


def _ending(document: Mapping[str, Any]) -> list[str]:
    """Say how the fit ended, what it was made of, and where it lies."""
    made = f"{_rows(document)}; {document['dtype']} on {document['device']}"
    took = f"{sum(document['seconds'].values()):.1f} s, seed {document['seed']}"
    written = f"written: {document['out']}/ ({', '.join(document['files'].values())})"
    remarks = [f"{document['remark']}: rescale the columns"] if document.get("remark") else []
    return [f"status: {'; '.join(_ended(document))}", *remarks, f"{made}; {took}", written]


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
    elif document.get("lower_bound") is not None:
        bic = f", BIC {number(document['bic'], 7)}" if document.get("bic") is not None else ""
        found.append(f"lower bound {document['lower_bound']:.6g} nats a row{bic}")
    elif document.get("objective") is not None:
        found.append(f"{document['objective_is']} {document['objective']:.6g}")
    if document.get("information_x") is not None:
        found.append(f"I(T; X) {document['information_x']:.4g} and I(T; Y) {document['information_y']:.4g} nats")
        found.append(f"{counted(document['n_clusters_used'], 'cluster')} used")
    if document.get("beta") is not None:
        found.append(f"beta {document['beta']:.4g}")
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
