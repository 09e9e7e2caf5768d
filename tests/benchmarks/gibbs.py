"""Gibbs sampling against NUTS on the usual NumPyro model under the same priors, and a sweep against a step of EM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import infer

from bayessoft import EM, Gaussian, GaussianMixture, Gibbs, Mixture
from bayessoft.arviz_io import ess
from bayessoft.data.rows import rows
from bayessoft.inference.engine import Given, Problem
from bayessoft.inference.run import run as run_engine
from tests.benchmarks.nuts import fitted, planted
from tests.benchmarks.protocol import Check, Report, Spread, alternating, cost, ratios, seconds

SHAPE, QUICK = (2_000, 4, 3), (300, 2, 2)
LARGE, LARGE_QUICK = (100_000, 4, 3), (3_000, 4, 3)
CHAINS, WARM = 4, 100
DRAWS, PEER_DRAWS = (1_000, 9_000), (10, 110)  # of the short runs and the long ones
FEW, MANY = 20, 220  # steps of the runs whose difference is timed


def usual(X: Any, k: int, prior: Any) -> None:
    """The model as a person would write it, with the priors of ours."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(k)))
    with numpyro.plate("clusters", k):
        lower = numpyro.sample("lower", dist.WishartCholesky(prior.degrees_of_freedom, rate_matrix=prior.scale))
        precisions = lower @ lower.mT
        means = numpyro.sample(
            "means", dist.MultivariateNormal(prior.mean, precision_matrix=prior.mean_precision * precisions)
        )
    components = dist.MultivariateNormal(means, precision_matrix=precisions)
    with numpyro.plate("rows", len(X)):
        numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(probs=weights), components), obs=X)


def sampler(kernel: Callable[[], Any], draws: tuple[int, int], *data: Any) -> Callable[[int], dict[str, Any]]:
    """Time the draws that a long run has beyond a short one; inside scoped float64.

    NumPyro's driver compiles anew in every run: the difference is free of that, and of warm-up.
    """
    options = dict(num_warmup=WARM, num_chains=CHAINS, chain_method="vectorized", progress_bar=False)

    def timed(number: int, seed: int) -> tuple[float, float, np.ndarray]:
        mcmc = infer.MCMC(kernel(), num_samples=number, **options)
        wall, cpu = cost(lambda: (mcmc.run(jax.random.key(seed), *data), jax.block_until_ready(mcmc.get_samples())))
        return wall, cpu, np.asarray(mcmc.get_samples(group_by_chain=True)["weights"])

    def measure(seed: int) -> dict[str, Any]:
        (short, short_cpu, _), (long, long_cpu, weights) = (timed(number, seed) for number in draws)
        weights = np.sort(weights[:, draws[0] :], axis=-1)
        effective, wall = float(np.min(ess(weights))), long - short
        return {
            "wall": wall,
            "cpu": long_cpu - short_cpu,
            "effective": effective,
            "rate": effective / wall,
            "weights": weights,
        }

    return measure


def seeded(measure: Callable[[int], Any]) -> Callable[[], Any]:
    seeds = iter(range(1, 1000))
    return lambda: measure(next(seeds))


def line(name: str, draws: tuple[int, int], runs: list[dict[str, Any]]) -> dict[str, Any]:
    series = {what: Spread.of([each[what] for each in runs]) for what in ("wall", "cpu", "effective", "rate")}
    weights = np.concatenate([each["weights"].reshape(-1, each["weights"].shape[-1]) for each in runs])
    return {
        "sampler": name,
        "chains x draws": f"{CHAINS} x {draws[1] - draws[0]:,}",
        "time of the draws (s)": series["wall"],
        "time (CPU s)": series["cpu"],
        "effective draws": series["effective"],
        "effective draws per s": series["rate"],
        "mean of the sorted weights": ", ".join(f"{value:.4f}" for value in weights.mean(0)),
        "their sd": ", ".join(f"{value:.4f}" for value in weights.std(0)),
    }


