"""Value and gradient of the likelihood against NumPyro's MixtureSameFamily, to the same unconstrained numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular

from bayessoft.core.sweep import log_likelihood, tiles
from bayessoft.families.gaussian import Gaussian, GaussianParameters
from tests.benchmarks.em import problem
from tests.benchmarks.protocol import PAIRS, Check, Report, Spread, alternating, per_call, ratios, relative, seconds

SHAPES = ((2_000, 4, 3), (100_000, 4, 3), (100_000, 8, 10))
QUICK = ((500, 3, 2),)


def constrained(free: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Log weights, means and lower Cholesky factors of the covariances."""
    lower = dist.biject_to(dist.constraints.lower_cholesky)(free["lower"])
    return jax.nn.log_softmax(free["logits"]), free["means"], lower


def ours(free: dict[str, Any], rows: Any) -> Any:
    log_weights, means, lower = constrained(free)
    eye = jnp.broadcast_to(jnp.eye(lower.shape[-1]), lower.shape)
    factors = jnp.swapaxes(solve_triangular(lower, eye, lower=True), -1, -2)
    return log_likelihood(Gaussian(), GaussianParameters(means, factors), log_weights, rows)


def peer(free: dict[str, Any], x: Any) -> Any:
    log_weights, means, lower = constrained(free)
    components = dist.MultivariateNormal(means, scale_tril=lower)
    return dist.MixtureSameFamily(dist.Categorical(logits=log_weights), components).log_prob(x).sum()


def unconstrained(start: dict[str, Any], seed: int = 1) -> dict[str, Any]:
    """A point near the start, no two components alike."""
    rng = np.random.default_rng(seed)
    means = start["means_init"]
    k, d = means.shape
    lower = np.linalg.cholesky(np.linalg.inv(start["precisions_init"])) * np.exp(0.3 * rng.standard_normal((k, 1, 1)))
    free = dist.biject_to(dist.constraints.lower_cholesky).inv(jnp.asarray(lower))
    return {"logits": jnp.asarray(0.3 * rng.standard_normal(k)), "means": jnp.asarray(means), "lower": free}


def compare(n: int, d: int, k: int) -> dict[str, Any]:
    """One shape, inside scoped float64."""
    X, start = problem(n, d, k)
    free = unconstrained(start)
    rows = tiles(X, np.ones(n), X.dtype, Gaussian().tile_rows(k, d))
    mine, theirs = jax.jit(jax.value_and_grad(ours)), jax.jit(jax.value_and_grad(peer))
    x = jnp.asarray(X)

    def call(function: Callable[..., Any], data: Any) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(function(free, data))

    compiling = seconds(call(mine, rows)), seconds(call(theirs, x))
    times = alternating(per_call(call(mine, rows)), per_call(call(theirs, x)), PAIRS)
    (value, gradient), (other, reference) = call(mine, rows)(), call(theirs, x)()
    return {
        "n, d, k": f"{n:,}, {d}, {k}",
        "ours (s)": Spread.of(times[0]),
        "peer (s)": Spread.of(times[1]),
        "ratio": ratios(*times),
        "compile, ours and peer (s)": f"{compiling[0]:.2g}, {compiling[1]:.2g}",
        "value, relative difference": relative(value, other),
        "gradient, relative difference": max(relative(gradient[name], reference[name]) for name in free),
    }


def run(quick: bool) -> Report:
    report = Report(
        "Value and gradient of the likelihood",
        "`jax.value_and_grad` of the log-likelihood with respect to unconstrained logits of the weights, means and "
        "unconstrained Cholesky factors of the covariances, jitted in float64, against "
        "`MixtureSameFamily(Categorical, MultivariateNormal(scale_tril=...))`. What turns these numbers into natural "
        "parameters is part of the measured program on both sides.",
    )
    with jax.enable_x64(True):
        table = [compare(*shape) for shape in (QUICK if quick else SHAPES)]
    report.tables = [table]
    report.checks = [Check.at_least(f"ratio at ({row['n, d, k']})", row["ratio"], 15) for row in table]
    for what in ("value", "gradient"):
        worst = max(row[f"{what}, relative difference"] for row in table)
        report.checks.append(Check.at_most(f"{what}, relative difference", worst, 1e-9))
    return report
