"""Pictures of memberships alone, of whatever clustering: where rows are in doubt, and between which clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from bayessoft.canvas import BAND, DOUBT, MARKERS, MOST, NAMED, colour, faded, legend, new_axes, positions, short
from bayessoft.data.memberships import memberships_of, together
from bayessoft.data.tables import TableLike
from bayessoft.diagnostics.ambiguity import membership_entropy
from bayessoft.errors import OptionError

__all__ = ["ambiguity_map", "membership_profiles", "simplex"]

DOUBTFUL = 0.2  # entropy, as a share of the largest, from which a row has an outline: 0.97 to 0.03 of two clusters
OUTLINE = "#333333"
SMALL = 8  # area of a mark, in square points, that an outline would fill
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])


def ambiguity_map(
    X: TableLike,
    memberships: TableLike,
    *,
    columns: Sequence[str | int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot rows by cluster, grey, larger and outlined where they are in doubt.

    Parameters
    ----------
    X : array, DataFrame or table of shape (n, d)
        Rows, d of 2 or more. Of more than 20 000, as many, evenly spaced, are drawn.
    memberships : array or DataFrame of shape (n, k)
        Memberships >= 0; rows sum to 1.
    columns : sequence of two str or int, optional
        Columns to show, by name or position. By default both of two, and of more the first two principal axes of the
        columns, each divided by its standard deviation.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, ``ax.figure``.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with labels and a legend.

    Raises
    ------
    OptionError
        A column is unknown, or there are not two of them.
    DataError
        Unusable rows or memberships.

    Notes
    -----
    A colour is pure where the entropy of a row's memberships is 0 and grey where it is log k; the area of a mark grows
    with it to three times the least, and from a fifth of log k on it lies on top, with an outline where there are not
    too many rows for it.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> ax = ambiguity_map(X, np.full((50, 2), 0.5), columns=[0, 2])
    >>> ax.get_ylabel()
    'column 2'
    """
    rows, shares = together(X, memberships)
    names = [f"column {j}" for j in range(rows.d)] if rows.columns is None else list(rows.columns)
    if columns is None and rows.d > 2:
        points, labels = _principal(rows.values)
    else:
        chosen = positions(range(rows.d) if columns is None else columns, names)
        if len(chosen) != 2:
            raise OptionError("ambiguity_map draws two columns, and there is one: use plots.membership_profiles")
        points, labels = rows.values[:, chosen], [names[j] for j in chosen]
    shown = _some(shares.n)
    ambiguity = membership_entropy(shares.values[shown], share=True)
    if ax is None:
        ax = new_axes()
    outlined = _scatter(ax, points[shown], shares.values[shown], ambiguity)
    ax.set_xlabel(short(labels[0]), parse_math=False)
    ax.set_ylabel(short(labels[1]), parse_math=False)
    legend(ax, shares.values.mean(0), doubt=shares.k > 1, names=shares.clusters, outline=OUTLINE if outlined else DOUBT)
    return ax


