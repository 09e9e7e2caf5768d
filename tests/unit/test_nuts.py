"""NUTS end to end, at few draws: the potential, the draws, their labels, refusals, compilations."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import constrain_fn
from sklearn.exceptions import ConvergenceWarning

from bayessoft import EM, NUTS, Between, Fixed, GaussianMixture, NormalInverseWishart, load
from bayessoft.core import sweep
from bayessoft.data.rows import rows
from bayessoft.errors import FitError, OptionError
from bayessoft.families.gaussian import Gaussian
from bayessoft.inference import nuts, unconstrained
from bayessoft.inference.engine import Given, Problem
from bayessoft.inference.run import _block
from bayessoft.mixture import Mixture
from bayessoft.posteriors import Draws
from bayessoft.status import Status

QUICK = NUTS(draws=150, warmup=150, chains=2)


def clusters(n: int = 120, seed: int = 0, apart: float = 6.0) -> np.ndarray:
    """Three clusters that share their first coordinate."""
    rng = np.random.default_rng(seed)
    centres = apart * np.array([[0.0, -1.0], [0.0, 0.0], [0.0, 1.0]])
    return centres[np.arange(n) % 3] + rng.normal(size=(n, 2))


def fitted(k: int = 3, engine: NUTS = QUICK, X: np.ndarray | None = None, seed: int = 0, **options) -> GaussianMixture:
    """A fit whose status is of no concern."""
    estimator = GaussianMixture(k, inference=engine, random_state=seed, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(clusters() if X is None else X)


@pytest.fixture(scope="module")
def three() -> GaussianMixture:
    return fitted()


@pytest.fixture
def problem():
    with jax.enable_x64(True):
        mixture = Mixture(3, Gaussian()).proper()
        yield Problem.pose(mixture, rows(clusters(12)), 0, 0.0, Given())


def test_the_potential_is_minus_the_plain_log_density(problem):
    mixture, x = problem.standard, problem.standard_values
    rng = np.random.default_rng(1)
    z = {
        "weights": rng.normal(size=2),
        "means": rng.normal(size=(3, 2)),
        "precisions_cholesky": rng.normal(size=(3, 3)),
    }
    sites = constrain_fn(unconstrained._prior, (mixture,), {}, z)

    @jax.jit
    def sites_log_density(z: dict) -> jax.Array:
        """Prior and likelihood by NumPyro's own distributions, in the sites' own space."""
        sites = constrain_fn(unconstrained._prior, (mixture,), {}, z)
        prior, factors = mixture.family.prior, sites["precisions_cholesky"]
        precisions = (factors @ factors.mT)[..., ::-1, ::-1]
        reversed_ = jnp.asarray(prior.scale)[..., ::-1, ::-1]
        components = dist.MultivariateNormal(sites["means"], precision_matrix=precisions)
        of_means = dist.MultivariateNormal(prior.mean, precision_matrix=prior.mean_precision * precisions)
        return (
            dist.Dirichlet(jnp.asarray(mixture.weights.concentration)).log_prob(sites["weights"])
            + dist.WishartCholesky(prior.degrees_of_freedom, rate_matrix=reversed_).log_prob(factors).sum()
            + of_means.log_prob(sites["means"]).sum()
            + dist.MixtureSameFamily(dist.Categorical(probs=sites["weights"]), components).log_prob(x).sum()
        )

    transforms = {
        "weights": dist.biject_to(dist.constraints.simplex),
        "precisions_cholesky": dist.biject_to(dist.constraints.lower_cholesky),
    }
    volume = sum(t.log_abs_det_jacobian(z[name], sites[name]).sum() for name, t in transforms.items())
    potential = jax.jit(unconstrained.potential(mixture, problem.tiles))
    # some hundred nats in float64
    np.testing.assert_allclose(potential(z), -sites_log_density(z) - volume, rtol=1e-10)


@pytest.mark.statistical
def test_a_fault_in_the_pass_changes_the_potential(problem, monkeypatch):
    z = {"weights": np.zeros(2), "means": np.zeros((3, 2)), "precisions_cholesky": np.zeros((3, 3))}
    right = float(unconstrained.potential(problem.standard, problem.tiles)(z))
    plain = sweep.sweep

    def doubled(*arguments, **options):
        value, statistics = plain(*arguments, **options)
        return 2 * value, statistics

    monkeypatch.setattr(sweep, "sweep", doubled)
    jax.clear_caches()
    assert float(unconstrained.potential(problem.standard, problem.tiles)(z)) != pytest.approx(right, rel=1e-3)
    jax.clear_caches()


def test_clusters_that_share_a_coordinate_align(three):
    draws = three.fit_.posterior
    assert isinstance(draws, Draws)
    assert draws.checks.unclear == 0
    assert set(draws.checks.modes) == {0}
    weights, parameters = three.fit_.aligned()
    means = three.fit_.mixture.family.map_parameters(parameters, three.fit_.frame).means
    # 40 rows a cluster: the means of chains and draws stay within the clusters, 6 standard deviations apart
    assert np.ptp(means[..., 1], axis=(0, 1)).max() < 4
    np.testing.assert_allclose(np.sort(three.means_[:, 1]), [-6, 0, 6], atol=1.0)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-12)


def test_raw_draws_are_kept(three):
    draws = three.fit_.posterior
    assert draws.weights.shape == (2, 150, 3)
    assert draws.order.shape == (2, 150, 3)
    assert np.sort(draws.order, axis=-1).tolist() == np.broadcast_to([0, 1, 2], (2, 150, 3)).tolist()
    upper = np.triu(np.ones((2, 2)))
    assert (draws.parameters.factors * (1 - upper) == 0).all()


def test_memberships_average_the_draws(three):
    X = clusters(5, seed=3)
    weights, parameters = three.fit_.flat()
    parameters = three.fit_.mixture.family.map_parameters(parameters, three.fit_.frame)
    covariances = np.linalg.inv(parameters.factors @ np.swapaxes(parameters.factors, -1, -2))
    offset = X[:, None, None] - parameters.means
    distance = np.einsum("nskd,skde,nske->nsk", offset, np.linalg.inv(covariances), offset)
    logs = np.log(weights) - 0.5 * distance - 0.5 * np.linalg.slogdet(2 * np.pi * covariances)[1]
    densities = np.exp(logs)
    shares = densities / densities.sum(-1, keepdims=True)
    # sums of 300 positive terms, and the condition of the covariances
    np.testing.assert_allclose(three.predict_proba(X), shares.mean(1), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(three.score_samples(X), np.log(densities.sum(-1).mean(1)), rtol=1e-8)
    np.testing.assert_allclose(three.fit_.log_likelihood(X), np.log(densities.sum(-1)).T, rtol=1e-8)
    ends = np.quantile(shares, [0.05, 0.95], axis=1)
    np.testing.assert_allclose(three.membership_interval(X, interval=0.9), np.moveaxis(ends, 0, -1), atol=1e-9)
    entropies = -np.sum(shares * np.log(np.maximum(shares, 1e-300)), -1)
    ends = np.quantile(entropies, [0.05, 0.95], axis=1).T
    np.testing.assert_allclose(three.entropy_interval(X, interval=0.9), ends, atol=1e-9)


def test_parts_of_rows_change_nothing(three, monkeypatch):
    X = clusters(50, seed=4)

    def found():
        return (
            three.membership_interval(X),
            three.entropy_interval(X),
            three.fit_.log_likelihood(X),
            three.predict_proba(X),
            three.score_samples(X),
        )

    whole = found()
    monkeypatch.setattr("bayessoft.fit.NUMBERS", 20 * 300 * 3)
    monkeypatch.setattr("bayessoft.fit.EVALUATED", 20 * (3 + 2))
    parts = found()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), whole, parts)


def test_attributes_are_posterior_means(three):
    weights, parameters = three.fit_.flat()
    parameters = three.fit_.mixture.family.map_parameters(parameters, three.fit_.frame)
    covariances = np.linalg.inv(parameters.factors @ np.swapaxes(parameters.factors, -1, -2))
    np.testing.assert_allclose(three.weights_, weights.mean(0), rtol=1e-12)
    np.testing.assert_allclose(three.means_, parameters.means.mean(0), atol=1e-12)
    np.testing.assert_allclose(three.covariances_, covariances.mean(0), rtol=1e-10)
    np.testing.assert_allclose(three.precisions_ @ three.covariances_, np.tile(np.eye(2), (3, 1, 1)), atol=1e-10)
    factors = three.precisions_cholesky_
    np.testing.assert_allclose(factors @ np.swapaxes(factors, -1, -2), three.precisions_, rtol=1e-10)
    np.testing.assert_allclose(three.responsibilities_, three.predict_proba(clusters()), rtol=1e-12)
    assert three.n_iter_ == 150
    assert three.lower_bound_ == pytest.approx(np.mean(three.lower_bounds_))


def test_the_trace_is_in_original_units(three):
    """The last entry is log-likelihood plus log prior density of the draws there, per row; the chains' mean."""
    fit, family = three.fit_, three.fit_.mixture.family
    X = clusters()
    likelihoods = fit.log_likelihood(X).sum(1).reshape(2, 150)[:, -1]
    priors = []
    for chain in range(2):
        draw = jax.tree.map(lambda leaf, c=chain: leaf[c, -1], (fit.posterior.weights, fit.posterior.parameters))
        with jax.enable_x64(True):
            priors.append(float(fit.mixture.log_prior(draw[0], family.map_parameters(draw[1], fit.frame))))
    assert fit.trace[-1] == pytest.approx((likelihoods + priors).mean() / len(X), rel=1e-9)


