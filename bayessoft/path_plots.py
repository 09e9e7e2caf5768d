"""Pictures of paths: the information plane of the information bottleneck."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bayessoft.canvas import BAND, COLOURS, new_axes
from bayessoft.errors import OptionError

__all__ = ["information_plane"]

REACHED = "#555555"  # the bound
APART = 0.03  # of the height: numbers of clusters nearer than that to one written before are left out


def information_plane(path: Any, ax: Axes | None = None) -> Axes:
    """Plot what clusters say of columns against what they say of rows, with the bound, and where the number changes.

    Parameters
    ----------
    path : BottleneckPath
        What ``InformationBottleneck.path`` gave.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, ``ax.figure``.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with labels and a legend.

    Raises
    ------
    OptionError
        It is no path.

    Notes
    -----
    Along the line the inverse temperature rises, and is the reciprocal of its slope; the horizontal amount is H(T) of
    the deterministic bottleneck, which is I(T; X) there. Numbers stand where they are first reached, as far as there is
    room. No point is above I(X; Y), nor above the diagonal: what clusters say of columns they have from rows.

    Examples
    --------
    >>> from bayessoft import InformationBottleneck
    >>> path = InformationBottleneck(3, random_state=0).path([[9, 1, 0], [8, 2, 0], [1, 9, 1], [0, 1, 9]])
    >>> information_plane(path).get_xlabel()
    'I(T; X) in nats'
    """
    if not all(hasattr(path, name) for name in ("information_x", "information_y", "kinks")):
        raise OptionError(f"path is a {type(path).__name__}: pass what InformationBottleneck.path gives")
    if ax is None:
        ax = new_axes(7.2, 4.6)
    x, y, numbers = path.information_x[::-1], path.information_y[::-1], path.n_clusters_used[::-1]
    top = 1.12 * max(path.information, y.max(), 1e-9)
    right = 1.05 * max(x.max(), 1e-9)
    ax.fill_between([0, min(top, right)], [0, min(top, right)], [top, top], color=BAND, linewidth=0, zorder=0)
    ax.axhline(path.information, color=REACHED, linestyle="--", linewidth=1.0, zorder=1, label="I(X; Y)")
    ax.plot(x, y, color=COLOURS[0], linewidth=1.4, marker="o", markersize=3, zorder=2, label="solutions")
    first = np.flatnonzero(np.diff(numbers, prepend=0) != 0)
    first = first[[numbers[i] > numbers[:i].max(initial=0) for i in first]]
    ax.plot(x[first], y[first], label="clusters, first reached", **_mark(COLOURS[1]))
    if path.suggested is not None:
        at = first[numbers[first] == path.suggested]
        ax.plot(x[at], y[at], label=f"{path.suggested} clusters, the sharpest bend", **_mark(COLOURS[1], "white"))
    height = -np.inf
    for i in first[numbers[first] > 1]:
        if y[i] - height > APART * top:
            ax.annotate(str(numbers[i]), (x[i], y[i]), (6, -9), textcoords="offset points", fontsize="small")
            height = y[i]
    ax.set_xlim(-0.02 * right, right)
    ax.set_ylim(-0.02 * top, top)
    ax.set_xlabel("I(T; X) in nats")
    ax.set_ylabel("I(T; Y) in nats")
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    return ax


def _mark(colour: str, inside: str | None = None) -> dict[str, Any]:
    """Give the style of a point that is marked, hollow where something is said to be `inside`."""
    size = {"markersize": 6} if inside is None else {"markersize": 10, "markeredgewidth": 1.8}
    fill = colour if inside is None else "none"
    return {"color": colour, "linestyle": "", "marker": "o", "markerfacecolor": fill, "zorder": 3, **size}
