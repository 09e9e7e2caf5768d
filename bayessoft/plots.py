"""Pictures of a fit: rows coloured by cluster, faded where in doubt; profiles; bounds on sizes; what a reduction costs.

Axes in, axes out. Without axes a figure of its own is made, so that no state of pyplot and no rc setting changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from scipy.stats import t as student

from bayessoft.ambiguity_plots import ambiguity_map, membership_profiles, simplex
from bayessoft.annealing_plots import annealing_tree
from bayessoft.canvas import (
    BAND,
    COLOURS,
    MARKERS,
    MOST,
    NAMED,
    colour,
    faded,
    legend,
    new_axes,
    positions,
    save,
    short,
)
from bayessoft.data.tables import TableLike, table
from bayessoft.density_plots import reduction_curve
from bayessoft.errors import OptionError, listed
from bayessoft.estimators import posterior
from bayessoft.path_plots import information_plane
from bayessoft.size_plots import size_curve, sizes

__all__ = [
    "COLOURS",
    "ambiguity_map",
    "annealing_tree",
    "information_plane",
    "membership_profiles",
    "memberships",
    "profiles",
    "reduction_curve",
    "save",
    "simplex",
    "size_curve",
    "sizes",
]

LEVELS = (0.68, 0.95)
GRID = 512  # points of a density
PROFILED = ("rate", "share", "probability")
LINES = 30  # of a profile
TINY = 1e-9  # a rate or share that is none to the eye
GAP = 0.5  # lines between the answers to one question and the next
DODGE = 0.3  # lines between the dots of the first cluster and the last


def memberships(
    estimator: Any,
    X: TableLike,
    *,
    columns: Sequence[str | int] | None = None,
    probabilities: Float[np.ndarray, "n k"] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot rows by Gaussian or Student-t cluster: fade with doubt, the shape of each component behind them.

    Two columns give a scatter of the rows, with the ellipses that hold 68 % and 95 % of each component as projected
    on these columns. One column gives the density of each component and of the mixture, over ticks for the rows.

    Parameters
    ----------
    estimator : GaussianMixture or MixtureModel
        A fitted estimator with k Gaussian or Student-t clusters and d columns.
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
        A column is unknown, or there are not one or two of them, or the components are of other families.

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
    _components(estimator)
    values = np.asarray(table(X), dtype=np.float64)
    names = _names(estimator)
    chosen = _best_columns(estimator) if columns is None else positions(columns, names)
    rows = np.linspace(0, len(values) - 1, min(len(values), MOST)).astype(int)
    shown = estimator.predict_proba(X) if probabilities is None else np.asarray(probabilities)
    if ax is None:
        ax = new_axes()
    (_draw_pair if len(chosen) == 2 else _draw_line)(ax, estimator, values[rows][:, chosen], shown[rows], chosen)
    ax.set_xlabel(short(names[chosen[0]]), parse_math=False)
    ax.set_ylabel(short(names[chosen[1]]) if len(chosen) == 2 else "density", parse_math=False)
    legend(ax, estimator.weights_, doubt=shown.shape[1] > 1)
    return ax


def profiles(estimator: Any, *, labels: Sequence[str] | None = None, most: int = LINES, ax: Axes | None = None) -> Axes:
    """Plot what tells the clusters of counts or answers apart: a line for each column, or answer, a dot a cluster.

    Parameters
    ----------
    estimator : MixtureModel
        A fitted estimator of counts or answers.
    labels : sequence of str, optional
        Names of the lines, in the order of the columns, or of the answers; by default the model's own.
    most : int, default=30
        Most lines. Where there are more, the columns that separate the clusters best are drawn, and the axis says so.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, ``ax.figure``.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with labels and a legend.

    Raises
    ------
    OptionError
        The components have other parameters, or `labels` are too few or too many.

    Notes
    -----
    Columns come in the order of the expected Kullback-Leibler divergence of a cluster's distribution of the column from
    that with the mean parameters, ``sum_k pi_k KL(p_k || p)``: of answers, the mutual information with the cluster.
    Rates and shares are on a scale of square roots, whose differences mean the same everywhere (Bartlett, 1936).

    Examples
    --------
    >>> import bayessoft as bs
    >>> X = np.random.default_rng(0).poisson([[2, 9, 4]] * 30 + [[8, 1, 4]] * 30)
    >>> ax = profiles(bs.MixtureModel(2, "poisson", random_state=0).fit(X))
    >>> [label.get_text() for label in ax.get_yticklabels()][-1]
    'column 2'
    """
    family = estimator.fit_.mixture.family.plain
    if family.SHOWN not in PROFILED:
        what = "means: use plots.memberships" if family.SHOWN == "mean" else listed(list(estimator.parameters_), str)
        raise OptionError(f"profiles draws rates, shares and probabilities, and these components have {what}")
    found = posterior.shown(estimator.fit_, _names(estimator))
    names = [label.removeprefix(f"{family.SHOWN} ") for label in found] if labels is None else list(labels)
    if len(names) != len(found):
        raise OptionError(f"labels has {len(names)} names: pass {len(found)}, or None")
    values = np.column_stack(list(found.values()))
    blocks = _best_blocks(estimator, values, most)
    lines = np.concatenate(blocks)
    between = GAP if len(lines) > len(blocks) else 0.0  # columns of several answers
    heights = np.arange(len(lines)) + between * np.repeat(np.arange(len(blocks)), list(map(len, blocks)))
    shown = [short(names[line]) for line in lines]
    if ax is None:
        named = min(len(values), NAMED + 1)  # inches, of labels beyond the usual, and of lines in plot or legend
        ax = new_axes(7.2 + 0.08 * max(0, max(map(len, shown)) - 12), max(2.4, 1.3 + 0.27 * heights[-1], 0.25 * named))
    _draw_profiles(ax, values[:, lines], heights, family.SHOWN == "probability")
    ax.set_yticks(heights, shown, parse_math=False)
    ax.set_xlabel(family.SHOWN if family.SHOWN == "probability" else f"{family.SHOWN}, on a scale of square roots")
    if len(blocks) < estimator.n_features_in_:
        text = f"the {len(blocks)} of {estimator.n_features_in_} columns that separate the clusters best"
        ax.set_title(text, loc="left", fontsize="small")
    legend(ax, estimator.weights_, doubt=False, aside=True)
    return ax


def _names(estimator: Any) -> list[str]:
    """Give the names of the columns."""
    named = getattr(estimator, "feature_names_in_", None)
    return [f"column {j}" for j in range(estimator.n_features_in_)] if named is None else list(map(str, named))


def _components(estimator: Any) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k d d"]]:
    """Give means, and covariances of all types as matrices."""
    if hasattr(estimator, "means_"):
        means, given, kind = estimator.means_, estimator.covariances_, estimator.covariance_type
    elif (given := estimator.parameters_.get("covariances", estimator.parameters_.get("scales"))) is not None:
        means, kind = estimator.parameters_["means"], estimator.fit_.mixture.family.plain.covariance_type
    else:
        has = listed(list(estimator.parameters_), str)
        raise OptionError(
            f"memberships draws Gaussian and Student-t components, and these have {has}: try plots.profiles"
        )
    k, d = means.shape
    given = np.asarray(given, dtype=np.float64)
    if kind == "tied":
        return means, np.broadcast_to(given, (k, d, d))
    if kind == "full":
        return means, given
    return means, (given if given.ndim == 2 else given[:, None])[:, :, None] * np.eye(d)


def _best_blocks(estimator: Any, values: Float[np.ndarray, "k f"], most: int) -> list[np.ndarray]:
    """Give the lines of each column, those that separate the clusters best first, as many as there is room for."""
    family, weights = estimator.fit_.mixture.family.plain, estimator.weights_.astype(np.float64)
    levels = getattr(family, "levels", None) or (1,) * values.shape[1]
    divergence = _divergence(weights, values)
    if family.SHOWN == "probability" and len(levels) == values.shape[1]:  # of a 1: what is left is that of a 0
        divergence = divergence + _divergence(weights, 1 - values)
    blocks = np.split(np.arange(values.shape[1]), np.cumsum(levels)[:-1])
    order = np.argsort([-divergence[block].sum() for block in blocks], kind="stable")
    room = np.cumsum([len(blocks[j]) for j in order]) <= most
    return [blocks[j] for j in order[: max(1, int(room.sum()))]]


def _divergence(weights: Float[np.ndarray, " k"], values: Float[np.ndarray, "k f"]) -> Float[np.ndarray, " f"]:
    """Give the part of each number in the expected divergence of a cluster from the whole."""
    tiny = np.finfo(np.float64).tiny
    return weights @ (values * np.log(np.maximum(values, tiny) / np.maximum(weights @ values, tiny)))


def _degrees(estimator: Any) -> Float[np.ndarray, " k"]:
    """Give the degrees of freedom of the components, of Gaussian ones so many that nothing shows."""
    given = getattr(estimator, "parameters_", {}).get("degrees_of_freedom", 1e6)
    return np.broadcast_to(given, estimator.weights_.shape)


def _best_columns(estimator: Any) -> list[int]:
    """Choose the columns that separate the clusters best."""
    d = estimator.n_features_in_
    if d <= 2:
        return list(range(d))
    weights = estimator.weights_
    means, covariances = _components(estimator)
    within = np.einsum("k,kij->ij", weights, covariances)
    apart = means - weights @ means
    between = np.einsum("k,ki,kj->ij", weights, apart, apart)
    spread = np.sqrt(np.diag(within) + np.diag(between))
    spread[spread == 0] = 1.0
    within, total = within / np.outer(spread, spread), (within + between) / np.outer(spread, spread)
    first, second = np.triu_indices(d, 1)
    below, above = (m[first, first] * m[second, second] - m[first, second] ** 2 for m in (within, total))
    ratio = above / np.maximum(below, 1e-12)  # two collinear columns have no determinant
    best = int(np.argmax(ratio))
    return [int(first[best]), int(second[best])]


def _draw_pair(
    ax: Axes, estimator: Any, values: Float[np.ndarray, "n 2"], shown: Float[np.ndarray, "n k"], columns: list[int]
) -> None:
    """Draw a scatter of two columns, and the ellipses of the components."""
    colours, labels = faded(shown), shown.argmax(axis=1)
    size = float(np.clip(7000 / len(values), 4, 30))
    for j in range(shown.shape[1]):
        own = labels == j
        if not own.any():
            continue
        style: Any = {"s": size, "linewidths": 0.4 if size > 8 else 0, "edgecolors": "white", "rasterized": True}
        ax.scatter(values[own, 0], values[own, 1], c=colours[own], marker=MARKERS[j % len(MARKERS)], zorder=2, **style)
    for j, (mean, covariance, degrees) in enumerate(zip(*_components(estimator), _degrees(estimator), strict=True)):
        spread, axes = np.linalg.eigh(covariance[np.ix_(columns, columns)])
        angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
        for level in LEVELS:
            squared = degrees * np.expm1(-2 / degrees * np.log(1 - level))  # of F(2, degrees), twice
            minor, major = 2 * np.sqrt(np.maximum(spread, 0) * squared)
            line = {"linewidth": 1.6 if level == LEVELS[0] else 1.0, "linestyle": "-" if level == LEVELS[0] else "--"}
            centre = (float(mean[columns[0]]), float(mean[columns[1]]))
            ax.add_patch(Ellipse(centre, major, minor, angle=angle, fill=False, edgecolor=colour(j), zorder=3, **line))
    ax.autoscale_view()


def _draw_line(
    ax: Axes, estimator: Any, values: Float[np.ndarray, "n 1"], shown: Float[np.ndarray, "n k"], columns: list[int]
) -> None:
    """Draw the densities of one column, over ticks for the rows."""
    (column,) = columns
    means, covariances = _components(estimator)
    means, spreads = means[:, column], np.sqrt(covariances[:, column, column])
    low = min(values.min(), (means - 3 * spreads).min())
    high = max(values.max(), (means + 3 * spreads).max())
    # evenly spaced points for the whole, and the points of each component for its peak, however narrow
    grid = np.unique(
        np.concatenate([np.linspace(low, high, GRID), *(means + spreads * np.linspace(-4, 4, 81)[:, None])])
    )
    spreads = np.maximum(spreads, np.finfo(float).tiny)
    densities = estimator.weights_ * student.pdf(grid[:, None], _degrees(estimator), means, spreads)
    for j, density in enumerate(densities.T):
        ax.fill_between(grid, density, color=colour(j), alpha=0.2, linewidth=0)
        ax.plot(grid, density, color=colour(j), linewidth=1.6)
    ax.plot(grid, densities.sum(axis=1), color="#333333", linewidth=1.0, linestyle="--", label="mixture")
    top = densities.sum(axis=1).max()
    ax.vlines(
        values[:, 0], -0.06 * top, -0.015 * top, colors=list(map(tuple, faded(shown))), linewidth=0.8, rasterized=True
    )
    ax.set_ylim(-0.075 * top, 1.05 * top)


def _draw_profiles(
    ax: Axes, values: Float[np.ndarray, "k f"], heights: Float[np.ndarray, " f"], probabilities: bool
) -> None:
    """Draw a band for each number, first on top, and a dot for each cluster, a little apart so that none is hidden."""
    k = len(values)
    ax.hlines(heights, values.min(axis=0), values.max(axis=0), colors=BAND, linewidth=9, capstyle="round", zorder=1)
    for j, place in enumerate(DODGE * ((np.arange(k) + 0.5) / k - 0.5)):
        ax.scatter(
            values[j],
            heights + place,
            s=36,
            color=colour(j),
            marker=MARKERS[j % len(MARKERS)],
            linewidths=0.5,
            edgecolors="white",
            clip_on=False,
            zorder=2,
        )
    ax.set_ylim(heights[-1] + 0.6, -0.6)
    if probabilities:
        ax.set_xlim(0, 1)
    else:
        top = max(float(np.max(values)), TINY)
        ax.set_xscale("function", functions=(_root, np.square))
        ax.set_xlim(0, 1.05 * top)
        ticks = _root_ticks(top)
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#EEEEEE", linewidth=0.8)
    ax.set_axisbelow(True)


def _root_ticks(top: float) -> list[float]:
    """Give 0 and round numbers up to the top, no nearer to each other on a scale of square roots than can be read."""
    power = int(np.floor(np.log10(top)))
    ticks = [np.inf]
    for tick in (first * 10.0**exponent for exponent in range(power, power - 4, -1) for first in (5, 2, 1)):
        if tick <= top and np.sqrt(min(ticks[-1], 4 * top)) - np.sqrt(tick) > 0.11 * np.sqrt(top) < np.sqrt(tick):
            ticks.append(tick)
    return [0.0, *reversed(ticks[1:])]


def _root(value: Any) -> Any:
    """Give square roots; 0 below 0, where nothing is drawn."""
    return np.sqrt(np.maximum(value, 0))
