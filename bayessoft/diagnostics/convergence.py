"""Whether chains agree: first by what no labels enter, then by the aligned clusters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse.csgraph import connected_components

from bayessoft import arviz_io
from bayessoft.fit import Fit
from bayessoft.posteriors import Checks, Draws, Guided
from bayessoft.status import Status

__all__ = ["checks", "judge", "label_free", "modes"]

RHAT = 1.05  # chains differ above it
ESS = 50  # effective draws a chain should give (Vehtari et al., 2021)
UNCLEAR = 0.1  # share of draws without a permutation above which clusters count as not told apart
DIVERGENT = 0.01  # share of divergent transitions
PARETO = 0.7  # shape of the tail of importance ratios above which draws of a guide are far from the posterior
APART = 3.0  # standard deviations within chains between the means of chains in different modes


def label_free(
    weights: Float[np.ndarray, "c s k"], log_density: Float[np.ndarray, "c s"]
) -> dict[str, Float[np.ndarray, "c s ..."]]:
    """Give what no labels enter: log density, sorted proportions (but one: they sum to 1), entropy of proportions.

    Examples
    --------
    >>> label_free(np.array([[[0.25, 0.75]]]), np.zeros((1, 1)))["sorted_weights"]
    array([[[0.25]]])
    """
    weights = weights.astype(np.float64)
    entropy = -np.sum(weights * np.log(np.maximum(weights, np.finfo(np.float64).tiny)), -1)
    return {"log_density": log_density, "sorted_weights": np.sort(weights, -1)[..., :-1], "entropy": entropy}


def modes(values: Float[np.ndarray, "c s q"]) -> tuple[int, ...]:
    """Tell which chains are in the same mode.

    Two chains are apart where the means of a quantity differ by more than three standard deviations within them: draws
    of one would hardly occur in the other. Chains that are not apart, directly or through others, share a mode.

    Parameters
    ----------
    values : array of shape (c, s, q)
        Quantities that do not depend on labels.

    Returns
    -------
    tuple of int
        The mode of each chain, counted from 0.
    """
    values = values.astype(np.float64)
    means, variances = values.mean(1), values.var(1)
    distance = np.abs(means[:, None] - means[None])
    spread = np.sqrt((variances[:, None] + variances[None]) / 2)
    near = (distance <= APART * spread + 1e-9 * np.abs(means).max(0)).all(-1)
    return tuple(int(mode) for mode in connected_components(near, directed=False)[1])


def checks(fit: Fit, overlap: Float[np.ndarray, "c s k k"], unclear: Bool[np.ndarray, "c s"]) -> Checks:
    """Check the draws of a fit whose labels are aligned.

    Parameters
    ----------
    fit : Fit
        Its posterior is `Draws`, aligned.
    overlap, unclear : arrays of shape (c, s, k, k), (c, s)
        As `labels.Alignment` has them.
    """
    posterior = fit.posterior
    if not isinstance(posterior, Draws):
        raise TypeError("a point has no draws to check")
    if isinstance(posterior, Guided):
        k = arviz_io.smoothed(posterior.stats["log_ratio"].ravel())[1]
        return Checks({}, {}, None, float(np.mean(unclear)), (0,), k)
    free = label_free(posterior.weights, posterior.log_density)
    agreement = np.diagonal(overlap, axis1=-2, axis2=-1)
    lead = posterior.log_density.shape
    found = modes(np.concatenate([array.reshape(*lead, -1) for array in (*free.values(), agreement)], -1))
    named = {}
    for name, (dims, array) in arviz_io.quantities(fit).items():
        of_covariances = np.diagonal(array, axis1=-2, axis2=-1) if dims and dims[-1].endswith("feature_bis") else array
        named[name.replace("covariances", "variances")] = of_covariances
    every, divergent = {**free, **named}, posterior.stats.get("diverging")
    return Checks(
        rhat={name: _worst(np.max, arviz_io.rhat(array)) for name, array in every.items()},
        ess={name: _worst(np.min, arviz_io.ess(array)) for name, array in every.items()},
        divergent=None if divergent is None else float(divergent.mean()),
        unclear=float(np.mean(unclear)),
        modes=found,
    )


def _worst(of: Callable[..., Any], values: np.ndarray) -> float:
    """Give the worst of the values that could be had."""
    known = values[~np.isnan(values)]
    return float(of(known)) if known.size else np.nan


def judge(found: Checks, ended: Status) -> Status:
    """Give the status that the checks amount to, the gravest one, of a run that ended in another.

    Where that stopped early, it stays the status where it explains what was found.
    """
    if found.pareto_k is not None:
        if found.unclear > UNCLEAR:
            return Status.LABELS_UNCLEAR
        near = found.pareto_k <= PARETO  # false of NaN, too
        return Status.GUIDE_FAR if not near and ended is Status.CONVERGED else ended
    status = _judged(found)
    return ended if ended.early and status in (Status.SAMPLED, Status.NOT_MIXED) else status


def _judged(found: Checks) -> Status:
    """Give the status of draws of a sampler."""
    if len(set(found.modes)) > 1:
        return Status.MODES
    if found.unclear > UNCLEAR:
        return Status.LABELS_UNCLEAR
    if not (found.worst_rhat <= RHAT and found.least_ess >= ESS * len(found.modes)):
        return Status.NOT_MIXED
    return Status.DIVERGENT if (found.divergent or 0) > DIVERGENT else Status.SAMPLED
