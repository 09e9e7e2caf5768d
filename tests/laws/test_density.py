"""Law "density": what is called a density integrates to 1, and a prior is one density, drawn from or evaluated."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density
from scipy.stats import norm

from bayessoft import GaussianMixture, IndependentNormalInverseWishart, NormalInverseWishart
from bayessoft.families.family import seeded
from bayessoft.families.weights import Dirichlet

from . import linear, student_t
from .test_bayes_rule import SCALES, conditionals, nothing
from .worlds import KINDS, MEMBERS, independent, label, points, some, start, with_prior

K, N = 2, 54
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # a few steps on purpose


@pytest.mark.parametrize(
    "kind, d, prior", [("full", 2, "weak"), ("tied", 2, None), ("diag", 1, None), ("spherical", 2, None)]
)
def test_score_samples_integrates_to_one(kind, d, prior):
    x = 3 * points(N, d) + 5
    gm = GaussianMixture(K, covariance_type=kind, prior=prior, max_iter=5, random_state=0).fit(x)
    # On an even grid the trapezoidal rule errs by exp(-2 (pi sd / step)^2), and the rest lies beyond 8 sd: both below
    # 1e-12 for every component, so that 1e-9 is the rounding of 1e4 terms with room to spare.
    spread = np.sqrt(np.linalg.eigvalsh(np.cov(x.T).reshape(d, d)).max())
    narrow = 1 / np.sqrt(np.linalg.eigvalsh(gm.precisions_).max() if kind in KINDS[:2] else gm.precisions_.max())
    step = narrow / 1.5
    axes = [np.arange(c.min() - 8 * spread, c.max() + 8 * spread, step) for c in x.T]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, d)
    np.testing.assert_allclose(np.exp(gm.score_samples(grid)).sum() * step**d, 1, atol=1e-9)


@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_the_prior_on_a_component_integrates_to_one(member):
    structure = member.structure
    shape = structure.shape(1, 1)
    scale = np.full(shape if member.covariance_type == "tied" else shape[1:], 1.3)
    prior = NormalInverseWishart(np.array([0.4]), 0.3, 5.0, scale).checked(structure, 1, 1)

    def mass(z, u):
        """Density times volume at the log variance u, z prior standard deviations from the prior mean."""
        spread = jnp.exp(u / 2) / jnp.sqrt(0.3)
        factor = jnp.full(shape, jnp.exp(-u / 2))
        return jnp.exp(prior.log_density(structure, (0.4 + z * spread)[None, None], factor) + u) * spread

    # smooth, and below 1e-16 at the edges: the trapezoidal rule on an even grid is exact to rounding
    z, u = np.linspace(-10, 10, 101), np.linspace(-6, 18, 241)
    total = jax.jit(lambda z, u: jax.vmap(lambda a: jax.vmap(lambda b: mass(a, b))(u))(z).sum())(z, u)
    np.testing.assert_allclose(total * (z[1] - z[0]) * (u[1] - u[0]), 1, atol=1e-10)


@pytest.mark.parametrize(("member", "prior"), independent(("full", "unknown"), ("spherical", "known")))
def test_an_independent_prior_integrates_to_one(member, prior):
    """Over the log variances of two clusters, or of one for both, at means whose density is SciPy's."""
    structure = member.structure
    shape = structure.shape(2, 1)
    entry = shape if structure.tied else shape[1:]
    stated = (np.array([0.4]), np.full(entry, 2.0), 5.0, np.full(entry, 1.3))
    prior = IndependentNormalInverseWishart(*stated, 4.0 if prior == "unknown" else None).checked(structure, 2, 1)
    means = np.array([[0.1], [1.5]])

    def mass(u, v):
        """Density times volume at log variances; two that are tied are counted on a single axis."""
        logs = jnp.broadcast_to(u, shape) if structure.tied else jnp.stack([u, v]).reshape(shape)
        volume = u if structure.tied else u + v
        return jnp.exp(prior.log_density(structure, means, jnp.exp(-logs / 2)) + volume)

    # in u the density falls as exp(2 u) on the one side and exp(-2.5 u) on the other: 1e-14 at the edges
    u = np.linspace(-16, 16, 321)
    v = np.zeros(1) if structure.tied else u
    total = jax.jit(lambda u, v: jax.vmap(lambda a: jax.vmap(lambda b: mass(a, b))(v))(u).sum())(u, v)
    step = u[1] - u[0]
    total = total * (step if structure.tied else step**2)
    np.testing.assert_allclose(total, norm(0.4, np.sqrt(2.0)).pdf(means).prod(), rtol=1e-10)


