"""Law "tiny worlds": sums over all k^n labelings of a few rows give what the pass gives."""

from itertools import product

import jax
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from .worlds import MEMBERS, dense, label, laid_out, parameters, points, proportions, rowwise, swept

N, K, D = 5, 3, 2


@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_likelihood_and_memberships_by_enumeration(member):
    x, pi, theta = points(N, D), proportions(K), parameters(member, K, D)
    spread = np.asarray(member.structure.covariance(theta.factors))
    matrices = dense(member.covariance_type, spread, K, D)
    joint = (
        np.log(pi)
        + np.array(
            [multivariate_normal(m, c).logpdf(x) for m, c in zip(np.asarray(theta.means), matrices, strict=True)]
        ).T
    )
    labelings = np.array(list(product(range(K), repeat=N)))
    logs = joint[np.arange(N), labelings].sum(1)
    evidence = logsumexp(logs)
    marginals = np.array([[np.exp(logsumexp(logs[z == j]) - evidence) for j in range(K)] for z in labelings.T])
    rows = laid_out(x, tile_rows=4)
    value, statistics = swept(member, theta, np.log(pi), rows)
    log_density, r = rowwise(member, theta, np.log(pi), rows)
    found = np.moveaxis(np.asarray(r), 1, 2).reshape(-1, K)[:N]
    # 243 terms in float64: rounding under 1e-13 of some ten nats
    np.testing.assert_allclose(value, evidence, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(log_density).ravel()[:N].sum(), evidence, rtol=1e-12)
    np.testing.assert_allclose(found, marginals, rtol=1e-10)
    expected = marginals.sum(0), marginals.T @ x - marginals.sum(0)[:, None] * np.asarray(theta.means)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), (statistics.weight, statistics.first), expected
    )
