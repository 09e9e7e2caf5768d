"""Soft k-means, fuzzy c-means and tempered mixtures: what one is of the other, and what they improve at every step."""

import itertools
from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import multivariate_normal
from sklearn.cluster import KMeans

import bayessoft as bs
from bayessoft.errors import FitError
from bayessoft.families.radial import Radial

from .worlds import points

K, D, N = 3, 2, 40
X = points(N, D)
INIT = points(K, D, seed=9)
WEIGHTS = np.where(np.arange(N) % 3 == 0, 2.0, 1.0)
TIGHT = dict(max_iter=5000, tol=1e-12)
FUZZY = {
    "standard": dict(m=1.7),
    "gustafson-kessel": dict(m=1.7),
    "entropy": dict(entropy_weight=0.8),
    "noise": dict(m=1.7, noise_distance=1.2),
}


def fitted(model):
    """The model fitted to the rows; an objective that gets worse fails a law, as it fails a fit."""
    try:
        return model.fit(X, sample_weight=WEIGHTS)
    except FitError as problem:
        raise AssertionError(problem) from None


def squares(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return ((x[:, None] - centres) ** 2).sum(-1)


def test_soft_k_means_is_the_spherical_mixture_of_equal_weights():
    """Its memberships and densities are those of normal components with variance 1 / (2 beta)."""
    beta = 0.7
    model = bs.SoftKMeans(K, beta, init=INIT).fit(X, sample_weight=WEIGHTS)
    joint = np.array([multivariate_normal(c, np.eye(D) / (2 * beta)).pdf(X) / K for c in model.cluster_centers_]).T
    np.testing.assert_allclose(model.score_samples(X), np.log(joint.sum(1)), rtol=1e-10)
    np.testing.assert_allclose(model.predict_proba(X), joint / joint.sum(1, keepdims=True), rtol=1e-8)
    once = bs.SoftKMeans(K, beta, init=INIT, max_iter=2, tol=0)
    with pytest.warns(UserWarning, match="max_iter"):
        once.fit(X, sample_weight=WEIGHTS)
    shares = np.exp(-beta * squares(X, INIT))
    mass = WEIGHTS[:, None] * shares / shares.sum(1, keepdims=True)
    np.testing.assert_allclose(once.lower_bounds_[1], by_density(once, mass, beta), rtol=1e-10)


def by_density(model: bs.SoftKMeans, mass: np.ndarray, beta: float) -> float:
    """The mean log density where each centre is the mean of the rows under a mass."""
    centres = (mass.T @ X) / mass.sum(0)[:, None]
    joint = np.array([multivariate_normal(c, np.eye(D) / (2 * beta)).pdf(X) / K for c in centres])
    return float(WEIGHTS @ np.log(joint.sum(0)) / WEIGHTS.sum())


@pytest.mark.parametrize("metric, d", [("sqeuclidean", 2), ("euclidean", 1), ("euclidean", 2), ("euclidean", 3)])
def test_radial_densities_integrate_to_one(metric, d):
    """Over spheres about the centre, whose areas are known; and those of a fit are the family's."""
    beta = 1.3
    family = Radial(beta, metric)
    t = np.linspace(0, 40, 200_001)
    area = {1: 2.0 + 0 * t, 2: 2 * np.pi * t, 3: 4 * np.pi * t**2}[d]
    at = np.c_[t, np.zeros((len(t), d - 1))]
    with jax.enable_x64(True):
        parameters = family.placed(np.zeros((1, d)), np.asarray(beta))
        density = np.exp(np.asarray(family.tile_scores(parameters, jax.numpy.asarray(at.T), False))[0])
    np.testing.assert_allclose(np.trapezoid(density * area, t), 1, rtol=1e-6)  # the rule's error: h^2 / 12


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
@pytest.mark.parametrize("beta", [2.0, "auto"])
def test_the_likelihood_of_soft_k_means_never_falls(metric, beta):
    """From centres on rows, too, where distances are 0."""
    for init in (INIT, X[[0, 1, 2]]):
        model = fitted(bs.SoftKMeans(K, beta, metric=metric, init=init, **TIGHT))
        assert model.converged_ and (np.diff(model.lower_bounds_) > -1e-12).all()
        assert gradient(model) < 1e-5


def gradient(model: bs.SoftKMeans) -> float:
    """The largest slope of the mean log density along a coordinate of a centre, where none lies on a row."""
    r, beta, centres = model.responsibilities_, model.beta_, model.cluster_centers_
    difference = X[:, None] - centres
    if model.metric == "euclidean":
        length = np.linalg.norm(difference, axis=2, keepdims=True)
        if length.min() < 1e-6:
            return 0.0
        difference = difference / length
    return float(np.abs(np.einsum("n,nk,nkd->kd", WEIGHTS, r, beta * difference)).max() / N)


def test_a_high_inverse_temperature_is_k_means():
    """Where every row is far from the borders, centres are those of k-means from the same start."""
    x = np.r_[X, X + [20, 0], X + [0, 30]]
    init = x[[0, N, 2 * N]]
    hard = KMeans(3, init=init, n_init=1, tol=0).fit(x)
    soft = bs.SoftKMeans(3, 50.0, init=init).fit(x)
    np.testing.assert_allclose(soft.cluster_centers_, hard.cluster_centers_, rtol=1e-10)
    np.testing.assert_array_equal(soft.labels_, hard.labels_)
    assert soft.inertia_ == pytest.approx(hard.inertia_, rel=1e-10)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
def test_centres_part_at_the_critical_inverse_temperature(metric):
    """Below it all lie together, above it they do not."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2)) * [3.0, 1.0]
    beta = Radial(1.0, metric).critical(x, np.ones(400))
    if metric == "sqeuclidean":
        assert beta == pytest.approx(1 / (2 * np.linalg.eigvalsh(np.cov(x.T, bias=True))[-1]))
    for share, apart in ((0.9, False), (1.1, True)):
        model = bs.SoftKMeans(2, share * beta, metric=metric, anneal=1.05, max_iter=3000, tol=1e-9, random_state=0)
        centres = model.fit(x).cluster_centers_
        assert (np.abs(centres[0] - centres[1]).max() > 0.1) == apart


def test_a_low_temperature_finds_the_best_assignment_under_sizes():
    """For given centres: that of the linear assignment problem."""
    x = points(12, D)
    cost = squares(x, INIT)
    slots = np.repeat(np.arange(K), 4)
    best = np.empty(12, int)
    rows, columns = linear_sum_assignment(cost[:, slots])
    best[rows] = slots[columns]
    fitted = bs.SoftKMeans(K, 1.0, init=INIT, random_state=0).fit(x)
    fitted = placed(fitted, 2000.0)
    shares = fitted.predict_proba(x, sizes=bs.Fixed([4, 4, 4]))
    np.testing.assert_array_equal(shares.argmax(1), best)
    assert shares.max(1).min() > 0.99
    np.testing.assert_array_equal(fitted.assign(x, sizes=bs.Fixed([4, 4, 4])), best)


def placed(model: bs.SoftKMeans, beta: float) -> bs.SoftKMeans:
    """The fitted model with the centres `INIT`, and another inverse temperature."""
    fit = model.fit_
    given = fit.mixture.family.given_parameters({"means": INIT, "beta": np.asarray(beta)}, fit.frame)
    model.fit_ = replace(fit, posterior=replace(fit.posterior, parameters=given))
    return model


@pytest.mark.parametrize("name", FUZZY)
def test_the_objective_of_fuzzy_c_means_never_rises(name):
    model = fitted(bs.FuzzyCMeans(K, variant=name, init=INIT, max_iter=500, tol=1e-9, **FUZZY[name]))
    assert model.converged_ and len(model.objectives_) > 3
    assert (np.diff(model.objectives_) < 1e-10 * model.objective_).all()
    assert model.objective_ == pytest.approx(objective(model, name), rel=1e-8)


def distances(model: bs.FuzzyCMeans) -> np.ndarray:
    difference = X[:, None] - model.cluster_centers_
    shapes = getattr(model, "covariances_", np.broadcast_to(np.eye(D), (K, D, D)))
    return np.einsum("nkd,kde,nke->nk", difference, np.linalg.inv(shapes), difference)


def objective(model: bs.FuzzyCMeans, name: str) -> float:
    """What is minimised, as its definition has it, at the memberships of the fit."""
    u, square = model.responsibilities_, distances(model)
    if name == "entropy":
        terms = u * square + model.entropy_weight * u * np.log(u)
    else:
        terms = u**model.m * square
    noise = (1 - u.sum(1)) ** model.m * model.noise_distance**2 if name == "noise" else 0.0
    return float(WEIGHTS @ (terms.sum(1) + noise))


@pytest.mark.parametrize("name", FUZZY)
def test_nothing_near_is_better_than_fuzzy_c_means(name):
    """The objective, with memberships as they are, is flat in the centres; and memberships are the best ones."""
    model = fitted(bs.FuzzyCMeans(K, variant=name, init=INIT, max_iter=3000, tol=1e-12, **FUZZY[name]))
    u, square = model.responsibilities_, distances(model)
    power = 1.0 if name == "entropy" else model.m
    pulled = np.einsum("n,nk,nkd->kd", WEIGHTS, u**power, X[:, None] - model.cluster_centers_)
    np.testing.assert_allclose(pulled, 0, atol=1e-7)
    # Lagrange: what a little more membership costs is the same in all clusters, noise among them.
    slope = square + model.entropy_weight * np.log(u) if name == "entropy" else u ** (model.m - 1) * square
    if name == "noise":
        slope = np.c_[slope, (1 - u.sum(1)) ** (model.m - 1) * model.noise_distance**2]
    np.testing.assert_allclose(slope, np.broadcast_to(slope[:, :1], slope.shape), rtol=1e-6)


def test_entropy_makes_soft_k_means():
    fuzzy = bs.FuzzyCMeans(K, variant="entropy", entropy_weight=0.5, init=INIT, **TIGHT).fit(X, sample_weight=WEIGHTS)
    soft = bs.SoftKMeans(K, 2.0, init=INIT, **TIGHT).fit(X, sample_weight=WEIGHTS)
    np.testing.assert_allclose(fuzzy.responsibilities_, soft.responsibilities_, atol=1e-9)
    np.testing.assert_allclose(fuzzy.cluster_centers_, soft.cluster_centers_, atol=1e-9)


@pytest.mark.parametrize("kind", [pytest.param("full", marks=pytest.mark.statistical), "spherical"])
def test_a_temperature_softens_memberships_and_nothing_falls(kind):
    """Memberships are proportional to the proportion times the density to the power; under a prior too."""
    temperature = 3.0
    prior = bs.NormalInverseWishart(np.zeros(D), 5.0, 8.0, np.eye(D) if kind == "full" else 1.0)
    options = dict(covariance_type=kind, prior=prior, weight_concentration_prior=4.0, temperature=temperature)
    model = fitted(bs.GaussianMixture(K, means_init=INIT, max_iter=1000, tol=1e-12, **options))
    assert model.converged_ and (np.diff(model.lower_bounds_) > -1e-12).all()
    np.testing.assert_allclose(
        model.weights_, (WEIGHTS @ model.responsibilities_ + 3) / (WEIGHTS.sum() + 3 * K), atol=1e-5
    )
    spread = model.covariances_ if kind == "full" else model.covariances_[:, None, None] * np.eye(D)
    density = np.array([multivariate_normal(m, s).pdf(X) for m, s in zip(model.means_, spread, strict=True)]).T
    tempered = model.weights_ * density ** (1 / temperature)
    np.testing.assert_allclose(model.predict_proba(X), tempered / tempered.sum(1, keepdims=True), atol=1e-8)
    np.testing.assert_allclose(model.score_samples(X), np.log((model.weights_ * density).sum(1)), rtol=1e-9)


def test_relabelling_changes_nothing_in_fuzzy_c_means():
    order = next(itertools.islice(itertools.permutations(range(K)), 3, None))
    one, other = (bs.FuzzyCMeans(K, init=init, tol=1e-9).fit(X) for init in (INIT, INIT[list(order)]))
    np.testing.assert_allclose(one.responsibilities_[:, list(order)], other.responsibilities_, atol=1e-10)
