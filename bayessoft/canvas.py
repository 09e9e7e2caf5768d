"""What pictures share: colours and markers of clusters, axes that pyplot does not know, and how they are saved."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["BAND", "COLOURS", "MARKERS", "colour", "new_axes", "save", "short"]

# Okabe and Ito's colours, told apart in every common colour blindness; without black, and yellow, faint on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")  # one more than colours: 56 pairs before one comes again
BAND = "#E9E9E9"  # behind what is drawn: where it ranges, or may
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
