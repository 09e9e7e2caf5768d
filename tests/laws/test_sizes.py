"""Law "sizes": a constraint holds, the duality gap is closed, and prices mean what they say."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayessoft import CAVI, Between, Fixed, GaussianMixture, NormalInverseWishart
from bayessoft.core import dual as core
from bayessoft.core import sweep
from bayessoft.core.assignment import best_labels
from bayessoft.core.certificate import certificate

from .worlds import MEMBERS, laid_out, parameters, points, proportions, rowwise, some, start, swept

N, K, D = 54, 3, 2
FREE = None
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # ten steps on purpose

CONSTRAINTS = {
    "fixed": Fixed([30, 16, 8], order="given"),
    "one-low": Between([30, FREE, FREE], FREE, order="given"),
    "low-and-high": Between([FREE, 20, FREE], [12, FREE, 30], order="given"),
    "all-active": Between([30, 4, 4], [FREE, 8, 20], order="given"),
    "slack": Between(1, 53, order="given"),
}


def check_signs(low, high, sizes, prices):
    # a size is met to 1e-9 of the total weight, see `dual.tolerance`; 1e-7 leaves room for the last M-step
    met = 1e-7 * sizes.sum()
    assert (sizes >= low - met).all() and (sizes <= high + met).all()
    loose = low < high
    assert (np.abs(sizes - low)[loose & (prices > 0)] < met).all()
    assert (np.abs(sizes - high)[loose & (prices < 0)] < met).all()
    np.testing.assert_array_equal(prices[(sizes > low + met) & (sizes < high - met)], 0)


# the dual sees scores alone: one constraint shows that every member reaches it
CROSS = [pytest.param(MEMBERS[0], name, id=name) for name in CONSTRAINTS]
CROSS += [pytest.param(*case.values, "fixed", id=case.id, marks=case.marks) for case in some("full", "diag")[1:]]


@pytest.mark.parametrize("member, name", CROSS)
def test_a_fit_keeps_its_constraint(member, name):
    constraint, x = CONSTRAINTS[name], points(N, D)
    options = dict(covariance_type=member.covariance_type, reg_covar=1e-3, max_iter=10, tol=0, **start(member, K, D))
    gm = GaussianMixture(K, sizes=constraint, **options).fit(x)
    low, high = constraint.bounds(K, N)
    np.testing.assert_allclose(gm.sizes_.sum(), N, rtol=1e-12)
    np.testing.assert_allclose(gm.responsibilities_.sum(0), gm.sizes_, atol=1e-9 * N)
    check_signs(low, high, gm.sizes_, gm.prices_)
    # met to 1e-9 of the total at prices of a few nats: the gap is of the order of their product
    assert 0 <= gm.duality_gap_ < 1e-8 * N * (1 + np.abs(gm.prices_).max())
    if name == "fixed":
        np.testing.assert_allclose(gm.sizes_ @ gm.prices_, 0, atol=1e-9 * N)
        np.testing.assert_allclose(gm.weights_, gm.sizes_ / N, atol=1e-8)
    if name == "slack":
        free = GaussianMixture(K, **options).fit(x)
        np.testing.assert_allclose(gm.means_, free.means_, rtol=1e-9)  # no price, so the same ten steps


@jax.jit
def solved(member, theta, log_weights, rows, bounds):
    """The E-step under bounds, from no prices."""
    dual, _ = core.solve(member, theta, log_weights, rows, bounds, jnp.zeros_like(bounds.low))
    gap = certificate(member, theta, log_weights, rows, bounds, dual)
    return dual, core.centred(bounds, dual), gap, sweep.log_likelihood(member, theta, log_weights, rows)


def world():
    member = MEMBERS[0]
    theta, logs = parameters(member, K, D), jnp.log(jnp.asarray(proportions(K)))
    return member, theta, logs, laid_out(points(N, D), tile_rows=8)


def bounds_of(low, high):
    low, high = np.asarray(low, float), np.asarray(high, float)
    return core.Bounds(jnp.asarray(low), jnp.asarray(high), jnp.asarray(bool((low == high).all())))


def test_one_more_unit_of_size_is_worth_minus_its_price():
    model, sizes = world(), np.array([30.0, 16.0, 8.0])
    dual, prices, gap, free = solved(*model, bounds_of(sizes, sizes))
    assert abs(float(gap)) < 1e-6
    assert float(dual.value) < float(free)  # a bound on the log-likelihood: the divergence is not negative
    step = 1e-3
    for i, j in ((0, 1), (1, 2)):
        way = step * (np.eye(K)[i] - np.eye(K)[j])
        up, down = (solved(*model, bounds_of(sizes + s * way, sizes + s * way))[0].value for s in (1, -1))
        # central differences: step^2 times a third derivative of order 1/size^2, and rounding 1e-10 / step
        np.testing.assert_allclose((up - down) / (2 * step), prices[j] - prices[i], atol=1e-6)


def test_memberships_are_those_of_proportional_fitting():
    """The oracle: rescale clusters to their sizes and rows to 1 until both hold (Sinkhorn), in NumPy."""
    member, theta, logs, rows = world()
    sizes = np.array([30.0, 16.0, 8.0])
    dual, _, _, _ = solved(member, theta, logs, rows, bounds_of(sizes, sizes))
    free = np.moveaxis(np.asarray(rowwise(member, theta, logs, rows)[1]), 1, 2).reshape(-1, K)[:N]
    ours = np.moveaxis(np.asarray(sweep.rowwise(member, theta, logs, rows, dual.prices)[1]), 1, 2).reshape(-1, K)[:N]
    q = free
    for _ in range(2000):  # the rate depends on the overlap of the clusters; this many are far past the end
        q = q * (sizes / q.sum(0))
        q = q / q.sum(1, keepdims=True)
    np.testing.assert_allclose(ours, q, atol=1e-7)  # sizes met to 1e-9 of 54 rows


@jax.jit
def unseen(member, theta, log_weights, rows, bounds, prices):
    """Sizes under prices that nobody looked at, those prices, the passes that took, and those of `solve`."""
    found, _, passes = core.meeting_prices(member, theta, log_weights, rows, bounds, prices)
    sizes = sweep.sweep(member, theta, log_weights, rows, found)[1].weight
    return sizes, found, passes, core.solve(member, theta, log_weights, rows, bounds, prices)[1]


UNSEEN = {
    "fixed": ([30, 16, 8], [30, 16, 8]),
    "far": ([1, 1, 52], [1, 1, 52]),
    "between": ([30, 0, 0], [54, 4, 54]),
    "slack": ([0, 0, 0], [54, 54, 54]),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", UNSEEN)
def test_prices_meet_their_sizes_unseen(name, dtype):
    weights = np.where(np.arange(N) % 2, 0.5, 1.5)
    member, theta, logs, _ = world()
    model = jax.tree.map(lambda leaf: leaf.astype(dtype), (theta, logs, laid_out(points(N, D), weights, 8)))
    bounds = bounds_of(*UNSEEN[name])
    bounds = core.Bounds(bounds.low.astype(dtype), bounds.high.astype(dtype), bounds.pinned)
    solution = solved(member, *model, bounds)[0].prices
    ahead = jnp.asarray([1.0, 0.3, -1.0], dtype)
    saved = 0
    for distance in (10.0, 1.0, 0.1, 0.03, 0.01, 1e-3, 1e-4):
        found, prices, passes, all_passes = unseen(member, *model, bounds, solution + distance * ahead)
        met = 2 * core.tolerance(found.dtype) * N  # and rounding
        np.testing.assert_allclose(bounds.residual(prices, found), 0, rtol=0, atol=met)
        assert passes <= all_passes
        saved += int(all_passes - passes)
    assert saved > 0 or name == "slack"


def test_a_fit_by_prices_unseen_is_that_by_prices_looked_at(monkeypatch):
    x, options = points(N, D), dict(reg_covar=1e-3, max_iter=10, tol=0, **start(MEMBERS[0], K, D))
    fits = []
    for _ in range(2):
        gm = GaussianMixture(K, sizes=CONSTRAINTS["low-and-high"], **options).fit(x)
        fits.append((gm.means_, gm.covariances_, gm.weights_, gm.lower_bounds_))
        monkeypatch.setattr(
            "bayessoft.inference.em.meeting_prices", lambda *args: (core.solve(*args)[0].prices, True, 0)
        )
        jax.clear_caches()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7), *fits)  # sizes met to 1e-10 in each step


# in rows more than the clusters have by themselves
LOW_HIGH = [([4, -54, -54], [54, 54, 54]), ([-54, 4, -54], [-1, 54, 54]), ([4, -54, -54], [54, -1, -3])]


@pytest.mark.parametrize("low, high", LOW_HIGH, ids=["low", "low-and-high", "everyone"])
def test_prices_have_the_signs_of_their_bounds(low, high):
    model = world()
    natural = np.asarray(swept(*model)[1].weight)
    low, high = np.clip(natural + low, 0, N), np.clip(natural + high, 0, N)
    dual, prices, gap, free = solved(*model, bounds_of(low, high))
    check_signs(low, high, np.asarray(dual.sizes), np.asarray(prices))
    assert -1e-9 < float(gap) < 1e-6  # sizes met to 1e-9 of 54 rows, at prices of a few nats
    active = (np.isclose(dual.sizes, low, atol=1e-6) & (low > 0)) | np.isclose(dual.sizes, high, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(prices) != 0, active)
    assert active.any()
    assert float(dual.value) < float(free)


@jax.jit
def certified(member, theta, log_weights, rows, bounds, prices):
    """The dual at prices that solve nothing, and its gap."""
    value, sizes, hessian = core._dual_pass(member, theta, log_weights, rows, prices)
    dual = core.Dual(prices, value - bounds.linear(prices), sizes, hessian)
    return dual.value, certificate(member, theta, log_weights, rows, bounds, dual)


@pytest.mark.parametrize("name", ["fixed", "far", "between"])
def test_the_gap_is_no_smaller_than_what_is_lost(name):
    """At any prices: the memberships that it looks at are allowed, so they gain no more than the best."""
    model, bounds = world(), bounds_of(*UNSEEN[name])
    best = solved(*model, bounds)[0]
    for share in (0.0, 0.5, 0.9, 1.1, 2.0):
        value, gap = certified(*model, bounds, share * best.prices)
        assert float(gap) >= float(value - best.value) - 1e-7  # which rounds in sums of 54 rows


def test_cavi_keeps_its_constraint():
    """Under the expected log densities, as EM does under its parameters; the bound climbs and is lower than without."""
    x, prior = points(N, D), NormalInverseWishart(np.zeros(D), 0.5, 5.0, np.eye(D))
    options = dict(prior=prior, weight_concentration_prior=1.5, means_init=x[:K])
    fits = {
        name: GaussianMixture(K, inference=CAVI(max_iter=300, tol=1e-9), sizes=CONSTRAINTS.get(name), **options).fit(x)
        for name in ("free", "slack", "fixed", "low-and-high")
    }
    for name in ("fixed", "low-and-high"):
        gm = fits[name]
        np.testing.assert_allclose(gm.responsibilities_.sum(0), gm.sizes_, atol=1e-9 * N)
        check_signs(*CONSTRAINTS[name].bounds(K, N), gm.sizes_, gm.prices_)
        assert 0 <= gm.duality_gap_ < 1e-8 * N * (1 + np.abs(gm.prices_).max())
        assert (np.diff(gm.lower_bounds_) > -1e-9).all()
        assert gm.elbo_ < fits["free"].elbo_
    np.testing.assert_allclose(fits["slack"].elbo_, fits["free"].elbo_, rtol=1e-9)
    np.testing.assert_allclose(fits["fixed"].weights_, (fits["fixed"].sizes_ + 1.5) / (N + K * 1.5), rtol=1e-8)


# of 6 rows, in some of which the scores tie
HARD = [([a, b, 6 - a - b],) * 2 for a in range(7) for b in range(7 - a)]
HARD += [([0, 0, 0], [6, 6, 6]), ([3, 0, 0], [6, 6, 6]), ([0, 0, 0], [1, 6, 2]), ([1, 2, 0], [2, 2, 6])]


@pytest.mark.parametrize("ties", [False, True], ids=["scores", "ties"])
def test_no_labels_inside_the_bounds_are_better_than_the_best(ties):
    """By enumeration; and any labels, at the price of their counts, gain no more than the best."""
    scores = 3 * np.random.default_rng(5).normal(size=(6, K))
    scores = np.round(scores[[0, 0, 1, 1, 2, 3]] if ties else scores, 0 if ties else 9)
    labelings = np.array(list(product(range(K), repeat=6)))
    sums = scores[np.arange(6), labelings].sum(1)
    counts = (labelings[..., None] == np.arange(K)).sum(1)
    for low, high in map(np.array, HARD):
        best = best_labels(scores, low, high)
        own = np.bincount(best.labels, minlength=K)
        allowed = ((low <= counts) & (counts <= high)).all(1)
        # sums of 6 scores of a few nats: rounding under 1e-14
        np.testing.assert_allclose(best.value, sums[allowed].max(), atol=1e-13)
        np.testing.assert_allclose(scores[np.arange(6), best.labels].sum(), best.value, atol=1e-13)
        assert 0 <= best.gap < 1e-13
        check_signs(low, high, own, best.prices)
        assert (sums + (counts - own) @ best.prices <= best.value + 1e-13).all()
