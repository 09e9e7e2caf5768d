"""The dual of size constraints where it is hard: passes over a long table, passes inside EM, and a wide table whole."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayessoft import EM, Between, Gaussian, GaussianMixture, Mixture
from bayessoft.core import dual
from bayessoft.core.certificate import certificate
from bayessoft.core.sweep import Tiles, tiles
from bayessoft.data.rows import rows
from bayessoft.families.gaussian import GaussianParameters
from bayessoft.inference.engine import Given, Problem
from tests.benchmarks.protocol import Check, Report, Spread, fresh, peak_beyond, seconds

LONG, QUICK = (1_000_000, 20), (20_000, 5)
APART = 50.0  # standard deviations between neighbours
WIDE, WIDE_QUICK = (132_000, 20, 25), (3_000, 5, 4)
INSIDE, INSIDE_QUICK = (200_000, 4, 10), (3_000, 3, 4)
STEPS = 30
GAPS = {"float64": 1e-8, "float32": 1e-4}


def world(n: int, k: int, dtype: str) -> tuple[Any, Any, jax.Array, Tiles]:
    """Clusters of equal size and unit variance on a grid."""
    rng, side = np.random.default_rng(0), int(np.ceil(np.sqrt(k)))
    grid = APART * np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    means = rng.permutation(grid)[:k]
    x = rng.normal(size=(n, 2)) + means[rng.integers(0, k, n)]
    theta = GaussianParameters(jnp.asarray(means, dtype), jnp.ones(k, dtype))
    laid = tiles(x.astype(dtype), np.ones(n), np.dtype(dtype), 4096)
    return Gaussian("spherical"), theta, jnp.full(k, -np.log(k), dtype), laid


def wanted(k: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Shares far from the natural ones, which are equal."""
    rising = np.linspace(1, 9, k) / np.linspace(1, 9, k).sum()
    one = np.append(0.3, np.full(k - 1, 0.7 / (k - 1)))
    most = np.where(np.arange(k) < k // 4, 4.0, 0.8) / k
    return {
        "Fixed, rising": (rising, rising),
        "Fixed, falling": (rising[::-1], rising[::-1]),
        "Fixed, one large": (one, one),
        "Between, most at a high bound": (np.zeros(k), most),
    }


def solved(n: int, k: int, dtype: str) -> list[dict[str, Any]]:
    """Passes, time, violation and gap for each of the shares, from no prices."""
    model, found = world(n, k, dtype), []

    @jax.jit
    def one(model: Any, bounds: dual.Bounds) -> tuple[Any, ...]:
        first = dual.first_prices(*model, bounds)
        at, passes = dual.solve(*model, bounds, first)
        return at, passes, jnp.abs(bounds.residual(at.prices, at.sizes)).max()

    sweep = jax.jit(partial(dual.natural_sizes, of_several=False))
    sweep(*model).block_until_ready()
    a_pass = seconds(lambda: sweep(*model).block_until_ready())
    for name, sides in wanted(k).items():
        low, high = (jnp.asarray(side * n, dtype) for side in sides)
        bounds = dual.Bounds(low, high, jnp.asarray(bool((low == high).all())))
        compiling = seconds(lambda bounds=bounds: jax.block_until_ready(one(model, bounds)))
        time = seconds(lambda bounds=bounds: jax.block_until_ready(one(model, bounds)))
        at, passes, violation = one(model, bounds)
        gap = float(jax.jit(certificate)(*model, bounds, at)) / abs(float(at.value))
        found.append(
            {"dtype": dtype, "sizes": name, "passes": int(passes), "time (s)": time, "compile (s)": compiling - time}
            | {"time over a pass": time / a_pass, "violation": float(violation) / n, "gap, relative": gap}
        )
    return found


def inside(n: int, d: int, k: int) -> dict[str, Any]:
    """Passes of the dual in each iteration of an EM fit under bounds of which half are active."""
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.full(k, 5.0))
    centres = 1.5 * rng.standard_normal((k, d))
    X = rng.normal(size=(n, d)) + centres[rng.choice(k, n, p=shares)]
    low, high = np.where(shares < np.median(shares), 1.2 * shares, 0), np.where(shares < np.median(shares), 1, 0.95)
    mixture = Mixture(
        k, Gaussian(), None, Between(low.tolist(), (high * np.maximum(shares, high == 1)).tolist(), "share")
    )
    problem = Problem.pose(mixture, rows(X), 0, 1e-6, Given())
    engine = EM(tol=0.0)
    state = jax.tree.map(lambda leaf: leaf[0], engine.begin(problem))

    @jax.jit
    def step(state: Any) -> tuple[Any, jax.Array]:
        given = problem.standard.family, state.parameters, jnp.log(state.weights), problem.tiles, state.bounds
        passes = dual.meeting_prices(*given, state.prices)[2]
        return EM.step(problem.standard, problem.tiles, state)[0], passes

    passes = []
    for _ in range(STEPS):
        state, number = step(state)
        passes.append(int(number))
    return {"rows": n, "columns": d, "k": k, "active": int((np.asarray(state.prices) != 0).sum())} | {
        "passes of an iteration": Spread.of([float(each) for each in passes])
    }


