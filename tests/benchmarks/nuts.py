"""NUTS end to end against the usual NumPyro model: effective draws of the sorted weights per second."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from numpyro import infer

from bayessoft import NUTS, GaussianMixture
from bayessoft.arviz_io import ess
from tests.benchmarks.protocol import ROOT, Check, Report, Spread, alternating, cost, ratios

SHAPE, QUICK = (2_000, 4, 3), (300, 2, 2)
OURS, OURS_QUICK = NUTS(draws=500, warmup=500, chains=4), NUTS(draws=40, warmup=40, chains=2)
PEER_STEPS, PEER_STEPS_QUICK = 100, 20  # warm-up, and draws: its gradients take long
WARM_PAIRS = 2


def planted(n: int, d: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of clusters so far apart that labels do not switch, and the true centres."""
    rng = np.random.default_rng(seed)
    shares = np.arange(1, k + 1) / np.arange(1, k + 1).sum()
    labels = np.repeat(np.arange(k), np.round(shares * n).astype(int))
    centres = 6 * np.linalg.qr(rng.standard_normal((d, d)))[0][:k]
    mixing = 0.3 * rng.standard_normal((k, d, d)) + np.eye(d)
    X = np.einsum("nij,nj->ni", mixing[labels], rng.standard_normal((len(labels), d))) + centres[labels]
    return X, centres


def usual(X: Any, k: int) -> None:
    """The model as tutorials write it."""
    d = X.shape[-1]
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(k)))
    with numpyro.plate("clusters", k):
        means = numpyro.sample("means", dist.Normal(0, 10).expand([d]).to_event(1))
        scales = numpyro.sample("scales", dist.HalfNormal(5).expand([d]).to_event(1))
        lower = numpyro.sample("lower", dist.LKJCholesky(d, 1.0))
    components = dist.MultivariateNormal(means, scale_tril=scales[..., None] * lower)
    with numpyro.plate("rows", len(X)):
        numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(probs=weights), components), obs=X)


def ours(X: np.ndarray, k: int, engine: NUTS) -> Callable[[int], np.ndarray]:
    def draw(seed: int) -> np.ndarray:
        return fitted(X, k, engine, seed).fit_.posterior.weights

    return draw


def fitted(X: Any, k: int, engine: NUTS, seed: int) -> GaussianMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the status is printed
        return GaussianMixture(k, inference=engine, random_state=seed).fit(X)


def peer(X: np.ndarray, centres: np.ndarray, steps: int, chains: int) -> Callable[[int], np.ndarray]:
    """Inside scoped float64."""
    # From random starts some chains would stick in other modes.
    start = infer.init_to_value(values={"means": jnp.asarray(centres)})
    kernel = infer.NUTS(usual, init_strategy=start)
    sampler = infer.MCMC(
        kernel, num_warmup=steps, num_samples=steps, num_chains=chains, chain_method="vectorized", progress_bar=False
    )
    rows = jnp.asarray(X)

    def draw(seed: int) -> np.ndarray:
        sampler.run(jax.random.key(seed), rows, len(centres))
        return np.asarray(sampler.get_samples(group_by_chain=True)["weights"])

    return draw


def timed(draw: Callable[[int], np.ndarray]) -> Callable[[], dict[str, Any]]:
    """A measurement that takes another seed each time."""
    seeds = iter(range(1, 1000))

    def measure() -> dict[str, Any]:
        kept: list[np.ndarray] = []
        wall, cpu = cost(lambda: kept.append(draw(next(seeds))))
        weights = np.sort(kept[0].astype(np.float64), axis=-1)
        effective = float(np.min(ess(weights)))
        return {"wall": wall, "cpu": cpu, "effective": effective, "rate": effective / wall, "weights": weights}

    return measure


def line(name: str, steps: str, first: float, runs: list[dict[str, Any]]) -> dict[str, Any]:
    series = {what: Spread.of([run[what] for run in runs]) for what in ("wall", "cpu", "effective", "rate")}
    weights = np.concatenate([run["weights"].reshape(-1, run["weights"].shape[-1]) for run in runs])
    return {
        "sampler": name,
        "chains x (warm-up + draws)": steps,
        "time (s)": series["wall"],
        "time (CPU s)": series["cpu"],
        "first run, compilation included (s)": first,
        "effective draws": series["effective"],
        "effective draws per s": series["rate"],
        "mean of the sorted weights": ", ".join(f"{value:.4f}" for value in weights.mean(0)),
        "their sd": ", ".join(f"{value:.4f}" for value in weights.std(0)),
    }


def compare(quick: bool) -> tuple[list[dict[str, Any]], Spread]:
    n, d, k = QUICK if quick else SHAPE
    engine, steps = (OURS_QUICK, PEER_STEPS_QUICK) if quick else (OURS, PEER_STEPS)
    X, centres = planted(n, d, k)
    with jax.enable_x64(True):
        both = timed(ours(X, k, engine)), timed(peer(X, centres, steps, engine.chains))
        first = [measure()["wall"] for measure in both]
        runs = alternating(*both, pairs=WARM_PAIRS)
    shown = f"{engine.chains} x ({engine.warmup} + {engine.draws})", f"{engine.chains} x ({steps} + {steps})"
    table = [line(*each) for each in zip(("ours", "peer"), shown, first, runs, strict=True)]
    return table, ratios(*([1 / run["rate"] for run in each] for each in runs))


def penguins(quick: bool) -> dict[str, Any]:
    """The shipped table by the same engine."""
    table = pd.read_csv(ROOT / "examples" / "data" / "penguins.csv", index_col="id").select_dtypes("number").dropna()
    engine, found = OURS_QUICK if quick else OURS, []
    times = [cost(lambda: found.append(fitted(table, 3, engine, seed=1))) for _ in range(2)]
    checks = found[-1].fit_.posterior.checks
    return {
        "rows": len(table),
        "chains x (warm-up + draws)": f"{engine.chains} x ({engine.warmup} + {engine.draws})",
        "time (s)": times[1][0],
        "time (CPU s)": times[1][1],
        "compile (s)": times[0][0] - times[1][0],
        "least effective draws of the sorted weights": checks.ess["sorted_weights"],
        "worst R-hat of the sorted weights": checks.rhat["sorted_weights"],
        "status": found[-1].status_.name,
    }


def run(quick: bool) -> Report:
    n, d, k = QUICK if quick else SHAPE
    table, ratio = compare(quick)
    report = Report(
        "NUTS",
        f"`GaussianMixture({k}, inference=NUTS(...)).fit(X)` with its defaults, starts, alignment of labels and checks "
        f"included, on ({n:,}, {d}) rows in float64 of clusters so far apart that labels do not switch, against the "
        "usual NumPyro model: Dirichlet weights, Normal means, LKJCholesky times HalfNormal scales, "
        "`MixtureSameFamily(Categorical, MultivariateNormal)`, NUTS with vectorised chains that start at the true "
        "centres. Effective draws (bulk) are those of the sorted weight that has the fewest, over the time of warm-up "
        "and draws of a second run, all being compiled.",
    )
    report.tables = [table, [penguins(quick)]]
    report.notes = [
        f"The peer takes so long that it runs {PEER_STEPS_QUICK if quick else PEER_STEPS} steps of warm-up and as many "
        f"draws, and {WARM_PAIRS} alternating pairs are measured; warm-up and draws are in the same proportion on both "
        "sides. The priors on means and covariances differ, which the weights hardly feel.",
        "The last table is the shipped penguins (no bar).",
    ]
    report.checks = [Check.at_least("effective draws of the sorted weights per second, ratio", ratio, 10)]
    return report