def simplex(memberships: TableLike, *, ax: Axes | None = None) -> Axes:
    """Plot memberships in three clusters as points of a triangle: certain in its corners, in doubt between them.

    Parameters
    ----------
    memberships : array or DataFrame of shape (n, 3)
        Memberships >= 0; rows sum to 1. Names of columns name the corners. Of more than 20 000 rows, as many, evenly
        spaced, are drawn.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, ``ax.figure``.

    Returns
    -------
    matplotlib.axes.Axes
        The axes: each corner has the name of its cluster, and its share of the rows.

    Raises
    ------
    OptionError
        Another number of clusters.
    DataError
        Unusable memberships.

    Notes
    -----
    The memberships of a row are its barycentric coordinates, as in Pritchard, Stephens and Donnelly, Genetics 155
    (2000). Lines show where the most probable cluster changes.

    Examples
    --------
    >>> ax = simplex([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
    >>> [text.get_text().split()[:2] for text in ax.texts]
    [['cluster', '0'], ['cluster', '1'], ['cluster', '2']]
    """
    shares = memberships_of(memberships)
    if shares.k != 3:
        raise OptionError(f"simplex draws three clusters, and there are {shares.k}: use plots.membership_profiles")
    if ax is None:
        ax = new_axes(6.4, 5.8)
    middle = CORNERS.mean(0)
    for j in range(3):
        across = (CORNERS[(j + 1) % 3] + CORNERS[(j + 2) % 3]) / 2
        ax.plot(*np.stack([middle, across]).T, color=BAND, linewidth=1.2, zorder=1)
    ax.plot(*CORNERS[[0, 1, 2, 0]].T, color=OUTLINE, linewidth=0.8, zorder=1)
    values = shares.values[_some(shares.n)].astype(np.float64)
    _scatter(ax, values @ CORNERS, values, membership_entropy(values, share=True))
    beside: Any = ({"ha": "center", "va": "top"}, {"ha": "center", "va": "top"}, {"ha": "center", "va": "bottom"})
    for j, (corner, style) in enumerate(zip(CORNERS, beside, strict=True)):
        text = f"{short(f'cluster {shares.clusters[j]}')}\n{shares.values[:, j].mean():.1%}"
        place: Any = {"xytext": (0, 8 if j == 2 else -8), "textcoords": "offset points", "parse_math": False}
        ax.annotate(text, (float(corner[0]), float(corner[1])), color=colour(j), weight="bold", **place, **style)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def membership_profiles(memberships: TableLike, *, ax: Axes | None = None) -> Axes:
    """Plot the memberships of each row as a stacked bar, the rows sorted by cluster and by how sure they are.

    Parameters
    ----------
    memberships : array or DataFrame of shape (n, k)
        Memberships >= 0; rows sum to 1. Of more than 20 000 rows, as many, evenly spaced in this order, are drawn.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, ``ax.figure``.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with labels and a legend.

    Raises
    ------
    DataError
        Unusable memberships.

    Notes
    -----
    The bars of population genetics: Rosenberg et al., Science 298 (2002). The cluster of a group is at
    the bottom of its bars, the others follow in their order; white lines part the groups.

    Examples
    --------
    >>> ax = membership_profiles([[0.9, 0.1], [0.4, 0.6], [1.0, 0.0]])
    >>> ax.get_xlabel()
    '3 rows, sorted'
    """
    shares = memberships_of(memberships)
    label, top = shares.values.argmax(1), shares.values.max(1)
    order = np.lexsort((-top, label))[_some(shares.n)]
    values, groups = shares.values[order].astype(np.float64), label[order]
    edges = np.linspace(0, shares.n, len(order) + 1)
    if ax is None:
        ax = new_axes(8.2, max(3.4, 0.25 * min(shares.k, NAMED + 1)))  # inches, of lines in the legend
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        x = edges[own[0] : own[-1] + 2]
        below = np.zeros(len(own))
        for j in (group, *(j for j in range(shares.k) if j != group)):
            above = below + values[own, j]
            if (above > below).any():
                _step(ax, x, below, above, colour(j))
            below = above
        if own[0] > 0:
            ax.axvline(x[0], color="white", linewidth=1.6, zorder=3)
    ax.set_xlim(0, shares.n)
    ax.set_ylim(0, 1)
    ax.set_xlabel(f"{shares.n} row{'' if shares.n == 1 else 's'}, sorted")
    ax.set_ylabel("membership")
    legend(ax, shares.values.mean(0), doubt=False, aside=True, names=shares.clusters)
    return ax


def _some(n: int) -> Int[np.ndarray, " m"]:
    """Choose the rows that are drawn."""
    return np.linspace(0, n - 1, min(n, MOST)).astype(int)


def _step(
    ax: Axes, edges: Float[np.ndarray, " e"], below: Float[np.ndarray, " m"], above: Float[np.ndarray, " m"], shade: str
) -> None:
    """Draw a bar for each row, side by side; the last height is repeated for the last edge."""
    low, high = (np.append(height, height[-1]) for height in (below, above))
    ax.fill_between(edges, low, high, step="post", color=shade, linewidth=0, antialiased=False, rasterized=True)


def _principal(values: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "n 2"], list[str]]:
    """Give the coordinates of rows on their first two principal axes, in units of standard deviations, and labels."""
    spread = values.std(0, dtype=np.float64)
    scaled = (values - values.mean(0, dtype=np.float64)) / np.where(spread > 0, spread, 1)
    lengths, axes = np.linalg.eigh(scaled.T @ scaled)
    chosen = axes[:, :-3:-1]
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(0), [0, 1]])  # the largest part of an axis is positive
    total = lengths.sum()
    parts = lengths[:-3:-1] / (total if total > 0 else 1.0)
    return scaled @ chosen, [f"principal axis {i + 1} ({part:.0%} of the variance)" for i, part in enumerate(parts)]


def _scatter(
    ax: Axes, points: Float[np.ndarray, "n 2"], shares: Float[np.ndarray, "n k"], ambiguity: Float[np.ndarray, " n"]
) -> bool:
    """Draw rows by cluster, those in doubt on top; tell whether marks are large enough for outlines."""
    colours, labels = faded(shares, 1 - ambiguity), shares.argmax(1)
    least = float(np.clip(7000 / len(points), 4, 26))
    outlined = least > SMALL
    for doubtful in (False, True):
        for j in range(shares.shape[1]):
            own = (labels == j) & ((ambiguity >= DOUBTFUL) == doubtful)
            if not own.any():
                continue
            width, edge = (0.7 * outlined, OUTLINE) if doubtful else (0.3 * outlined, "white")
            style: Any = {"marker": MARKERS[j % len(MARKERS)], "linewidths": width, "edgecolors": edge}
            area = least * (1 + 2 * ambiguity[own])
            ax.scatter(
                points[own, 0],
                points[own, 1],
                s=area,
                c=colours[own],
                zorder=2 + doubtful,
                clip_on=False,
                rasterized=True,
                **style,
            )
    return outlined
