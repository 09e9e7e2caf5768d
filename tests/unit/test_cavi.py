"""CAVI end to end: the bound and its parts, the predictive density, intervals, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma, gammaln, multigammaln
from scipy.stats import dirichlet

from bayessoft import CAVI, GaussianMixture, NormalInverseWishart, load
from bayessoft.errors import OptionError
from bayessoft.families.structures import STRUCTURES
from bayessoft.inference.run import _block
from bayessoft.status import Status

SETTLED = CAVI(max_iter=2000, tol=1e-13)
PRIOR = NormalInverseWishart(np.zeros(2), 0.05, 4.0, np.eye(2))


def clusters(n: int = 90, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([[0.0, -3.0], [0.0, 0.0], [0.0, 3.0]])[np.arange(n) % 3] + rng.normal(size=(n, 2))


def fitted(kind: str = "full", engine=SETTLED, X=None, **options) -> GaussianMixture:
    options = {"prior": PRIOR if kind == "full" else "weak", "weight_concentration_prior": 1.5} | options
    gm = GaussianMixture(3, covariance_type=kind, inference=engine, random_state=0, **options)
    return gm.fit(clusters() if X is None else X)


@pytest.fixture(scope="module")
def three() -> GaussianMixture:
    return fitted()


def parts(gm: GaussianMixture, X: np.ndarray) -> dict[str, float]:
    """The parts of the bound in original units, from Bishop (2006), eqs. 10.71 to 10.77, one after the other."""
    r, posterior, frame = gm.responsibilities_, gm.fit_.posterior.mixture, gm.fit_.frame
    d = X.shape[1]
    q, alpha, alpha0 = posterior.family.prior, np.asarray(posterior.weights.concentration), np.full(3, 1.5)
    back = frame.matrix()
    means, kappa = frame.invert(np.asarray(q.mean)), np.asarray(q.mean_precision)
    nu, scale = np.asarray(q.degrees_of_freedom), back @ np.asarray(q.scale) @ back.T
    log_pi = digamma(alpha) - digamma(alpha.sum())
    log_det = digamma((nu[:, None] - np.arange(d)) / 2).sum(1) + d * np.log(2) - np.linalg.slogdet(scale)[1]
    precision = nu[:, None, None] * np.linalg.inv(scale)

    def squares(x: np.ndarray) -> np.ndarray:
        return np.einsum("nka,kab,nkb->nk", x[:, None] - means, precision, x[:, None] - means)

    def log_wishart(nu: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return 0.5 * nu * np.linalg.slogdet(scale)[1] - 0.5 * nu * d * np.log(2) - multigammaln(nu / 2, d)

    log_2pi = d * np.log(2 * np.pi)
    prior_means = 0.5 * (d * np.log(PRIOR.mean_precision) + log_det - log_2pi - d * PRIOR.mean_precision / kappa)
    prior_means -= 0.5 * PRIOR.mean_precision * squares(np.zeros((1, d)))[0]
    trace = np.einsum("ab,kab->k", np.asarray(PRIOR.scale), precision)
    jacobian = (d + 1) * log_det  # of the density of a covariance, for that of a precision
    prior_spread = log_wishart(np.float64(4.0), np.eye(d)) + 0.5 * (4.0 - d - 1) * log_det - 0.5 * trace + jacobian
    own_means = 0.5 * (d * np.log(kappa) + log_det - log_2pi - d)
    own_spread = log_wishart(nu, scale) + 0.5 * (nu - d - 1) * log_det - 0.5 * nu * d + jacobian
    return {
        "rows": 0.5 * np.sum(r * (log_det - d / kappa - log_2pi - squares(X))),
        "labels": np.sum(r * log_pi),
        "proportions": gammaln(alpha0.sum()) - gammaln(alpha0).sum() + (alpha0 - 1) @ log_pi,
        "parameters": np.sum(prior_means + prior_spread),
        "entropy of labels": -np.sum(r * np.log(np.maximum(r, 1e-300))),
        "entropy of proportions": dirichlet(alpha).entropy(),
        "entropy of parameters": -np.sum(own_means + own_spread),
    }


def test_the_bound_is_the_sum_of_its_parts(three):
    # parts of some hundred nats
    np.testing.assert_allclose(sum(parts(three, clusters()).values()), three.elbo_, rtol=0, atol=1e-8)
    assert three.lower_bound_ == pytest.approx(three.elbo_ / 90, rel=1e-14)
    assert three.log_relabellings_ == pytest.approx(np.log(6))


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_the_bound_never_falls_and_is_that_of_the_last_step(kind):
    gm = fitted(kind)
    assert gm.status_ is Status.CONVERGED
    assert np.diff(gm.lower_bounds_).min() > -1e-12
    assert gm.lower_bounds_[-1] == pytest.approx(gm.lower_bound_, abs=1e-11)


def test_the_bound_knows_its_units():
    """Rows in other units have the bound less the logarithm of the units' volume, and the same memberships."""
    A, X = np.array([[2.0, 0.3], [-0.4, 0.1]]), clusters()
    one, other = (fitted(X=x, prior="weak") for x in (X, X @ A.T + [5.0, -70.0]))
    assert other.elbo_ == pytest.approx(one.elbo_ - 90 * np.linalg.slogdet(A)[1], abs=1e-7)
    np.testing.assert_allclose(other.responsibilities_, one.responsibilities_, atol=1e-6)


