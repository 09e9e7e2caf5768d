"""A kernel density of many components reduced to few: time, cold and warm, and how near the result is."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from bayessoft import MixtureDensity, reduce_mixture
from bayessoft.core.merging import Parts, moment_matched
from tests.benchmarks.protocol import Check, Report, Spread, alternating, cost, fresh, peak_beyond

SHAPE, QUICK = (5000, 2, 20), (300, 2, 5)
GROUPS = 12


def kernels(n: int, d: int) -> MixtureDensity:
    """The kernel density of rows in groups of uneven sizes and shapes, with weights."""
    rng = np.random.default_rng(0)
    labels = rng.choice(GROUPS, n, p=rng.dirichlet(np.full(GROUPS, 5.0)))
    mixing = 0.6 * (rng.standard_normal((GROUPS, d, d)) + np.eye(d))
    X = (
        np.einsum("nij,nj->ni", mixing[labels], rng.standard_normal((n, d)))
        + 4 * rng.standard_normal((GROUPS, d))[labels]
    )
    return MixtureDensity.from_kernels(X, "scott", rng.uniform(0.5, 1.5, n))


def by_means(density: MixtureDensity, k: int) -> MixtureDensity:
    """What k-means of the means, with their weights, and the moments of its groups give."""
    found = KMeans(k, n_init=10, random_state=0).fit(density.means, sample_weight=density.weights)
    shape = (density.n_components, *density.covariances.shape[-2:])
    covariances = np.moveaxis(np.broadcast_to(density.covariances, shape), 0, 2)
    weights, means, matched = moment_matched(Parts(density.weights, density.means.T, covariances), found.labels_)
    return MixtureDensity(weights, means.T, np.moveaxis(matched, 2, 0))


def integral(first: MixtureDensity, second: MixtureDensity) -> float:
    """The integral of a product of densities, component by component of the first."""
    total, d = 0.0, first.means.shape[1]
    of_first, of_second = (np.broadcast_to(m.covariances, (m.n_components, d, d)) for m in (first, second))
    for weight, mean, covariance in zip(first.weights, first.means, of_first, strict=True):
        both = covariance + of_second
        apart = mean - second.means
        squares = np.einsum("ka,ka->k", apart, np.linalg.solve(both, apart[:, :, None])[:, :, 0])
        total += weight * second.weights @ np.exp(-0.5 * (squares + np.linalg.slogdet(2 * np.pi * both)[1]))
    return total


def squared_error(density: MixtureDensity, other: MixtureDensity) -> float:
    return integral(density, density) - 2 * integral(other, density) + integral(other, other)


def cold(n: int, d: int, k: int) -> dict[str, float]:
    """Seconds of the first reduction in a process, compilation included; JAX and the density are there."""
    density = kernels(n, d)
    density.score_samples(density.means[:1])
    wall, cpu = cost(lambda: reduce_mixture(density, k))
    return {"wall": wall, "cpu": cpu}


def run(quick: bool) -> Report:
    n, d, k = QUICK if quick else SHAPE
    density = kernels(n, d)
    first = fresh("reduction.cold", n, d, k, environment={"JAX_ENABLE_COMPILATION_CACHE": "false"})
    found: list[Any] = []
    reduce_mixture(density, k)
    ours, peer = alternating(
        partial(cost, lambda: found.append(reduce_mixture(density, k))), partial(cost, lambda: by_means(density, k))
    )
    memory = peak_beyond(lambda: reduce_mixture(density, k))
    reduction, other = found[-1], by_means(density, k)
    errors = {"merged": reduction.merged, "merged and refined": reduction.density, "k-means, moments matched": other}
    near = {name: squared_error(density, each) for name, each in errors.items()}
    whole = integral(density, density)
    report = Report(
        "Reduction of a mixture",
        f"`reduce_mixture(MixtureDensity.from_kernels(X, 'scott', w), {k})` by the defaults, of {n:,} kernels in {d} "
        "dimensions, float64: merging, the curve of the squared error, refinement. The peer is scikit-learn's "
        f"`KMeans({k}, n_init=10)` of the means with their weights, each group a Gaussian of its moments. Squared "
        "errors are integrals in closed form by a separate NumPy program. Cold is the first call in a process, "
        "without JAX's cache on disk.",
    )
    times = {"reduce_mixture": ours, "k-means, moments matched": peer}
    report.tables = [
        [
            {
                "method": name,
                "time (s)": Spread.of([t[0] for t in each]),
                "time (CPU s)": Spread.of([t[1] for t in each]),
            }
            for name, each in times.items()
        ]
        + [{"method": "reduce_mixture, cold", "time (s)": first["wall"], "time (CPU s)": first["cpu"]}],
        [
            {
                "density": name,
                "squared error": error,
                "share of the whole": error / whole,
                "over that of k-means": error / list(near.values())[-1],
            }
            for name, error in near.items()
        ],
    ]
    warm = Spread.of([t[0] for t in ours])
    report.checks = [
        Check.at_most("reduction, warm (s)", warm, 10),
        Check.at_most("reduction, cold (s)", first["wall"], 10),
        Check.at_most(
            "squared error over that of k-means", near["merged and refined"] / near["k-means, moments matched"], 1
        ),
        Check.at_most(
            "difference of the reported squared error, relative",
            abs(reduction.squared_error / near["merged and refined"] - 1),
            1e-6,
        ),
        Check.at_most("its memory (MB)", memory, 200),
    ]
    report.notes = [
        f"Refinement: {reduction.status.name}, {reduction.n_iter} steps; the bound on the divergence of what was "
        f"merged is {reduction.bound:.3g} nats."
    ]
    return report
