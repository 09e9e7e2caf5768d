"""Pictures of annealing: where centres were as the inverse temperature rose, and where they parted."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from scipy.cluster.hierarchy import fcluster, linkage

from bayessoft.canvas import colour, new_axes, short
from bayessoft.errors import OptionError

__all__ = ["annealing_tree"]

APART = 0.02  # share of the range of all centres beyond which two of them are on two branches


def annealing_tree(estimator: Any, *, axis: int | str | None = None, ax: Axes | None = None) -> Axes:
    """Plot the centres of soft k-means against the inverse temperature, from where all lie together.

    Parameters
    ----------
    estimator : SoftKMeans
        Fitted with ``anneal``.
    axis : int or str, optional
        The column to draw, by position or name; by default the direction in which the last centres differ most.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, ``ax.figure``.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with labels. A branch is as wide as the number of centres on it, and numbers above the picture tell
        how many branches there are where that changes.

    Raises
    ------
    OptionError
        The estimator was not annealed, or has no such column.

    Examples
    --------
    >>> import bayessoft as bs
    >>> X = np.vstack([np.random.default_rng(i).normal(8 * i, 1, (50, 2)) for i in range(2)])
    >>> ax = annealing_tree(bs.SoftKMeans(2, 1.0, anneal=True, random_state=0).fit(X))
    >>> ax.get_xscale()
    'log'
    """
    path = getattr(estimator, "annealing_", None)
    if path is None:
        raise OptionError("annealing_tree needs a SoftKMeans that was annealed: fit SoftKMeans(k, beta, anneal=True)")
    heights, label = _heights(estimator, path.centers, axis)
    if ax is None:
        ax = new_axes()
    ax.set_xscale("log")
    branches = _branches(path.centers)
    counts = branches.max(1)
    for j in range(heights.shape[1]):
        width = 1.2 + 0.8 * (branches == branches[:, [j]]).sum(1)
        for i in range(len(heights) - 1):
            ax.plot(path.betas[i : i + 2], heights[i : i + 2, j], color=colour(j), linewidth=width[i], zorder=2)
    for at in np.flatnonzero(np.diff(counts, prepend=0)):
        ax.annotate(
            str(counts[at]), (path.betas[at], 1), (0, 4), ("data", "axes fraction"), "offset points", ha="center"
        )
        ax.axvline(path.betas[at], color="#D0D0D0", linewidth=0.8, zorder=1)
    ax.set_xlabel("inverse temperature beta")
    ax.set_ylabel(label, parse_math=False)
    return ax


def _heights(estimator: Any, centers: Float[np.ndarray, "L k d"], axis: Any) -> tuple[Float[np.ndarray, "L k"], str]:
    """Give what is drawn of centres, and its name."""
    names = list(getattr(estimator, "feature_names_in_", [f"x{j}" for j in range(centers.shape[2])]))
    if axis is None:
        last = centers[-1] - centers[-1].mean(0)
        direction = np.linalg.svd(last)[2][0]
        return (centers - centers[-1].mean(0)) @ direction, "position along the main direction of the centres"
    place: Any = axis
    if axis in names:
        place = names.index(axis)
    if isinstance(place, bool) or not isinstance(place, int | np.integer) or not 0 <= place < len(names):
        raise OptionError(f"axis is {axis!r}: pass a position from 0 to {len(names) - 1}, or the name of a column")
    return centers[:, :, place], f"centre, {short(str(names[place]))}"


def _branches(centers: Float[np.ndarray, "L k d"]) -> Int[np.ndarray, "L k"]:
    """Give the number of the branch of each centre, from 1: those that lie together are on one."""
    if centers.shape[1] == 1:
        return np.ones(centers.shape[:2], int)
    near = APART * np.linalg.norm(np.ptp(centers.reshape(-1, centers.shape[2]), axis=0))
    return np.stack([fcluster(linkage(own, "single"), near, "distance") for own in centers])
