"""EM against scikit-learn from the same start: an iteration, peak memory, distance from the roofline."""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.protocol import (
    PAIRS,
    Check,
    Report,
    Spread,
    alternating,
    cost,
    fresh,
    peak_beyond,
    per_call,
    ratios,
    relative,
    seconds,
)

SHAPES = ((1_000_000, 2, 5), (200_000, 16, 16), (200_000, 8, 64), (50_000, 64, 16))
QUICK = ((4_000, 2, 5),)
# Iterations of the fits that are timed: the difference of two is free of what a fit costs once. An iteration of the
# peer takes so long that few of them are measured well.
FEW, PEER, OURS = 1, 3, 11
ROOFLINE = (200_000, 16, 16)


def problem(n: int, d: int, k: int, seed: int = 0) -> tuple[np.ndarray, dict[str, Any]]:
    """Rows of k overlapping clusters, and a start that both libraries take."""
    rng = np.random.default_rng(seed)
    centres = 2.5 * rng.standard_normal((k, d)) / np.sqrt(d) * np.sqrt(2)
    mixing = rng.standard_normal((k, d, d)) / np.sqrt(d) + np.eye(d)
    labels = rng.integers(k, size=n)
    X = rng.standard_normal((n, d))
    for cluster in range(k):
        rows = labels == cluster
        X[rows] = X[rows] @ mixing[cluster].T + centres[cluster]
    start = {
        "weights_init": np.full(k, 1 / k),
        "means_init": X[rng.choice(n, k, replace=False)],
        "precisions_init": np.broadcast_to(np.linalg.inv(np.cov(X.T).reshape(d, d)), (k, d, d)).copy(),
    }
    return X, start


def fitted(kind: str, X: np.ndarray, k: int, iterations: int, start: dict[str, Any]) -> Any:
    """A fit of exactly so many iterations, by either library."""
    if kind == "ours":
        from bayessoft import GaussianMixture
    else:
        from sklearn.mixture import GaussianMixture
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge is the point
        return GaussianMixture(k, max_iter=iterations, tol=0.0, reg_covar=0.0, **start).fit(X)


def timed(kind: str, X: np.ndarray, k: int, start: dict[str, Any]) -> dict[str, Any]:
    """What an iteration costs (wall, processor seconds) and how long a whole fit takes; and that fit."""
    most, times, found = OURS if kind == "ours" else PEER, {}, None
    for iterations in sorted({FEW, most, PEER}, reverse=True):
        kept: list[Any] = []
        times[iterations] = cost(lambda count=iterations, kept=kept: kept.append(fitted(kind, X, k, count, start)))
        found = kept[0] if iterations == PEER else found
    iteration = np.subtract(times[most], times[FEW]) / (most - FEW)
    return {"wall": iteration[0], "cpu": iteration[1], "fit": times[PEER][0], "found": found}


def compare(n: int, d: int, k: int) -> dict[str, Any]:
    """One shape: times of an iteration and of a whole fit, the results side by side."""
    X, start = problem(n, d, k)
    first = seconds(lambda: fitted("ours", X, k, FEW, start))
    warm = min(seconds(lambda: fitted("ours", X, k, FEW, start)) for _ in range(2))
    ours, peer = alternating(*(partial(timed, kind, X, k, start) for kind in ("ours", "peer")))

    def series(name: str) -> tuple[list[float], list[float]]:
        return [one[name] for one in ours], [one[name] for one in peer]

    mine, theirs = ours[-1]["found"], peer[-1]["found"]
    likelihoods = [float(found.score_samples(X).sum()) for found in (mine, theirs)]
    return {
        "n, d, k": f"{n:,}, {d}, {k}",
        "iteration, ours (s)": Spread.of(series("wall")[0]),
        "iteration, peer (s)": Spread.of(series("wall")[1]),
        "ratio": ratios(*series("wall")),
        "iteration, ours (CPU s)": Spread.of(series("cpu")[0]),
        "iteration, peer (CPU s)": Spread.of(series("cpu")[1]),
        f"ratio of fits of {PEER} iterations": ratios(*series("fit")),
        "compile (s)": first - warm,
        "log-likelihood, relative difference": abs(likelihoods[0] / likelihoods[1] - 1),
        "means, relative difference": relative(mine.means_, theirs.means_),
    }


