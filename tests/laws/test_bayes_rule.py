"""Law "Bayes rule": log prior + log likelihood - log posterior is the same number for every parameter.

The posteriors are conjugate ones, written here from Gelman et al., *Bayesian Data Analysis*, 3rd ed., sections 3.4 and
3.6, from the rows themselves: no statistics of the library enter them. What a family's `update` gives is held against
them, and against the rule itself.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import gamma, invgamma, invwishart, multivariate_normal, wishart

from bayessoft.families.covariance import Moments
from bayessoft.families.normal_inverse_wishart import NormalInverseWishart
from bayessoft.families.weights import Dirichlet

from . import linear, student_t
from .worlds import (
    MEMBERS,
    dense,
    independent,
    label,
    parameters,
    points,
    proportions,
    shares,
    statistics_of,
    with_prior,
)

K, D, N = 3, 2, 24
SCALES = {"scale", "scale_cholesky"}


def updated(member, x, r):
    """The conjugate posterior of a prior after rows x with responsibilities r."""
    prior, kind = member.prior, member.covariance_type
    kappa = np.broadcast_to(prior.mean_precision, (K,))
    centre = np.broadcast_to(prior.mean, (K, D))
    count = r.sum(1)
    average = (r @ x) / count[:, None]
    mean = (kappa[:, None] * centre + count[:, None] * average) / (kappa + count)[:, None]
    away = x[None] - average[:, None]
    scatter = np.einsum("kt,kta,ktb->kab", r, away, away)
    step = average - centre
    scatter = scatter + (kappa * count / (kappa + count))[:, None, None] * step[:, :, None] * step[:, None, :]
    variances = np.einsum("kdd->kd", scatter)
    added = {"full": scatter, "tied": scatter.sum(0), "diag": variances, "spherical": variances.sum(1)}[kind]
    seen = {"full": count, "tied": count.sum(), "diag": count, "spherical": D * count}[kind]
    posterior = NormalInverseWishart(mean, kappa + count, prior.degrees_of_freedom + seen, prior.scale + added)
    return posterior.checked(member.structure, K, D)


@pytest.mark.parametrize("prior", ["shared", "each"])
@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_prior_times_likelihood_over_posterior_is_constant(member, prior):
    member, x, r = with_prior(member, prior, K, D), points(N, D), shares(N, K)
    start = parameters(member, K, D, seed=50)
    statistics = statistics_of(member, start, x, r, False)
    posterior = updated(member, x, r)
    constants = []
    for seed in range(5):
        theta = parameters(member, K, D, seed=seed)
        likelihood = member.statistics_log_density(theta, statistics)
        after = posterior.log_density(member.structure, theta.means, theta.factors)
        constants.append(float(member.log_prior(theta) + likelihood - after))
    # terms of some hundred nats, each a sum of some dozens: rounding under 1e-12 of 1e3
    np.testing.assert_allclose(constants, constants[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("prior", ["shared", "each"])
@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_an_update_is_the_posterior(member, prior):
    member, x, r = with_prior(member, prior, K, D), points(N, D), shares(N, K)
    halves = [
        statistics_of(member, parameters(member, K, D, seed=seed), x[part], r[:, part], False)
        for seed, part in ((50, slice(0, N // 2)), (51, slice(N // 2, N)))
    ]
    found = member.update(halves[0]).update(halves[1]).prior  # updates chain, whatever the reference points
    # sums of some dozens of terms of size 1 to 10
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), found, updated(member, x, r))


@pytest.mark.parametrize("prior", ["shared", "each"])
@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_the_expected_rule_is_the_same_number(member, prior):
    """The mean of log likelihood over the posterior, less its divergence from the prior, is the rule's constant."""
    member, x, r = with_prior(member, prior, K, D), points(N, D), shares(N, K)
    statistics = statistics_of(member, parameters(member, K, D, seed=50), x, r, False)
    posterior, theta = member.update(statistics), parameters(member, K, D)
    after = posterior.prior.log_density(member.structure, theta.means, theta.factors)
    constant = member.log_prior(theta) + member.statistics_log_density(theta, statistics) - after
    at, below = posterior.expected(K)
    likelihood = member.statistics_log_density(at, statistics) + jnp.sum(statistics.weight * below)
    assert (below <= 0).all()
    np.testing.assert_allclose(likelihood - posterior.divergence(member, K), constant, rtol=0, atol=1e-9)