def test_the_prior_on_proportions_integrates_to_one():
    prior = Dirichlet([1.5, 3.0, 1.0])

    def mass(a, b):
        """Density times volume, by two logistic sticks."""
        first, second = jax.nn.sigmoid(a), jax.nn.sigmoid(b)
        rest = 1 - first
        weights = jnp.stack([first, rest * second, rest * (1 - second)])
        return jnp.exp(prior.log_density(weights)) * first * rest**2 * second * (1 - second)

    t = np.linspace(-30, 30, 301)  # ends in exp(-30) = 1e-13; smooth, so the trapezoidal rule is exact to rounding
    total = jax.jit(lambda t: jax.vmap(lambda a: jax.vmap(lambda b: mass(a, b))(t))(t).sum())(t)
    np.testing.assert_allclose(total * (t[1] - t[0]) ** 2, 1, atol=1e-10)


@pytest.mark.parametrize("prior", ["each"])
@pytest.mark.parametrize("member", some("full", "diag"))
def test_what_a_prior_draws_has_its_density(member, prior):
    """An unknown scale is integrated out: its density given the rest is divided by, that of a step of Gibbs."""
    k, d = 2, 2
    member = with_prior(member, prior, k, d)
    structure = member.structure

    def model():
        return member.draw(numpyro.sample, k)

    sites = {
        name: site["value"]
        for name, site in handlers.trace(handlers.seed(model, jax.random.key(3))).get_trace().items()
        if site["type"] == "sample"
    }
    spread_name = next(name for name in sites if name.startswith("precisions"))
    lower = np.tril_indices(d)

    def covariances(free):
        """The free entries of the covariances, from the free entries of the site."""
        site = free
        if structure.matrix:
            site = jnp.zeros_like(sites[spread_name]).at[..., lower[0], lower[1]].set(free)
        drawn = handlers.substitute(model, data=sites | {spread_name: site})
        spread = structure.covariance(handlers.seed(drawn, 0)().factors)
        return spread[..., lower[0], lower[1]] if structure.matrix else spread

    free = sites[spread_name][..., lower[0], lower[1]] if structure.matrix else sites[spread_name]
    jacobian = jax.jit(jax.jacfwd(covariances))(free).reshape(free.size, free.size)
    theta = handlers.seed(handlers.substitute(model, data=sites), 0)()
    drawn = log_density(model, (), {}, sites)[0] - jnp.linalg.slogdet(jacobian)[1]
    if prior == "unknown":
        drawn -= conditionals(member, theta, nothing(k, d, structure), sites)[next(iter(sites.keys() & SCALES))]
    np.testing.assert_allclose(member.log_prior(theta), drawn, rtol=1e-10)  # a dozen terms of some ten nats


@pytest.mark.parametrize(("member", "prior"), independent(("diag", "unknown")))
def test_what_an_independent_prior_draws_has_its_density(member, prior):
    test_what_a_prior_draws_has_its_density(member, prior)


@pytest.mark.parametrize("member", some("full", "diag"))
def test_the_objective_is_log_density_plus_log_prior_in_original_units(member):
    """At a fixed point the last step's objective is that of the result; units of columns differ by 1e4."""
    x = points(N, 2) * np.array([0.01, 100.0])
    kind = member.covariance_type
    x = x if kind != "spherical" else 100 * points(N, 2)
    options = dict(covariance_type=kind, prior="weak", weight_concentration_prior=2.0, tol=1e-12, max_iter=3000)
    gm = GaussianMixture(K, **options, random_state=0).fit(x)
    mixture = gm.fit_.mixture
    theta = type(member.centres(jnp.ones((1, 1))))(jnp.asarray(gm.means_), jnp.asarray(gm.precisions_cholesky_))
    expected = gm.score_samples(x).mean() + float(mixture.log_prior(jnp.asarray(gm.weights_), theta)) / N
    # the objective still rises by up to tol a step, and EM's rate here leaves some hundred times that
    np.testing.assert_allclose(gm.lower_bound_, expected, atol=1e-9)


def test_a_start_given_in_original_units_has_the_density_it_states():
    from scipy.stats import multivariate_normal

    member = MEMBERS[0]
    begin, x = start(member, K, 2), points(N, 2)
    gm = GaussianMixture(K, **begin, max_iter=1, tol=0, reg_covar=0).fit(x)
    densities = [
        w * multivariate_normal(m, np.linalg.inv(p)).pdf(x)
        for w, m, p in zip(begin["weights_init"], begin["means_init"], begin["precisions_init"], strict=True)
    ]
    np.testing.assert_allclose(gm.lower_bound_, np.log(np.sum(densities, 0)).mean(), rtol=1e-12)


