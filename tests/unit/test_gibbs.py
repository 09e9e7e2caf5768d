"""Gibbs sampling end to end, at few draws: draws, labels, NumPyro's driver, weights, refusals."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC
from sklearn.exceptions import ConvergenceWarning

from bayessoft import Dirichlet, Gaussian, GaussianMixture, Gibbs, Mixture, NormalInverseWishart, load
from bayessoft.errors import OptionError
from bayessoft.families.normal_inverse_wishart import weak
from bayessoft.inference import gibbs
from bayessoft.inference.run import _block
from bayessoft.status import Status

QUICK = Gibbs(draws=200, warmup=100, chains=2)


def clusters(n: int = 120, seed: int = 0) -> np.ndarray:
    """Three clusters that share their first coordinate."""
    rng = np.random.default_rng(seed)
    return np.array([[0.0, -6.0], [0.0, 0.0], [0.0, 6.0]])[np.arange(n) % 3] + rng.normal(size=(n, 2))


def fitted(engine=QUICK, X=None, seed=0, weights=None, **options) -> GaussianMixture:
    """A fit whose status is of no concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator = GaussianMixture(3, inference=engine, random_state=seed, **options)
        return estimator.fit(clusters() if X is None else X, sample_weight=weights)


@pytest.fixture(scope="module")
def three() -> GaussianMixture:
    return fitted()


def test_draws_align_to_the_clusters(three):
    draws = three.fit_.posterior
    assert draws.weights.shape == (2, 200, 3)
    assert draws.checks.unclear == 0
    assert three.status_ is Status.SAMPLED
    np.testing.assert_allclose(np.sort(three.means_[:, 1]), [-6, 0, 6], atol=0.5)  # 3 sd of the mean of 40 rows
    assert three.membership_interval(clusters(6, seed=4)).shape == (6, 3, 2)
    assert {"weight_ess", "weight_rhat", "size_low"} <= set(three.summary())
    assert three.to_arviz().posterior["means"].shape == (2, 200, 3, 2)


def test_clusters_change_places(three):
    """Raw draws come from every labelling."""
    raw = three.fit_.posterior.order
    assert len({tuple(order) for order in raw.reshape(-1, 3)}) == 6


def test_clusters_keep_the_numbers_of_their_start(three):
    """However often they changed places: `ancestry` remembers, and a start gives its own."""
    fit = three.fit_
    means = fit.mixture.family.map_parameters(fit.posterior.parameters, fit.frame).means[..., 1]
    by_start = np.take_along_axis(means, np.argsort(fit.posterior.ancestry, axis=-1), -1)
    assert np.ptp(by_start, axis=1).max() < 4  # within a chain; clusters are 6 apart
    for order in ([0, 1, 2], [2, 0, 1]):
        given = np.array([[0.0, -6.0], [0.0, 0.0], [0.0, 6.0]])[order]
        np.testing.assert_allclose(fitted(means_init=given).means_, given, atol=0.8)


@pytest.mark.statistical
def test_clusters_stay_without_permutations():
    raw = fitted(Gibbs(200, 100, 2, permute=False)).fit_.posterior.order
    assert [len({tuple(order) for order in chain}) for chain in raw] == [1, 1]


def test_clusters_of_other_priors_keep_their_places():
    groups = jnp.array([0, 1, 0, 3])
    keys = jax.random.split(jax.random.key(0), 200)
    orders = np.asarray(jax.vmap(gibbs._permutation, (None, 0))(groups, keys))
    assert (orders[:, [1, 3]] == [1, 3]).all()
    assert {tuple(order) for order in orders} == {(0, 1, 2, 3), (2, 1, 0, 3)}


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_which_clusters_may_change_places(kind):
    structure = Gaussian(kind).structure
    prior = weak(structure, 3, np.zeros(2), np.eye(2)).checked(structure, 3, 2)
    alike = Mixture(3, Gaussian(kind, prior), Dirichlet(1.0).checked(3))
    assert alike.exchangeable().tolist() == [0, 0, 0]
    own = Mixture(3, Gaussian(kind, prior), Dirichlet([1.0, 2.0, 1.0]).checked(3))
    assert own.exchangeable().tolist() == [0, 1, 0]
    apart = NormalInverseWishart(np.eye(3)[:, :2], prior.mean_precision, prior.degrees_of_freedom, prior.scale)
    assert Mixture(3, Gaussian(kind, apart), Dirichlet(1.0).checked(3)).exchangeable().tolist() == [0, 1, 2]


def test_a_seed_gives_the_same_draws(three):
    again, other = fitted(), fitted(seed=1)
    np.testing.assert_array_equal(again.fit_.posterior.weights, three.fit_.posterior.weights)
    assert not np.array_equal(other.fit_.posterior.weights, three.fit_.posterior.weights)


def test_other_draws_and_rows_of_the_bucket_compile_nothing(three):
    before = _block._cache_size()
    fitted(Gibbs(draws=30, warmup=10, chains=2), X=clusters(119))
    assert _block._cache_size() == before


def test_the_log_density_is_that_of_the_draw(three):
    fit, X = three.fit_, clusters()
    found = fit.log_likelihood(X).sum(1).reshape(2, 200)
    with jax.enable_x64(True):
        inside = jax.vmap(jax.vmap(fit.mixture.standardised(fit.frame).log_prior))
        prior = np.asarray(inside(fit.posterior.weights, fit.posterior.parameters))
    expected = found - len(X) * fit.frame.log_det + prior
    np.testing.assert_allclose(fit.posterior.log_density, expected, rtol=1e-9)


