"""How well a fit predicts rows that it has not seen, without fitting again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from bayessoft import arviz_io
from bayessoft.errors import OptionError
from bayessoft.fit import Fit
from bayessoft.posteriors import enough_draws

__all__ = ["LeaveOneOut", "leave_one_out"]

CELLS = 1 << 20  # log densities of rows under draws that are held at a time: 8 MB, and some copies of them


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """What each row's density would be had the row been left out of the fit.

    Attributes
    ----------
    pointwise : array of shape (n,)
        Log density of each row given all others, in nats.
    pareto_k : array of shape (n,)
        How heavy the tail of a row's importance weights is: above `threshold` its number cannot be trusted.
    p_loo : float
        Effective number of parameters: how much higher the rows' densities are with themselves among the data.
    draws : int
        Number of draws.
    """

    pointwise: Float[np.ndarray, " n"]
    pareto_k: Float[np.ndarray, " n"]
    p_loo: float
    draws: int

    @property
    def elpd(self) -> float:
        """Expected log density of as many new rows, in nats: the sum over rows."""
        return float(self.pointwise.sum())

    @property
    def standard_error(self) -> float:
        """Standard error of `elpd`."""
        return float(np.sqrt(len(self.pointwise) * self.pointwise.var()))

    @property
    def threshold(self) -> float:
        """What `pareto_k` may be with so many draws: ``min(1 - 1 / log10(draws), 0.7)``."""
        return float(min(1 - 1 / np.log10(self.draws), 0.7))

    @property
    def doubtful(self) -> np.ndarray:
        """The rows, counted from 0, whose `pareto_k` is above the threshold."""
        return np.flatnonzero(~(self.pareto_k <= self.threshold))

    @property
    def text(self) -> str:
        """The result in one line, and what to do where it cannot be trusted."""
        told = f"elpd {self.elpd:.1f} (standard error {self.standard_error:.1f}), p_loo {self.p_loo:.1f}"
        if not len(self.doubtful):
            return f"{told}; Pareto k is at most {self.pareto_k.max():.2f}, below {self.threshold:.2f} for all rows"
        few = ", ".join(map(str, self.doubtful[:5])) + (", ..." if len(self.doubtful) > 5 else "")
        return (
            f"{told}; not to be trusted for {len(self.doubtful)} of {len(self.pointwise)} rows ({few}), whose Pareto k "
            f"is above {self.threshold:.2f}: these rows decide where clusters lie; draw more, or leave them out and fit"
        )


def leave_one_out(fit: Fit, values: Float[np.ndarray, "n d"]) -> LeaveOneOut:
    """Approximate leave-one-out cross-validation by Pareto-smoothed importance sampling.

    Parameters
    ----------
    fit : Fit
        A fit whose posterior is `Draws`.
    values : array of shape (n, d)
        The rows that it was fitted to, in original units, each of weight 1.

    Returns
    -------
    LeaveOneOut
        No labels enter.

    Raises
    ------
    OptionError
        A posterior without draws, or with less than 100 in all; other rows than those fitted, or weighted ones.

    Notes
    -----
    Vehtari, Gelman and Gabry, Statistics and Computing 27 (2017); the smoothing is ArviZ's (Vehtari et al., Journal of
    Machine Learning Research 25 (2024)), its tail by the effective number of each row's densities. The likelihood of a
    row is that of the mixture, its label summed out: given the labels, the weights would be far heavier.
    """
    posterior = enough_draws(fit.posterior, "leave-one-out")
    if len(values) != fit.n or abs(fit.total_weight - fit.n) > 1e-9 * fit.n:
        raise OptionError(
            f"leave-one-out is of the rows that were fitted, each of weight 1: the fit has {fit.n} rows of weight "
            f"{fit.total_weight:g} in all, X has {len(values)}"
        )
    c, s = posterior.log_density.shape
    pointwise, pareto_k, itself = (np.empty(len(values)) for _ in range(3))
    size = max(1, CELLS // (c * s))
    for first in range(0, len(values), size):
        every = fit.log_likelihood(values[first : first + size]).astype(np.float64)
        for i, row in enumerate(every.T, start=first):
            weights, pareto_k[i] = arviz_io.smoothed(-row, _efficiency(row.reshape(c, s)))
            pointwise[i] = logsumexp(weights + row)
            itself[i] = logsumexp(row) - np.log(c * s)
    return LeaveOneOut(pointwise, pareto_k, float(np.sum(itself - pointwise)), c * s)


def _efficiency(row: Float[np.ndarray, "c s"]) -> float:
    """Give the effective share of the draws, of a row's densities."""
    found = float(arviz_io.ess(np.exp(row - row.max()), "mean")) / row.size
    return found if np.isfinite(found) and found > 0 else 1.0
