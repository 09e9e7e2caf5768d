"""Law "product": blocks of columns are independent given the cluster, whatever their places in the table.

Densities of rows are SciPy's, block by block; so a product obeys every law that its blocks do.
"""

from dataclasses import dataclass, replace
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax.flatten_util import ravel_pytree
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import bayessoft as bs
from bayessoft.core import sweep as core
from bayessoft.families.categorical import AnswerProbabilities
from bayessoft.families.family import pytree
from bayessoft.families.product import Product
from bayessoft.families.weights import Dirichlet
from bayessoft.mixture import Mixture

from . import linear
from .test_evidence import bound, peers
from .worlds import MEMBERS, points, proportions, shares, swept, with_prior
from .worlds import parameters as gaussian_parameters

FULL, _, DIAG, _ = MEMBERS
AT = {"gaussian": (6, 1), "poisson": (0, 4, 2), "categorical": (3, 7, 5)}
K, D = 2, 8
COUNTED = ("poisson", "categorical")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # a few steps on purpose


def world(prior="none", k=K):
    """A full Gaussian block, counts and answers, their columns interleaved."""
    blocks = {"gaussian": with_prior(FULL, prior, k, 2)} | {name: linear.under(name, prior, k) for name in COUNTED}
    return Product([(family, AT[name]) for name, family in blocks.items()])


def table(n, seed=0):
    x = np.empty((n, D))
    x[:, AT["gaussian"]] = points(n, 2, seed)
    for name in COUNTED:
        x[:, AT[name]] = linear.points(name, n, seed)
    return x


def parameters(k=K, seed=0):
    return gaussian_parameters(FULL, k, 2, seed), *(linear.parameters(name, k, seed) for name in COUNTED)


def log_density(theta, x):
    """Log densities (k, n) by SciPy."""
    factors = np.asarray(theta[0].factors)
    spread = np.linalg.inv(factors @ np.swapaxes(factors, -1, -2))
    means, own = np.asarray(theta[0].means), x[:, AT["gaussian"]]
    found = np.array([multivariate_normal(m, s).logpdf(own) for m, s in zip(means, spread, strict=True)])
    return found + sum(linear.log_pmf(name, t, x[:, AT[name]]) for name, t in zip(COUNTED, theta[1:], strict=True))


def laid_out(family, x, w=None, tile_rows=4):
    return core.tiles(x, np.ones(len(x)) if w is None else w, np.dtype(float), tile_rows, family.encoded)


def statistics_of(family, theta, x, r, fast=False):
    features = family.tile_features(theta, jnp.asarray(family.encoded(x)).T, fast)
    return family.collect(theta, family.tile_statistics(theta, features, jnp.asarray(r), fast), fast)


def close(a, b, rtol=1e-11, atol=1e-11):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=rtol, atol=atol), a, b)


@pytest.mark.parametrize("fast", [pytest.param(False, marks=pytest.mark.statistical), True], ids=["plain", "fast"])
def test_scores_are_the_densities_of_the_blocks_together(fast):
    family, x, theta = world(), table(12), parameters()
    rows = jnp.asarray(family.encoded(x)).T
    assert bool(family.safe(theta, jnp.asarray(30.0)))
    close(family.tile_scores(theta, rows, fast), log_density(theta, x))  # a dozen terms of some nats
    close(family.tile_log_density(theta, family.tile_features(theta, rows, fast), fast), log_density(theta, x))
    stated = family.likelihood(theta)
    assert (stated.batch_shape, stated.event_shape) == ((K,), (D,))
    close(stated.log_prob(x[:, None, :]).T, log_density(theta, x))
    assert stated.support(x[:, None, :]).all() and not stated.support(jnp.asarray(x - 0.5)[:, None, :]).any()


def test_forms_are_those_of_the_blocks():
    """No block takes a fast form that it does not have, or that another block forbids."""
    theta = parameters()
    family = world()
    assert family._fast(theta, True) == [True, False, False] and family._fast(theta, False) == [False] * 3
    assert not family.safe(theta, jnp.asarray(1e6))
    mixed = family.with_prior((world("each").prior[0], *world("shared").prior[1:]))
    np.testing.assert_array_equal(mixed.same_prior(K), np.eye(K, dtype=bool))
    counted = Product([(linear.LINEAR[name], range(3 * i, 3 * i + 3)) for i, name in enumerate(COUNTED)])
    assert counted.safe(theta[1:], jnp.asarray(1.0)) is False


