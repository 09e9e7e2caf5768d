"""Samplers and bounds against the exact posterior of a tiny world."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from laws import linear
from scipy.special import logsumexp
from scipy.stats import skew
from scipy.stats import t as student
from sklearn.exceptions import ConvergenceWarning

from bayessoft import (
    CAVI,
    NUTS,
    Between,
    Fixed,
    Gaussian,
    GaussianMixture,
    Gibbs,
    MixtureModel,
    NormalInverseWishart,
    Product,
    StudentT,
)
from bayessoft.arviz_io import ess, quantities

from .exact import World, small, small_independent, small_linear, small_product, small_student

PENGUINS = Path(__file__).parents[2] / "examples" / "data" / "penguins.csv"
KINDS = ("full", "tied", "diag", "spherical")


def sizes_of(world: World) -> Fixed | Between | None:
    """The bounds of the counts as a user states them."""
    if world.counts is None:
        return None
    low, high = world.counts
    return Fixed(low, order="given") if low == high else Between(low, high, order="given")


def together_of(world: World, joint: np.ndarray) -> np.ndarray:
    """How probably each pair of rows is in one cluster, given log densities of rows and labels under draws."""
    upper = np.triu_indices(len(world.x), 1)
    if world.counts is None:
        r = np.exp(joint - logsumexp(joint, -1, keepdims=True))
        return np.einsum("csnk,csmk->csnm", r, r)[..., *upper]
    every = world.allowed()
    logs = sum(joint[:, :, i, own] for i, own in enumerate(every.T))
    p = np.exp(logs - logsumexp(logs, -1, keepdims=True))
    return p @ (every[:, upper[0]] == every[:, upper[1]]).astype(float)


def fitted(world: World, engine: Any, repeat: np.ndarray | None = None) -> GaussianMixture:
    """A fit whose status is of no concern; where rows repeat, those of weight above 1 stand for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(
            world.k,
            covariance_type=world.kind,
            prior=world.prior,
            weight_concentration_prior=world.alpha,
            sizes=sizes_of(world),
            means_init=None if world.counts is None else world.x[: world.k],
            inference=engine,
            random_state=0,
        ).fit(
            world.x if repeat is None else world.x[repeat > 0],
            sample_weight=None if repeat is None else repeat[repeat > 0],
        )


def sampled(world: World, engine: Any, **options: Any) -> dict[str, np.ndarray]:
    """What `World.exact` has, from draws, with leading axes (c, s)."""
    fit = fitted(world, engine, **options).fit_
    if world.counts is not None:  # components as they came, which the bounds are of
        fit = replace(fit, posterior=replace(fit.posterior, order=None))
    found = {name: values for name, (_, values) in quantities(fit).items()}
    weights, means, spread = found["weights"], found["means"], found["covariances"]
    c, s, k, d = means.shape
    eye = np.eye(d)
    if world.kind == "diag":
        spread = spread[..., None] * eye
    elif world.kind == "spherical":
        spread = spread[..., None, None] * eye
    elif world.kind == "tied":
        spread = np.broadcast_to(spread[:, :, None], (c, s, k, d, d))
    precisions, log_det = np.linalg.inv(spread), np.linalg.slogdet(spread)[1]

    def densities(x: np.ndarray) -> np.ndarray:
        offset = x[:, None] - means[:, :, None]
        squares = np.einsum("csnkd,cskde,csnke->csnk", offset, precisions, offset, optimize=True)
        return np.log(weights)[:, :, None] - 0.5 * (squares + log_det[:, :, None]) - 0.5 * d * np.log(2 * np.pi)

    larger = weights.max(-1, keepdims=True)
    density = np.exp(densities(world.points)).sum(-1)
    return {"together": together_of(world, densities(world.x)), "density": density, "larger": larger}


