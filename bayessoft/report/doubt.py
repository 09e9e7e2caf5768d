"""Which rows are in doubt: the memberships of a fit, or of its file, row by row from the most doubtful on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.text import Text

from bayessoft.errors import DataError, counted
from bayessoft.report.base import INTERVAL, cluster_names
from bayessoft.report.layout import number, print_columns
from bayessoft.report.record import plain, versions

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CERTAIN", "Doubt", "doubt_document", "doubt_table", "print_doubt", "read_memberships"]

CERTAIN = 0.95  # a row with a membership above it counts as certain
PLACE = re.compile(r"cluster_\d+|noise")
FILE = "memberships.csv"


@dataclass(frozen=True, eq=False)
class Doubt:
    """Memberships of rows, and what is known of their entropy.

    Attributes
    ----------
    memberships : array of shape (n, p)
        Rows sum to 1.
    ids : sequence of length n
        What names the rows.
    id : str or None
        Name of the column of ids.
    noise : bool
        Whether the last column is noise.
    intervals : array of shape (n, 2) or None
        Posterior intervals of the entropy, in nats.
    """

    memberships: Float[np.ndarray, "n p"]
    ids: Sequence[Any]
    id: str | None = None
    noise: bool = False
    intervals: Float[np.ndarray, "n 2"] | None = None


def read_memberships(folder: Path) -> Doubt:
    """Read the memberships that a fit wrote into its folder.

    Raises
    ------
    DataError
        There are none, or they are not what a fit writes.
    """
    import pandas as pd

    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{folder} has no {FILE}: pass the --out folder of a fit, or the TABLE of the rows as well")
    try:
        table = pd.read_csv(path, keep_default_na=False, converters={0: str}, index_col=False)
        names = [name for name in table.columns[1:] if PLACE.fullmatch(name)]
        found = table[names].to_numpy(np.float64)
    except (ValueError, OSError) as problem:
        raise DataError(f"{path} cannot be read ({' '.join(str(problem).split())}): predict it again") from None
    noise = bool(names) and names[-1] == "noise"
    if not names or names != cluster_names(len(names), noise) or not len(found):
        raise DataError(f"{path} is not what a fit writes: pass the TABLE of the rows as well, or fit again")
    first = str(table.columns[0])
    return Doubt(found, table.iloc[:, 0].tolist(), None if first == "row" else first, noise)


def doubt_table(doubt: Doubt) -> pd.DataFrame:
    """Give a line for each row, the most doubtful first, rows of the same entropy in their order.

    Returns
    -------
    DataFrame
        The id, or "row"; the cluster with the largest membership and that membership, the second one and its own, noise
        as -1; the entropy in nats, and over its largest value, log p; of a posterior the interval of the entropy.
    """
    import pandas as pd

    from bayessoft.diagnostics.ambiguity import membership_entropy

    shares = doubt.memberships
    order = np.argsort(-shares, axis=1, kind="stable")
    labels = np.where(order == shares.shape[1] - 1, -1, order) if doubt.noise else order
    sorted_shares = np.take_along_axis(shares, order, axis=1)
    columns: dict[str, Any] = {"cluster": labels[:, 0], "membership": sorted_shares[:, 0]}
    if shares.shape[1] > 1:
        columns |= {"second_cluster": labels[:, 1], "second_membership": sorted_shares[:, 1]}
    columns |= {"entropy": membership_entropy(shares) + 0.0, "ambiguity": membership_entropy(shares, share=True) + 0.0}
    if doubt.intervals is not None:
        columns |= {"entropy_low": doubt.intervals[:, 0], "entropy_high": doubt.intervals[:, 1]}
    first = doubt.id or "row"
    found = pd.DataFrame({f"{first}_" if first in columns else first: list(doubt.ids), **columns})
    return found.sort_values("entropy", ascending=False, kind="stable", ignore_index=True)


def doubt_document(
    doubt: Doubt, table: pd.DataFrame, top: int, circumstances: Mapping[str, Any], remarks: Sequence[str] = ()
) -> dict[str, Any]:
    """Give the document of the rows in doubt.

    Parameters
    ----------
    doubt : Doubt
        The memberships.
    table : DataFrame
        What `doubt_table` made of them.
    top : int
        How many rows to list.
    circumstances : mapping
        Where it all comes from, and what was written.
    remarks : sequence of str
        What else a person should know.

    Returns
    -------
    dict
        Plain values that JSON can hold.
    """
    from bayessoft.diagnostics.ambiguity import partition_coefficient

    document = {
        "command": "ambiguity",
        **circumstances,
        "n": len(table),
        "clusters": cluster_names(doubt.memberships.shape[1], doubt.noise),
        "mean_entropy": table["entropy"].mean(),
        "mean_ambiguity": table["ambiguity"].mean(),
        "partition_coefficient": partition_coefficient(doubt.memberships),
        "certain_above": CERTAIN,
        "certain": (table["membership"] > CERTAIN).mean(),
        "interval": None if doubt.intervals is None else INTERVAL,
        "rows": table.head(top).rename(columns={table.columns[0]: "row"}).to_dict(orient="records"),
        "remarks": list(remarks),
        "versions": versions(),
    }
    return {key: plain(value) for key, value in document.items()}


def print_doubt(document: Mapping[str, Any], console: Console) -> None:
    """Print the rows that are most in doubt, and an account of all.

    Parameters
    ----------
    document : mapping
        What `doubt_document` gave.
    console : Console
        Where to print.
    """
    names = document["clusters"]
    p, interval = len(names), document["interval"]
    heads = ["entropy, nats", f"of log {p}", *([f"{interval:.0%} interval"] if interval else []), "largest", "second"]
    lines = []
    for row in document["rows"]:
        cells = [number(row["entropy"], 3), f"{row['ambiguity']:.1%}"]
        if interval:
            cells.append(f"{number(row['entropy_low'], 2)} to {number(row['entropy_high'], 2)}")
        cells.append(f"{row['membership']:.3f} in {_place(row['cluster'])}")
        cells.append(f"{row['second_membership']:.3f} in {_place(row['second_cluster'])}" if p > 1 else "-")
        lines.append((str(row["row"]), cells))
    print_columns(console, heads, lines)
    for sentence in (_account(document), *document["remarks"]):
        console.print(Text(sentence), soft_wrap=True)
    if document["out"]:
        console.print(Text(f"written: {document['out']}"), soft_wrap=True)


def _place(label: int) -> str:
    """Write the number of a cluster, or noise."""
    return "noise" if label < 0 else str(label)


def _account(document: Mapping[str, Any]) -> str:
    """Say in one line how much doubt there is."""
    clusters = document["clusters"]
    noise = clusters[-1] == "noise"
    places = counted(len(clusters) - noise, "cluster") + " beside noise" * noise
    return (
        f"{counted(document['n'], 'row')} in {places}: mean entropy {number(document['mean_entropy'], 3)} nats "
        f"({document['mean_ambiguity']:.1%} of log {len(clusters)}), partition coefficient "
        f"{document['partition_coefficient']:.3f}, {document['certain']:.1%} of the rows with a membership above "
        f"{document['certain_above']}"
    )
