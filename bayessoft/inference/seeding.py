"""Centres to start from: some rows, the seeding of k-means, or k-means itself."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax

from bayessoft.errors import OptionError, listed

__all__ = ["INITS", "LLOYD", "by_evidence", "centres", "joined", "known_init", "seeded_centres"]

INITS = ("k-means++", "kmeans", "random_from_data")
LLOYD = 30  # steps of k-means
KMEANS_ROWS = 50_000  # k-means looks at no more rows than these; the others join the nearest centre


def known_init(init: object) -> None:
    """Refuse a way to start that is none."""
    if init not in INITS:
        raise OptionError(f"init is {init!r}: pass {listed(list(INITS))}, or centres")


def joined(x: np.ndarray, centres: np.ndarray) -> Int[np.ndarray, " n"]:
    """Give each row the number of the nearest centre."""
    from sklearn.metrics import pairwise_distances_argmin

    return pairwise_distances_argmin(x, centres)


def centres(x: np.ndarray, weights: np.ndarray, k: int, method: str, seed: int) -> np.ndarray:
    """Give k centres, or as many as there are rows: some rows at random, those of k-means, or of its seeding alone."""
    from sklearn.cluster import KMeans, kmeans_plusplus

    rng = np.random.default_rng(seed)
    candidates = np.flatnonzero(weights > 0)
    if method == "random_from_data":
        return x[rng.choice(candidates, size=k, replace=len(candidates) < k)]
    if len(candidates) > KMEANS_ROWS:
        candidates = np.sort(rng.choice(candidates, size=KMEANS_ROWS, replace=False))
    some, share = (x, weights) if len(candidates) == len(x) else (x[candidates], weights[candidates])
    seed, k = seed % (1 << 32), min(k, len(some))
    with warnings.catch_warnings():  # fewer distinct rows than clusters: the fit's own status tells
        warnings.simplefilter("ignore")
        if method == "kmeans":
            found = KMeans(k, n_init=1, max_iter=LLOYD, random_state=seed).fit(some, sample_weight=share)
            return found.cluster_centers_
        return kmeans_plusplus(np.ascontiguousarray(some), k, sample_weight=share, random_state=seed)[0]


def seeded_centres(
    x: np.ndarray, weights: np.ndarray, k: int, method: str, seed: int, n_init: int
) -> Float[np.ndarray, "n_init k d"]:
    """Give each start k centres of its own, some of them again where there are fewer rows."""
    seeds = np.random.SeedSequence(seed).generate_state(n_init)
    found = [centres(x, weights, k, method, int(own)) for own in seeds]
    return np.stack([own[np.arange(k) % len(own)] for own in found])


def by_evidence(
    label: Int[np.ndarray, " n"], evidence: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " k"]:
    """Give the cluster that each label suits best, one for each, as evidence on the rows has it."""
    k = evidence.shape[1]
    known = softmax(evidence, axis=1)
    return linear_sum_assignment(-(np.eye(k)[label].T @ (weights[:, None] * (known - 1 / k))))[1]
