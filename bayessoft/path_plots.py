"""Pictures of paths: the information plane of the information bottleneck."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bayessoft.canvas import BAND, COLOURS, new_axes
from bayessoft.errors import OptionError

__all__ = ["information_plane"]

REACHED = "#555555"  # the bound
APART = 0.03  # of height and width: numbers of clusters nearer than that to one written before are left out


def information_plane(path: Any, ax: Axes | None = None) -> Axes:
    """Plot what clusters say of columns against what they say of rows, with the bound, and numbers of clusters.

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
    Along the line the inverse temperature rises, and is the reciprocal of its slope; for the deterministic bottleneck
    the horizontal amount is I(T; X) = H(T). Each number of clusters stands where it keeps most, as far as there is
    room, and the one that ``path.suggested`` names in a ring. No point is above I(X; Y), nor above the diagonal: what
    clusters say of columns they have from rows.

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
        ax = new_axes(8.4, 4.6)
    x, y, numbers = path.information_x[::-1], path.information_y[::-1], path.n_clusters_used[::-1]
    top = 1.08 * max(path.information, y.max(), 1e-9)
    right = 1.05 * max(x.max(), 1e-9)
    edge = min(top, right)
    ax.fill_between([0, edge], [0, edge], [top, top], color=BAND, linewidth=0, zorder=0, label="above I(T; X)")
    ax.axhline(path.information, color=REACHED, linestyle="--", linewidth=1.0, zorder=1, label="I(X; Y)")
    ax.plot(x, y, color=COLOURS[0], linewidth=1.4, marker="o", markersize=3, zorder=2, label="solutions")
    last = np.array([np.flatnonzero(numbers == k)[-1] for k in np.unique(numbers)])  # of each number of clusters
    ax.plot(x[last], y[last], label="most that so many clusters keep", **_mark(COLOURS[1]))
    if path.suggested is not None:
        at = last[numbers[last] == path.suggested]
        ax.plot(x[at], y[at], label=f"{path.suggested} clusters, the sharpest bend", **_mark(COLOURS[1], hollow=True))
    written = [(0.0, 0.0)]
    for i in last:
        if all(abs(x[i] - a) > APART * right or abs(y[i] - b) > APART * top for a, b in written):
            ax.annotate(str(numbers[i]), (x[i], y[i]), (5, -13), textcoords="offset points", fontsize="small")
            written.append((x[i], y[i]))
    ax.set_xlim(-0.02 * right, right)
    ax.set_ylim(-0.02 * top, top)
    ax.set_xlabel("I(T; X) in nats")
    ax.set_ylabel("I(T; Y) in nats")
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _mark(colour: str, hollow: bool = False) -> dict[str, Any]:
    """Give the style of a point that is marked."""
    style: dict[str, Any] = {"color": colour, "linestyle": "", "marker": "o", "zorder": 3, "markersize": 6}
    return style | {"markersize": 11, "markeredgewidth": 1.8, "markerfacecolor": "none"} if hollow else style