def test_summary_has_intervals(three):
    table = three.summary(interval=0.8)
    draws = np.take_along_axis(three.fit_.posterior.weights, three.fit_.posterior.order, -1).reshape(-1, 3)
    np.testing.assert_allclose(
        table[["weight_low", "weight_high"]].to_numpy().T, np.quantile(draws, [0.1, 0.9], axis=0)
    )
    assert table["size"].sum() == pytest.approx(120)
    assert (table["size_low"] <= table["size"]).all()
    assert {"weight_sd", "weight_ess", "weight_rhat", "mean x0", "mean x1"} <= set(table)
    with pytest.raises(OptionError, match="between 0 and 1"):
        three.summary(interval=95)


def test_rows_are_drawn_from_the_posterior_predictive(three):
    X, labels = three.sample(2000)
    assert (np.diff(labels) >= 0).all()
    share = np.bincount(labels, minlength=3) / 2000
    np.testing.assert_allclose(share, three.weights_, atol=0.06)  # 5 standard deviations of a share
    np.testing.assert_allclose(X[labels == 1].mean(0), three.means_[1], atol=0.5)


@pytest.mark.statistical
def test_too_many_clusters_are_told_of():
    five = GaussianMixture(5, inference=QUICK, random_state=0)
    with pytest.warns(ConvergenceWarning, match="use fewer components"):
        five.fit(clusters(90))
    assert five.status_ in (Status.LABELS_UNCLEAR, Status.MODES)
    assert not five.converged_
    assert five.fit_.posterior.checks.unclear > 0.1 or len(set(five.fit_.posterior.checks.modes)) > 1
    with pytest.raises(FitError, match="use fewer components") as refused:
        five.membership_interval(clusters(5))
    assert refused.value.status is five.status_
    table = five.summary()
    assert table[["weight_low", "weight_high", "size_low", "size_high"]].isna().all(axis=None)
    assert table["weight"].notna().all()
    np.testing.assert_allclose(five.predict_proba(clusters(5)).sum(1), 1, rtol=1e-12)


