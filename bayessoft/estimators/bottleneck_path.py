"""What the information bottleneck gives along its inverse temperatures, and how many clusters that suggests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.sparse.csgraph import connected_components

__all__ = ["BottleneckPath", "used"]

HELD = 1e-3  # largest membership up to which a cluster, with all that are like it, holds no row
ALIKE = 1e-4  # squared Hellinger distance below which two clusters are one


@dataclass(frozen=True, eq=False)
class BottleneckPath:
    """Solutions of the information bottleneck at b inverse temperatures, from the largest down; amounts are in nats.

    Attributes
    ----------
    betas : array of shape (b,)
        Inverse temperatures.
    information_x, information_y : array of shape (b,)
        I(T; X), what clusters say of rows, and I(T; Y), what they say of columns.
    entropy : array of shape (b,)
        H(T).
    lagrangian : array of shape (b,)
        ``H(T) - alpha H(T given X) - beta I(T; Y)``: at each inverse temperature the least among all solutions here.
    n_clusters_used : array of shape (b,), int
        How many clusters hold rows and differ from each other.
    n_iter : array of shape (b,), int
        Iterations.
    converged : array of shape (b,), bool
        Whether memberships settled within `max_iter`.
    alpha : float
        1 for the information bottleneck, 0 for the deterministic one.
    information : float
        I(X; Y), which bounds I(T; Y).
    n_clusters : int
        Clusters that there could be.
    memberships : array of shape (b, n, k) or None
        q(t given x), where they were asked for.

    Examples
    --------
    >>> from bayessoft import InformationBottleneck
    >>> path = InformationBottleneck(3, random_state=0).path([[9, 1, 0], [8, 2, 0], [1, 9, 1], [0, 1, 9]])
    >>> path.n_clusters_used[[0, -1]]
    array([3, 1])
    """

    betas: Float[np.ndarray, " b"]
    information_x: Float[np.ndarray, " b"]
    information_y: Float[np.ndarray, " b"]
    entropy: Float[np.ndarray, " b"]
    lagrangian: Float[np.ndarray, " b"]
    n_clusters_used: Int[np.ndarray, " b"]
    n_iter: Int[np.ndarray, " b"]
    converged: Bool[np.ndarray, " b"]
    alpha: float
    information: float
    n_clusters: int
    memberships: Float[np.ndarray, "b n k"] | None = None

    def to_frame(self) -> pd.DataFrame:
        """Give a table with a row for each inverse temperature."""
        names = ("information_x", "information_y", "entropy", "lagrangian", "n_clusters_used", "n_iter", "converged")
        return pd.DataFrame({name: getattr(self, name) for name in names}, pd.Index(self.betas, name="beta"))

    def kinks(self) -> pd.DataFrame:
        """Tell over which inverse temperatures each number of clusters is the best one, and where the curve bends.

        Returns
        -------
        DataFrame
            A row for each number of clusters: the inverse temperatures ``beta_low`` to ``beta_high`` that it is best
            for, each halfway, in logs, to the next one that has another number; I(T; Y) at the largest of them as
            ``information_y``, and as the share ``kept`` of I(X; Y); the ``angle`` in radians by which the curve bends.
            An end that the path did not reach is 0 or infinite, and the angle is NaN.

        Notes
        -----
        The angle is ``pi / 2 - arctan(beta_low) - arctan(1 / beta_high)`` (Strouse and Schwab, 2019, "The information
        bottleneck and geometric clustering"): the slope of I(T; Y) against its price is 1 / beta, so a number of
        clusters that is best for long is a corner. They state it of the deterministic curve, whose solutions are
        points; here it is also taken of soft ones, whose solutions with one number of clusters are an arc.
        """
        rows = []
        for k in np.unique(self.n_clusters_used):
            at = np.flatnonzero(self.n_clusters_used == k)
            first, last = at[0], at[-1]
            high = np.inf if first == 0 else np.sqrt(self.betas[first] * self.betas[first - 1])
            low = 0.0 if last == len(self.betas) - 1 else np.sqrt(self.betas[last] * self.betas[last + 1])
            angle = np.pi / 2 - np.arctan(low) - np.arctan(1 / high) if low > 0 and np.isfinite(high) else np.nan
            found = self.information_y[first]
            rows.append((k, low, high, found, found / self.information if self.information > 0 else np.nan, angle))
        columns = ["n_clusters", "beta_low", "beta_high", "information_y", "kept", "angle"]
        return pd.DataFrame(rows, columns=columns).set_index("n_clusters")

    @property
    def suggested(self) -> int | None:
        """The number of clusters where the curve bends most; None where every number reaches an end of the path.

        One cluster is best down to 0, and the largest number as far up as one looks: how long these last says nothing.
        """
        angles = self.kinks()["angle"].dropna()
        return int(angles.idxmax()) if len(angles) else None


def used(memberships: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " n"]) -> int:
    """Tell how many clusters hold rows and differ: by Hellinger's distance of p(x given t), through one product."""
    r = memberships[weights > 0].astype(np.float64)
    r = r[:, r.max(0) > np.finfo(np.float32).tiny]
    joint = r * weights[weights > 0, None]
    roots = np.sqrt(joint / joint.sum(0))
    number, labels = connected_components(1 - roots.T @ roots < ALIKE, directed=False)
    together = r @ np.eye(number)[labels]
    return int((together.max(0) > HELD).sum())