def nothing(k, d, structure):
    """The statistics of no rows."""
    return Moments(jnp.zeros(k), jnp.zeros((k, d)), jnp.zeros(structure.shape(k, d)), jnp.zeros((k, d)))


def conditionals(member, theta, statistics, sites):
    """The log densities that a step of Gibbs from theta gives to sites, as if it had drawn them."""
    found = {}

    def sample(name, distribution):
        found[name] = distribution.log_prob(sites[name]).sum()
        return sites[name]

    member.redraw(theta, statistics, sample)
    return found


def joint(member, statistics, sites):
    """The log density of sites and of the rows given them."""
    found = {}

    def sample(name, distribution):
        found[name] = distribution.log_prob(sites[name]).sum()
        return sites[name]

    theta = member.draw(sample, K)
    return float(sum(found.values()) + member.statistics_log_density(theta, statistics))


@pytest.mark.parametrize(("member", "prior"), independent(("full", "unknown"), ("diag", "unknown")))
def test_independent_priors_are_scipys(member, prior):
    """An unknown scale is integrated out: its prior over its posterior is the same number whatever the scale."""
    member, kind, structure = with_prior(member, prior, K, D), member.covariance_type, member.structure
    stated, theta = member.prior, parameters(member, K, D)
    spread = np.asarray(structure.covariance(theta.factors))
    shape = (K, D, D) if structure.matrix else structure.shape(K, D)
    of_means = dense("full" if structure.matrix else kind, np.broadcast_to(stated.covariance, shape), K, D)
    means = np.broadcast_to(stated.mean, (K, D))
    normal = sum(multivariate_normal(m, b).logpdf(at) for m, b, at in zip(means, of_means, theta.means, strict=True))
    every = [spread] if kind == "tied" else list(spread)
    degrees = np.broadcast_to(stated.degrees_of_freedom, len(every))

    def covariances(scales):
        if structure.matrix:
            return sum(invwishart(nu, psi).logpdf(s) for nu, psi, s in zip(degrees, scales, every, strict=True))
        return sum(
            invgamma(nu / 2, scale=psi / 2).logpdf(s).sum() for nu, psi, s in zip(degrees, scales, every, strict=True)
        )

    found = float(member.log_prior(theta))
    if prior == "known":
        expected = covariances([stated.scale] if kind == "tied" else stated.scale)
        np.testing.assert_allclose(found, normal + expected, rtol=1e-11)
        return
    g, s = float(stated.scale_degrees_of_freedom), stated.scale
    after = float(g + degrees.sum())
    for seed in range(3):
        psi = np.asarray(structure.covariance(parameters(member, K, D, seed=seed + 20).factors))
        psi = psi if kind == "tied" else psi[0]
        if structure.matrix:
            rate = g * np.linalg.inv(s) + sum(np.linalg.inv(each) for each in every)
            ratio = wishart(g, s / g).logpdf(psi) - wishart(after, np.linalg.inv(rate)).logpdf(psi)
        else:
            rate = g / s + sum(1 / each for each in every)
            ratio = np.sum(gamma(g / 2, scale=2 * s / g).logpdf(psi) - gamma(after / 2, scale=2 / rate).logpdf(psi))
        # a dozen terms of some ten nats
        np.testing.assert_allclose(found, normal + covariances([psi] * len(every)) + ratio, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("member", "prior"), independent(("full", "unknown"), ("diag", "known")))
def test_each_part_of_a_gibbs_step_follows_bayes_rule(member, prior):
    """The joint density over what the step gives to a part is the same number whatever the part is."""
    member, x, r = with_prior(member, prior, K, D), points(N, D), shares(N, K)
    before = parameters(member, K, D, seed=50)
    statistics = statistics_of(member, before, x, r, False)
    old, held, *others = (member.sites(parameters(member, K, D, seed=seed)) for seed in (50, 9, 0, 1, 2))
    spread = next(name for name in old if name.startswith("precisions"))
    for part in old:
        constants = []
        for other in others:
            sites = held | {part: other[part]}
            step = float(conditionals(member, before, statistics, sites)[part])
            at = sites if part == spread else sites | {spread: old[spread]}
            constants.append(joint(member, statistics, at) - step)
        assert np.isfinite(constants).all(), part
        np.testing.assert_allclose(constants, constants[0], rtol=0, atol=1e-9, err_msg=part)  # of some hundred nats