@pytest.mark.statistical
def test_float32_stays_float32():
    gm = fitted(X=clusters().astype(np.float32))
    assert (
        gm.fit_.posterior.weights.dtype == gm.means_.dtype == gm.predict_proba(clusters()[:3].astype("f")).dtype == "f"
    )
    np.testing.assert_allclose(np.sort(gm.means_[:, 1]), [-6, 0, 6], atol=0.5)


def test_saved_draws_come_back(three, tmp_path):
    three.save(tmp_path / "fit")
    again = load(tmp_path / "fit")
    np.testing.assert_array_equal(again.predict_proba(clusters(9)), three.predict_proba(clusters(9)))
    assert again.inference == QUICK


@pytest.mark.statistical
def test_copies_are_told_of():
    gm = fitted(Gibbs(draws=50, warmup=50, chains=2, inverse_temperatures=(1.0, 0.8, 0.6)))
    rate = gm.fit_.posterior.stats["swap_rate"]
    assert rate.shape == (2, 50)
    assert 0 < rate.mean() < 1


def test_neighbours_change_places_by_their_gain():
    betas, complete = jnp.array([1.0, 0.5, 0.25, 0.1]), jnp.array([0.0, 1e6, 0.0, 1e6])
    key = jax.random.key(0)
    order, rate = gibbs._swaps(betas, complete, jnp.asarray(0), key)
    assert (order.tolist(), float(rate)) == ([1, 0, 3, 2], 1.0)  # both pairs gain
    order, rate = gibbs._swaps(betas, complete, jnp.asarray(1), key)
    assert (order.tolist(), float(rate)) == ([0, 1, 2, 3], 0.0)  # the middle one would lose


def driven(chains: int, method: str, **start) -> dict:
    """Samples of a run by NumPyro's own driver."""
    prior = NormalInverseWishart(np.zeros(2), 0.1, 4.0, np.eye(2))
    kernel = Gibbs().kernel(Mixture(3, Gaussian(prior=prior)))
    steps = dict(num_warmup=0 if start else 150, num_samples=5 if start else 100)
    mcmc = MCMC(kernel, **steps, num_chains=chains, chain_method=method, progress_bar=False)
    mcmc.run(jax.random.key(1), clusters(), **start)
    found = mcmc.get_samples(group_by_chain=True)
    assert set(found) == {"weights", "means", "precisions_cholesky"}
    assert found["means"].shape == (chains, steps["num_samples"], 3, 2)
    return found


@pytest.mark.statistical
def test_it_runs_in_numpyros_driver():
    means = np.sort(np.asarray(driven(2, "vectorized")["means"])[..., 1], axis=-1)
    np.testing.assert_allclose(means.mean((0, 1)), [-6, 0, 6], atol=0.7)


@pytest.mark.statistical
def test_it_warms_up_and_runs_in_double_precision_on_whole_numbers():
    X = np.round(10 * clusters()).astype(int)
    with jax.enable_x64(True):
        kernel = Gibbs().kernel(Mixture(3))  # whose prior is weak
        mcmc = MCMC(kernel, num_warmup=100, num_samples=50, num_chains=2, chain_method="vectorized", progress_bar=False)
        mcmc.warmup(jax.random.key(3), X=X)
        mcmc.run(mcmc.post_warmup_state.rng_key, X=X)
        means = np.asarray(mcmc.get_samples()["means"])
    assert means.dtype == np.float64
    assert (np.abs(means[..., 1]) < 120).all()
    with pytest.raises(OptionError, match=r"call mcmc.run\(key, X\)"):
        kernel.init(jax.random.key(0), 0, None, (X, 3), {})


@pytest.mark.statistical
def test_it_runs_one_chain_after_the_other_from_a_given_start():
    found = driven(2, "sequential")
    start = jax.tree.map(lambda leaf: leaf[0, -1], found)
    after = driven(1, "sequential", init_params=start)
    assert np.abs(np.sort(np.asarray(after["means"])[..., 1]) - [-6, 0, 6]).max() < 1.5


@pytest.mark.parametrize(
    "engine, options, message",
    [
        (Gibbs(), {"tol": 1e-6}, "tol set, which Gibbs does not use"),
        (Gibbs(), {"reg_covar": 1e-3}, "reg_covar set, which Gibbs does not use"),
        ("gibs", {}, "pass 'em', 'cavi', 'gibbs', 'map', 'nuts', 'svi', or an engine object"),
    ],
)
def test_refusals(engine, options, message):
    with pytest.raises(OptionError, match=message):
        GaussianMixture(3, inference=engine, **options).fit(clusters())


def test_fractional_weights_are_refused_by_name_and_leave_an_earlier_fit_alone(three):
    gm, means = three, three.means_
    with pytest.raises(OptionError, match="sample_weight holds fractions.*inference='nuts'"):
        gm.fit(np.ones((5, 3)), sample_weight=np.full(5, 0.5))
    assert gm.means_ is means
    assert gm.n_features_in_ == 2


@pytest.mark.parametrize(
    "options, message",
    [
        ({"draws": 0}, "draws is 0"),
        ({"inverse_temperatures": (0.5, 0.2)}, "start with 1.0"),
        ({"inverse_temperatures": (1.0, 1.0)}, "let the others fall"),
        ({"inverse_temperatures": [1.0, 0.5]}, "pass a tuple"),
        ({"inverse_temperatures": (1.0, 0.0)}, r"numbers in \(0, 1\]"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(OptionError, match=message):
        Gibbs(**options)
