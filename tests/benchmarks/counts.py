"""Gibbs sampling under counts that hold in every draw, against the same sampler while sizes are free."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

from bayessoft import Between, Fixed, Gaussian, Gibbs, Mixture
from bayessoft.arviz_io import ess
from bayessoft.data.rows import rows
from bayessoft.inference.engine import Given, Problem
from bayessoft.inference.run import run as run_engine
from tests.benchmarks.protocol import Check, Report, Spread, alternating, ratios, seconds

SHAPE, QUICK = (10_000, 4, 4), (600, 3, 3)
PAIRS, WARM = 20, 200
DRAWS = 1_000, 2_000  # of the runs whose difference is timed


def planted(n: int, d: int, k: int) -> np.ndarray:
    """Rows of clusters of equal size that overlap: two standard deviations from centre to centre."""
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(d, d)))[0][:k] * np.sqrt(2)
    return rng.permutation(rng.normal(size=(n, d)) + np.repeat(centres, -(-n // k), 0)[:n])


def together(problem: Problem, posterior: Any, pairs: np.ndarray) -> np.ndarray:
    """Tell in which draws, (c, s, pairs), the two rows of each pair have one label: drawn where none are kept."""
    if posterior.labels is not None:
        labels = posterior.labels[:, :, pairs]
        return (labels[..., 0] == labels[..., 1]).astype(float)
    chosen = problem.data.values[pairs.reshape(-1)]
    flat = jax.tree.map(lambda leaf: leaf[0], (posterior.weights, posterior.parameters))
    standard = problem.frame.apply(chosen)
    member = problem.standard.family.with_prior(None)
    scores = jax.jit(jax.vmap(lambda theta: member.tile_scores(theta, standard.T, False)))(flat[1])
    logits = np.asarray(scores) + np.log(flat[0])[..., None]
    gumbel = np.random.default_rng(1).gumbel(size=logits.shape)
    labels = (logits + gumbel).argmax(1).reshape(len(logits), *pairs.shape)
    return (labels[..., 0] == labels[..., 1])[None].astype(float)


def measure(problem: Problem, pairs: np.ndarray, seeds: Any) -> dict[str, Any]:
    """Time further draws of a chain, and count the effective ones."""
    found: list[Any] = []
    problem = Problem(**(vars(problem) | {"seed": next(seeds)}))

    def drawn(number: int) -> None:
        found.append(run_engine(Gibbs(draws=number, warmup=WARM, chains=1), problem).posterior)

    short, long = (seconds(partial(drawn, number)) for number in DRAWS)
    every = together(problem, found[-1], pairs)[:, -1000:]
    effective = np.array([float(ess(every[..., i], "mean")) for i in range(every.shape[-1])])
    return {"wall": long - short, "least": effective.min(), "median": np.median(effective)}


def run(quick: bool) -> Report:
    n, d, k = QUICK if quick else SHAPE
    X = planted(n, d, k)
    sizes = np.diff(np.linspace(0, n, k + 1).round()) + n // 200 * np.linspace(-1, 1, k).round()
    kinds = {"free": None, "Fixed": Fixed(sizes), "Between": Between(np.floor(0.98 * sizes), np.ceil(1.02 * sizes))}
    pairs = np.random.default_rng(2).choice(n, size=(PAIRS, 2), replace=False)
    bounded, free = {}, {}
    with jax.enable_x64(True):
        measures = {}
        for name, constraint in kinds.items():
            mixture = Mixture(k, Gaussian(), sizes=constraint).proper()
            problem = Problem.pose(mixture, rows(X), 0, 0.0, Given())
            measures[name] = partial(measure, problem, pairs, iter(range(1, 1000)))
            measures[name]()
        for name in ("Fixed", "Between"):
            bounded[name], free[name] = alternating(measures[name], measures["free"], pairs=3)
    report = Report(
        "Gibbs sampling under size constraints",
        f"`Gibbs` on ({n:,}, {d}) rows in float64, {k} overlapping clusters: of {PAIRS} random pairs of rows, whether "
        "both have one label, in 1,000 draws of a chain. While sizes are free, labels are drawn for that from the "
        "parameters of each draw. The time is that of further draws, by the difference of two runs. `Fixed` sizes "
        "differ from the planted ones, which are equal, by 2 % of a cluster; `Between` leaves 2 % on each side.",
    )
    report.tables = [
        [
            {
                "sizes": name,
                "time of 1,000 draws (s)": Spread.of([each["wall"] for each in own]),
                "effective draws, least of the pairs": Spread.of([each["least"] for each in own]),
                "median of the pairs": Spread.of([each["median"] for each in own]),
            }
            for name, own in (("free", free["Fixed"] + free["Between"]), *bounded.items())
        ]
    ]
    report.notes = [
        "The median of the pairs is judged: the pair with the fewest effective draws is the one that hangs on a slow "
        "drift of the clusters, which a single chain of 1,000 draws meets or does not.",
    ]
    report.checks = [
        Check.at_least(
            f"{name}: effective draws per second, median of the pairs, over those while sizes are free",
            ratios(*([each["wall"] / each["median"] for each in own] for own in (bounded[name], free[name]))),
            0.2,
        )
        for name in bounded
    ]
    return report
