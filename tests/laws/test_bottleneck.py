"""The information bottleneck is a tempered mixture of normalised rows, bounded by what rows say of columns."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from scipy.special import rel_entr, xlogy

from bayessoft.core.assign import assign
from bayessoft.core.bottleneck import RUNNING, channel, iterate, solve
from bayessoft.core.sweep import sweep, tiles, with_beside
from bayessoft.families.multinomial import Multinomial, Shares
from bayessoft.mixture import Mixture

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(RNG.gamma(0.5, 6.0, (12, 3)) @ RNG.dirichlet(np.full(7, 0.4), 3))
COUNTS[:, 0] += 1  # no row without counts
K, TOL = 3, 1e-9
SPARSE = np.hstack([COUNTS, np.kron(np.eye(12, dtype=int), [[1, 2, 1, 3]])])  # one cell in seven above 0
START = np.random.default_rng(1).dirichlet(np.full(K, 2.0), len(COUNTS))


def joint(table: np.ndarray) -> np.ndarray:
    return table / table.sum()


def solution(table=COUNTS, start=START, beta=6.0, alpha=1.0, max_iter=20_000, tol=TOL):
    """Memberships of the rows, q(t, y), and the amounts of information, from one start."""
    of = channel(sparse.csr_array(joint(table)), np.dtype(np.float64))
    padded = np.full((len(of.weights), start.shape[1]), 1 / start.shape[1])
    padded[: len(start)] = start
    options = (jnp.asarray(float(each)) for each in (beta, alpha, tol))
    found = jax.jit(solve, static_argnums=(1, 7))(of, table.shape[1], padded, *options, max_iter, alpha == 0)
    assert max_iter < 20_000 or int(found.code) == 1
    return found, np.asarray(found.memberships)[: len(start)]


def information(p: np.ndarray) -> float:
    """I of a joint distribution, by SciPy's relative entropy."""
    return float(rel_entr(p, np.outer(p.sum(1), p.sum(0))).sum())


@pytest.mark.parametrize("wide", [False, True])
def test_bottleneck_is_a_tempered_mixture(wide, beta=6.0):
    table = SPARSE if wide else COUNTS
    found, r = solution(table, beta=beta)
    p = joint(table)
    weights = p.sum(1)
    rows = p / weights[:, None]
    family = Multinomial(None)
    shares = Shares(jnp.asarray((found.joint / found.joint.sum(0)).T))
    features = family.tile_features(shares, jnp.asarray(family.encoded(rows)).T, False)
    base = features[1]
    scores = family.tile_log_density(shares, features, False) - base
    own = assign(beta * scores, jnp.log(found.joint.sum(0)))[1]
    # a membership moves by at most TOL in an iteration: what is left of it is that over 1 - the rate, here below 0.99
    assert np.abs(own.T - r).max() < 100 * TOL
    # the M-step of the mixture under these memberships, whose sums a sweep of the rows finds where they are evidence
    values = family.encoded(rows)
    laid = tiles(values, weights, np.dtype(np.float64), len(values))
    flat = Shares(jnp.full_like(shares.shares, 1 / table.shape[1]))
    with np.errstate(divide="ignore"):
        evidence = np.log(r)
    statistics = sweep(family, flat, jnp.zeros(K), with_beside(laid, evidence))[1]
    proportions, after = Mixture(K, family, None).mode(statistics, 0.0)
    np.testing.assert_allclose(proportions, found.joint.sum(0), atol=1e-12)  # sums of 12 numbers below 1
    np.testing.assert_allclose(after.shares, shares.shares, atol=1e-12)


@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_bottleneck_lagrangian_never_rises(alpha):
    of = channel(sparse.csr_array(joint(COUNTS)), np.dtype(np.float64))
    r = np.full((len(of.weights), K), 1 / K)
    r[: len(START)] = START
    p, heights = joint(COUNTS), []
    step = jax.jit(lambda r: iterate(of, p.shape[1], r, jnp.asarray(6.0), jnp.asarray(alpha), False)[1])
    for _ in range(40):
        own = np.asarray(r)[: len(p)]
        weights = own * p.sum(1, keepdims=True)
        equivocation = -(p.sum(1) @ xlogy(own, own).sum(1))
        entropy = -xlogy(weights.sum(0), weights.sum(0)).sum()
        heights.append(entropy - alpha * equivocation - 6.0 * information(own.T @ p))
        r = step(r)
    assert np.diff(heights).max() < 1e-12  # rounding of sums of numbers below 10
    assert heights[0] - heights[-1] > 0.1


