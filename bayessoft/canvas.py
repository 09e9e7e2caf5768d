"""What pictures share: colours, markers and names of clusters, axes that pyplot does not know, how they are saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bayessoft.errors import OptionError, listed

__all__ = [
    "BAND",
    "COLOURS",
    "DOUBT",
    "MARKERS",
    "MOST",
    "NAMED",
    "colour",
    "faded",
    "legend",
    "new_axes",
    "positions",
    "save",
    "short",
]

# Okabe and Ito's colours, told apart in every common colour blindness; without black, and yellow, faint on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")  # one more than colours: 56 pairs before one comes again
BAND = "#E9E9E9"  # behind what is drawn: where it ranges, or may
DOUBT = "#C8C8C8"  # of a row that could as well belong to any cluster
MOST = 20_000  # rows drawn at most; more hide each other
NAMED = 20  # clusters named in the legend
LETTERS = 40  # of a label


def save(ax: Axes, path: Path) -> None:
    """Write the figure that axes belong to; the ending of the path tells the format."""
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.savefig(path, dpi=150)


def new_axes(width: float = 7.2, height: float = 5.4) -> Axes:
    """Make a figure that pyplot does not know."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def colour(cluster: int) -> str:
    """Give the colour of a cluster."""
    return COLOURS[cluster % len(COLOURS)]


def short(label: str) -> str:
    """Cut a label that is too long for an axis."""
    return label if len(label) <= LETTERS else f"{label[: LETTERS - 1]}…"


def faded(
    probabilities: Float[np.ndarray, "n k"], sure: Float[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, "n 3"]:
    """Blend each row's colour with grey, by how sure it is: by default how far its largest membership is above 1/k."""
    k = probabilities.shape[1]
    if sure is None:
        sure = np.ones(len(probabilities)) if k == 1 else (probabilities.max(axis=1) * k - 1) / (k - 1)
    pure = np.array([to_rgb(colour(j)) for j in range(k)])[probabilities.argmax(axis=1)]
    return np.clip(np.array(to_rgb(DOUBT)) * (1 - sure[:, None]) + pure * sure[:, None], 0, 1)


def legend(
    ax: Axes,
    share: Float[np.ndarray, " k"],
    doubt: bool,
    aside: bool = False,
    names: Sequence[str] | None = None,
    outline: str = DOUBT,
) -> None:
    """Name the clusters, the largest where there are many, with their shares, and explain the grey."""
    k = len(share)
    called = [f"cluster {name}" for name in (range(k) if names is None else names)]
    named = np.sort(np.argsort(-share, kind="stable")[:NAMED]).tolist()
    entries = [(colour(j), MARKERS[j % len(MARKERS)], f"{short(called[j])}  {share[j]:.1%}") for j in named]
    if k > NAMED:
        entries.append(("none", "", f"and {k - NAMED} smaller ones"))
    if doubt:
        entries.append((DOUBT, "o", "in doubt"))
    handles = [Line2D([], [], color=colour, marker=marker, ls="", label=text) for colour, marker, text in entries]
    if doubt:
        handles[-1].set_markeredgecolor(outline)
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if aside or len(handles) > 7 else {}
    for text in ax.legend(handles=handles, frameon=False, fontsize="small", **beside).get_texts():
        text.set_parse_math(False)


def positions(columns: Sequence[str | int], names: list[str]) -> list[int]:
    """Find one or two columns by name or position."""
    if isinstance(columns, str) or len(columns) not in (1, 2) or len(set(columns)) != len(columns):
        raise OptionError(f"columns is {columns!r}: name one column, or two different ones, of {listed(names)}")
    for column in columns:
        if column not in (names if isinstance(column, str) else range(len(names))):
            raise OptionError(f"columns has {column!r}: choose from {listed(names, shown=20)}, or positions from 0")
    return [names.index(column) if isinstance(column, str) else int(column) for column in columns]
