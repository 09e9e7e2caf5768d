"""Law "tiny worlds": sums over all k^n labelings of a few rows give what the pass gives."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln, logsumexp
from scipy.stats import chi2, kstest, multivariate_normal

from bayessoft.core.allocate import allocate, uniforms
from bayessoft.core.rearrange import filled, rearrange

from . import linear, student_t
from .worlds import MEMBERS, dense, label, laid_out, linear_tiles, parameters, points, proportions, rowwise, swept

N, K, D = 5, 3, 2


@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_likelihood_and_memberships_by_enumeration(member):
    x, pi, theta = points(N, D), proportions(K), parameters(member, K, D)
    spread = np.asarray(member.structure.covariance(theta.factors))
    matrices = dense(member.covariance_type, spread, K, D)
    joint = (
        np.log(pi)
        + np.array(
            [multivariate_normal(m, c).logpdf(x) for m, c in zip(np.asarray(theta.means), matrices, strict=True)]
        ).T
    )
    labelings = np.array(list(product(range(K), repeat=N)))
    logs = joint[np.arange(N), labelings].sum(1)
    evidence = logsumexp(logs)
    marginals = np.array([[np.exp(logsumexp(logs[z == j]) - evidence) for j in range(K)] for z in labelings.T])
    rows = laid_out(x, tile_rows=4)
    value, statistics = swept(member, theta, np.log(pi), rows)
    log_density, r = rowwise(member, theta, np.log(pi), rows)
    found = np.moveaxis(np.asarray(r), 1, 2).reshape(-1, K)[:N]
    # 243 terms in float64: rounding under 1e-13 of some ten nats
    np.testing.assert_allclose(value, evidence, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(log_density).ravel()[:N].sum(), evidence, rtol=1e-12)
    np.testing.assert_allclose(found, marginals, rtol=1e-10)
    expected = marginals.sum(0), marginals.T @ x - marginals.sum(0)[:, None] * np.asarray(theta.means)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), (statistics.weight, statistics.first), expected
    )


@pytest.mark.parametrize("repeated", [False, True], ids=["labels", "counts"])
def test_labels_follow_their_probabilities(repeated):
    """Over many passes, the mean of the labels' sums, and their variance, are those of independent multinomials."""
    member, x, logs = MEMBERS[2], points(N, D), jnp.log(proportions(K))
    theta, w = parameters(member, K, D), np.array([3.0, 0.0, 1.0, 2.0, 5.0]) if repeated else np.ones(N)
    rows = laid_out(x, w, tile_rows=4)
    passes = 4000

    def weight(key):
        return allocate(member, theta, logs, rows, key, repeated=repeated)[1].weight

    drawn = np.asarray(jax.jit(lambda keys: jax.lax.map(weight, keys))(jax.random.split(jax.random.key(1), passes)))
    r = np.moveaxis(np.asarray(rowwise(member, theta, logs, rows)[1]), 1, 2).reshape(-1, K)[:N]
    mean, variance = w @ r, w @ (r * (1 - r))
    assert (drawn.sum(1) == w.sum()).all()
    # six comparisons at 4.5 standard errors (of a variance: at most sqrt(2.5 / passes) of it for such few rows); a
    # false alarm in one of 20 000 seeds, and the seed is fixed
    assert (np.abs(drawn.mean(0) - mean) < 4.5 * np.sqrt(variance / passes)).all()
    assert (np.abs(drawn.var(0) / variance - 1) < 4.5 * np.sqrt(2.5 / passes)).all()


COUNTS = {"fixed": ([2, 2, 1], [2, 2, 1]), "between": ([0, 1, 2], [2, 5, 3]), "free": ([0, 0, 0], [5, 5, 5])}


@pytest.mark.parametrize("name", COUNTS)
def test_labels_under_counts_follow_their_probabilities(name):
    """Of many short chains, how often each allowed labeling comes is what enumeration tells."""
    member, x, pi = MEMBERS[2], 0.5 * points(N + 1, D), proportions(K)
    theta, (low, high) = parameters(member, K, D), map(jnp.asarray, COUNTS[name])
    rows = laid_out(x, np.array([1.0, 1, 0, 1, 1, 1]), tile_rows=4)
    places, chains = np.array([0, 1, 3, 4, 5]), 8000

    def step(labels, key):
        value, labels, statistics = rearrange(member, theta, jnp.log(pi), rows, labels, low, high, key)
        return labels, (value, statistics.weight)

    def chain(key):
        labels, told = jax.lax.scan(step, filled(low, high, rows.w.reshape(-1), jnp.uint8), jax.random.split(key, 10))
        return labels, jax.tree.map(lambda leaf: leaf[-1], told)

    keys = jax.random.split(jax.random.key(3), chains)
    labels, (values, weight) = jax.jit(lambda keys: jax.lax.map(chain, keys, batch_size=1000))(keys)
    drawn = np.asarray(labels)[:, places]
    counts = (drawn[..., None] == np.arange(K)).sum(1)
    np.testing.assert_array_equal(weight, counts)
    assert ((counts >= low) & (counts <= high)).all()
    log_density, r = rowwise(member, theta, jnp.log(pi), rows)
    np.testing.assert_allclose(values, np.asarray(log_density).ravel()[places].sum(), rtol=1e-12)
    logs = np.log(np.moveaxis(np.asarray(r), 1, 2).reshape(-1, K)[places])
    every = np.array(list(product(range(K), repeat=N)))
    of_each = (every[..., None] == np.arange(K)).sum(1)
    every = every[((of_each >= low) & (of_each <= high)).all(1)]
    weights = np.exp(logs[np.arange(N), every].sum(1))
    expected = chains * weights / weights.sum()
    found = np.array([(drawn == z).all(1).sum() for z in every])
    usual = expected >= 5  # rarer labelings together count as one
    expected, found = (np.r_[each[usual], each[~usual].sum() + 1e-9] for each in (expected, found))
    assert chi2.sf(np.sum((found - expected) ** 2 / expected), len(found) - 1) > 1e-4