def test_proportions_follow_bayes_rule():
    prior, counts = Dirichlet([1.0, 2.5, 0.7]), np.array([3.2, 0.0, 8.8])
    posterior = Dirichlet(np.asarray(prior.concentration) + counts)
    constants = []
    for seed in range(5):
        pi = jnp.asarray(proportions(3, seed))
        constants.append(float(prior.log_density(pi) + jnp.sum(counts * jnp.log(pi)) - posterior.log_density(pi)))
    np.testing.assert_allclose(constants, constants[0], rtol=0, atol=1e-11)  # terms of some ten nats
    after = prior.update(counts)
    np.testing.assert_allclose(after.concentration, posterior.concentration, rtol=1e-14)
    expected = counts @ after.expected_log() - after.divergence(prior.checked(3))
    np.testing.assert_allclose(expected, constants[0], rtol=0, atol=1e-11)


@pytest.mark.parametrize("prior", ["shared", "each"])
@linear.names
def test_linear_families_follow_bayes_rule(name, prior):
    """The rule with SciPy's densities of rows and priors; the update; and the rule's mean, all one number."""
    family, x, r = linear.under(name, prior, K), linear.points(name, N), shares(N, K)
    statistics = linear.statistics_of(name, x, r)
    after = linear.updated(name, family.prior, x, r)
    constants = []
    for seed in range(5):
        theta = linear.parameters(name, K, seed)
        likelihood = np.sum(r * linear.log_pmf(name, theta, x))
        np.testing.assert_allclose(family.statistics_log_density(theta, statistics), likelihood, rtol=1e-12)
        np.testing.assert_allclose(
            family.log_prior(theta), linear.log_prior(name, spread(family.prior), theta), rtol=1e-11
        )
        constants.append(linear.log_prior(name, spread(family.prior), theta) + likelihood)
        constants[-1] -= linear.log_prior(name, after, theta)
    np.testing.assert_allclose(constants, constants[0], rtol=0, atol=1e-9)  # terms of some hundred nats
    half = [linear.statistics_of(name, x[part], r[:, part]) for part in (slice(0, 9), slice(9, N))]
    posterior = family.update(half[0]).update(half[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), posterior.prior, after)
    at, below = posterior.expected(K)
    assert (np.asarray(below) <= 0).all()
    expected = family.statistics_log_density(at, statistics) + jnp.sum(statistics.weight * below)
    np.testing.assert_allclose(expected - posterior.divergence(family, K), constants[0], rtol=0, atol=1e-9)


def spread(prior):
    """A prior with a leading axis over the components."""
    return jax.tree.map(lambda value: np.broadcast_to(value, (K, value.shape[-1])), prior)


@pytest.mark.parametrize("prior", [pytest.param("shared", marks=pytest.mark.statistical), "each"])
@student_t.members
def test_student_t_follows_bayes_rule_given_the_scales(member, prior):
    """Prior times density of rows and scales, over the posterior given the scales and their gamma densities.

    Rows count in the degrees of freedom of the posterior, their scales in everything else.
    """
    from scipy.stats import gamma

    plain, member = student_t.gaussian(member), student_t.under(member, prior, K, D)
    x, r = points(N, D), shares(N, K)
    start = student_t.parameters(member, K, D, seed=50)
    statistics = statistics_of(member, start, x, r, False)
    scales = student_t.expected_scales(member, start, x)
    weighed = updated(plain.__class__(member.covariance_type, member.prior.components), x, r * scales)
    count, more = r.sum(1), (r * scales).sum(1)
    extra = {"full": count - more, "tied": np.sum(count - more), "diag": count - more, "spherical": D * (count - more)}
    posterior = replace(weighed, degrees_of_freedom=weighed.degrees_of_freedom + extra[member.covariance_type])
    constants = []
    for seed in range(5):
        theta = student_t.parameters(member, K, D, seed=seed)
        nu = np.asarray(theta.degrees_of_freedom)
        value = member.log_prior(theta) + member.statistics_log_density(theta, statistics)
        value -= posterior.log_density(member.gaussian.structure, theta.means, theta.factors)
        value -= student_t.log_prior_of_degrees(member.prior, nu)
        # of the scales: the gamma's log density is linear in u and log u, so the statistics have its expectation
        at_one = gamma.logpdf(1.0, nu / 2, scale=2 / nu)
        constants.append(float(value - np.sum(count * at_one + nu / 2 * np.asarray(statistics.deviation))))
    np.testing.assert_allclose(constants, constants[0], rtol=0, atol=1e-9)  # as of Gaussians
    found = member.prior.components.update(member.gaussian.structure, statistics.moments, statistics.weight)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), found, posterior)
