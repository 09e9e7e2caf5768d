"""Soft k-means under bounds of its sizes, rounded to labels, against k-means-constrained from the same centres."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from tests.benchmarks.protocol import PAIRS, Check, Report, Spread, alternating, ratios, seconds

PEERS = ("k-means-constrained",)
ROWS, COLUMNS, ITERATIONS = 10_000, 10, 100
BETA = 20.0  # soft enough for centres to pass each other, hard enough for memberships to tell labels
BOUNDS = ((10, 900, 1100), (100, 90, 110))
QUICK = ((3, 90, 110), (10, 20, 40))  # of 300 rows


def problem(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the uniform cube, and k of them as centres to start from."""
    rng = np.random.default_rng(seed)
    X = rng.random((n, COLUMNS))
    return X, X[rng.choice(n, k, replace=False)]


def labelled(kind: str, X: np.ndarray, start: np.ndarray, low: int, high: int) -> np.ndarray:
    """Labels with counts within the bounds."""
    k = len(start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that iterations end before they converge is the same for both
        if kind == "peer":
            from k_means_constrained import KMeansConstrained

            model = KMeansConstrained(k, low, high, init=start, n_init=1, max_iter=ITERATIONS, random_state=0)
            return np.asarray(model.fit_predict(X))
        from bayessoft import Between, SoftKMeans

        sizes = Between(low, high)
        model = SoftKMeans(k, BETA, sizes=sizes, init=start, max_iter=ITERATIONS).fit(X)
        return np.asarray(model.assign(X, sizes=sizes))


def inertia(X: np.ndarray, labels: np.ndarray) -> float:
    """Sum of the squared distances of rows from the mean of the rows with their label."""
    return float(sum(((own - own.mean(0)) ** 2).sum() for own in (X[labels == j] for j in np.unique(labels))))


def compared(n: int, k: int, low: int, high: int) -> tuple[dict[str, Any], list[Check]]:
    """A row of the table, and its checks; another seed for each pair."""
    problems = [problem(n, k, seed) for seed in range(PAIRS)]
    labelled("ours", *problems[0], low, high)  # compiled
    found: dict[str, list[np.ndarray]] = {"ours": [], "peer": []}

    def once(kind: str) -> float:
        X, start = problems[len(found[kind])]
        return seconds(lambda: found[kind].append(labelled(kind, X, start, low, high)))

    ours, peer = alternating(partial(once, "ours"), partial(once, "peer"))
    counts = np.array([np.bincount(labels, minlength=k) for labels in found["ours"]])
    kept = bool(((counts >= low) & (counts <= high)).all())
    shares = [
        inertia(X, own) / inertia(X, other)
        for (X, _), own, other in zip(problems, found["ours"], found["peer"], strict=True)
    ]
    row = {
        "K, bounds": f"{k}, {low} to {high}",
        "ours (s)": Spread.of(ours),
        "k-means-constrained (s)": Spread.of(peer),
        "ratio": ratios(ours, peer),
        "inertia, ours over theirs": Spread.of(shares),
        "counts in bounds": kept,
    }
    name = f"K = {k}"
    return row, [
        Check.at_least(f"{name}: k-means-constrained over ours", ratios(ours, peer), 10),
        Check.at_most(f"{name}: inertia, largest share of {PAIRS} seeds", max(shares), 1.005),
        Check.at_most(f"{name}: inertia, median share of {PAIRS} seeds", float(np.median(shares)), 1.0),
        Check.at_least(f"{name}: counts in bounds", float(kept), 1),
    ]


def run(quick: bool) -> Report:
    n, bounds = (300, QUICK) if quick else (ROWS, BOUNDS)
    report = Report(
        "Labels under bounds of their counts",
        f"{n:,} rows of the uniform cube in {COLUMNS} dimensions, another seed for each pair, and some of the rows as "
        f"centres, the same for both. Ours is `SoftKMeans(K, beta={BETA:g}, sizes=Between(low, high), init=centres, "
        f"max_iter={ITERATIONS}).fit(X)` and `.assign(X, sizes=...)`, both timed; the peer is "
        f"`KMeansConstrained(n_init=1, max_iter={ITERATIONS})` from k-means-constrained. The inertia of both is about "
        "the means of their labels.",
    )
    found = [compared(n, *bound) for bound in bounds]
    report.tables = [[row for row, _ in found]]
    report.checks = [check for _, checks in found for check in checks]
    return report
