"""Fuzzy c-means against scikit-fuzzy from the same start, and soft k-means beside it: an iteration, peak memory."""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import pairwise_distances

from tests.benchmarks.protocol import (
    Check,
    Report,
    Spread,
    alternating,
    fresh,
    peak_beyond,
    ratios,
    relative,
    seconds,
)

PEERS = ("scikit-fuzzy",)
SHAPE, QUICK = (200_000, 16, 16), (4_000, 4, 3)
# Iterations of the fits that are timed: the difference of two is free of what a fit costs once.
FEW, PEER, OURS = 2, 6, 122


def problem(n: int, d: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of k overlapping clusters, and centres to start from."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.standard_normal((k, d))
    X = centres[rng.integers(k, size=n)] + rng.standard_normal((n, d))
    return X, X[rng.choice(n, k, replace=False)]


def fitted(kind: str, X: np.ndarray, start: np.ndarray, iterations: int) -> Any:
    """A fit of exactly so many iterations, with m = 2: centres, memberships and the objective."""
    if kind == "peer":
        from skfuzzy.cluster import cmeans

        u = 1 / np.maximum(pairwise_distances(start, X), 1e-12) ** 2
        centres, shares, *_ = cmeans(X.T, len(start), 2.0, error=0.0, maxiter=iterations, init=u / u.sum(0))
        return centres, shares.T
    from bayessoft import FuzzyCMeans, SoftKMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge is the point
        if kind == "soft":
            model = SoftKMeans(len(start), 0.5, init=start, max_iter=iterations, tol=0).fit(X)
        else:
            model = FuzzyCMeans(len(start), init=start, max_iter=iterations, tol=0).fit(X)
    return model.cluster_centers_, model.responsibilities_


def iteration(kind: str, X: np.ndarray, start: np.ndarray) -> float:
    """Seconds of an iteration."""
    most = PEER if kind == "peer" else OURS
    times = [seconds(lambda count=count: fitted(kind, X, start, count)) for count in (most, FEW)]
    return (times[0] - times[1]) / (most - FEW)


def peak(kind: str, path: str, k: int) -> float:
    """MB at the peak of a fit beyond import, loaded rows and one tiny warm fit; run in a fresh process."""
    X = np.load(path)
    tiny, tiny_start = problem(500, 2, 2)
    fitted(kind, tiny, tiny_start, 2)
    start = X[:: len(X) // k][:k].copy()
    return peak_beyond(lambda: fitted(kind, X, start, 3))


def run(quick: bool) -> Report:
    n, d, k = QUICK if quick else SHAPE
    X, start = problem(n, d, k)
    report = Report(
        "Fuzzy c-means and soft k-means",
        "`FuzzyCMeans(k)` with m = 2 in float64 against scikit-fuzzy's `cmeans`, the same centres to start from. The "
        f"time of an iteration is (fit of {OURS} iterations - fit of {FEW}) / {OURS - FEW}; for the peer, which takes "
        f"longer, (fit of {PEER} - fit of {FEW}) / {PEER - FEW}. Centres are compared after {PEER} iterations. "
        "`SoftKMeans(k, beta=0.5)` beside it. Peak memory is that of a fit in a fresh process beyond import, loaded "
        "rows and one tiny warm fit.",
    )
    for kind in ("ours", "soft"):
        fitted(kind, X, start, FEW)  # compiled
    ours, peer = alternating(*(partial(iteration, kind, X, start) for kind in ("ours", "peer")))
    fuzzy, soft = alternating(*(partial(iteration, kind, X, start) for kind in ("ours", "soft")))
    # scikit-fuzzy begins with memberships and moves centres first: so many iterations are one more of its own.
    difference = relative(fitted("ours", X, start, PEER)[0], fitted("peer", X, start, PEER - 1)[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, X)
        held = {kind: fresh("fuzzy.peak", kind, str(path), k) for kind in ("ours", "soft", "peer")}
    report.tables = [
        [
            {
                "n, d, k": f"{n:,}, {d}, {k}",
                "iteration, ours (s)": Spread.of(ours),
                "iteration, scikit-fuzzy (s)": Spread.of(peer),
                "ratio": ratios(ours, peer),
                "soft k-means (s)": Spread.of(soft),
                "centres, relative difference": difference,
            }
        ],
        [
            {
                "rows (MB)": X.nbytes / 2**20,
                "fuzzy c-means (MB)": held["ours"],
                "soft k-means (MB)": held["soft"],
                "scikit-fuzzy (MB)": held["peer"],
            }
        ],
    ]
    report.checks = [
        Check.at_least("iteration, scikit-fuzzy over ours", ratios(ours, peer), 10),
        Check.at_most("iteration, soft k-means over fuzzy c-means", ratios(fuzzy, soft), 1),
        Check.at_most("centres, relative difference", difference, 1e-6),
        Check.at_most("peak memory beyond the loaded rows (MB)", max(held["ours"], held["soft"]), 300),
    ]
    report.notes = [
        "With m = 2 the memberships of fuzzy c-means take a division where those of soft k-means take an exponential; "
        "the products, most of the time of both, are the same."
    ]
    return report
