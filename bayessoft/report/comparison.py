"""Several methods side by side: what each made of the same rows, measured in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.text import Text

from bayessoft.errors import DataError, counted
from bayessoft.report.base import cluster_names
from bayessoft.report.layout import number, print_columns
from bayessoft.report.record import plain, versions

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Entry",
    "comparison_document",
    "comparison_table",
    "memberships_side_by_side",
    "print_comparison",
]

LOOKED = 20_000  # rows of a silhouette, which looks at all pairs
MEASURES = {
    "mean_ambiguity": "mean entropy, of log k",
    "partition_coefficient": "partition coefficient",
    "soft_silhouette": "soft silhouette",
    "xie_beni": "Xie and Beni",
    "fisher_ratio": "Fisher ratio, trace",
}
"""What is measured, and the words for it."""


@dataclass(frozen=True, eq=False)
class Entry:
    """What a method came to.

    Attributes
    ----------
    method : str
    memberships : array of shape (n, k) or None
        None where it could not be fitted.
    status, text : str
        How it ended, and what to do next; of one that could not be fitted "failed", and why.
    seconds : float
        Of the fit, compiling included.
    """

    method: str
    memberships: Float[np.ndarray, "n k"] | None
    status: str
    text: str
    seconds: float


def comparison_table(entries: Sequence[Entry], frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Measure what methods found.

    Parameters
    ----------
    entries : sequence of Entry
        At least one of them was fitted.
    frame : DataFrame of shape (n, d)
        The rows that they were fitted to.
    seed : int
        Draws the rows of the silhouette where there are more than 20 000.

    Returns
    -------
    table : DataFrame
        A row a method; NaN where something cannot be measured. ``agreement`` is the adjusted Rand index with the first
        method that was fitted, of this one with itself; the sizes of the clusters, from the largest on, come last.
    remarks : list of str
        What could not be measured, and why.
    """
    import pandas as pd

    from bayessoft.diagnostics.agreement import soft_rand

    first = next(entry for entry in entries if entry.memberships is not None)
    assert first.memberships is not None
    some = np.arange(len(frame))
    remarks: list[str] = []
    if len(frame) > LOOKED:
        some = np.sort(np.random.default_rng(seed).choice(len(frame), LOOKED, replace=False))
        remarks.append(f"the silhouette is that of {LOOKED} rows, drawn at random")
    lines = []
    for entry in entries:
        line: dict[str, Any] = {"method": entry.method, "status": entry.status, "seconds": entry.seconds}
        shares = entry.memberships
        if shares is not None:
            for name, measure in _measures(frame, shares, some).items():
                try:
                    line[name] = measure()
                except DataError as problem:  # of a single cluster, or of empty ones
                    remarks.append(f"{entry.method}: no {MEASURES[name]}: {problem}")
            line["agreement"] = soft_rand(first.memberships, shares)
            line |= {f"size_{j}": size for j, size in enumerate(np.sort(shares.sum(axis=0))[::-1])}
        lines.append(line)
    every = ["method", "status", "seconds", *MEASURES, "agreement"]
    return pd.DataFrame(lines, columns=[*every, *(f"size_{j}" for j in range(first.memberships.shape[1]))]), remarks


def _measures(
    frame: pd.DataFrame, shares: Float[np.ndarray, "n k"], some: np.ndarray
) -> dict[str, Callable[[], float]]:
    """Give what measures memberships, by the names in `MEASURES`."""
    from bayessoft.diagnostics.ambiguity import membership_entropy, partition_coefficient
    from bayessoft.diagnostics.separation import fisher_ratio, xie_beni
    from bayessoft.diagnostics.silhouette import soft_silhouette

    return {
        "mean_ambiguity": lambda: float(membership_entropy(shares, share=True).mean()),
        "partition_coefficient": lambda: partition_coefficient(shares),
        "soft_silhouette": lambda: soft_silhouette(frame.iloc[some], shares[some]).mean,
        "xie_beni": lambda: xie_beni(frame, shares),
        "fisher_ratio": lambda: float(fisher_ratio(frame, shares)),
    }


def memberships_side_by_side(entries: Sequence[Entry], ids: Sequence[Any], id: str | None) -> pd.DataFrame:
    """Give the memberships by all methods as a table: the id, then a column for each method and cluster."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for entry in entries:
        if entry.memberships is not None:
            names = cluster_names(entry.memberships.shape[1])
            columns |= {f"{entry.method}_{name}": own for name, own in zip(names, entry.memberships.T, strict=True)}
    first = id or "row"
    return pd.DataFrame({f"{first}_" if first in columns else first: list(ids), **columns})


def comparison_document(
    entries: Sequence[Entry], table: pd.DataFrame, circumstances: Mapping[str, Any], remarks: Sequence[str]
) -> dict[str, Any]:
    """Give the document of a comparison.

    Parameters
    ----------
    entries : sequence of Entry
        The methods.
    table : DataFrame
        What `comparison_table` made of them.
    circumstances : mapping
        The table of the rows, options, and what was written.
    remarks : sequence of str
        What else a person should know.

    Returns
    -------
    dict
        Plain values that JSON can hold.
    """
    methods = []
    for entry, line in zip(entries, table.to_dict(orient="records"), strict=True):
        sizes = [value for name, value in line.items() if name.startswith("size_")]
        kept = {name: value for name, value in line.items() if not name.startswith("size_")}
        fitted = entry.memberships is not None
        methods.append({**kept, "status_text": entry.text, "sizes": sizes if fitted else None})
    document = {
        "command": "compare",
        **circumstances,
        "agreement_with": next(entry.method for entry in entries if entry.memberships is not None),
        "methods": methods,
        "remarks": list(remarks),
        "versions": versions(),
    }
    return {key: plain(value) for key, value in document.items()}


def print_comparison(document: Mapping[str, Any], console: Console) -> None:
    """Print what methods found, one a column, and below those that could not be fitted.

    Parameters
    ----------
    document : mapping
        What `comparison_document` gave.
    console : Console
        Where to print.
    """
    fitted = [method for method in document["methods"] if method["sizes"] is not None]
    lines: list[tuple[str, list[str]]] = [
        ("status", [method["status"].replace("_", " ") for method in fitted]),
        ("seconds", [f"{method['seconds']:.1f}" for method in fitted]),
    ]
    for j in range(len(fitted[0]["sizes"])):
        lines.append(("" if j else "rows, largest first", [f"{method['sizes'][j]:.1f}" for method in fitted]))
    lines += [(words, [_measured(method[name]) for method in fitted]) for name, words in MEASURES.items()]
    lines.append(
        (f"agreement with {document['agreement_with']}", [_measured(method["agreement"]) for method in fitted])
    )
    print_columns(console, [method["method"] for method in fitted], lines)
    sentences = [
        f"{method['method']}: {method['status_text']}" for method in document["methods"] if method not in fitted
    ]
    columns = f"{counted(len(document['columns']), 'column')}{' standardised' * document['standardised']}"
    text = f"{counted(document['n'], 'row')}, {columns}"
    if document["dropped"]:
        text += f"; {counted(document['dropped'], 'incomplete row')} dropped"
    if document["left_out"]:
        text += f"; left out, {document['left_out_as']}: {', '.join(document['left_out'])}"
    sentences += [*document["remarks"], f"{text}; seed {document['seed']}"]
    if document["out"]:
        sentences.append(f"written: {document['out']}/ ({', '.join(document['files'].values())})")
    for sentence in sentences:
        console.print(Text(sentence), soft_wrap=True)


def _measured(value: float | None) -> str:
    """Write a measure with three decimals, a large one in as many digits."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else number(value, 4)
