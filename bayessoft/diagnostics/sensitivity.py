"""Whether results come from the rows or from the prior."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bayessoft import arviz_io
from bayessoft.data.rows import fresh
from bayessoft.fit import Fit
from bayessoft.mixture import Mixture
from bayessoft.numerics import scoped
from bayessoft.posteriors import enough_draws

__all__ = ["THRESHOLD", "cumulative_divergence", "log_parts", "sensitivity"]

ALPHAS = (0.99, 1.01)  # powers that the prior or the likelihood is raised to
THRESHOLD = 0.05  # sensitivity from which a result counts as sensitive (Kallioinen et al.)


def log_parts(fit: Fit) -> tuple[Float[np.ndarray, "c s"], Float[np.ndarray, "c s"]]:
    """Give the log prior density and the log-likelihood of each draw, in standardised units.

    Raises
    ------
    OptionError
        A posterior without draws, or with less than 100.
    """
    posterior = enough_draws(fit.posterior, "prior sensitivity")
    lead, dtype = posterior.log_density.shape, np.dtype(fit.dtype)
    with scoped(dtype):
        raw = jax.tree.map(
            lambda leaf: jnp.asarray(fresh(leaf.reshape(-1, *leaf.shape[2:])), dtype),
            (posterior.weights, posterior.parameters),
        )
        prior = np.asarray(_log_priors(fit.mixture.standardised(fit.frame), *raw), np.float64).reshape(lead)
    return prior, posterior.log_density.astype(np.float64) - prior


@jax.jit
def _log_priors(mixture: Mixture, weights: Array, parameters: Any) -> Float[Array, " draws"]:
    """Give the log prior density of each draw."""
    return jax.lax.map(lambda draw: mixture.log_prior(*draw), (weights, parameters))


def sensitivity(log_part: Float[np.ndarray, "c s"], values: Float[np.ndarray, "c s ..."]) -> Float[np.ndarray, "..."]:
    """Tell how much quantities move when a part of the model counts a little more or less.

    Parameters
    ----------
    log_part : array of shape (c, s)
        Log prior density of the draws, or log-likelihood.
    values : array of shape (c, s, ...)
        Quantities.

    Returns
    -------
    array
        Cumulative Jensen-Shannon distance of the distribution of each quantity from the one in which the part is raised
        to a power, per doubling of the power: 0.05 or more is sensitive.

    Notes
    -----
    Kallioinen, Paananen, Bürkner and Vehtari, Statistics and Computing 34 (2024): importance weights, Pareto-smoothed,
    take the place of fits with other powers.
    """
    flat = values.reshape(log_part.size, -1).astype(np.float64)
    total = np.zeros(flat.shape[1])
    for alpha in ALPHAS:
        weights = np.exp(arviz_io.smoothed((alpha - 1) * log_part.ravel())[0])
        each = [max(cumulative_divergence(sign * column, weights) for sign in (1, -1)) for column in flat.T]
        total += np.array(each) / abs(np.log2(alpha))
    return (total / len(ALPHAS)).reshape(values.shape[2:])


def cumulative_divergence(values: Float[np.ndarray, " s"], weights: Float[np.ndarray, " s"]) -> float:
    """Give the cumulative Jensen-Shannon distance between draws of weight 1 and the same draws with weights, 0 to 1.

    Nguyen and Vreeken, *Non-parametric Jensen-Shannon divergence*, ECML PKDD 2015: the square root of the divergence
    between the two distribution functions, over its upper bound.

    Examples
    --------
    >>> cumulative_divergence(np.array([0.0, 1.0, 2.0]), np.ones(3))
    0.0
    """
    order = np.argsort(values)
    widths = np.diff(values[order])
    p = np.arange(1, len(values)) / len(values)
    q = np.maximum(np.cumsum(weights[order])[:-1] / weights.sum(), np.finfo(np.float64).tiny)
    bound = np.dot(p + q, widths)
    if not bound > 0:
        return 0.0
    middle = np.log2((p + q) / 2)
    divergence = np.dot(p * (np.log2(p) - middle) + q * (np.log2(q) - middle), widths)
    return float(np.sqrt(max(divergence, 0.0) / bound))