def test_drawn_rows_have_their_places():
    family, theta, n = world(), parameters(), 20_000
    labels = np.repeat([0, 1], n // 2)
    drawn = {
        "simulate": family.simulate(theta, labels, np.random.default_rng(0)),
        "sample": np.asarray(family.likelihood(theta).sample(jax.random.key(0), (n,)))[np.arange(n), labels],
    }
    first = np.cumsum((0, *linear.LEVELS))
    answers = np.asarray(theta[2].probabilities)
    means = np.empty((K, D))
    means[:, AT["gaussian"]], means[:, AT["poisson"]] = theta[0].means, theta[1].rates
    for j, (low, high) in zip(AT["categorical"], zip(first, first[1:], strict=False), strict=True):
        means[:, j] = answers[:, low:high] @ np.arange(high - low)
    for rows in drawn.values():
        for label in range(K):
            own = rows[labels == label]
            # 32 comparisons at 5 standard errors: a false alarm in 50 000 seeds, and the seeds are fixed
            assert (np.abs(own.mean(0) - means[label]) < 5 * own.std(0) / np.sqrt(len(own))).all()


def test_blocks_draw_by_keys_of_their_own():
    @pytree(static=("levels",))
    @dataclass(frozen=True, eq=False)
    class Keyed(bs.Categorical):
        def tile_labelled(self, parameters, features, r, keys, fast):
            return np.asarray(jax.random.key_data(keys))

    levels, r = (2,), jnp.ones((K, 3))
    family = Product([(Keyed(None, levels), [0]), (Keyed(None, levels), [1])])
    theta = tuple(AnswerProbabilities(jnp.full((K, 2), 0.5)) for _ in range(2))
    keys = jax.random.split(jax.random.key(0), 3)
    features = family.tile_features(theta, jnp.zeros((2, 3)), False)
    found = [*family.tile_labelled(theta, features, r, keys, False), np.asarray(jax.random.key_data(keys))]
    assert len(np.unique(np.concatenate(found), axis=0)) == 9


def test_no_block_dominates_where_starts_are_sought():
    points = world().embedded(world().encoded(table(30)))
    totals = np.array([part.var(0).sum() for part in np.split(points, [2, 5], 1)])
    close(totals, np.ones(3))


def test_likelihood_and_memberships_by_enumeration():
    n, family, pi, theta = 5, world(), proportions(K), parameters()
    x = table(n)
    joint = np.log(pi) + log_density(theta, x).T
    labelings = np.array(list(product(range(K), repeat=n)))
    logs = joint[np.arange(n), labelings].sum(1)
    evidence = logsumexp(logs)
    r = np.array([[np.exp(logsumexp(logs[z == j]) - evidence) for j in range(K)] for z in labelings.T])
    value, s = swept(family, theta, np.log(pi), laid_out(family, x))
    close(value, evidence)
    close(s.weight, r.sum(0))
    at = x[:, AT["gaussian"]]
    close(s.parts[0].first, r.T @ at - r.sum(0)[:, None] * np.asarray(theta[0].means))
    for part, name in zip(s.parts[1:], COUNTED, strict=True):
        close(part, linear.statistics_of(name, x[:, AT[name]], r.T))
    turned = family.arranged(theta, np.array([1, 0]))
    close(swept(family, turned, np.log(pi)[::-1], laid_out(family, x))[0], value)


def test_sweeps_over_parts_add_up():
    family, theta, logs, x = world(), parameters(), np.log(proportions(K)), table(10)
    w = np.where(np.arange(10) % 4, 1.0, 2.0)
    halves = [swept(family, theta, logs, laid_out(family, x[i], w[i])) for i in (slice(0, 5), slice(5, None))]
    summed = jax.tree.map(jnp.add, halves[0][1].parts, halves[1][1].parts)
    value, whole = swept(family, theta, logs, laid_out(family, x, w, 16))
    close(halves[0][0] + halves[1][0], value)
    close([(s.weight, s.first) for s in summed], [(s.weight, s.first) for s in whole.parts])
    close(summed[0].second, whole.parts[0].second)


@pytest.mark.parametrize("prior", ["shared", pytest.param("each", marks=pytest.mark.statistical)])
def test_prior_times_likelihood_over_posterior_is_constant(prior):
    n, family = 12, world(prior)
    x, r = table(n), shares(n, K)
    halves = [statistics_of(family, parameters(seed=50), x[i], r[:, i]) for i in (slice(0, 5), slice(5, n))]
    posterior = family.update(halves[0]).update(halves[1])
    whole = statistics_of(family, parameters(seed=51), x, r)
    constants = []
    for seed in range(3):
        theta = parameters(seed=seed)
        likelihood = np.sum(r * log_density(theta, x))
        close(family.statistics_log_density(theta, whole), likelihood, rtol=1e-12)
        constants.append(float(family.log_prior(theta) + likelihood - posterior.log_prior(theta)))
    np.testing.assert_allclose(constants, constants[0], rtol=0, atol=1e-9)  # terms of some hundred nats
    at, below = posterior.expected(K)
    expected = family.statistics_log_density(at, whole) + jnp.sum(whole.weight * below)
    np.testing.assert_allclose(expected - posterior.divergence(family, K), constants[0], rtol=0, atol=1e-9)
    first = family.update(halves[0])
    close(first.blend(posterior, 1.0).prior, posterior.prior)
    close(first.blend(posterior, 0.0).prior, first.prior)


def test_modes_are_those_of_the_blocks():
    n, family = 12, world("each")
    x, r = table(n), shares(n, K)
    theta = family.mode(statistics_of(family, parameters(), x, r), 0.0)
    shift = 0.003

    def log_posterior(theta):
        return float(np.sum(r * log_density(theta, x)) + family.log_prior(theta))

    top = log_posterior(theta)
    close(family.mode(statistics_of(family, parameters(seed=9), x, r, True), 0.0), theta)
    gaussian, counts, answers = theta
    for sign in (1, -1):
        moved = [
            (replace(gaussian, means=gaussian.means + sign * shift), counts, answers),
            (replace(gaussian, factors=gaussian.factors * (1 + sign * shift)), counts, answers),
            (gaussian, replace(counts, rates=counts.rates * (1 + sign * shift)), answers),
        ]
        rise = np.array([1.0, -1, 1, -1, 0, 1, -1]) * sign * shift  # along the simplex of each column
        moved.append((gaussian, counts, replace(answers, probabilities=answers.probabilities + rise)))
        assert all(log_posterior(each) < top for each in moved)


@pytest.mark.statistical
def test_one_cluster():
    n, family = 5, world("shared", k=1)
    x, mixture = table(n), Mixture(1, world("shared", k=1), Dirichlet(1.5).checked(1))
    chain, after = 0.0, mixture
    for row in x:
        parts = after.family.parts
        alone = Mixture(1, parts[0], mixture.weights)
        here = float(peers(FULL, alone, row[list(AT["gaussian"])]))
        for name, part in zip(COUNTED, parts[1:], strict=True):
            here += float(linear.predictive(name, part.prior, row[None, list(AT[name])])[0])
        found = after.family.tile_predictive(1, jnp.asarray(family.encoded(row[None])).T)
        np.testing.assert_allclose(found, here, rtol=1e-11)
        chain += here
        after = after.update(statistics_of(family, parameters(1), row[None], np.ones((1, 1))))
    np.testing.assert_allclose(bound(mixture, laid_out(family, x), after), chain, rtol=0, atol=1e-10)


@pytest.mark.statistical
def test_gradient_and_hessian_are_autodiffs():
    family, x, w = world(), table(10), np.random.default_rng(2).random(10) + 0.5
    rows = laid_out(family, x, w)
    start = gaussian_parameters(FULL, K, 2).means, *(jax.tree.map(jnp.log, t) for t in parameters()[1:])
    u, unravel = ravel_pytree((start, jnp.log(jnp.asarray(proportions(K)))))

    def built(u):
        (means, *logs), log_weights = unravel(u)
        gaussian = replace(parameters()[0], means=means)
        return (gaussian, *(jax.tree.map(jnp.exp, t) for t in logs)), log_weights

    def ours(u):
        theta, log_weights = built(u)
        return core.log_likelihood(family, theta, log_weights, rows)

    def plain(u):
        theta, log_weights = built(u)
        scores = family.tile_scores(theta, jnp.asarray(family.encoded(x)).T, False) + log_weights[:, None]
        return jnp.sum(w * jax.nn.logsumexp(scores, axis=0))

    for of in (jax.value_and_grad, jax.hessian):
        close(jax.jit(of(ours))(u), jax.jit(of(plain))(u), rtol=1e-9, atol=1e-9)


def given_start(x, means):
    """Everything of a start, so that nothing in a fit is random."""
    return {
        "weights_init": proportions(K),
        "parameters_init": {
            "means": means,
            "covariances": np.array([np.cov(x[:, AT["gaussian"]].T)] * K),
            "rates": np.asarray(linear.parameters("poisson", K).rates),
            "probabilities": np.asarray(linear.parameters("categorical", K).probabilities),
        },
    }


def fitted(x, means, **options):
    family = Product([(FULL, AT["gaussian"])] + [(linear.under(name, "shared", K), AT[name]) for name in COUNTED])
    options = dict(max_iter=6, tol=0) | given_start(x, means) | options
    return bs.MixtureModel(K, family, random_state=0, **options).fit(x)


def test_the_fit_of_mapped_rows_is_the_mapped_fit():
    x, a, shift = table(40), np.array([[2.0, -30.0], [0.3, 4.0]]), np.array([300.0, -0.5])
    at, means = list(AT["gaussian"]), points(K, 2, seed=9)
    there = x.copy()
    there[:, at] = x[:, at] @ a.T + shift
    one, other = fitted(x, means), fitted(there, means @ a.T + shift)
    close(other.parameters_["means"], one.parameters_["means"] @ a.T + shift, rtol=1e-8)
    close(other.parameters_["covariances"], a @ one.parameters_["covariances"] @ a.T, rtol=1e-8)
    close(other.parameters_["rates"], one.parameters_["rates"], rtol=1e-8)
    close(other.score_samples(there), one.score_samples(x) - np.linalg.slogdet(a)[1], rtol=1e-8)
    found = one.parameters_
    theta = parameters()
    factors = FULL.structure.factor(jnp.asarray(found["covariances"]))
    theta = (
        replace(theta[0], means=found["means"], factors=factors),
        replace(theta[1], rates=found["rates"]),
        replace(theta[2], probabilities=found["probabilities"]),
    )
    logs = logsumexp(np.log(one.weights_)[:, None] + log_density(theta, x), axis=0)
    close(one.score_samples(x), logs, rtol=1e-9)


@pytest.mark.statistical
@pytest.mark.parametrize("inference", ["em", "cavi"])
def test_densities_integrate_to_one(inference):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.integers(0, 3, 40), 5 + 3 * rng.normal(size=40), rng.poisson(2.0, 40)])
    family = Product([(bs.Gaussian("diag", "weak"), [1]), ("poisson", [2]), ("categorical", [0])])
    model = bs.MixtureModel(K, family, inference=inference, max_iter=3, random_state=0).fit(x)
    step = 0.25
    grid = np.array(list(product(range(3), np.arange(-100, 100, step), range(60))))
    total = np.exp(model.score_samples(grid)).sum() * step
    # the trapezoidal rule errs by exp(-2 (pi sd / step)^2); of predictive densities a tail lies beyond the grid
    np.testing.assert_allclose(total, 1, atol=1e-9 if inference == "em" else 1e-5)


