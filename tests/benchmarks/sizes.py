"""EM under bounds on the sizes of clusters: how exactly they are met, and what they cost beside a free fit."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from bayessoft import Between, GaussianMixture
from tests.benchmarks.protocol import PAIRS, Check, Report, Spread, alternating, cost, seconds

SHARES = np.array([0.02, 0.03, 0.04, 0.05, 0.06, 0.09, 0.11, 0.14, 0.16, 0.30])
# The five small clusters must be larger than planted, the five large ones smaller: one bound each.
BOUNDS = Between((*SHARES[:5] * 1.2, *[None] * 5), (*[None] * 5, *SHARES[5:] * 0.955), unit="share", order="given")
ITERATIONS = 20


def problem(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, dict[str, Any]]:
    """Rows of ten overlapping clusters of the planted shares, and a start near them."""
    rng, k = np.random.default_rng(seed), len(SHARES)
    labels = np.repeat(np.arange(k), np.round(SHARES * n).astype(int))
    centres = 1.5 * rng.standard_normal((k, d))
    mixing = 0.3 * rng.standard_normal((k, d, d)) / np.sqrt(d) + np.eye(d)
    X = np.einsum("nij,nj->ni", mixing[labels], rng.standard_normal((len(labels), d))) + centres[labels]
    start = {
        "weights_init": SHARES,
        "means_init": centres + 0.2 * rng.standard_normal((k, d)),
        "precisions_init": np.broadcast_to(np.eye(d), (k, d, d)).copy(),
    }
    return rng.permutation(X), start


def fitted(X: np.ndarray, start: dict[str, Any], sizes: Between | None) -> GaussianMixture:
    """A fit of exactly so many iterations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge is the point
        gm = GaussianMixture(len(SHARES), sizes=sizes, tol=0.0, max_iter=ITERATIONS, **start).fit(X)
    if gm.n_iter_ != ITERATIONS:
        raise RuntimeError(f"a fit stopped after {gm.n_iter_} iterations of {ITERATIONS}: change the problem")
    return gm


def run(quick: bool) -> Report:
    n, d = (2_000, 6) if quick else (10_000, 10)
    X, start = problem(n, d)
    kinds = {"bounded": partial(fitted, X, start, BOUNDS), "free": partial(fitted, X, start, None)}
    first = {name: seconds(fit) for name, fit in kinds.items()}
    times = dict(zip(kinds, alternating(*(partial(cost, fit) for fit in kinds.values()), PAIRS), strict=True))
    bounded, free = np.array(times["bounded"]), np.array(times["free"])

    gm = kinds["bounded"]()
    total = gm.responsibilities_.sum(axis=0)
    low, high = BOUNDS.bounds(len(SHARES), n)
    violation = max(0.0, float(np.maximum(low - total, total - high).max())) / n
    gap = gm.duality_gap_ / abs(gm.lower_bound_ * n)
    active = int(np.sum((gm.prices_ != 0) & np.isclose(total, np.where(gm.prices_ > 0, low, high), rtol=1e-6)))

    report = Report(
        "Size constraints",
        f"`GaussianMixture({len(SHARES)}, sizes=Between(low, high, unit='share', order='given'), tol=0, "
        f"max_iter={ITERATIONS})` on ({n:,}, {d}) rows in float64, planted shares from {SHARES.min():g} to "
        f"{SHARES.max():g}, the start given. The small clusters have a low bound 1.2 times their planted share, the "
        "large ones a high bound 0.955 times it. Sizes are the sums of `responsibilities_`; the gap is relative to the "
        "objective of all rows. The free fit runs as many iterations from the same start.",
    )
    report.tables = [
        [
            {
                "fit": name,
                "time (s)": Spread.of(series[:, 0].tolist()),
                "time (CPU s)": Spread.of(series[:, 1].tolist()),
                "compile (s)": first[name] - float(np.median(series[:, 0])),
            }
            for name, series in (("bounded", bounded), ("free", free))
        ],
        [
            {"cluster": j, "planted": SHARES[j], "low": low[j] / n, "high": high[j] / n, "size": total[j] / n}
            | {"price (nats per row)": gm.prices_[j]}
            for j in range(len(SHARES))
        ],
    ]
    report.checks = [
        Check.at_most("violation, share of the total weight", violation, 1e-6),
        Check.at_most("duality gap, relative", gap, 1e-8),
        Check.at_least(f"active bounds of {len(SHARES)}", active, len(SHARES) / 2),
        Check.at_most("time over that of the free fit", Spread.of((bounded[:, 0] / free[:, 0]).tolist()), 3),
    ]
    return report