def test_a_second_fit_compiles_nothing(three):
    before = _block._cache_size(), nuts._begin._cache_size()
    other = fitted(X=clusters(119, seed=5), seed=7, engine=NUTS(draws=20, warmup=150, chains=2))
    assert (_block._cache_size(), nuts._begin._cache_size()) == before  # the same bucket of rows, other draws
    assert other.fit_.posterior.weights.shape == (2, 20, 3)


def test_a_seed_makes_a_fit_reproducible(three):
    again = fitted()
    assert (again.fit_.posterior.weights == three.fit_.posterior.weights).all()
    assert (fitted(seed=1).fit_.posterior.weights != three.fit_.posterior.weights).any()


def test_settings_of_jax_stay(three):
    assert not jax.config.jax_enable_x64
    fitted()
    assert not jax.config.jax_enable_x64


def test_weights_raise_the_density_to_a_power():
    """A row of weight 2 has the potential of the row twice."""
    X, weights = clusters(12), np.arange(12) % 3
    z = {"weights": np.zeros(2), "means": np.zeros((3, 2)), "precisions_cholesky": np.zeros((3, 3))}
    with jax.enable_x64(True):
        mixture = Mixture(3, Gaussian()).proper()
        weighed = Problem.pose(mixture, rows(X, sample_weight=weights), 0, 0.0, Given())
        repeated = Problem.pose(mixture, rows(np.repeat(X, weights, axis=0)), 0, 0.0, Given())
        found = [float(unconstrained.potential(p.standard, p.tiles)(z)) for p in (weighed, repeated)]
    assert found[0] == pytest.approx(found[1], rel=1e-12)


