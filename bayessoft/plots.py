"""Pictures of a fit: rows coloured by cluster, faded where the cluster is in doubt.

Axes in, axes out. Without axes a figure of its own is made, so that no state of pyplot and no rc setting changes.
"""

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
from matplotlib.patches import Ellipse
from scipy.stats import chi2, norm

from bayessoft.data.tables import TableLike, table
from bayessoft.errors import OptionError, listed

__all__ = ["memberships", "save"]

# Okabe and Ito's colours, told apart in every common colour blindness; without black, and yellow, faint on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")  # one more than colours: 56 pairs before one comes again
DOUBT = "#C8C8C8"  # of a row that could as well belong to any cluster
LEVELS = (0.68, 0.95)
MOST = 20_000  # rows drawn at most; more hide each other
NAMED = 20  # clusters named in the legend
GRID = 512  # points of a density


def memberships(
    estimator: Any,
    X: TableLike,
    *,
    columns: Sequence[str | int] | None = None,
    probabilities: Float[np.ndarray, "n k"] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot rows by cluster: fade with doubt, the shape of each component behind them.

    Two columns give a scatter of the rows, with the ellipses that hold 68 % and 95 % of each component as projected
    on these columns. One column gives the density of each component and of the mixture, over ticks for the rows.

    Parameters
    ----------
    estimator : GaussianMixture
        A fitted estimator with k clusters and d columns.
    X : TableLike of shape (n, d)
        The rows, usually those of the fit. Of more than 20 000, as many, evenly spaced, are drawn.
    columns : sequence of one or two str or int, optional
        Columns to show, by name or position. By default the pair that separates the clusters best, see the notes.
    probabilities : array of shape (n, k), optional
        Memberships to show; by default ``estimator.predict_proba(X)``. Under a size constraint
        ``estimator.responsibilities_`` are the constrained ones.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, ``ax.figure``.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with labels and a legend.

    Raises
    ------
    OptionError
        A column is unknown, or there are not one or two of them.

    Notes
    -----
    A colour is pure where a membership is 1 and grey where all are equal. The pair shown by default has the largest
    ``det(W + B) / det(W)``, where W is the mean covariance within the clusters and B the covariance between their
    means, both weighted by the proportions (the inverse of Wilks' lambda).

    Examples
    --------
    >>> import numpy as np
    >>> import bayessoft as bs
    >>> X = np.vstack([np.random.default_rng(i).normal(8 * i, 1, (50, 2)) for i in range(2)])
    >>> ax = memberships(bs.GaussianMixture(2, random_state=0).fit(X), X)
    >>> ax.get_xlabel()
    'column 0'
    """
    values = np.asarray(table(X), dtype=np.float64)
    names = _names(estimator)
    chosen = _best_columns(estimator) if columns is None else _positions(columns, names)
    rows = np.linspace(0, len(values) - 1, min(len(values), MOST)).astype(int)
    shown = estimator.predict_proba(X) if probabilities is None else np.asarray(probabilities)
    if ax is None:
        ax = _new_axes()
    draw = _draw_pair if len(chosen) == 2 else _draw_line
    draw(ax, estimator, values[rows][:, chosen], shown[rows], chosen)
    ax.set_xlabel(names[chosen[0]])
    ax.set_ylabel(names[chosen[1]] if len(chosen) == 2 else "density")
    _legend(ax, estimator, shown)
    return ax


def save(ax: Axes, path: Path) -> None:
    """Write the figure that axes belong to; the ending of the path tells the format."""
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.savefig(path, dpi=150)


def _new_axes() -> Axes:
    """Make a figure that pyplot does not know."""
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _names(estimator: Any) -> list[str]:
    """Give the names of the columns."""
    named = getattr(estimator, "feature_names_in_", None)
    return [f"column {j}" for j in range(estimator.n_features_in_)] if named is None else list(map(str, named))


def _positions(columns: Sequence[str | int], names: list[str]) -> list[int]:
    """Find one or two columns by name or position."""
    if isinstance(columns, str) or len(columns) not in (1, 2) or len(set(columns)) != len(columns):
        raise OptionError(f"columns is {columns!r}: name one column, or two different ones, of {listed(names)}")
    for column in columns:
        if column not in (names if isinstance(column, str) else range(len(names))):
            raise OptionError(f"columns has {column!r}: choose from {listed(names, shown=20)}, or positions from 0")
    return [names.index(column) if isinstance(column, str) else int(column) for column in columns]


def _covariances(estimator: Any) -> Float[np.ndarray, "k d d"]:
    """Give the covariances of all types as matrices."""
    k, d = estimator.means_.shape
    given = np.asarray(estimator.covariances_, dtype=np.float64)
    if estimator.covariance_type == "tied":
        return np.broadcast_to(given, (k, d, d))
    if estimator.covariance_type == "full":
        return given
    return (given if given.ndim == 2 else given[:, None])[:, :, None] * np.eye(d)


def _best_columns(estimator: Any) -> list[int]:
    """Choose the columns that separate the clusters best."""
    d = estimator.n_features_in_
    if d <= 2:
        return list(range(d))
    weights = estimator.weights_
    within = np.einsum("k,kij->ij", weights, _covariances(estimator))
    apart = estimator.means_ - weights @ estimator.means_
    between = np.einsum("k,ki,kj->ij", weights, apart, apart)
    spread = np.sqrt(np.diag(within) + np.diag(between))
    spread[spread == 0] = 1.0
    within, total = within / np.outer(spread, spread), (within + between) / np.outer(spread, spread)
    first, second = np.triu_indices(d, 1)
    below, above = (m[first, first] * m[second, second] - m[first, second] ** 2 for m in (within, total))
    ratio = above / np.maximum(below, 1e-12)  # two collinear columns have no determinant
    best = int(np.argmax(ratio))
    return [int(first[best]), int(second[best])]


def _colour(cluster: int) -> str:
    """Give the colour of a cluster."""
    return COLOURS[cluster % len(COLOURS)]


def _faded(probabilities: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n 3"]:
    """Blend each row's colour with grey, by how far its largest membership is above 1/k."""
    k = probabilities.shape[1]
    sure = np.ones(len(probabilities)) if k == 1 else (probabilities.max(axis=1) * k - 1) / (k - 1)
    pure = np.array([to_rgb(_colour(j)) for j in range(k)])[probabilities.argmax(axis=1)]
    return np.clip(np.array(to_rgb(DOUBT)) * (1 - sure[:, None]) + pure * sure[:, None], 0, 1)


def _draw_pair(
    ax: Axes, estimator: Any, values: Float[np.ndarray, "n 2"], shown: Float[np.ndarray, "n k"], columns: list[int]
) -> None:
    """Draw a scatter of two columns, and the ellipses of the components."""
    colours, labels = _faded(shown), shown.argmax(axis=1)
    size = float(np.clip(7000 / len(values), 4, 30))
    for j in range(shown.shape[1]):
        own = labels == j
        if not own.any():
            continue
        ax.scatter(
            values[own, 0],
            values[own, 1],
            s=size,
            c=colours[own],
            marker=MARKERS[j % len(MARKERS)],
            linewidths=0.4 if size > 8 else 0,
            edgecolors="white",
            rasterized=True,
            zorder=2,
        )
    for j, (mean, covariance) in enumerate(zip(estimator.means_, _covariances(estimator), strict=True)):
        spread, axes = np.linalg.eigh(covariance[np.ix_(columns, columns)])
        angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
        for level in LEVELS:
            minor, major = 2 * np.sqrt(np.maximum(spread, 0) * chi2.ppf(level, df=2))
            line = {"linewidth": 1.6 if level == LEVELS[0] else 1.0, "linestyle": "-" if level == LEVELS[0] else "--"}
            centre = (float(mean[columns[0]]), float(mean[columns[1]]))
            ax.add_patch(Ellipse(centre, major, minor, angle=angle, fill=False, edgecolor=_colour(j), zorder=3, **line))
    ax.autoscale_view()


def _draw_line(
    ax: Axes, estimator: Any, values: Float[np.ndarray, "n 1"], shown: Float[np.ndarray, "n k"], columns: list[int]
) -> None:
    """Draw the densities of one column, over ticks for the rows."""
    (column,) = columns
    means = estimator.means_[:, column]
    spreads = np.sqrt(_covariances(estimator)[:, column, column])
    low = min(values.min(), (means - 3 * spreads).min())
    high = max(values.max(), (means + 3 * spreads).max())
    # evenly spaced points for the whole, and the points of each component for its peak, however narrow
    grid = np.unique(
        np.concatenate([np.linspace(low, high, GRID), *(means + spreads * np.linspace(-4, 4, 81)[:, None])])
    )
    densities = estimator.weights_ * norm.pdf(grid[:, None], means, np.maximum(spreads, np.finfo(float).tiny))
    for j, density in enumerate(densities.T):
        ax.fill_between(grid, density, color=_colour(j), alpha=0.2, linewidth=0)
        ax.plot(grid, density, color=_colour(j), linewidth=1.6)
    ax.plot(grid, densities.sum(axis=1), color="#333333", linewidth=1.0, linestyle="--", label="mixture")
    top = densities.sum(axis=1).max()
    ax.vlines(
        values[:, 0], -0.06 * top, -0.015 * top, colors=list(map(tuple, _faded(shown))), linewidth=0.8, rasterized=True
    )
    ax.set_ylim(-0.075 * top, 1.05 * top)


def _legend(ax: Axes, estimator: Any, shown: Float[np.ndarray, "n k"]) -> None:
    """Name the clusters, the largest where there are many, with their shares, and explain the grey."""
    share, k = estimator.weights_, shown.shape[1]
    named = np.sort(np.argsort(-share, kind="stable")[:NAMED]).tolist()
    entries = [(_colour(j), MARKERS[j % len(MARKERS)], f"cluster {j}  {share[j]:.1%}") for j in named]
    if k > NAMED:
        entries.append(("none", "", f"and {k - NAMED} smaller ones"))
    if k > 1:
        entries.append((DOUBT, "o", "in doubt"))
    handles = [Line2D([], [], color=colour, marker=marker, ls="", label=text) for colour, marker, text in entries]
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if len(handles) > 7 else {}
    ax.legend(handles=handles, frameon=False, fontsize="small", **beside)
