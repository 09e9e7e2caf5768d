"""Fewer components in the place of many: greedy merging, then a fit to the density itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from bayessoft.core.merging import Parts, grouped, merge_order, moment_matched
from bayessoft.core.overlaps import overlap, squared_error
from bayessoft.core.refine import refined
from bayessoft.densities.mixture_density import MixtureDensity
from bayessoft.errors import FitError, OptionError
from bayessoft.numerics import bucket, scoped
from bayessoft.status import Status

__all__ = ["Reduction", "reduce_mixture"]


DOUBLINGS = 6  # of the number of components, at which the curve is looked at by default


@dataclass(frozen=True, eq=False)
class Reduction:
    """A mixture of few components in the place of one of many.

    Attributes
    ----------
    density : MixtureDensity
        The reduced mixture: refined, unless that was not asked for.
    merged : MixtureDensity
        What merging alone gave; its mean and covariance are those of the original.
    parents : array of shape (k,), int
        The component of `merged` that each original one went into.
    bound : float
        At most so far is `merged` from the original in Kullback-Leibler divergence, in nats.
    squared_error_merged, squared_error : float
        Integrated squared errors of `merged` and of `density`, ``integral (f - g)^2 dx``; densities are per unit of
        volume, and so are these.
    curve : DataFrame
        A row for each number of components `k` on the way, from the original one down: the `bound` there, and for some
        of them the `squared_error` of what merging gave, and that as `share` of ``integral f^2 dx`` of the original;
        NaN where these were not computed.
    status : Status
        How the refinement ended; converged where none was asked for.
    n_iter : int
        Steps that it took.
    """

    density: MixtureDensity
    merged: MixtureDensity
    parents: Int[np.ndarray, " k"]
    bound: float
    squared_error_merged: float
    squared_error: float
    curve: pd.DataFrame
    status: Status
    n_iter: int

    @property
    def share(self) -> float:
        """The squared error of `density` as a share of ``integral f^2 dx`` of the original: 0 is the same density."""
        at = self.curve.loc[self.merged.n_components]
        return float(self.squared_error / self.squared_error_merged * at["share"]) if at["share"] else 0.0


def reduce_mixture(
    mixture: Any,
    k: int,
    *,
    refine: bool = True,
    curve: Sequence[int] | None = None,
    max_iter: int = 200,
    tol: float = 1e-4,
) -> Reduction:
    """Reduce a mixture to k components that give nearly the same density.

    Parameters
    ----------
    mixture : MixtureDensity, or a fitted GaussianMixture
        What to reduce.
    k : int >= 1
        Components of the result, at most as many as there are. To choose it, reduce to 1 without refinement and look at
        the curve.
    refine : bool
        Whether to lower the integrated squared error by gradients after merging. The mean and covariance of the whole
        are then no longer exactly those of the original.
    curve : sequence of int, optional
        Numbers of components for which the curve has the squared error; by default k, 2 k, ..., 32 k. Each costs a
        look at all pairs of its components and the original ones.
    max_iter : int >= 1
        Most steps of the refinement.
    tol : float > 0
        It ends when three steps in a row change the squared error by less than this share of what it was after merging.

    Returns
    -------
    Reduction

    Raises
    ------
    OptionError
        Numbers out of range.
    FitError
        Merging or the refinement met a number that is not finite.

    Notes
    -----
    The pair is merged, over and over, whose merging costs least by Runnalls' bound (IEEE Trans. Aerospace and
    Electronic Systems 43(3), 2007): a pair becomes the Gaussian with their weight, mean and covariance, and the cost
    is ``((w_i + w_j) log det P_ij - w_i log det P_i - w_j log det P_j) / 2``. Costs add up to
    ``(sum_g W_g log det P_g - sum_i w_i log det P_i) / 2`` over the groups g, which is ``sum_i w_i KL(f_i || g_i)`` and
    so at least ``KL(f || g)``. The refinement minimises the squared error over weights, means and Cholesky factors;
    its closed form is in Williams and Maybeck (2003). Both are in units in which the original is standard.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.concatenate([np.random.default_rng(i).normal(8 * i, 1, (60, 1)) for i in range(2)])
    >>> found = reduce_mixture(MixtureDensity.from_kernels(X, bandwidth=0.4), 2)
    >>> found.density.weights.round(2)
    array([0.51, 0.49])
    >>> found.squared_error < found.squared_error_merged
    True
    """
    whole = mixture if isinstance(mixture, MixtureDensity) else MixtureDensity.from_fit(mixture)
    looked_at = _checked(whole.n_components, k, curve, max_iter, tol)
    with scoped(whole.means.dtype):
        work = _Work.of(whole)
        kept, gone, costs = work.merges(k)
        groups = {number: grouped(kept, gone, whole.n_components, number) for number in looked_at}
        table = work.curve(groups, costs)
        before = float(table.at[k, "squared_error"])
        bound = float(costs.sum())
        if k == whole.n_components:
            return Reduction(whole, whole, groups[k], bound, before, before, table, Status.CONVERGED, 0)
        parts = moment_matched(work.parts, groups[k])
        merged = work.mapped(parts)
        if not refine or before <= work.rounding:
            return Reduction(merged, merged, groups[k], bound, before, before, table, Status.CONVERGED, 0)
        parts, status, steps = work.refined(parts, before, max_iter, tol)
        after = work.squared_error(parts)
    return Reduction(work.mapped(parts), merged, groups[k], bound, before, after, table, status, steps)


@dataclass(frozen=True, eq=False)
class _Work:
    """A mixture in the units of its frame: in NumPy in float64, and on the device with filling behind.

    `own` is the integral of its square.
    """

    whole: MixtureDensity
    parts: Parts
    laid: Parts
    own: float

    @classmethod
    def of(cls, whole: MixtureDensity) -> _Work:
        """Lay a mixture out, inside `numerics.scoped`."""
        k, d = whole.means.shape
        a = whole.frame.inverse_matrix()
        covariances = np.moveaxis((a @ whole.covariances.astype(np.float64) @ a.T).reshape(-1, d, d), 0, 2)
        covariances = np.broadcast_to(covariances, (d, d, k))
        parts = Parts(whole.weights, whole.frame.apply(whole.means).T, covariances)
        laid = _laid(parts, bucket(k), whole.means.dtype)
        return cls(whole, parts, laid, float(overlap(laid, k, laid)))

    @property
    def volume(self) -> float:
        """What turns integrals of squared densities into those in original units."""
        return float(np.exp(self.whole.frame.log_det))

    @property
    def rounding(self) -> float:
        """A squared error that may be nothing but rounding."""
        return float(10 * np.finfo(self.whole.means.dtype).eps * self.own * self.volume)

    def merges(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Merge down to k components: which took in which, at what costs."""
        merges = self.whole.n_components - k
        alive = np.arange(len(self.laid.weights)) < self.whole.n_components
        kept, gone, costs = (np.asarray(each) for each in merge_order(self.laid, alive, merges))
        if not np.isfinite(costs[:merges]).all():
            first = int(np.argmin(np.isfinite(costs[:merges])))
            raise FitError(
                f"the cost of merge {first} is not finite",
                status=Status.NON_FINITE,
                advice="pass float64, or rescale the columns",
            )
        return kept[:merges], gone[:merges], costs[:merges].astype(np.float64)

    def squared_error(self, parts: Parts) -> float:
        """Give the squared error of other components, in original units."""
        number, size, dtype = len(parts.weights), len(self.laid.weights), self.whole.means.dtype
        few = _laid(parts, size, dtype)
        found = squared_error(self.own, float(overlap(few, number, self.laid)), float(overlap(few, number, few)))
        return max(found, 0.0) * self.volume  # of equal mixtures what is left is rounding

    def curve(self, groups: dict[int, np.ndarray], costs: Float[np.ndarray, " merges"]) -> pd.DataFrame:
        """Give the bound at every number of components, and the squared error at those of `groups`."""
        most = self.whole.n_components
        table = pd.DataFrame({"bound": np.append(0.0, np.cumsum(costs))}, index=most - np.arange(len(costs) + 1))
        errors = {
            k: self.squared_error(moment_matched(self.parts, group)) if k < most else 0.0 for k, group in groups.items()
        }
        table["squared_error"] = pd.Series(errors)
        table["share"] = table["squared_error"] / (self.own * self.volume)
        return table.rename_axis("k")

    def refined(self, start: Parts, before: float, max_iter: int, tol: float) -> tuple[Parts, Status, int]:
        """Lower the squared error from a start."""
        dtype = self.whole.means.dtype
        own, unit, least = (dtype.type(each) for each in (self.own, before / self.volume, tol))
        found = refined(self.laid, own, _laid(start, len(start.weights), dtype), unit, least, max_iter)
        steps = int(found.steps)
        if not found.finite:
            raise FitError(
                f"the squared error is not finite at step {steps} of the refinement",
                status=Status.NON_FINITE,
                advice="pass float64, or refine=False for what merging gives",
            )
        parts = Parts(*(np.asarray(leaf, np.float64) for leaf in found.parts))
        return parts, Status.CONVERGED if found.settled else Status.NOT_CONVERGED, steps

    def mapped(self, parts: Parts) -> MixtureDensity:
        """Give components as a density in original units."""
        dtype, b = self.whole.means.dtype, self.whole.frame.matrix()
        covariances = b @ np.moveaxis(parts.covariances, 2, 0) @ b.T
        means = self.whole.frame.invert(parts.means.T)
        return MixtureDensity(parts.weights, means.astype(dtype), covariances.astype(dtype), self.whole.columns)