def sampled_linear(world: World, engine: Any) -> dict[str, np.ndarray]:
    """The same of a family with a linear score."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MixtureModel(
            world.k,
            linear.LINEAR[world.kind].with_prior(world.prior),
            weight_concentration_prior=world.alpha,
            inference=engine,
            random_state=0,
        ).fit(world.x)
    found = {name: values for name, (_, values) in quantities(model.fit_).items()}
    weights = found.pop("weights")
    (array,) = found.values()
    theta = type(linear.parameters(world.kind, 1))(array.reshape(-1, array.shape[-1]))

    def densities(x: np.ndarray) -> np.ndarray:
        logs = linear.log_pmf(world.kind, theta, x).reshape(*weights.shape, len(x))
        return np.exp(np.moveaxis(logs, -2, -1)) * weights[:, :, None]

    joint = densities(world.x)
    r = joint / joint.sum(-1, keepdims=True)
    together = np.einsum("csnk,csmk->csnm", r, r)[..., *np.triu_indices(len(world.x), 1)]
    density = densities(world.points).sum(-1)
    return {"together": together, "density": density, "larger": weights.max(-1, keepdims=True)}


def sampled_product(world: World, engine: Any) -> dict[str, np.ndarray]:
    """The same of a product of measurements, counts and answers, whose columns are interleaved in the table."""
    order = np.argsort([3, 0, 5, 1, 7, 2, 6, 4])  # column order[j] of the table is column j of the world
    own, blocks = np.split(order, [2, 5]), world.blocks
    families = [Gaussian("full", blocks[0].prior)]
    families += [linear.LINEAR[block.kind].with_prior(block.prior) for block in blocks[1:]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MixtureModel(
            world.k,
            Product(list(zip(families, own, strict=True))),
            weight_concentration_prior=world.alpha,
            inference=engine,
            random_state=0,
        ).fit(world.x[:, np.argsort(order)])
    found = {name: values for name, (_, values) in quantities(model.fit_).items()}
    weights, means, spread = found["weights"], found["means"], found["covariances"]
    precisions, log_det = np.linalg.inv(spread), np.linalg.slogdet(spread)[1]
    counted = {"poisson": found["rates"], "categorical": found["probabilities"]}

    def densities(x: np.ndarray) -> np.ndarray:
        measured, *rest = np.split(x, [2, 5], 1)
        offset = measured[:, None] - means[:, :, None]
        squares = np.einsum("csnkd,cskde,csnke->csnk", offset, precisions, offset, optimize=True)
        logs = np.log(weights)[:, :, None] - 0.5 * (squares + log_det[:, :, None]) - np.log(2 * np.pi)
        for (name, array), part in zip(counted.items(), rest, strict=True):
            theta = type(linear.parameters(name, 1))(array.reshape(-1, array.shape[-1]))
            own = linear.log_pmf(name, theta, part).reshape(*weights.shape, len(x))
            logs = logs + np.moveaxis(own, -2, -1)
        return np.exp(logs)

    joint = densities(world.x)
    r = joint / joint.sum(-1, keepdims=True)
    together = np.einsum("csnk,csmk->csnm", r, r)[..., *np.triu_indices(len(world.x), 1)]
    density = densities(world.points).sum(-1)
    return {"together": together, "density": density, "larger": weights.max(-1, keepdims=True)}


def agrees(world: World, found: dict[str, np.ndarray], thorough: bool) -> None:
    """Within four standard errors, which `thorough` asks to be under .05 posterior standard deviations.

    20 comparisons: a false alarm in about one of 800 seeds, and the seed is fixed.
    """
    truth = world.exact()
    for name in found.keys() & truth.keys() if thorough else ("together", "larger"):
        values, effective = found[name], ess(found[name])
        spread = values.std((0, 1))
        error = spread / np.sqrt(effective)
        if thorough:
            assert (effective > 1000).all(), name
            assert (error < 0.05 * spread).all(), name
            # the mean is near enough to normal for its standard error: Berry and Esseen
            assert (np.abs(skew(values, axis=(0, 1))) < 0.2 * np.sqrt(effective)).all(), name
        assert (np.abs(values.mean((0, 1)) - truth[name]) < 4 * error).all(), name


@pytest.mark.statistical
@pytest.mark.parametrize("kind", KINDS)
def test_nuts_is_exact(kind):
    agrees(small(kind), sampled(small(kind), NUTS(draws=5000, warmup=1000, chains=4, target_accept=0.95)), True)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", KINDS)
def test_gibbs_is_exact(kind):
    agrees(small(kind), sampled(small(kind), Gibbs(draws=20_000)), True)


@pytest.mark.statistical
@pytest.mark.parametrize("unknown", [False, True], ids=["known scale", "unknown scale"])
def test_samplers_are_exact_for_independent_priors(unknown):
    world = small_independent(unknown)
    agrees(world, sampled(world, Gibbs(draws=20_000)), True)
    agrees(world, sampled(world, NUTS(draws=5000, warmup=1000, target_accept=0.95)), True)


@pytest.mark.statistical
def test_gibbs_is_exact_without_permutations_and_with_copies():
    agrees(small("full"), sampled(small("full"), Gibbs(draws=20_000, permute=False)), True)
    agrees(small("full"), sampled(small("full"), Gibbs(draws=10_000, inverse_temperatures=(1.0, 0.6, 0.3))), True)


@pytest.mark.statistical
def test_nuts_is_near_the_truth():
    """The same at few draws."""
    agrees(small("full"), sampled(small("full"), NUTS(draws=400, warmup=1000, chains=2)), False)


def test_gibbs_is_near_the_truth():
    """The same at few draws, for every run."""
    agrees(small("full"), sampled(small("full"), Gibbs(draws=4000, warmup=200, chains=2)), False)


COUNTS = {"fixed": ((4, 2), (4, 2)), "alike": ((3, 3), (3, 3)), "between": ((1, 2), (4, 4)), "floor": ((2, 2), (6, 6))}


@pytest.mark.statistical
@pytest.mark.parametrize("kind, name", [*(("full", name) for name in COUNTS), ("diag", "between"), ("tied", "between")])
def test_gibbs_is_exact_under_counts(kind, name):
    world = small(kind, COUNTS[name])
    agrees(world, sampled(world, Gibbs(draws=20_000)), True)


@pytest.mark.statistical
def test_gibbs_is_exact_under_counts_with_copies():
    world = small("full", COUNTS["between"])
    agrees(world, sampled(world, Gibbs(draws=10_000, inverse_temperatures=(1.0, 0.5))), True)


@pytest.mark.parametrize("name", ["fixed", "between"])
def test_gibbs_is_near_the_truth_under_counts(name):
    world = small("full", COUNTS[name])
    agrees(world, sampled(world, Gibbs(draws=4000, warmup=200, chains=2)), False)


@pytest.mark.statistical
def test_gibbs_takes_weights_for_repeated_rows():
    world = small("diag")
    twice = World("diag", world.x[[0, 0, 1, 2, 2, 2, 3]], 2, world.alpha, world.prior, world.points)
    repeat = np.array([2, 0, 1, 3, 0, 0, 1])
    found = sampled(twice, Gibbs(draws=4000, warmup=200, chains=2), repeat=repeat)
    agrees(twice, found, False)


@pytest.mark.parametrize(
    "kind", ["diag", *(pytest.param(kind, marks=pytest.mark.statistical) for kind in ("full", "tied", "spherical"))]
)
def test_the_bound_is_below_the_exact_evidence(kind):
    world = small(kind)
    gm = fitted(world, CAVI(max_iter=2000, tol=1e-12, n_init=5))
    evidence = world.exact()["evidence"][0]
    # one of two labellings, and what labels and parameters of six rows share: some nats at most
    assert evidence - 3 < gm.elbo_ < evidence
    assert gm.elbo_ + gm.log_relabellings_ < evidence + np.log(2)


@pytest.mark.statistical
@linear.names
def test_samplers_are_exact_for_linear_families(name):
    world = small_linear(name)
    agrees(world, sampled_linear(world, Gibbs(draws=20_000)), True)
    agrees(world, sampled_linear(world, NUTS(draws=5000, warmup=1000, target_accept=0.95)), True)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "engine", [Gibbs(draws=8000), NUTS(draws=2500, warmup=1000, target_accept=0.95)], ids=["gibbs", "nuts"]
)
def test_samplers_are_exact_for_a_product(engine):
    world = small_product()
    agrees(world, sampled_product(world, engine), True)


@pytest.mark.statistical
def test_gibbs_is_near_the_truth_for_a_linear_family(name="poisson"):
    world = small_linear(name)
    agrees(world, sampled_linear(world, Gibbs(draws=3000, warmup=200, chains=2)), False)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "multinomial" else pytest.mark.statistical) for n in linear.LINEAR]
)
def test_the_bound_of_linear_families_is_below_the_exact_evidence(name):
    world = small_linear(name)
    family = linear.LINEAR[name].with_prior(world.prior)
    engine = CAVI(max_iter=2000, tol=1e-12, n_init=5)
    model = MixtureModel(world.k, family, weight_concentration_prior=world.alpha, inference=engine, random_state=0)
    found, evidence = model.fit(world.x), world.exact()["evidence"][0]
    assert evidence - 3 < found.elbo_ < evidence
    assert found.elbo_ + found.log_relabellings_ < evidence + np.log(2)


def corners() -> World:
    """The corners of a near square, in two clusters: halved one way or the other, with little between."""
    x = np.array([[-3.0, -3.1], [-3.0, 3.1], [3.0, -3.1], [3.0, 3.1]])
    return World("diag", x, 2, 20.0, NormalInverseWishart(np.zeros(2), 0.2, 8.0, np.ones(2)), x)


@pytest.mark.statistical
def test_copies_cross_between_modes():
    """Pairs that share a cluster in one partition and not in the other, at their exact probabilities."""
    world = corners()
    ladder = tuple(float(b) for b in np.geomspace(1.0, 0.04, 8))
    found = sampled(world, Gibbs(draws=40_000, inverse_temperatures=ladder))
    agrees(world, {"together": found["together"]}, True)
    alone = sampled(world, Gibbs(draws=4000))["together"]
    crossings = [np.abs(np.diff(t[..., :2] > 0.5, axis=1)).mean() for t in (found["together"], alone)]
    assert crossings[0] > 20 * crossings[1]  # a chain alone hardly leaves the partition that it began in


@pytest.mark.statistical
def test_gibbs_and_nuts_agree_on_penguins():
    """What no labels enter: log density, sorted proportions, and the densities of 20 penguins, within four errors."""
    table = pd.read_csv(PENGUINS).dropna()[["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]]
    found = []
    for engine in (Gibbs(draws=4000, warmup=500), NUTS(draws=1000, warmup=1000)):
        gm = GaussianMixture(3, prior="weak", inference=engine, random_state=0).fit(table)
        assert gm.converged_ and gm.status_.labelled
        weights, densities = gm.fit_.posterior.weights, gm.fit_.log_likelihood(table.to_numpy()[::17][:20])
        every = np.concatenate([np.sort(weights, -1), np.exp(densities).reshape(*weights.shape[:2], -1)], -1)
        every = np.concatenate([every, gm.fit_.posterior.log_density[..., None]], -1)
        found.append((every.mean((0, 1)), every.std((0, 1)) / np.sqrt(ess(every))))
    (one, error), (other, its) = found
    # 24 comparisons: a false alarm in about one of 700 seeds, and the seed is fixed
    assert (np.abs(one - other) < 4 * np.hypot(error, its)).all()


def sampled_student(world: World, engine: Any) -> dict[str, np.ndarray]:
    """The same of Student-t components."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MixtureModel(
            world.k,
            StudentT(world.kind, prior=world.prior),
            weight_concentration_prior=world.alpha,
            inference=engine,
            random_state=0,
        ).fit(world.x)
    found = {name: values for name, (_, values) in quantities(model.fit_).items()}
    weights, degrees = found["weights"], found["degrees_of_freedom"]
    means, scales = found["means"][..., 0], np.sqrt(found["scales"][..., 0])

    def densities(x: np.ndarray) -> np.ndarray:
        each = [student.pdf(row, degrees, means, scales) * weights for row in x[:, 0]]
        return np.stack(each, -2)

    joint = densities(world.x)
    r = joint / joint.sum(-1, keepdims=True)
    together = np.einsum("csnk,csmk->csnm", r, r)[..., *np.triu_indices(len(world.x), 1)]
    density = densities(world.points).sum(-1)
    return {"together": together, "density": density, "larger": weights.max(-1, keepdims=True)}


@pytest.mark.statistical
@pytest.mark.parametrize("engine", [Gibbs(draws=20_000), NUTS(draws=5000, target_accept=0.95)], ids=["gibbs", "nuts"])
def test_samplers_are_exact_for_student_t(engine):
    world = small_student()
    agrees(world, sampled_student(world, engine), True)