@pytest.mark.parametrize(
    "name, inference",
    [(name, "em") for name in linear.LINEAR]
    + [pytest.param(n, "cavi", marks=() if n == "multinomial" else pytest.mark.statistical) for n in linear.LINEAR],
)
def test_linear_densities_sum_to_one(name, inference):
    from bayessoft import MixtureModel

    family = linear.under(name, "shared", K)
    model = MixtureModel(K, family, inference=inference, max_iter=3, random_state=0).fit(linear.points(name, N))
    total = np.exp(model.score_samples(linear.every_row(name))).sum()
    # 1e5 terms; of predictive densities of counts, whose tails fall as 1.6 to the minus count, 1e-8 lies beyond
    np.testing.assert_allclose(total, 1, atol=1e-7 if (name, inference) == ("poisson", "cavi") else 1e-10)


@linear.names
def test_linear_objectives_are_log_density_plus_log_prior(name):
    from bayessoft import MixtureModel

    x, family = linear.points(name, N), linear.under(name, "each", K)
    model = MixtureModel(K, family, weight_concentration_prior=2.0, tol=1e-13, max_iter=5000, random_state=0).fit(x)
    theta = type(linear.parameters(name, K))(*(jnp.asarray(value) for value in model.parameters_.values()))
    logs = linear.log_pmf(name, theta, x) + np.log(model.weights_)[:, None]
    expected = np.logaddexp.reduce(logs, 0).mean()
    expected += (
        linear.log_prior(name, family.prior, theta) + Dirichlet([2.0] * K).log_density(jnp.asarray(model.weights_))
    ) / N
    np.testing.assert_allclose(model.lower_bound_, expected, atol=1e-9)  # as of Gaussians


@pytest.mark.parametrize("kind", [pytest.param("full", marks=pytest.mark.statistical), "diag"])
def test_student_t_densities_integrate_to_one(kind):
    """In the plane, by polar coordinates about a point inside; the log of the radius takes in the heavy tails."""
    from bayessoft import MixtureModel, StudentT

    x = points(N, 2)
    model = MixtureModel(K, StudentT(kind, 2.0, "weak"), max_iter=2, random_state=0).fit(x)
    log_radius, angle = np.linspace(-9, 18, 900), np.linspace(0, 2 * np.pi, 257)[:-1]
    radius, turn = np.meshgrid(np.exp(log_radius), angle, indexing="ij")
    grid = x.mean(0) + np.stack([radius * np.cos(turn), radius * np.sin(turn)], -1).reshape(-1, 2)
    mass = np.exp(model.score_samples(grid)).reshape(radius.shape) * radius**2
    total = mass.sum() * (log_radius[1] - log_radius[0]) * (angle[1] - angle[0])
    # beyond exp(18) lie exp(-36), within exp(-9) exp(-18); between, even grids of smooth functions
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("shape, rate", [(2.0, 0.1), (1.0, 0.01), (30.0, 1.0)])
def test_the_prior_on_degrees_of_freedom_integrates_to_one(shape, rate):
    from scipy.stats import kstest

    from bayessoft.families.degrees_of_freedom import TruncatedGamma

    prior = TruncatedGamma(shape, rate)
    ends, weights = np.polynomial.legendre.leggauss(200)  # exact for polynomials of degree 399
    nu = 1 + 199 * (ends + 1) / 2
    np.testing.assert_allclose(np.sum(weights * np.exp(prior.log_prob(jnp.asarray(nu)))) * 199 / 2, 1, rtol=1e-12)
    drawn = np.asarray(prior.sample(jax.random.key(0), (4000,)))
    below = (prior._below(np.sort(drawn)) - prior._below(1.0)) / prior.mass
    assert ((drawn >= 1) & (drawn <= 200)).all()
    assert kstest(np.asarray(below), "uniform").pvalue > 1e-4  # and the seed is fixed


@student_t.members
def test_student_t_priors_are_one_density(member):
    """What is drawn has the density of its sites, beside that of Gaussian components; parameters are their sites."""
    member = student_t.under(member, "each", K, 2)
    theta = jax.jit(lambda key: member.draw(seeded(key), K))(jax.random.key(4))
    sites = member.sites(theta)
    again = member.draw(lambda name, _: sites[name], K)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), again, theta)
    of_degrees = student_t.log_prior_of_degrees(member.prior, np.asarray(theta.degrees_of_freedom))
    expected = member.gaussian.log_prior(theta.gaussian) + of_degrees
    np.testing.assert_allclose(member.log_prior(theta), expected, rtol=1e-11)
    fixed = replace(member, degrees_of_freedom=4.0)
    assert set(fixed.sites(theta)) == set(sites) - {"degrees_of_freedom"}
    np.testing.assert_allclose(fixed.log_prior(theta), member.gaussian.log_prior(theta.gaussian), rtol=1e-14)
    assert (fixed.draw(seeded(jax.random.key(0)), K).degrees_of_freedom == 4).all()
