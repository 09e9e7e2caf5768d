"""Pictures of bounds on sizes: what clusters have and may have with the prices, and what a bound costs as it moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bayessoft.canvas import BAND, COLOURS, colour, new_axes, short
from bayessoft.core.demand import ROWS, SLACK
from bayessoft.errors import OptionError, listed
from bayessoft.status import Status

__all__ = ["size_curve", "sizes"]

BAR, ALLOWED = 0.42, 0.78  # heights, of a distance of 1 between clusters
ACTIVE, IDLE = "#222222", "#A6A6A6"  # bounds


def sizes(estimator: Any, *, resource: str | None = None, ax: Axes | None = None) -> Axes:
    """Plot what each cluster has of a resource under bounds: a bar, in the band of what it may have, and the price.

    Parameters
    ----------
    estimator : GaussianMixture or MixtureModel
        A fitted estimator whose sizes were constrained.
    resource : str, optional
        Which one; by default the first of ``estimator.size_bounds_``, "rows" where numbers of rows are bounded.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, ``ax.figure``. Prices are written to the right of it.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with labels and a legend.

    Raises
    ------
    OptionError
        Sizes were not constrained, or the resource is none of those that were, or clusters cannot be told apart.

    Notes
    -----
    A price is above 0 at a low bound and below 0 at a high one; a further unit there changes the objective by minus the
    price. Draws have none: only which bound holds is said of them, and the bars are their mean counts.

    Examples
    --------
    >>> import bayessoft as bs
    >>> X = np.vstack([np.random.default_rng(i).normal(8 * i, 1, (50, 2)) for i in range(2)])
    >>> ax = sizes(bs.GaussianMixture(2, sizes=bs.Between(low=30), random_state=0).fit(X))
    >>> [text.get_text() for text in ax.texts]
    ['not binding', 'not binding']
    """
    bounds = _bounds(estimator, resource)
    name = str(bounds.index.get_level_values("resource")[0])
    low, high, amount = (bounds[column].to_numpy() for column in ("low", "high", "amount"))
    open_ = high >= amount.sum() * (1 - SLACK)
    places = np.arange(len(bounds))
    if ax is None:
        ax = new_axes(7.2, max(2.2, 1.2 + 0.5 * len(places)))
    top = 1.06 * max(amount.max(), low.max(), high[~open_].max(initial=0.0))
    ax.barh(places, np.where(open_, top, high) - low, ALLOWED, low, color=BAND, zorder=1)
    ax.barh(places, amount, BAR, color=[colour(j) for j in range(len(places))], zorder=2)
    marks = {IDLE: 0, ACTIVE: 0}
    for side, at, drawn in (("low", low, low > 0), ("high", high, ~open_)):
        active = bounds["bound"].isin([side, "fixed"]).to_numpy()
        for shade, width, chosen in ((IDLE, 1.2, drawn & ~active), (ACTIVE, 3.0, drawn & active)):
            ends = places[chosen] - ALLOWED / 2, places[chosen] + ALLOWED / 2
            ax.vlines(at[chosen], *ends, colors=shade, linewidth=width, zorder=3)
            marks[shade] += int(chosen.sum())
    unit = "row" if name == ROWS else "unit"
    for place, (bound, price) in enumerate(zip(bounds["bound"], bounds["price"], strict=True)):
        beside: Any = {"xycoords": ("axes fraction", "data"), "xytext": (8, 0), "textcoords": "offset points"}
        ax.annotate(_price(bound, price, unit), (1, place), va="center", fontsize="small", **beside)
    ax.set_xlim(0, top)
    ax.set_ylim(len(places) - 0.4, -0.6)
    names = [short(f"cluster {label}") for label in bounds.index.get_level_values("cluster")]
    ax.set_yticks(places, names, parse_math=False)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(ROWS if name == ROWS else f"sum of {short(name)}", parse_math=False)
    _explain(ax, bool((low < high).any()), marks[ACTIVE] > 0, marks[IDLE] > 0)
    return ax


def size_curve(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot what a bound costs: the objective of fits with other values of it, and the slope that the price tells.

    Parameters
    ----------
    table : DataFrame
        What ``estimator.size_curve`` gave.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, ``ax.figure``.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with labels and a legend.

    Raises
    ------
    OptionError
        The table is none of ``size_curve``.

    Notes
    -----
    Through each fit goes a stroke of slope minus its price. Where the strokes are not along the curve, fits between two
    values ended at different modes, or have not converged; those of the latter kind are hollow.

    Examples
    --------
    >>> found = {"objective": [-5.0, -6.0], "price": [0.0, 0.2], "amount": [7.0, 9.0], "status": ["CONVERGED"] * 2}
    >>> ax = size_curve(pd.DataFrame(found, index=pd.Index([5, 9], name="low")))
    >>> ax.get_xlabel()
    'low bound'
    """
    if missing := [name for name in ("objective", "price", "status") if name not in table]:
        raise OptionError(f"the table lacks {listed(missing)}: pass what estimator.size_curve gives")
    table = table.sort_index()
    at, height, price = (np.asarray(each, np.float64) for each in (table.index, table["objective"], table["price"]))
    ended = np.array([Status[name].converged for name in table["status"]])
    if ax is None:
        ax = new_axes(7.2, 4.2)
    ax.plot(at, height, color=IDLE, linewidth=1.0, zorder=1)
    ax.add_collection(LineCollection(list(_strokes(at, height, price)), colors=COLOURS[1], linewidths=2.5, zorder=2))
    style: Any = {"color": COLOURS[0], "linestyle": "", "marker": "o", "zorder": 3}
    ax.plot(at[ended], height[ended], label="fit", **style)
    if not ended.all():
        ax.plot(at[~ended], height[~ended], label="fit that has not converged", markerfacecolor="white", **style)
    ax.autoscale_view()
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.set_xlabel(f"{table.index.name or 'size'} bound")
    ax.set_ylabel("objective in nats")
    stroke = Line2D([], [], color=COLOURS[1], linewidth=2.5, label="slope: minus the price")
    ax.legend(handles=[*ax.get_legend_handles_labels()[0], stroke], frameon=False, fontsize="small")
    return ax


