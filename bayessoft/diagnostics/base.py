"""What diagnostics share: a fit's own centre, and matching the components of draws to clusters."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from bayessoft import arviz_io
from bayessoft.fit import Fit
from bayessoft.posteriors import Draws

__all__ = ["best_orders", "centre", "no_permutation", "permutations"]


def centre(fit: Fit) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Give proportions, and parameters by their names, in original units; of draws, the means over all."""
    if isinstance(fit.posterior, Draws):
        means = {name: array.mean((0, 1)) for name, (_, array) in arviz_io.quantities(fit).items()}
        weights = means.pop("weights")
        return weights / weights.sum(), means
    family = fit.mixture.family
    found = family.quantities(family.map_parameters(fit.posterior.parameters, fit.frame))
    return fit.posterior.weights, {name: np.asarray(array) for name, (_, array) in found.items()}


def best_orders(gain: Float[np.ndarray, "draws k k"]) -> Int[np.ndarray, "draws k"]:
    """Give each draw the order with the largest sum of gains, of clusters (first) by components (second)."""
    order = np.argmax(gain, axis=2)  # best of all where no component is wanted twice
    for i in np.flatnonzero(~permutations(order)):
        order[i] = linear_sum_assignment(gain[i], maximize=True)[1]
    return order


def no_permutation(overlap: np.ndarray, squares: np.ndarray, pivot_squares: np.ndarray) -> Bool[np.ndarray, " draws"]:
    """Tell draws whose components, each with the cluster most like it, make no permutation."""
    scales = np.sqrt(pivot_squares[:, None] * squares[:, None, :])
    cosine = np.divide(overlap, scales, out=np.zeros_like(overlap), where=scales > 0)
    return ~permutations(np.argmax(cosine, axis=1))


def permutations(maps: Int[np.ndarray, "draws k"]) -> Bool[np.ndarray, " draws"]:
    """Tell which maps take every value once."""
    return (np.sort(maps, axis=1) == np.arange(maps.shape[1])).all(axis=1)