def _laid(parts: Parts, size: int, dtype: np.dtype[Any]) -> Parts:
    """Give components with filling of weight 0 behind them, as arrays of their own, safe to hand to JAX."""
    d, k = parts.means.shape
    weights, means = np.zeros(size, dtype), np.zeros((d, size), dtype)
    covariances = np.broadcast_to(np.eye(d, dtype=dtype)[:, :, None], (d, d, size)).copy()
    weights[:k], means[:, :k], covariances[:, :, :k] = parts
    return Parts(weights, means, covariances)


def _checked(most: int, k: Any, curve: Any, max_iter: Any, tol: Any) -> list[int]:
    """Refuse numbers out of range, and give those of components that are looked at."""

    def whole(value: Any) -> bool:
        return isinstance(value, Integral) and not isinstance(value, bool)

    if not (whole(k) and 1 <= k <= most):
        raise OptionError(f"k is {k!r}, and the mixture has {most} components: pass a whole number from 1 to {most}")
    if not (whole(max_iter) and max_iter >= 1):
        raise OptionError(f"max_iter is {max_iter!r}: pass a whole number >= 1")
    if not (isinstance(tol, Real) and 0 < float(tol) < np.inf):
        raise OptionError(f"tol is {tol!r}: pass a number > 0")
    if curve is None:
        curve = [k << power for power in range(DOUBLINGS) if k << power <= most]
    if not isinstance(curve, Iterable):
        raise OptionError(f"curve is {curve!r}: pass a list of whole numbers from k={k} to {most}")
    if odd := [number for number in curve if not (whole(number) and k <= number <= most)]:
        raise OptionError(f"curve has {odd[0]!r}: pass whole numbers from k={k} to {most}")
    return sorted({int(k), *map(int, curve)}, reverse=True)
