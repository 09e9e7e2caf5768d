"""Pictures of densities: what fewer components cost."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bayessoft.canvas import COLOURS, new_axes
from bayessoft.densities.reduction import Reduction
from bayessoft.errors import OptionError

__all__ = ["reduction_curve"]

DECADES = 12  # shown at most: what is less is nothing


def reduction_curve(reduction: Reduction, ax: Axes | None = None) -> Axes:
    """Plot what fewer components cost: the bound on the divergence, and the squared error, as components are merged.

    Parameters
    ----------
    reduction : Reduction
        What `reduce_mixture` gave.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, ``ax.figure``.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, both on scales of logarithms, with labels and a legend.

    Raises
    ------
    OptionError
        No `Reduction`, or one that merged nothing.

    Notes
    -----
    The squared error is a share of the integral of the squared density. A hollow mark is what the refinement left of
    the last one. Costs of 0, and those below 1e-12 of the largest, are not drawn.

    Examples
    --------
    >>> import bayessoft as bs
    >>> density = bs.MixtureDensity([0.3, 0.3, 0.4], [[0.0], [1.0], [5.0]], [[1.0]])
    >>> ax = reduction_curve(bs.reduce_mixture(density, 1, refine=False))
    >>> ax.get_xlabel()
    'components'
    """
    if not isinstance(reduction, Reduction):
        raise OptionError(f"reduction is a {type(reduction).__name__}: pass what reduce_mixture gives")
    table = reduction.curve
    if len(table) == 1:
        raise OptionError(f"nothing was merged, {table.index[0]} components are left: reduce to fewer")
    if ax is None:
        ax = new_axes(7.2, 4.2)
    least = 10.0**-DECADES
    bound = table["bound"][table["bound"] > least * table["bound"].max()]
    share = table["share"].dropna()
    share = share[share > least]
    ax.plot(bound.index, bound, color=COLOURS[0], linewidth=1.8, label="bound on the divergence, in nats")
    style: Any = {"color": COLOURS[1], "marker": "o", "markersize": 6, "zorder": 3}
    ax.plot(share.index, share, linewidth=1.0, label="squared error, as a share", **style)
    if 0 < reduction.squared_error < reduction.squared_error_merged:
        at = reduction.merged.n_components
        ax.plot(at, reduction.share, linestyle="", markerfacecolor="white", label="refined", **style)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    drawn = np.concatenate([bound.index, share.index])
    ax.set_xlim(drawn.min() / 1.1, drawn.max() * 1.1)
    ax.set_xlabel("components")
    ax.set_ylabel("cost of merging")
    ax.legend(frameon=False, fontsize="small")
    return ax