def _bounds(estimator: Any, resource: str | None) -> pd.DataFrame:
    """Give what the bounds on one resource came to."""
    table = getattr(estimator, "size_bounds_", None)
    if table is None:
        raise OptionError("sizes draws bounds on sizes, and there are none: fit with sizes=")
    names = list(table.index.unique("resource"))
    if resource is not None and resource not in names:
        raise OptionError(f"resource is {resource!r}: choose from {listed(names, shown=20)}")
    found = table.loc[[names[0] if resource is None else resource]]
    if found["amount"].isna().any():
        raise OptionError(f"there are no sizes by cluster to draw: {estimator.status_.text}")
    return found


def _price(bound: str, price: float, unit: str) -> str:
    """Write what an active bound costs."""
    if np.isnan(price):
        return {"": "not binding", "fixed": "fixed"}.get(bound, f"at its {bound} bound")
    if not bound and price == 0:
        return "not binding"
    return f"{price:.2g} nats per {unit}".replace("-", "\N{MINUS SIGN}")


def _strokes(
    at: Float[np.ndarray, " s"], height: Float[np.ndarray, " s"], price: Float[np.ndarray, " s"]
) -> Float[np.ndarray, "s 2 2"]:
    """Give the ends of a stroke through each point, of slope minus the price, that does not reach the next point."""
    gaps = np.diff(at)
    half = 0.35 * (gaps[gaps > 0].min() if (gaps > 0).any() else 0.1 * max(abs(at[0]), 1.0))
    return np.stack([np.column_stack([at + side, height - price * side]) for side in (-half, half)], axis=1)


def _explain(ax: Axes, room: bool, active: bool, idle: bool) -> None:
    """Say above the axes what the band and the marks are, as far as there are any."""
    line: Any = {"marker": "|", "markersize": 11, "linestyle": ""}
    handles: list[tuple[bool, Any]] = [
        (room, Patch(color=BAND, label="allowed")),
        (active, Line2D([], [], color=ACTIVE, markeredgewidth=3.0, label="active bound", **line)),
        (idle, Line2D([], [], color=IDLE, markeredgewidth=1.2, label="bound", **line)),
    ]
    above: Any = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
    ax.legend(handles=[handle for there, handle in handles if there], ncols=3, frameon=False, fontsize="small", **above)