def peak(kind: str, path: str, k: int) -> float:
    """MB at the peak of a fit beyond import, loaded rows and one tiny warm fit; run in a fresh process."""
    import sklearn.mixture  # noqa: F401 - both have it loaded

    X, start = np.load(path), dict(np.load(path.replace(".npy", ".npz")))
    tiny, tiny_start = problem(500, 2, 2)
    fitted(kind, tiny, 2, 2, tiny_start)
    return peak_beyond(lambda: fitted(kind, X, k, 2, start))


def peaks(n: int, d: int, k: int) -> dict[str, Any]:
    """Peak memory of one shape."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        X, start = problem(n, d, k)
        np.save(path, X)
        np.savez(path.with_suffix(".npz"), **start)
        ours, peer = (fresh("em.peak", kind, str(path), k) for kind in ("ours", "peer"))
    return {"n, d, k": f"{n:,}, {d}, {k}", "rows (MB)": X.nbytes / 2**20, "ours (MB)": ours, "peer (MB)": peer}


def rates(size: int) -> tuple[float, float]:
    """Flops per second of a product of two size^3 matrices, and exponentials per second, both by JAX in float64."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        a, b = (jnp.asarray(rng.standard_normal((size, size))) for _ in range(2))
        product = jax.jit(lambda a, b: jnp.matmul(a, b, precision="highest"))
        z = jnp.asarray(-np.abs(rng.standard_normal((16, 1 << 14))))  # fits into the cache
        exponential = jax.jit(jnp.exp)
        flops = per_call(lambda: product(a, b).block_until_ready())
        exps = per_call(lambda: exponential(z).block_until_ready())
        return 2 * size**3 / min(flops() for _ in range(PAIRS)), z.size / min(exps() for _ in range(PAIRS))


def roofline(n: int, d: int, k: int, measured: Spread, size: int) -> dict[str, Any]:
    """How far an iteration is from what the arithmetic alone costs."""
    flops, exps = rates(size)
    f = 1 + d + d * (d + 1) // 2
    bound = 4 * n * f * k / flops + n * k / exps
    return {
        "n, d, k": f"{n:,}, {d}, {k}",
        "product (Gflop/s)": flops / 1e9,
        "exponentials (1e9/s)": exps / 1e9,
        "roofline (s)": bound,
        "iteration (s)": measured.median,
        # Where noise outweighs the difference that an iteration is, there is no measurement, and so no bar is met.
        "times the roofline": measured.median / bound if measured.low > 0 else float("nan"),
    }


def run(quick: bool) -> Report:
    shapes = QUICK if quick else SHAPES
    report = Report(
        "EM",
        "`GaussianMixture(k, covariance_type='full', reg_covar=0, tol=0)` in float64 against scikit-learn's, the same "
        f"start given to both. The time of an iteration is (fit of {OURS} iterations - fit of {FEW}) / {OURS - FEW}; "
        f"for the peer, which takes longer, (fit of {PEER} - fit of {FEW}) / {PEER - FEW}. Results are compared after "
        f"{PEER} iterations. A whole fit (no bar) also pays once for checks, standardising and memberships. "
        "Peak memory is that of a fit in a fresh process beyond import, loaded rows and one tiny warm fit.",
    )
    timed = [compare(*shape) for shape in shapes]
    held = [peaks(*shape) for shape in shapes]
    best = timed[shapes.index(ROOFLINE)] if ROOFLINE in shapes else timed[-1]
    wall = roofline(
        *(ROOFLINE if ROOFLINE in shapes else shapes[-1]), best["iteration, ours (s)"], 256 if quick else 2048
    )
    report.tables = [timed, held, [wall]]
    each = [row["ratio"].median for row in timed]
    report.checks = [
        Check.at_least("iteration, geometric mean of the ratios (aim 20)", float(np.exp(np.mean(np.log(each)))), 12),
        Check.at_least("iteration, smallest ratio", min(each), 2),
        Check.at_most(
            "log-likelihood, relative difference",
            max(row["log-likelihood, relative difference"] for row in timed),
            1e-8,
        ),
        Check.at_most("peak memory beyond the loaded rows (MB)", max(row["ours (MB)"] for row in held), 300),
        Check.at_most("iteration, times the roofline", wall["times the roofline"], 3),
    ]
    return report
