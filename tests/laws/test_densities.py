"""Law "densities": a mixture's density is one, and fewer components keep what merging and its bound promise."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.neighbors import KernelDensity

from bayessoft import MixtureDensity, reduce_mixture
from bayessoft.core import kernels
from bayessoft.core.sweep import tiles

from .worlds import points

K = 9


def world(d: int, shared: bool = False, k: int = K) -> MixtureDensity:
    """A mixture that is no fitted one, of uneven weights."""
    rng = np.random.default_rng(d)
    turns = rng.normal(size=(1 if shared else k, d, d))
    covariances = 0.2 * turns @ turns.swapaxes(1, 2) + 0.3 * np.eye(d)
    return MixtureDensity(
        rng.dirichlet(np.ones(k)), 2 * rng.normal(size=(k, d)), covariances[0] if shared else covariances
    )


def each(density: MixtureDensity) -> np.ndarray:
    """The covariance of every component."""
    k, d = density.means.shape
    return np.broadcast_to(density.covariances, (k, d, d))


def line(*densities: MixtureDensity) -> tuple[np.ndarray, float]:
    """Points of an even grid that holds all of densities of one column: the trapezoidal rule is exact to rounding."""
    spread = np.sqrt(max(each(density).max() for density in densities))
    narrow = np.sqrt(min(each(density).min() for density in densities))
    low, high = (end(density.means) for density, end in zip(densities[:1] * 2, (np.min, np.max), strict=True))
    grid = np.arange(low - 12 * spread, high + 12 * spread, narrow / 3)
    return grid[:, None], float(grid[1] - grid[0])


@pytest.mark.parametrize(("d", "shared"), [(1, True), (2, False)])
def test_a_density_integrates_to_one(d, shared):
    density = world(d, shared)
    # as of `test_density`: beyond 8 standard deviations of the widest lies 1e-14, the rule errs by exp(-2 (1.5 pi)^2)
    spreads = np.sqrt(np.linalg.eigvalsh(each(density)))
    step = spreads.min() / 1.5
    axes = [np.arange(c.min() - 8 * spreads.max(), c.max() + 8 * spreads.max(), step) for c in density.means.T]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, d)
    np.testing.assert_allclose(np.exp(density.score_samples(grid)).sum() * step**d, 1, atol=1e-9)


@pytest.mark.parametrize("shared", [True, False])
def test_the_density_is_scipys(shared):
    density, x = world(3, shared), points(40, 3)
    of_each = [
        weight * multivariate_normal(mean, covariance).pdf(x)
        for weight, mean, covariance in zip(density.weights, density.means, each(density), strict=True)
    ]
    np.testing.assert_allclose(density.score_samples(x), np.log(np.sum(of_each, 0)), rtol=1e-12)  # some ten nats
    np.testing.assert_allclose(density.predict_proba(x), (of_each / np.sum(of_each, 0)).T, atol=1e-13)


@pytest.mark.parametrize("d", [2, kernels.PRODUCT])  # by differences, and by a matrix product
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_kernels_are_scikit_learns(d, offset):
    rows, x, weights = (
        offset + points(300, d),
        offset + points(50, d, seed=1),
        np.random.default_rng(0).uniform(0.1, 3, 300),
    )
    density = MixtureDensity.from_kernels(rows, bandwidth=0.4, sample_weight=weights)
    # in one leaf: its trees lose digits far out, 2 nats of 44 here
    expected = KernelDensity(bandwidth=0.4, leaf_size=300).fit(rows, sample_weight=weights).score_samples(x)
    np.testing.assert_allclose(density.score_samples(x), expected, atol=1e-10)  # the two differ by 1e-12 or so


def test_a_row_is_left_out():
    """The mean of densities, each by scikit-learn from all rows but one."""
    x, weights = points(7, 2), np.array([1, 2, 1, 3, 1, 1, 1]) / 10
    every = range(len(x))
    parts = [[j for j in every if j != i] for i in every]
    alone = [
        KernelDensity(bandwidth=0.7).fit(x[rest], sample_weight=weights[rest]).score_samples(x[[i]])[0]
        for i, rest in enumerate(parts)
    ]
    laid = tiles(x, weights, x.dtype, 4, np.asarray)
    found = kernels.leave_one_out(kernels.components(weights, x, None, x.dtype), laid, jnp.asarray(0.7))
    np.testing.assert_allclose(found, weights @ alone, rtol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_merging_keeps_mean_and_covariance(shared):
    density = world(2, shared)
    for k in (5, 1):
        merged = reduce_mixture(density, k, refine=False, curve=[]).density
        assert merged.n_components == k
        np.testing.assert_allclose(merged.mean, density.mean, atol=1e-14)
        np.testing.assert_allclose(merged.covariance, density.covariance, rtol=1e-13)


def divergences(density: MixtureDensity, groups: np.ndarray) -> float:
    """The mean divergence of components from the Gaussian with the moments of their group, by SciPy's entropies.

    The cross entropy with such a Gaussian is its own entropy, whatever the components are.
    """
    total = 0.0
    for group in np.unique(groups):
        own = groups == group
        weight, covariances = density.weights[own].sum(), each(density)[own]
        whole = MixtureDensity(density.weights[own] / weight, density.means[own], covariances)
        entropies = [multivariate_normal(cov=covariance).entropy() for covariance in covariances]
        total += weight * multivariate_normal(cov=whole.covariance).entropy() - density.weights[own] @ entropies
    return total


def test_every_merge_is_the_cheapest():
    """Of all pairs that could be merged next, by enumeration; their costs are divergences of components."""
    density = world(2, k=6)
    curve = reduce_mixture(density, 1, refine=False, curve=[]).curve["bound"]
    for k in range(density.n_components - 1, 0, -1):
        before = np.arange(k + 1) if k == 5 else reduce_mixture(density, k + 1, refine=False, curve=[]).parents
        pairs = [(i, j) for i in range(k + 1) for j in range(i)]
        costs = [divergences(density, np.where(before == i, j, before)) for i, j in pairs]
        np.testing.assert_allclose(curve[k], min(costs), rtol=1e-10)  # six terms, of condition 1e3 at most


def test_the_bound_is_above_the_divergence():
    density = world(1)
    grid, step = line(density)
    log_f = density.score_samples(grid)
    for k in (7, 3, 1):
        found = reduce_mixture(density, k, refine=False, curve=[])
        divergence = np.sum(np.exp(log_f) * (log_f - found.density.score_samples(grid))) * step
        assert -1e-12 < divergence <= found.bound
        of_each = 0.0
        for i, parent in enumerate(found.parents):
            one, whole = (
                norm(m.means[j, 0], np.sqrt(m.covariances[j, 0, 0])) for m, j in ((density, i), (found.density, parent))
            )
            log_ratio = one.logpdf(grid) - whole.logpdf(grid)
            of_each += density.weights[i] * np.sum(one.pdf(grid) * log_ratio) * step
        np.testing.assert_allclose(found.bound, of_each, rtol=1e-10)  # the rule's rounding, of a thousand terms


def test_the_squared_error_is_the_integral():
    density = world(1, shared=True)
    found = reduce_mixture(density, 2, curve=[2, 3])
    grid, step = line(density, found.density, found.merged)

    def quadrature(other):
        return np.sum((np.exp(density.score_samples(grid)) - np.exp(other.score_samples(grid))) ** 2) * step

    # what is left of three integrals, each of which is right to 1e-15
    np.testing.assert_allclose(found.squared_error_merged, quadrature(found.merged), atol=1e-14)
    np.testing.assert_allclose(found.squared_error, quadrature(found.density), atol=1e-14)
    square = np.sum(np.exp(2 * density.score_samples(grid))) * step
    np.testing.assert_allclose(found.curve.at[2, "share"], quadrature(found.merged) / square, atol=1e-14)
    assert found.squared_error < found.squared_error_merged


def test_a_reduction_of_mapped_components_is_the_mapped_reduction():
    density = world(2)
    turn, shift = np.array([[30.0, 1.0], [0.0, 0.02]]), np.array([1e3, -5.0])
    mapped = MixtureDensity(density.weights, density.means @ turn.T + shift, turn @ density.covariances @ turn.T)
    plain, other = (reduce_mixture(each, 3, refine=False, curve=[]) for each in (density, mapped))
    np.testing.assert_array_equal(plain.parents, other.parents)
    np.testing.assert_allclose(other.curve["bound"], plain.curve["bound"], rtol=1e-9)  # condition 1500
    np.testing.assert_allclose(other.density.means, plain.density.means @ turn.T + shift, rtol=1e-10)
    volume = np.abs(np.linalg.det(turn))
    np.testing.assert_allclose(other.squared_error * volume, plain.squared_error, rtol=1e-8)