def compare(quick: bool) -> tuple[list[dict[str, Any]], Spread, float]:
    n, d, k = QUICK if quick else SHAPE
    draws, peer_draws = ((20, 60), (10, 30)) if quick else (DRAWS, PEER_DRAWS)
    X, centres = planted(n, d, k)
    with jax.enable_x64(True):
        mixture = Mixture(k, Gaussian()).in_numbers(X)
        prior = jax.tree.map(jnp.asarray, mixture.family.prior)
        start = infer.init_to_value(values={"means": jnp.asarray(centres)})
        measures = (
            seeded(sampler(lambda: Gibbs().kernel(mixture), draws, X)),
            seeded(sampler(lambda: infer.NUTS(usual, init_strategy=start), peer_draws, jnp.asarray(X), k, prior)),
        )
        runs = alternating(*measures, pairs=3)
    ratio = ratios(*([1 / each["rate"] for each in own] for own in runs))
    engine = Gibbs(draws=draws[0], warmup=draws[0], chains=CHAINS)
    fitted(X, k, engine, 0)
    found: list[GaussianMixture] = []
    whole = seconds(lambda: found.append(fitted(X, k, engine, 1)))
    effective = float(np.min(ess(np.sort(found[0].fit_.posterior.weights, -1))))
    table = [line("ours", draws, runs[0]), line("peer", peer_draws, runs[1])]
    return table, ratio, effective / whole


def step(engine: EM | Gibbs, many: EM | Gibbs, problem: Problem) -> float:
    """Seconds of a step, by the difference of two runs; no alignment of labels is in it."""
    times = [seconds(lambda: run_engine(engine, problem)), seconds(lambda: run_engine(many, problem))]
    return (times[1] - times[0]) / (MANY - FEW)


def sweeps(quick: bool) -> tuple[dict[str, Any], Spread]:
    n, d, k = LARGE_QUICK if quick else LARGE
    X, _ = planted(n, d, k)
    with jax.enable_x64(True):
        problem = Problem.pose(Mixture(k, Gaussian()).proper(), rows(X), 0, 0.0, Given())
        gibbs = partial(step, *(Gibbs(draws=steps - 1, warmup=1, chains=1) for steps in (FEW, MANY)), problem)
        em = partial(step, *(EM(max_iter=steps, tol=0.0) for steps in (FEW, MANY)), problem)
        for measure in (gibbs, em):
            measure()
        found = alternating(em, gibbs)
    table = {
        "n, d, k": f"{n:,}, {d}, {k}",
        "EM iteration (s)": Spread.of(found[0]),
        "Gibbs sweep (s)": Spread.of(found[1]),
    }
    return table, ratios(*found)


def run(quick: bool) -> Report:
    n, d, k = QUICK if quick else SHAPE
    table, ratio, whole = compare(quick)
    large, sweep = sweeps(quick)
    report = Report(
        "Gibbs sampling",
        f"`Gibbs().kernel(mixture)` in `numpyro.infer.MCMC` on ({n:,}, {d}) rows in float64, {k} clusters so far apart "
        "that labels do not switch, from random rows, against NUTS in the same driver on the usual NumPyro model under "
        "the same priors (`WishartCholesky` precisions, `MultivariateNormal` means, `Dirichlet`, "
        "`MixtureSameFamily`), which starts at the true centres; chains are vectorised on both sides. Effective draws "
        "(bulk) are those of the sorted weight that has the fewest, over the time of the draws, that of a "
        "long run less that of a short one: warm-up and compilation are not in it.",
    )
    report.tables = [table, [large]]
    report.notes = [
        f"`GaussianMixture({k}, inference='gibbs').fit(X)` with its defaults, starts, warm-up, alignment of labels and "
        f"checks included, gave {whole:.0f} effective draws of that weight per second.",
        "The second table is one chain and one start, without the checks that end a fit.",
    ]
    report.checks = [
        Check.at_least("effective draws of the sorted weights per second, ratio", ratio, 50),
        Check.at_most("Gibbs sweep over EM iteration", sweep, 3),
    ]
    return report