def test_the_places_of_columns_change_nothing():
    x, means = table(40), points(K, 2, seed=9)
    one, order = fitted(x, means), np.random.default_rng(1).permutation(D)
    names = [f"c{j}" for j in range(D)]
    turned = pd.DataFrame(x, columns=names)[[names[j] for j in order]]
    blocks = [(family, [names[j] for j in AT[name]]) for name, family in zip(AT, one.family.parts, strict=True)]
    other = bs.MixtureModel(K, Product(blocks), max_iter=6, tol=0, random_state=0, **given_start(x, means)).fit(turned)
    close(other.parameters_, one.parameters_, rtol=1e-9)
    close(other.score_samples(turned), one.score_samples(x), rtol=1e-9)


@pytest.mark.statistical
def test_a_product_of_one_block_is_its_family():
    x = table(40)[:, AT["gaussian"]]
    family = bs.Gaussian("full", "weak")
    one = bs.MixtureModel(K, family, random_state=0).fit(x)
    other = bs.MixtureModel(K, Product([(family, [0, 1])]), random_state=0).fit(x)
    close(other.lower_bounds_, one.lower_bounds_, rtol=1e-13)
    close(other.parameters_, one.parameters_, rtol=1e-12)


@pytest.mark.statistical
@pytest.mark.parametrize("inference", ["em", "cavi"])
def test_a_product_of_diagonal_blocks_is_a_diagonal_family(inference):
    x, kind = points(40, 3), bs.Gaussian("diag", bs.NormalInverseWishart(np.zeros(3), 0.5, 3.5, np.ones(3)))
    of_one = bs.NormalInverseWishart(np.zeros(1), 0.5, 3.5, np.ones(1))
    of_two = bs.NormalInverseWishart(np.zeros(2), 0.5, 3.5, np.ones(2))
    blocks = Product([(bs.Gaussian("diag", of_two), [2, 0]), (bs.Gaussian("diag", of_one), [1])])
    means, spread = points(K, 3, seed=9), np.ones((K, 3))
    options = dict(inference=inference, weights_init=proportions(K), max_iter=8, tol=0, random_state=0)
    one = bs.MixtureModel(K, kind, parameters_init={"means": means, "covariances": spread}, **options).fit(x)
    parted = {
        f"gaussian_{i}_{what}": array[:, at]
        for i, at in ((1, [2, 0]), (2, [1]))
        for what, array in (("means", means), ("covariances", spread))
    }
    other = bs.MixtureModel(K, blocks, parameters_init=parted, **options).fit(x)
    close(other.lower_bounds_, one.lower_bounds_, rtol=1e-12)
    close(other.parameters_["gaussian_1_means"], one.parameters_["means"][:, [2, 0]])
    if inference == "cavi":
        close(other.elbo_, one.elbo_)
