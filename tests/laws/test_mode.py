"""Law "mode": the log posterior density has no slope at `mode`.

Densities are with respect to Lebesgue measure on means, covariances and proportions; the slope is taken along
symmetric covariances and along the simplex. The likelihood is NumPyro's.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayessoft.families.gaussian import GaussianParameters
from bayessoft.families.weights import Dirichlet
from bayessoft.mixture import Mixture

from .worlds import MEMBERS, PRIORS, label, parameters, points, shares, statistics_of, with_prior

K, D, N = 3, 2, 24


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_the_posterior_is_flat_at_its_mode(member, prior):
    member, x, r = with_prior(member, prior, K, D), points(N, D), shares(N, K)
    concentration = {"none": None, "shared": Dirichlet(1.5), "each": Dirichlet([1.0, 2.0, 3.5])}[prior]
    mixture = Mixture(K, member, concentration and concentration.checked(K))
    start = parameters(member, K, D, seed=50)
    statistics = statistics_of(member, start, x, r, False)
    weights, theta = mixture.mode(statistics, 0.0)
    structure = member.structure

    def log_posterior(means, spread, weights):
        if structure.matrix:
            spread = (spread + jnp.swapaxes(spread, -1, -2)) / 2
        at = GaussianParameters(means, structure.factor(spread))
        rows = jnp.sum(r.T * (member.likelihood(at).log_prob(x[:, None, :]) + jnp.log(weights)))
        return rows + mixture.log_prior(weights, at)

    slope = jax.jit(jax.value_and_grad(log_posterior, argnums=(0, 1, 2)))
    spread = structure.covariance(theta.factors)
    value, (means_slope, spread_slope, weights_slope) = slope(theta.means, spread, weights)
    # Slopes sum N terms of size 1 to 10; 1e-10 is their rounding times the condition of the covariances.
    np.testing.assert_allclose(means_slope, 0, atol=1e-10)
    np.testing.assert_allclose(spread_slope, 0, atol=1e-10)
    np.testing.assert_allclose(weights_slope - weights_slope.mean(), 0, atol=1e-10)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-14)
    assert float(slope(theta.means + 0.01, spread * 1.01, weights)[0]) < float(value)
