"""Relabelling of many draws: how long ECR takes, and how much memory Stephens' method needs."""

from __future__ import annotations

import warnings

import numpy as np

from bayessoft import GaussianMixture, Gibbs, relabel
from tests.benchmarks.protocol import PAIRS, Check, Report, Spread, fresh, peak_beyond, seconds

DRAWS, ROWS, K = (4, 1_000), 5_000, 10
DRAWS_QUICK, ROWS_QUICK = (2, 20), 200
TIMED = ("ecr", "ecr-iterative", "data")


def drawn(draws: tuple[int, int], n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of rows in ten clusters, a fifth of them wrong, each draw in an order of its own; and the rows."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, n)
    X = 8 * rng.normal(size=(K, 2))[truth] + rng.normal(size=(n, 2))
    orders = np.argsort(rng.random((*draws, K)), axis=-1)
    labels = np.where(rng.random((*draws, n)) < 0.2, rng.integers(0, K, (*draws, n)), truth)
    return np.take_along_axis(orders, labels, -1), X


def stephens(draws: tuple[int, int], n: int) -> dict[str, float]:
    """Peak memory and time of Stephens' method on the draws of a fit, whose memberships it computes as it goes."""
    _, X = drawn((1, 1), n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = Gibbs(draws=draws[1], warmup=100, chains=draws[0])
        fit = GaussianMixture(K, inference=engine, random_state=0).fit(X).fit_
    times: list[float] = []
    peak = peak_beyond(lambda: times.append(seconds(lambda: relabel(fit, "stephens", X=X))))
    return {"peak": peak, "time": times[0]}


def run(quick: bool) -> Report:
    draws, n = (DRAWS_QUICK, ROWS_QUICK) if quick else (DRAWS, ROWS)
    labels, X = drawn(draws, n)
    table = []
    for method in TIMED:
        relabel(labels, method, X=X)
        times = [seconds(lambda method=method: relabel(labels, method, X=X)) for _ in range(PAIRS)]
        table.append({"method": method, "time (s)": Spread.of(times)})
    found = fresh("labels.stephens", list(draws), n)
    table.append({"method": "stephens, memberships computed", "time (s)": found["time"], "peak (MB)": found["peak"]})
    number = draws[0] * draws[1]
    report = Report(
        "Relabelling",
        f"`relabel` on {number:,} draws of {n:,} rows in {K} clusters, a fifth of the labels wrong, each draw in an "
        "order of its own; Stephens' method on as many draws of a fit, in a fresh process, memory beyond what the "
        "process held before the call. No Python package has these methods to compare with.",
    )
    report.tables = [table]
    report.checks = [
        Check.at_most("ECR (s)", table[0]["time (s)"], 3),
        Check.at_most("Stephens, peak memory (MB)", found["peak"], 1000),
    ]
    return report
