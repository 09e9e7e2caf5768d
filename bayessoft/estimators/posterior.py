"""What estimators make of draws: aligned and checked fits, posterior means, tables with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from bayessoft import arviz_io
from bayessoft.core.sweep import Tiles
from bayessoft.diagnostics import convergence, labels
from bayessoft.diagnostics.base import centre
from bayessoft.errors import FitError, OptionError
from bayessoft.fit import Fit
from bayessoft.posteriors import Conjugate, Draws, Guided, Point

__all__ = ["bound", "centre", "drawn", "examined", "fraction", "needed", "quantiles", "shown", "summary", "trusted"]


def examined(fit: Fit, rows: Tiles) -> Fit:
    """Align the labels of a fit's draws and check them, inside `numerics.scoped`; the status tells what was found."""
    posterior = fit.posterior
    if not isinstance(posterior, Draws):
        return fit
    found = labels.aligned(fit, rows)
    sizes = found.sizes
    if posterior.counts is not None:
        sizes = np.take_along_axis(posterior.counts, found.order, -1).astype(np.float64)
    posterior = replace(posterior, order=found.order, expected_sizes=sizes)
    checks = convergence.checks(replace(fit, posterior=posterior), found.overlap, found.unclear)
    status = convergence.judge(checks, fit.status)
    return replace(fit, posterior=replace(posterior, checks=checks), status=status)


def needed(fit: Fit, what: str) -> None:
    """Refuse `what` for a fit that is a point."""
    if isinstance(fit.posterior, Point):
        raise OptionError(f"{what} needs a posterior: fit with inference='cavi', 'svi', 'gibbs' or 'nuts'")


def trusted(fit: Fit) -> None:
    """Refuse numbers by cluster where clusters cannot be told apart.

    Raises
    ------
    FitError
        Carries the fit's status.
    """
    if not fit.status.labelled:
        raise FitError("intervals by cluster are refused", status=fit.status, advice=fit.status.text)


def fraction(interval: Any) -> float:
    """Check the probability that an interval holds."""
    if not (isinstance(interval, Real) and 0 < float(interval) < 1):
        raise OptionError(f"interval is {interval!r}: pass a probability between 0 and 1, such as 0.95")
    return float(interval)


def shown(fit: Fit, columns: Sequence[str]) -> dict[str, Float[np.ndarray, " k"]]:
    """Give the numbers of each cluster that a table shows, by the words over them."""
    found = centre(fit)[1]
    table: dict[str, np.ndarray] = {}
    for name in fit.mixture.family.shown(fit.posterior.parameters):
        flat = found[name].reshape(len(found[name]), -1)
        table |= dict(zip(_words(fit, name, found[name].shape[1:], columns), flat.T, strict=True))
    return table


def drawn(fit: Fit, columns: Sequence[str]) -> tuple[Float[np.ndarray, "c s q"], pd.MultiIndex]:
    """Give the draws of what a table shows, and its clusters and words: of every cluster the weight, then the rest."""
    found = arviz_io.quantities(fit)
    weights = found.pop("weights")[1]
    words, parts = ["weight"], [weights[..., None]]
    for name in fit.mixture.family.shown(fit.posterior.parameters):
        words += _words(fit, name, found[name][1].shape[3:], columns)
        parts.append(found[name][1].reshape(*weights.shape, -1))
    flat = np.concatenate(parts, -1)
    labels = pd.MultiIndex.from_product([range(weights.shape[2]), words], names=["cluster", "quantity"])
    return flat.reshape(*weights.shape[:2], -1), labels


def _words(fit: Fit, name: str, shape: tuple[int, ...], columns: Sequence[str]) -> list[str]:
    """Give the words over the numbers that a cluster has of a quantity."""
    family, parameters = fit.mixture.family, fit.posterior.parameters
    (_, *dims), known = family.quantities(parameters)[name][0], family.coordinates(columns)
    labels = product(*(known.get(dim, range(size)) for dim, size in zip(dims, shape, strict=True)))
    return [" ".join(map(str, (family.shown(parameters)[name], *label))) for label in labels]


def bound(fit: Fit) -> float:
    """Give the objective per unit weight: of the last step, or the mean over draws; -inf before any.

    A bound on the evidence is that of the result itself.
    """
    if isinstance(fit.posterior, Conjugate | Guided):
        return fit.posterior.elbo / fit.total_weight
    if not len(fit.trace):
        return -np.inf
    return float(fit.trace.mean() if isinstance(fit.posterior, Draws) else fit.trace[-1])


def quantiles(values: Float[np.ndarray, "c s ..."], interval: float) -> Float[np.ndarray, "2 ..."]:
    """Give the ends of equal-tailed intervals over all draws."""
    return np.quantile(values, [(1 - interval) / 2, (1 + interval) / 2], axis=(0, 1))


def summary(fit: Fit, columns: Sequence[str], interval: float) -> pd.DataFrame:
    """Give a table of the clusters; intervals are NaN where clusters cannot be told apart."""
    weights = centre(fit)[0]
    under = fit.posterior.sizes if isinstance(fit.posterior, Point) else None
    table = {"weight": weights, "size": weights * fit.total_weight if under is None else under.sizes}
    if isinstance(fit.posterior, Draws) and fit.posterior.expected_sizes is not None:
        every, sizes = arviz_io.quantities(fit)["weights"][1], fit.posterior.expected_sizes
        blank = 1.0 if fit.status.labelled else np.nan
        low, high = quantiles(every, interval) * blank
        size_low, size_high = quantiles(sizes, interval) * blank
        table = {"weight": weights, "weight_sd": every.std((0, 1)), "weight_low": low, "weight_high": high}
        if not isinstance(fit.posterior, Guided):
            table |= {"weight_ess": arviz_io.ess(every), "weight_rhat": arviz_io.rhat(every)}
        table |= {"size": sizes.mean((0, 1)), "size_low": size_low, "size_high": size_high}
    if isinstance(fit.posterior, Conjugate):
        proportions = fit.posterior.mixture.weights
        spread, low, high = proportions.marginal(interval)  # type: ignore[union-attr] # a posterior has them
        table = {"weight": weights, "weight_sd": spread, "weight_low": low, "weight_high": high}
        table["size"] = fit.posterior.expected_sizes
    return pd.DataFrame(table | shown(fit, columns), index=pd.RangeIndex(len(weights), name="cluster"))
