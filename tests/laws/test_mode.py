"""Law "mode": the log posterior density has no slope at `mode`.

Densities are with respect to Lebesgue measure on means, covariances and proportions; the slope is taken along
symmetric covariances and along the simplex. The likelihood is NumPyro's.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayessoft.families.gaussian import GaussianParameters
from bayessoft.families.weights import Dirichlet
from bayessoft.mixture import Mixture

from . import linear, student_t
from .worlds import MEMBERS, PRIORS, independent, label, parameters, points, shares, statistics_of, with_prior

K, D, N = 3, 2, 24


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_the_posterior_is_flat_at_its_mode(member, prior):
    member, x, r = with_prior(member, prior, K, D), points(N, D), shares(N, K)
    concentration = {"none": None, "each": Dirichlet([1.0, 2.0, 3.5])}.get(prior, Dirichlet(1.5))
    mixture = Mixture(K, member, concentration and concentration.checked(K))
    start = parameters(member, K, D, seed=50)
    statistics = statistics_of(member, start, x, r, False)
    weights, theta = mixture.mode(statistics, 0.0)
    structure = member.structure

    def log_posterior(means, spread, weights):
        if structure.matrix:
            spread = (spread + jnp.swapaxes(spread, -1, -2)) / 2
        at = GaussianParameters(means, structure.factor(spread))
        rows = jnp.sum(r.T * (member.likelihood(at).log_prob(x[:, None, :]) + jnp.log(weights)))
        return rows + mixture.log_prior(weights, at)

    slope = jax.jit(jax.value_and_grad(log_posterior, argnums=(0, 1, 2)))
    spread = structure.covariance(theta.factors)
    value, (means_slope, spread_slope, weights_slope) = slope(theta.means, spread, weights)
    # Slopes sum N terms of size 1 to 10; 1e-10 is their rounding times the condition of the covariances.
    np.testing.assert_allclose(means_slope, 0, atol=1e-10)
    np.testing.assert_allclose(spread_slope, 0, atol=1e-10)
    np.testing.assert_allclose(weights_slope - weights_slope.mean(), 0, atol=1e-10)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-14)
    assert float(slope(theta.means + 0.01, spread * 1.01, weights)[0]) < float(value)


@pytest.mark.parametrize(("member", "prior"), independent(("full", "unknown"), ("diag", "known")))
def test_the_posterior_is_flat_at_its_mode_under_independent_priors(member, prior):
    test_the_posterior_is_flat_at_its_mode(member, prior)


@pytest.mark.parametrize("prior", ["none", "shared", "each"])
@linear.names
def test_linear_posteriors_are_flat_at_their_modes(name, prior):
    """With respect to the rates, or to the probabilities along the simplex."""
    family, x, r = linear.under(name, prior, K), linear.points(name, N), shares(N, K)
    statistics = linear.statistics_of(name, x, r)
    theta = family.mode(statistics, 0.0)
    groups = [np.arange(linear.D)]
    if name == "categorical":
        groups = np.split(np.arange(sum(linear.LEVELS)), np.cumsum(linear.LEVELS)[:-1])

    def log_posterior(array):
        at = type(theta)(array)
        return family.statistics_log_density(at, statistics) + family.log_prior(at)

    (array,) = jax.tree.leaves(theta)
    slope = np.array(jax.grad(log_posterior)(array))
    if name in ("categorical", "multinomial"):  # along the simplex alone
        for of in groups:
            np.testing.assert_allclose(array[:, of].sum(1), 1, rtol=1e-12)
            slope[:, of] -= slope[:, of].mean(1, keepdims=True)
    np.testing.assert_allclose(slope, 0, atol=1e-9)  # N terms of size 1 to 100


@linear.names
def test_where_nothing_is_known_modes_are_finite(name):
    """A cluster without rows, and answers that never occur, without a prior."""
    family = linear.LINEAR[name]
    theta = family.mode(linear.statistics_of(name, linear.points(name, N), np.eye(K)[:, [0] * N]), 0.0)
    scores = family.tile_scores(theta, jnp.asarray(linear.encoded(name, linear.every_row(name)[:50])), False)
    assert np.isfinite(np.asarray(scores)).all()


@pytest.mark.parametrize("prior", [pytest.param("none", marks=pytest.mark.statistical), "each"])
@student_t.members
def test_student_t_densities_are_flat_at_their_mode(member, prior):
    """That of parameters, rows and scales, in means, scale matrices and degrees of freedom, which the range holds."""
    member, x, r = student_t.under(member, prior, K, D), points(N, D) ** 3, shares(N, K)
    statistics = statistics_of(member, student_t.parameters(member, K, D, seed=50), x, r, False)
    theta, structure = member.mode(statistics, 0.0), member.gaussian.structure
    assert ((theta.degrees_of_freedom > 1.01) & (theta.degrees_of_freedom < 190)).all()

    def log_posterior(means, spread, degrees):
        if structure.matrix:
            spread = (spread + jnp.swapaxes(spread, -1, -2)) / 2
        at = type(theta)(means, structure.factor(spread), degrees)
        return member.statistics_log_density(at, statistics) + member.log_prior(at)

    at = theta.means, structure.covariance(theta.factors), theta.degrees_of_freedom
    slopes = jax.jit(jax.grad(log_posterior, argnums=(0, 1, 2)))(*at)
    for slope in slopes:
        np.testing.assert_allclose(slope, 0, atol=1e-9)  # N terms of size 1 to 100
    here = log_posterior(*at)
    assert log_posterior(at[0] + 0.01, at[1] * 1.01, at[2] * 1.01) < here


@student_t.members
def test_where_nothing_is_known_student_t_modes_are_finite(member):
    x = points(N, D)
    statistics = statistics_of(member, student_t.parameters(member, K, D), x, np.eye(K)[:, [0] * N], False)
    theta = student_t.under(member, "shared", K, D).mode(statistics, 0.0)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(theta))
    theta = member.mode(statistics, 1e-6 * np.eye(D) if member.gaussian.structure.matrix else 1e-6)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(theta))