@pytest.mark.parametrize("name", [pytest.param("fixed", marks=pytest.mark.statistical), "between"])
def test_labels_under_counts_are_the_same_in_any_tiles(name):
    member, x, pi, n = MEMBERS[2], points(37, D), proportions(K), 37
    theta, w = parameters(member, K, D), np.r_[0, np.ones(34), 0, 1]
    low, high = jnp.asarray([9, 12, 14]), jnp.asarray([9, 12, 14] if name == "fixed" else [15, 18, 20])
    found = []
    for tile_rows in (4, 16, 64):
        rows = laid_out(x, w, tile_rows=tile_rows)
        begun = filled(low, high, rows.w.reshape(-1), jnp.uint8)
        labels = rearrange(member, theta, jnp.log(pi), rows, begun, low, high, jax.random.key(4))[1]
        assert (labels[:n] != begun[:n]).any()
        found.append((len(labels), *np.asarray(labels)[:n][w > 0]))
    assert len({each[0] for each in found}) > 1  # places of rows, more than there are
    assert len({each[1:] for each in found}) == 1


def test_uniform_numbers_are_uniform():
    for dtype in (jnp.float32, jnp.float64):
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(2), i))(np.arange(20_000))
        u = np.asarray(uniforms(keys, dtype), np.float64)
        assert ((u > 0) & (u < 1)).all()
        # Kolmogorov and Smirnov's distance, exceeded once in a million; neighbours are uncorrelated
        assert kstest(u, "uniform").pvalue > 1e-6
        assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 5 / np.sqrt(len(u))


@linear.names
def test_likelihood_and_memberships_of_linear_families_by_enumeration(name):
    x, pi, theta = linear.points(name, N), proportions(K), linear.parameters(name, K)
    joint = np.log(pi) + linear.log_pmf(name, theta, x).T
    labelings = np.array(list(product(range(K), repeat=N)))
    logs = joint[np.arange(N), labelings].sum(1)
    evidence = logsumexp(logs)
    marginals = np.array([[np.exp(logsumexp(logs[z == j]) - evidence) for j in range(K)] for z in labelings.T])
    value, statistics = swept(linear.LINEAR[name], theta, np.log(pi), linear_tiles(name, x, np.ones(N), 4))
    np.testing.assert_allclose(value, evidence, rtol=1e-12)
    np.testing.assert_allclose(statistics.weight, marginals.sum(0), rtol=1e-11)
    np.testing.assert_allclose(statistics.base, linear.statistics_of(name, x, marginals.T).base, atol=1e-11)


def test_drawn_scales_of_student_t_follow_their_distribution():
    """One row, one cluster: over many passes the scale is a gamma number, and the statistics are those of it."""
    from scipy.stats import gamma

    member, x = student_t.STUDENT[0], points(1, D)
    theta = student_t.parameters(member, 1, D)
    rows, logs = laid_out(x, tile_rows=4), jnp.zeros(1)

    def drawn(key):
        s = allocate(member, theta, logs, rows, key)[1]
        return s.moments.weight[0], s.moments.first[0], s.deviation[0]

    keys = jax.random.split(jax.random.key(1), 4000)
    scale, first, deviation = map(np.asarray, jax.jit(lambda keys: jax.lax.map(drawn, keys))(keys))
    nu = float(theta.degrees_of_freedom[0])
    mean = float(student_t.expected_scales(member, theta, x)[0, 0])
    assert kstest(scale, gamma((nu + D) / 2, scale=2 * mean / (nu + D)).cdf).pvalue > 1e-4  # and the seed is fixed
    np.testing.assert_allclose(first, scale[:, None] * (x - np.asarray(theta.means)), rtol=1e-10)
    np.testing.assert_allclose(deviation, np.log(scale) - scale + 1, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows, deviation", [(6.0, -1.5), (0.0, 0.0), (400.0, -60.0)], ids=["few", "none", "many"])
def test_slices_of_degrees_of_freedom_follow_their_density(rows, deviation):
    """Chains side by side, from one place, end where the density by quadrature says."""
    from bayessoft.families.degrees_of_freedom import sliced
    from bayessoft.families.family import seeded

    count, shape, rate = 4000, 2.0, 0.1

    def step(now, key):
        return sliced(now, jnp.full(count, rows), jnp.full(count, deviation), shape, rate, seeded(key)), None

    keys = jax.random.split(jax.random.key(2), 15)
    drawn = np.asarray(jax.jit(lambda keys: jax.lax.scan(step, jnp.full(count, 3.0), keys)[0])(keys))
    log_nu = np.linspace(0, np.log(200), 20_001)
    nu = np.exp(log_nu)
    logs = rows * (nu / 2 * np.log(nu / 2) - nu / 2 - gammaln(nu / 2)) + nu * deviation / 2 - rate * nu + shape * log_nu
    mass = np.cumsum(np.exp(logs - logs.max()))
    assert kstest(np.log(drawn), lambda t: np.interp(t, log_nu, mass / mass[-1])).pvalue > 1e-4