def wide(n: int, d: int, k: int) -> dict[str, Any]:
    """A whole fit under bounds of every cluster: its time, compilation included, and its memory; in a fresh process."""
    rng = np.random.default_rng(2)
    shares = rng.dirichlet(np.full(k, 4.0))
    labels = rng.choice(k, n, p=shares)
    mixing = rng.standard_normal((k, d, d)) / np.sqrt(d) + np.eye(d)
    X = rng.standard_normal((n, d))
    for cluster, centre in enumerate(1.2 * rng.standard_normal((k, d))):
        X[labels == cluster] = X[labels == cluster] @ mixing[cluster].T + centre
    sizes = Between((0.7 / k), (1.4 / k), unit="share")
    found: list[Any] = []
    took: list[float] = []

    def fit() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            took.append(seconds(lambda: found.append(GaussianMixture(k, sizes=sizes, random_state=0).fit(X))))

    GaussianMixture(2, max_iter=2, tol=1e9).fit(X[:100])  # what is loaded once
    peak = peak_beyond(fit)
    gm = found[0]
    return {"rows": n, "columns": d, "k": k, "time (s)": took[0], "memory (MB)": peak} | {
        "iterations": gm.n_iter_,
        "status": gm.status_.name,
        "active": int((gm.prices_ != 0).sum()),
        "violation": gm.fit_.posterior.sizes.violation,
        "gap, relative": gm.duality_gap_ / abs(gm.lower_bound_ * n),
    }


def run(quick: bool) -> Report:
    long: list[dict[str, Any]] = []
    with jax.enable_x64(True):
        for dtype in GAPS:
            long += solved(*(QUICK if quick else LONG), dtype)
        em = inside(*(INSIDE_QUICK if quick else INSIDE))
    whole = fresh("dual.wide", *(WIDE_QUICK if quick else WIDE))
    n, k = QUICK if quick else LONG
    report = Report(
        "The dual of size constraints",
        f"First table: prices for {n:,} rows of {k} clusters of equal size, {APART:g} standard deviations apart, from "
        "no prices: those of two samples of the rows, then passes over all of them; compiled. A pass is one look at "
        "all rows that gives sizes and their derivatives. Second: how many passes an iteration of EM takes to meet its "
        "bounds, beside the one that sums the statistics. Third: `GaussianMixture(k, sizes=Between(0.7 / k, 1.4 / k, "
        "unit='share'))` by the defaults, in a fresh process, compilation and start included; memory is beyond rows.",
    )
    report.tables = [long, [em], [whole]]
    report.checks = [
        Check.at_most("most passes, below 15", max(row["passes"] for row in long), 14),
        Check.at_most("largest violation, share of the total weight", max(row["violation"] for row in long), 1e-6),
        *(
            Check.at_most(
                f"largest relative gap in {dtype}", max(r["gap, relative"] for r in long if r["dtype"] == dtype), bar
            )
            for dtype, bar in GAPS.items()
        ),
        Check.at_most("passes of an iteration of EM, median", em["passes of an iteration"], 3),
        Check.at_most("the wide fit (s)", whole["time (s)"], 120),
        Check.at_most("its memory beyond the rows (MB)", whole["memory (MB)"], 300),
    ]
    return report
