"""Law "capacities": bounds on amounts of several resources hold at once, with prices that mean what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from bayessoft import CAVI, Between, Capacity, Fixed, GaussianMixture, NormalInverseWishart
from bayessoft.core import dual as core
from bayessoft.core.capacity import Several
from bayessoft.core.certificate import certificate
from bayessoft.core.pivots import best_prices
from bayessoft.core.sweep import with_beside
from bayessoft.errors import OptionError

from .worlds import MEMBERS, laid_out, parameters, points, proportions, rowwise, start

N, K, D = 54, 3, 2
LOAD = np.random.default_rng(4).gamma(2.0, 3.0, N)
HOURS = np.random.default_rng(5).gamma(1.0, 2.0, N)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # ten steps on purpose


def of(low, high, resource=LOAD, **more):
    """Bounds in shares of what all rows take."""
    return Capacity(resource, low, high, unit="share", order="given", **more)


CASES = {
    "one": (of(None, [0.4, 0.3, 0.45]),),
    "two": (of([0.2, 0.4, 0.1], [0.5, 0.6, 0.2]), of([0.45, 0.1, 0.2], None, HOURS)),
    "sizes-too": (Fixed([30, 14, 10], order="given"), of([0.5, None, None], [None, 0.3, None])),
    "all": (Between([20, 10, 5], 28, order="given"), of(0.25, 0.4), of(None, [0.2, 0.5, 0.5], HOURS)),
}


def bounds_of(name):
    parts = CASES[name]
    demand = (parts[0] if len(parts) == 1 else Several(parts)).demand(K, np.ones(N))
    return demand, core.Bounds(jnp.asarray(demand.low), jnp.asarray(demand.high), jnp.asarray(demand.pinned))


def world(resources):
    member = MEMBERS[0]
    theta, logs = parameters(member, K, D), jnp.log(jnp.asarray(proportions(K)))
    return member, theta, logs, with_beside(laid_out(points(N, D), tile_rows=8), resources=resources)


@jax.jit
def solved(member, theta, log_weights, rows, bounds):
    """The E-step under bounds from no prices, and prices found without a look at the end."""
    zero = jnp.zeros_like(bounds.low)
    dual, passes = core.solve(member, theta, log_weights, rows, bounds, zero)
    gap = certificate(member, theta, log_weights, rows, bounds, dual)
    ahead = core.meeting_prices(member, theta, log_weights, rows, bounds, dual.prices + 0.01)[0]
    return dual, passes, gap, ahead, core._dual_pass(member, theta, log_weights, rows, ahead)[1]


@pytest.mark.parametrize("name", CASES)
def test_prices_bring_all_amounts_into_their_bounds(name):
    """The oracle: the dual function in NumPy, each price as the difference of two above 0, by SciPy."""
    demand, bounds = bounds_of(name)
    model = world(demand.resources)
    dual, passes, gap, ahead, unseen = solved(*model, bounds)
    assert passes < 15
    sizes, prices = np.asarray(dual.sizes), np.asarray(dual.prices)
    met = 1e-8 * N
    assert (sizes >= demand.low - met).all() and (sizes <= demand.high + met).all()
    loose = demand.low < demand.high
    assert (np.abs(sizes - demand.low)[loose & (prices > 0)] < met).all()
    assert (np.abs(sizes - demand.high)[loose & (prices < 0)] < met).all()
    assert (prices != 0).any() and -1e-8 < float(gap) < 1e-6
    np.testing.assert_allclose(bounds.residual(ahead, unseen), 0, atol=met)

    log_density, shares = rowwise(*model)
    scores = np.moveaxis(np.log(np.asarray(shares)) + np.asarray(log_density)[:, None], 1, 2).reshape(-1, K)[:N]

    def function(pair):
        up, down = pair.reshape(2, *demand.low.shape)
        logits = scores + demand.resources @ (up - down)
        total = logsumexp(logits, axis=1)
        amounts = demand.resources.T @ np.exp(logits - total[:, None])
        slope = np.stack([amounts - demand.low, demand.high - amounts])
        return total.sum() - np.sum(up * demand.low - down * demand.high), slope.ravel()

    zero = np.zeros(2 * demand.low.size)
    options = dict(maxiter=5000, maxfun=20000, ftol=1e-15, gtol=1e-9)
    found = minimize(function, zero, jac=True, method="L-BFGS-B", bounds=[(0, None)] * zero.size, options=options)
    np.testing.assert_allclose(float(dual.value), found.fun, atol=1e-5)  # SciPy stops within 1e-6 of the smallest


def test_one_more_unit_of_a_capacity_is_worth_minus_its_price():
    demand, bounds = bounds_of("two")
    model = world(demand.resources)
    prices = np.asarray(core.centred(bounds, solved(*model, bounds)[0]))
    step = 1e-3
    for at in zip(*np.nonzero(prices), strict=True):
        side = "low" if prices[at] > 0 else "high"
        sides = {"low": bounds.low, "high": bounds.high}
        up, down = (
            solved(*model, core.Bounds(**(sides | {side: sides[side].at[at].add(s * step)}), pinned=bounds.pinned))[0]
            for s in (1, -1)
        )
        # central differences: step^2 times a third derivative of order 1/size^2, and rounding 1e-10 / step
        np.testing.assert_allclose((up.value - down.value) / (2 * step), -prices[at], atol=1e-6)


@jax.jit
def certified(member, theta, log_weights, rows, bounds, prices):
    """The dual at prices that solve nothing, and its gap."""
    value, sizes, hessian = core._dual_pass(member, theta, log_weights, rows, prices)
    dual = core.Dual(prices, value - bounds.linear(prices), sizes, hessian)
    return dual.value, certificate(member, theta, log_weights, rows, bounds, dual)


@pytest.mark.parametrize("name", ["one", "two"])
def test_the_gap_is_no_smaller_than_what_is_lost(name):
    """At any prices: where allowed memberships are found they gain no more than the best."""
    demand, bounds = bounds_of(name)
    model = world(demand.resources)
    best = solved(*model, bounds)[0]
    finite = 0
    for share in (0.0, 0.9, 0.97, 0.99, 0.999, 1.001, 1.01, 1.1):
        value, gap = certified(*model, bounds, share * best.prices)
        assert float(gap) >= float(value - best.value) - 1e-7
        finite += bool(np.isfinite(gap))
    assert finite >= 3


@pytest.mark.parametrize(
    "case", ["all", *(pytest.param(name, marks=pytest.mark.statistical) for name in ("pinned", "weighted", "cavi"))]
)
def test_a_fit_keeps_its_capacities(case):
    x, member = points(N, D), MEMBERS[0]
    given = start(member, K, D)
    prior = NormalInverseWishart(np.zeros(D), 0.5, 5.0, np.eye(D))
    own = dict(prior=prior, weight_concentration_prior=1.5, means_init=given["means_init"])
    em = dict(reg_covar=0.0, max_iter=10, tol=0, **given)
    options, sizes, w = {
        "all": (em, list(CASES["all"]), np.ones(N)),
        "pinned": (em, list(CASES["sizes-too"]), np.ones(N)),
        "weighted": (em, CASES["two"], np.where(np.arange(N) % 3 == 0, 2.0, 1.0)),
        "cavi": (own | dict(inference=CAVI(max_iter=10, tol=0)), CASES["two"], np.ones(N)),
    }[case]
    gm = GaussianMixture(K, sizes=sizes, **options).fit(x, sample_weight=w)
    assert (np.diff(gm.lower_bounds_) > -1e-9).all()
    assert gm.prices_.shape == (len(sizes), K)
    assert 0 <= gm.duality_gap_ < 1e-6 * (1 + np.abs(gm.prices_).max())
    np.testing.assert_allclose(gm.sizes_, w @ gm.responsibilities_, rtol=1e-8)
    for part, prices in zip(sizes, gm.prices_, strict=True):
        resource = part.resource if isinstance(part, Capacity) else np.ones(N)
        amounts, total = (w * resource) @ gm.responsibilities_, w @ resource
        demand = part.demand(K, w)
        low, high = demand.outside(demand.low).reshape(-1), demand.outside(demand.high).reshape(-1)
        assert (amounts >= low - 1e-7 * total).all() and (amounts <= high + 1e-7 * total).all()
        np.testing.assert_array_equal(prices[(amounts > low + 1e-6 * total) & (amounts < high - 1e-6 * total)], 0)


@pytest.mark.parametrize("seed", range(5))
def test_pivots_end_where_the_model_is_smallest(seed):
    """With entries of any sign off the diagonal, from a poor start: by the conditions of the smallest value."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        m = 12
        root = rng.normal(size=(m, m))
        hessian = root @ root.T + 1e-3 * np.eye(m)
        low = rng.normal(size=m) * 5
        high = low + rng.choice([0.0, 1.0, 5.0], m)
        sizes, prices = rng.normal(size=m) * 10, rng.normal(size=m) * rng.choice([0, 1], m)
        found = np.asarray(jax.jit(best_prices)(*map(jnp.asarray, (low, high, prices, sizes, hessian))))
        after = sizes + hessian @ (found - prices)
        wanted = np.where(found > 0, low, np.where(found < 0, high, np.clip(after, low, high)))
        np.testing.assert_allclose(after, wanted, atol=1e-6)  # of numbers up to 100, at a condition of 1e5


def test_resources_have_names_that_tell_them_apart():
    with pytest.raises(OptionError, match="named 'rows', as numbers of rows are: pass another name"):
        Capacity([1.0, 2.0], high=2.0, name="rows")
    one, other = Capacity([1.0, 2.0], high=2.0), Capacity([2.0, 1.0], high=2.0)
    found = Several((one, Between(1), other, Capacity([2.0, 1.0], high=2.0, name="resource 2"))).parts
    assert [getattr(part, "name", None) for part in found] == ["resource", None, "resource 2", "resource 2 2"]
    assert found[0] is one
    np.testing.assert_array_equal(found[2].resource, other.resource)
    assert Several(found).parts == found