@pytest.mark.statistical
def test_weights_make_the_chain_of_repeated_rows():
    X, weights = clusters(12), np.arange(12) % 4
    few = NUTS(draws=4, warmup=4, chains=1, max_tree_depth=3)
    start = dict(weights_init=np.full(3, 1 / 3), means_init=X[[1, 5, 9]], precisions_init=np.tile(np.eye(2), (3, 1, 1)))
    repeated = np.random.default_rng(0).permutation(np.repeat(X, weights, axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so few draws tell nothing, and say so
        fits = [
            GaussianMixture(3, inference=few, random_state=0, **start).fit(*data)
            for data in ((X, None, weights), (repeated,))
        ]
    found = [fit.predict_proba(X) for fit in fits]
    # eight steps of at most eight gradients each: rounding grows a little
    np.testing.assert_allclose(*found, atol=1e-8)


@pytest.mark.parametrize("sizes", [Fixed([16, 16, 16]), Between(low=4)])
def test_sizes_are_refused_before_the_data(sizes):
    with pytest.raises(OptionError, match="for sizes that hold on average"):
        GaussianMixture(3, inference="nuts", sizes=sizes).fit("no table at all")


@pytest.mark.parametrize("option", [{"tol": 1e-4}, {"max_iter": 7}, {"n_init": 2}, {"reg_covar": 0.1}])
@pytest.mark.parametrize("inference", ["nuts", QUICK], ids=["name", "object"])
def test_unused_options_are_refused(option, inference):
    with pytest.raises(OptionError, match=next(iter(option))):
        GaussianMixture(3, inference=inference, **option).fit(clusters())


@pytest.mark.parametrize(
    "options", [{"draws": 0}, {"warmup": 1.5}, {"chains": True}, {"target_accept": 1.0}, {"max_tree_depth": 0}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        NUTS(**options)


def test_engines_are_hashable_and_equal():
    assert NUTS(draws=5) == NUTS(draws=5)
    assert len({NUTS(), NUTS(), NUTS(chains=2), EM()}) == 3
    with pytest.raises(OptionError, match="'em', 'cavi', 'gibbs', 'map', 'nuts', 'svi'"):
        GaussianMixture(inference="hmc").fit(clusters())


def test_draws_are_needed_for_intervals():
    em = GaussianMixture(3, random_state=0).fit(clusters())
    for call in (lambda: em.membership_interval(clusters()), lambda: em.entropy_interval(clusters()), em.to_arviz):
        with pytest.raises(OptionError, match="inference='cavi', 'svi', 'gibbs' or 'nuts'"):
            call()


def test_the_prior_is_in_the_result(three):
    assert isinstance(three.prior_, NormalInverseWishart)
    np.testing.assert_allclose(three.prior_.mean, clusters().mean(0), atol=1e-12)
    np.testing.assert_allclose(three.fit_.mixture.weights.concentration, np.ones(3))


def test_draws_are_saved(three, tmp_path):
    three.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert (loaded.predict_proba(clusters()) == three.predict_proba(clusters())).all()
    assert (loaded.membership_interval(clusters()) == three.membership_interval(clusters())).all()
    assert vars(loaded.fit_.posterior.checks) == vars(three.fit_.posterior.checks)


def test_draws_that_are_not_finite_are_an_error(three, monkeypatch):
    plain = NUTS.posterior

    def broken(self, *args):
        draws = plain(self, *args)
        draws.stats["log_density"][1, 7] = np.nan
        return draws

    monkeypatch.setattr(NUTS, "posterior", broken)
    estimator = GaussianMixture(3, inference=QUICK, random_state=0)
    with pytest.raises(FitError, match="step 158") as failed:  # 150 of warm-up and the eighth draw
        estimator.fit(clusters())
    assert failed.value.status is Status.NON_FINITE
    assert not hasattr(estimator, "fit_")
