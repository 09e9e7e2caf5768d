"""The mixture for NumPyro users: a model in the ambient dtype, and two distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer import MCMC, NUTS, Predictive
from numpyro.infer.util import log_density

from bayessoft import Dirichlet, Fixed, Gaussian, Mixture, NormalInverseWishart
from bayessoft.errors import OptionError
from bayessoft.families.structures import STRUCTURES

KINDS = tuple(STRUCTURES)
X = np.random.default_rng(0).normal(size=(13, 2)) + 3 * (np.arange(13) % 2)[:, None]


def stated(kind: str) -> Mixture:
    scale = {"full": np.eye(2) + 0.3, "tied": np.eye(2) + 0.3, "diag": np.array([1.0, 2.0]), "spherical": 1.5}[kind]
    return Mixture(2, Gaussian(kind, NormalInverseWishart(np.array([1.0, 2.0]), 0.5, 4.0, scale)), Dirichlet(2.0))


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "diag" else pytest.mark.statistical) for kind in KINDS]
)
def test_three_densities_are_the_plain_one(kind, double):
    mixture = stated(kind)
    trace = handlers.trace(handlers.seed(mixture.numpyro_model, 0)).get_trace(X)
    sites = {name: site["value"] for name, site in trace.items() if name != "x"}
    weights, theta = mixture.draw(lambda name, _: sites[name])
    plain = dist.MixtureSameFamily(dist.Categorical(probs=weights), mixture.family.likelihood(theta)).log_prob(X)
    np.testing.assert_allclose(mixture.row_distribution(weights, theta).log_prob(X), plain, rtol=1e-10)
    np.testing.assert_allclose(mixture.table_distribution(weights, theta, 13).log_prob(X), plain.sum(), rtol=1e-10)
    powers = np.arange(13.0)
    weighed = mixture.table_distribution(weights, theta, 13, powers).log_prob(X)
    np.testing.assert_allclose(weighed, plain @ powers, rtol=1e-10)
    prior = sum(trace[name]["fn"].log_prob(value).sum() for name, value in sites.items())
    np.testing.assert_allclose(log_density(mixture.numpyro_model, (X,), {}, sites)[0], prior + plain.sum(), rtol=1e-10)
    again = mixture.sites(weights, theta)
    assert again.keys() == sites.keys()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), again, sites)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_of_the_distributions_have_their_density(kind, double):
    mixture = stated(kind)
    seeded = handlers.seed(lambda: mixture.draw(numpyro.sample), 1)
    weights, theta = seeded()
    row = mixture.row_distribution(weights, theta)
    x = row.sample(jax.random.key(0), (4000,))
    assert x.shape == (4000, 2)
    means = np.asarray(theta.means)
    expected, spread = np.asarray(weights) @ means, np.asarray(x).std(0)
    assert (np.abs(np.asarray(x).mean(0) - expected) < 5 * spread / np.sqrt(4000)).all()  # one in a million
    table = mixture.table_distribution(weights, theta, 7)
    assert table.sample(jax.random.key(0)).shape == table.event_shape == (7, 2)
    assert table.sample(jax.random.key(0), (3,)).shape == (3, 7, 2)
    assert table.log_prob(table.sample(jax.random.key(0), (3,))).shape == (3,)


def test_a_row_in_a_plate_with_a_gradient_in_the_row(double):
    mixture = stated("full")
    weights, theta = handlers.seed(lambda: mixture.draw(numpyro.sample), 1)()
    row = mixture.row_distribution(weights, theta)

    def model(x=None):
        with numpyro.plate("rows", 13):
            return numpyro.sample("x", row, obs=x)

    found = log_density(model, (X,), {}, {})[0]
    np.testing.assert_allclose(found, row.log_prob(X).sum(), rtol=1e-12)
    gradient = jax.grad(lambda x: row.log_prob(x))(jnp.asarray(X[0]))
    plain = dist.MixtureSameFamily(dist.Categorical(probs=weights), mixture.family.likelihood(theta))
    np.testing.assert_allclose(gradient, jax.grad(plain.log_prob)(jnp.asarray(X[0])), rtol=1e-9)
    with pytest.raises(TypeError, match="no derivative in the rows"):
        jax.grad(lambda x: mixture.table_distribution(weights, theta, 13).log_prob(x))(jnp.asarray(X))


@pytest.mark.statistical
def test_a_weak_prior_is_taken_from_the_rows():
    model = Mixture(2).numpyro_model
    trace = handlers.trace(handlers.seed(model, 0)).get_trace(X)
    assert {name: site["value"].dtype for name, site in trace.items()} == {
        "weights": jnp.float32,
        "means": jnp.float32,
        "precisions_cholesky": jnp.float32,
        "x": jnp.float32,
    }
    with pytest.raises(OptionError, match="pass a prior in numbers"):
        handlers.seed(model, 0)(n=3)
    with pytest.raises(OptionError, match="their number n"):
        handlers.seed(stated("full").numpyro_model, 0)()


def test_prior_predictive():
    samples = Predictive(stated("diag").numpyro_model, num_samples=200)(jax.random.key(0), n=11)
    assert samples["x"].shape == (200, 11, 2)
    assert np.isfinite(samples["x"]).all()
    assert abs(float(np.median(samples["x"][..., 1])) - 2.0) < 0.6


@pytest.mark.statistical
def test_it_runs_in_mcmc():
    mcmc = MCMC(NUTS(stated("spherical").numpyro_model), num_warmup=20, num_samples=20, progress_bar=False)
    mcmc.run(jax.random.key(0), X=X)
    samples = mcmc.get_samples()
    assert samples["means"].shape == (20, 2, 2)
    assert samples["means"].dtype == jnp.float32
    assert not jax.config.jax_enable_x64


def test_missing_priors_are_filled_in():
    mixture = Mixture(3, Gaussian("diag"), None, Fixed([1, 1, 1])).proper()
    assert mixture.family.prior == "weak"
    assert mixture.weights.concentration == 1.0
    kept = stated("full")
    assert kept.proper().family is kept.family
    with pytest.raises(OptionError, match="no prior"):
        Mixture(2, weights=None).draw(numpyro.sample)


def test_a_size_constraint_and_a_wrong_number_of_rows_are_refused():
    x = np.zeros((5, 2))
    with pytest.raises(OptionError, match="sizes constrain a fit"):
        Mixture(2, Gaussian(), sizes=Fixed([2, 3])).numpyro_model(x)
    with pytest.raises(OptionError, match="n=4 but X has 5 rows"):
        Mixture(2, Gaussian()).numpyro_model(x, n=4)
