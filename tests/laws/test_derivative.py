"""Law "derivative": gradient and Hessian of the likelihood are those of NumPyro's mixture by plain autodiff."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.flatten_util import ravel_pytree
from jax.scipy.special import gammaln

from bayessoft.core import sweep as core
from bayessoft.families.gaussian import GaussianParameters

from . import linear, student_t
from .worlds import (
    MEMBERS,
    covariances,
    laid_out,
    linear_tiles,
    parameters,
    points,
    proportions,
    some,
    with_prior,
)

K, D, N = 2, 2, 12


def unconstrained(member):
    """A vector, and the map from it to parameters and log proportions: Cholesky factors or logs of the spreads."""
    spread, structure = covariances(member.covariance_type, K, D), member.structure
    root = np.linalg.cholesky(spread) if structure.matrix else np.log(spread)
    means = np.random.default_rng(3).normal(size=(K, D))
    vector, unravel = ravel_pytree((jnp.asarray(means), jnp.asarray(root), jnp.log(jnp.asarray(proportions(K)))))

    def build(u, offset):
        centred, root, logits = unravel(u)
        lower = jnp.tril(root) if structure.matrix else root
        spread = lower @ jnp.swapaxes(lower, -1, -2) if structure.matrix else jnp.exp(root)
        return GaussianParameters(offset + centred, structure.factor(spread)), jax.nn.log_softmax(logits)

    return vector, build


def agree(member, u, build):
    """Compare value, gradient and Hessian with those of the plain likelihood, at a vector that builds parameters."""

    def fast(u, offset, rows):
        return core.log_likelihood(member, *build(u, offset), rows)

    def plain(u, offset, rows):
        theta, log_weights = build(u, offset)
        mixture = dist.MixtureSameFamily(dist.Categorical(logits=log_weights), member.likelihood(theta))
        return jnp.sum(rows.w.ravel() * mixture.log_prob(jnp.swapaxes(rows.x, 1, 2).reshape(-1, D)))

    def orders(f):
        def derivatives(u, offset, rows):
            """Value and reverse gradient, then forward gradient and Hessian: forward over reverse."""
            along = jax.vmap(lambda e: jax.jvp(lambda v: jax.value_and_grad(f)(v, offset, rows), (u,), (e,)))
            return jax.tree.leaves(along(jnp.eye(len(u))))

        return jax.jit(derivatives)

    ours, theirs = orders(fast), orders(plain)
    for offset in (0.0, 1e4):  # the second one is too far from the origin for the product form
        x, w = points(N, D, offset=offset), np.random.default_rng(2).random(N) + 0.5
        rows = laid_out(x, w, 8)
        assert bool(member.safe(build(u, offset)[0], rows.radius)) is (offset == 0)
        for a, b in zip(ours(u, offset, rows), theirs(u, offset, rows), strict=True):
            # near the origin rounding is 1e-13 of terms up to 100; at 1e4 rows and means round at 2e-12
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 if offset == 0 else 1e-7)


@pytest.mark.parametrize("member", some("full", "diag"))
def test_gradient_and_hessian_are_autodiffs(member):
    agree(member, *unconstrained(member))


@pytest.mark.parametrize("member", some("diag"))
def test_an_unknown_scale_acts_by_its_mean(member):
    """Fisher's identity: the slope of the density without the scale is the one at the scale's mean, a site of NUTS."""
    member = with_prior(member, "unknown", K, D)
    theta = parameters(member, K, D, seed=4)
    site = next(value for name, value in member.sites(theta).items() if name.startswith("scale"))
    scale = site @ site.T if member.structure.matrix else site
    known = replace(member, prior=replace(member.prior, scale=scale, scale_degrees_of_freedom=None))
    ours, theirs = (jax.grad(lambda theta, of=of: of.log_prior(theta))(theta) for of in (member, known))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), ours, theirs)


def test_derivatives_in_the_rows_are_refused():
    member = MEMBERS[0]
    u, build = unconstrained(member)

    def of_rows(x):
        rows = laid_out(points(N, D))
        return core.log_likelihood(member, *build(u, 0.0), core.Tiles(x, rows.w, rows.radius))

    with pytest.raises(TypeError, match="no derivative in the rows"):
        jax.grad(of_rows)(laid_out(points(N, D)).x)


@pytest.mark.parametrize(
    "name", [name if name == "poisson" else pytest.param(name, marks=pytest.mark.statistical) for name in linear.LINEAR]
)
def test_linear_gradients_and_hessians_are_autodiffs(name):
    family, theta, x = linear.LINEAR[name], linear.parameters(name, K), linear.points(name, N)
    u, unravel = ravel_pytree((jax.tree.map(jnp.log, theta), jnp.log(jnp.asarray(proportions(K)))))
    rows, w = linear_tiles(name, x, np.random.default_rng(2).random(N) + 0.5, 8), np.random.default_rng(2)
    w = w.random(N) + 0.5

    def built(u):
        logs, log_weights = unravel(u)
        return jax.tree.map(jnp.exp, logs), log_weights

    def fast(u):
        return core.log_likelihood(family, *built(u), rows)

    def plain(u):
        theta, log_weights = built(u)
        scores = dist_log_prob(name, theta, x) + log_weights[:, None]
        return jnp.sum(w * jax.nn.logsumexp(scores, axis=0))

    for of in (jax.value_and_grad, jax.hessian):
        a, b = jax.jit(of(fast))(u), jax.jit(of(plain))(u)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10), a, b)


def dist_log_prob(name, theta, x):
    """Log densities (k, n) as they are written in books, free of what parameters sum to."""
    if name == "poisson":
        return jnp.sum(x * jnp.log(theta.rates)[:, None] - theta.rates[:, None] - gammaln(x + 1), -1)
    if name == "bernoulli":
        p = theta.probabilities[:, None]
        return jnp.sum(x * jnp.log(p) + (1 - x) * jnp.log(1 - p), -1)
    if name == "multinomial":
        constant = gammaln(x.sum(1) + 1) - gammaln(x + 1).sum(1)
        return jnp.sum(x * jnp.log(theta.shares)[:, None], -1) + constant
    ones = np.hstack([x[:, [j]] == np.arange(most) for j, most in enumerate(linear.LEVELS)])
    return jnp.log(theta.probabilities) @ ones.T


@pytest.mark.parametrize("member", student_t.some("diag"))
def test_student_t_gradient_and_hessian_are_autodiffs(member):
    """In degrees of freedom too; the weights of the rows move with all parameters."""
    u, build = unconstrained(student_t.gaussian(member))
    u = jnp.concatenate([u, jnp.log(jnp.array([2.5, 30.0]))])

    def built(u, offset):
        theta, log_weights = build(u[:-K], offset)
        return student_t.StudentTParameters(theta.means, theta.factors, jnp.exp(u[-K:])), log_weights

    agree(member, u, built)