def test_memberships_and_densities(three):
    """`responsibilities_` are those of the bound; prediction is Bayes' rule with Student-t densities."""
    X = clusters(7, seed=3)
    shares, logs = three.predict_proba(X), three.score_samples(X)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-12)
    drawn = np.exp(three.fit_.log_likelihood(X))  # 1000 draws from the posterior
    error = drawn.std(0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(0) - np.exp(logs)) < 5 * error).all()
    assert not np.allclose(three.predict_proba(clusters()), three.responsibilities_, atol=1e-4)
    # both are memberships in the same clusters; with 30 rows each, parameters are known to a fifth or so
    assert np.abs(three.predict_proba(clusters()) - three.responsibilities_).max() < 0.2


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind == "diag" else pytest.mark.statistical) for kind in STRUCTURES],
)
def test_the_predictive_density_integrates_to_one(kind):
    x = np.concatenate([np.random.default_rng(0).normal(size=(15, 1)) + m for m in (0, 6, 12)])
    gm = fitted(kind, X=x, engine="cavi", prior="weak")
    # substituting sinh makes tails of any power fall doubly exponentially: the trapezoidal rule is exact to rounding
    u = np.linspace(-40, 40, 4001)
    density = np.exp(gm.score_samples(6 + np.sinh(u)[:, None])) * np.cosh(u)
    np.testing.assert_allclose(density.sum() * (u[1] - u[0]), 1, atol=1e-9)


def test_intervals_come_from_the_posterior(three):
    table = three.summary(interval=0.8)
    alpha = np.asarray(three.fit_.posterior.mixture.weights.concentration)
    draws = np.random.default_rng(0).dirichlet(alpha, 200_000)
    np.testing.assert_allclose(table["weight_low"], np.quantile(draws, 0.1, axis=0), atol=2e-3)
    np.testing.assert_allclose(table["weight_high"], np.quantile(draws, 0.9, axis=0), atol=2e-3)
    np.testing.assert_allclose(table["weight_sd"], draws.std(0), rtol=0.02)
    np.testing.assert_allclose(table["size"], three.responsibilities_.sum(0), rtol=1e-9)
    ends = three.membership_interval(clusters(6, seed=2))
    assert (ends[..., 0] <= ends[..., 1]).all()
    np.testing.assert_array_equal(ends, three.membership_interval(clusters(6, seed=2)))