def test_bottleneck_foretold_steps_end_where_plain_ones_do(beta=6.0):
    of = channel(sparse.csr_array(joint(COUNTS)), np.dtype(np.float64))
    r = np.full((len(of.weights), K), 1 / K)
    r[: len(START)] = START
    one = jnp.asarray(1.0)
    plain = jax.jit(
        lambda r: jax.lax.fori_loop(
            0, 5000, lambda _, r: iterate(of, COUNTS.shape[1], r, beta * one, one, False)[1], jnp.asarray(r)
        )
    )(r)
    found, own = solution(beta=beta)
    np.testing.assert_allclose(own, plain[: len(START)], atol=100 * TOL)  # as above
    assert int(found.steps) < 2500


@pytest.mark.parametrize("alpha", [1.0, 0.0])
def test_bottleneck_obeys_data_processing(alpha):
    found, r = solution(alpha=alpha)
    p = joint(COUNTS)
    ofx = information(r.T * p.sum(1))
    ofy = information(r.T @ p)
    np.testing.assert_allclose(float(found.entropy - found.equivocation), ofx, atol=1e-12)
    np.testing.assert_allclose(float(found.information), ofy, atol=1e-12)
    rows = p.sum(1)
    assert 0.05 < ofy < min(ofx, information(p))
    assert ofx <= -xlogy(rows, rows).sum()


def test_bottleneck_merges_rows_that_are_alike():
    twice = np.vstack([COUNTS, 2 * COUNTS[:4]])
    once = COUNTS.copy()
    once[:4] *= 3
    # The slowest change shrinks by 0.9997 an iteration here, so 3300 times the last one is left: 3e-9.
    apart, r = solution(twice, np.vstack([START, START[:4]]), tol=1e-12)
    merged, own = solution(once, tol=1e-12)
    np.testing.assert_allclose(r[:12], own, atol=100 * TOL)
    np.testing.assert_allclose(r[12:], own[:4], atol=100 * TOL)
    np.testing.assert_allclose(apart.information, merged.information, atol=1e-8)


def test_bottleneck_knows_no_order_of_columns():
    order = np.random.default_rng(3).permutation(COUNTS.shape[1])
    one, r = solution()
    other, own = solution(COUNTS[:, order])
    np.testing.assert_allclose(own, r, atol=100 * TOL)
    np.testing.assert_allclose(np.asarray(other.joint), np.asarray(one.joint)[order], atol=100 * TOL)


def test_bottleneck_hardens_as_alpha_falls():
    hard, labels = solution(alpha=0.0)
    soft, r = solution(start=labels * 0.9999 + 0.0001 / K, alpha=1e-3)
    assert set(labels.ravel()) == {0.0, 1.0}
    # memberships short of hard by exp(-gap / alpha); alpha H(T given X) is at most 1e-3 log 3
    np.testing.assert_allclose(r, labels, atol=1e-3)
    np.testing.assert_allclose(float(soft.lagrangian(6.0, 1e-3)), float(hard.lagrangian(6.0, 0.0)), atol=2e-3)


def test_bottleneck_finds_the_best_hard_clusters_of_a_tiny_world(beta=4.0):
    table = COUNTS[:6] + 1
    p = joint(table)

    def height(labels) -> float:
        q = np.eye(2)[list(labels)].T @ p
        weights = q.sum(1)
        return -xlogy(weights, weights).sum() - beta * information(q[weights > 0])

    best = min(height(labels) for labels in product([0, 1], repeat=6))
    starts = [np.random.default_rng(i).dirichlet([0.3, 0.3], 6) for i in range(20)]
    found = [float(solution(table, start, beta, 0.0)[0].lagrangian(beta, 0.0)) for start in starts]
    assert min(found) == pytest.approx(best, abs=1e-12)
    assert all(height >= best - 1e-12 for height in found)


def test_bottleneck_stops_at_max_iter():
    found, _ = solution(max_iter=2)
    assert (int(found.code), int(found.steps)) == (RUNNING, 2)