def test_arviz_holds_draws_from_the_posterior(three):
    tree = three.to_arviz(clusters(), log_likelihood=True)
    assert tree.posterior["weights"].shape == (1, 1000, 3)
    assert tree.log_likelihood["x"].shape == (1, 1000, 90)
    values, labels = three.sample(20)
    assert values.shape == (20, 2)
    assert set(labels) <= {0, 1, 2}


def test_a_saved_posterior_comes_back(three, tmp_path):
    three.save(tmp_path / "fit")
    again = load(tmp_path / "fit")
    X = clusters(9)
    assert again.elbo_ == three.elbo_
    np.testing.assert_array_equal(again.score_samples(X), three.score_samples(X))
    np.testing.assert_array_equal(again.membership_interval(X), three.membership_interval(X))


def test_weights_are_repeated_rows():
    X, w = clusters(), np.arange(90) % 3
    options = dict(
        means_init=[[0, -3], [0, 0], [0, 3]], weights_init=np.full(3, 1 / 3), precisions_init=[np.eye(2)] * 3
    )
    one = fitted(**options).fit(X, sample_weight=w)
    other = fitted(**options).fit(np.repeat(X, w, axis=0))
    assert one.elbo_ == pytest.approx(other.elbo_, abs=1e-7)
    np.testing.assert_allclose(one.means_, other.means_, atol=1e-6)


@pytest.mark.statistical
def test_float32_stays_float32():
    gm = fitted(engine="cavi", X=clusters().astype(np.float32))
    assert gm.means_.dtype == gm.predict_proba(clusters().astype("f")).dtype == np.float32
    assert gm.elbo_ == pytest.approx(fitted(engine="cavi").elbo_, abs=0.05)


@pytest.mark.statistical
def test_one_cluster_and_concentrations_below_one():
    X = clusters()
    one = GaussianMixture(1, inference="cavi", random_state=0).fit(X)
    assert one.log_relabellings_ == 0
    assert one.summary()["weight_low"].tolist() == [1.0]
    few = fitted(engine=CAVI(50, 1e-3), weight_concentration_prior=0.01)  # whose mode would be no proportions
    assert np.isfinite(few.elbo_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_warm_start_goes_on_from_the_last_step():
    gm = fitted(engine="cavi", warm_start=True, max_iter=3, tol=0.0).set_params(max_iter=2)
    before, last = gm.lower_bound_, gm.lower_bounds_[-1]
    gm.fit(clusters())
    assert gm.lower_bounds_[0] > before > last
    whole = fitted(engine="cavi", max_iter=7, tol=0.0)
    np.testing.assert_allclose(gm.lower_bounds_, whole.lower_bounds_[4:6], rtol=1e-10)


def test_labels_are_those_that_prediction_gives():
    X = clusters()
    gm = GaussianMixture(3, inference="cavi", random_state=0)
    np.testing.assert_array_equal(gm.fit_predict(X), gm.predict(X))


def test_refusals():
    with pytest.raises(OptionError, match="reg_covar set, which CAVI does not use"):
        fitted(prior=None, reg_covar=1e-3)
    with pytest.raises(OptionError, match="tol is -1"):
        CAVI(tol=-1)
    with pytest.raises(OptionError, match="fit with inference='cavi', 'svi', 'gibbs' or 'nuts'"):
        GaussianMixture(2).fit(clusters()).membership_interval(clusters())


def test_other_options_and_rows_of_the_bucket_compile_nothing():
    fitted(engine=CAVI(tol=1e-5))
    before = _block._cache_size()
    fitted(engine=CAVI(tol=1e-6, max_iter=200), X=clusters(89))
    assert _block._cache_size() == before


def test_draws_in_the_scope_of_jax(three):
    """Arrays of the posterior survive a user's own JAX code."""
    before = three.predict_proba(clusters(5))
    jnp.sum(jnp.asarray(three.fit_.posterior.mixture.family.prior.mean)).block_until_ready()
    jax.jit(lambda x: x * 2)(three.fit_.posterior.mixture.weights.concentration)
    np.testing.assert_array_equal(three.predict_proba(clusters(5)), before)
