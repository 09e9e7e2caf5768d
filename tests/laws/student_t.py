"""Small worlds of Student-t components: members, parameters, priors, and the same densities by SciPy."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from bayessoft.families.degrees_of_freedom import StudentTPrior
from bayessoft.families.student_t import StudentT, StudentTParameters

from . import worlds

STUDENT = [StudentT(kind) for kind in worlds.KINDS]
WORLD = {"full": 0, "tied": 1, "diag": 2, "spherical": 3}


def some(*kinds: str) -> list:
    """All members, those of other kinds in the statistical run only: each would compile for seconds."""
    return [
        pytest.param(m, id=worlds.label(m), marks=() if m.covariance_type in kinds else pytest.mark.statistical)
        for m in STUDENT
    ]


members = pytest.mark.parametrize("member", some("full"))


def gaussian(member: StudentT) -> Any:
    """The Gaussian member of the same kind."""
    return worlds.MEMBERS[WORLD[member.covariance_type]]


def parameters(member: StudentT, k: int, d: int, seed: int = 0, offset: float = 0.0) -> StudentTParameters:
    """Parameters of k components, with small and large degrees of freedom."""
    found = worlds.parameters(gaussian(member), k, d, seed, offset)
    degrees = np.resize([2.5, 40.0, 7.0], k) + np.random.default_rng(seed + 13).random(k)
    return StudentTParameters(found.means, found.factors, jnp.asarray(degrees))


def under(member: StudentT, prior: str, k: int, d: int) -> StudentT:
    """A member under a prior: "none", or one "shared" by all clusters, or for "each"."""
    if prior == "none":
        return member
    components = worlds.with_prior(gaussian(member), prior, k, d).prior
    return member.with_prior(StudentTPrior(components, 2.5, 0.2))


def matrices(member: StudentT, theta: StudentTParameters) -> np.ndarray:
    """The scale matrices (k, d, d)."""
    k, d = theta.means.shape
    return worlds.dense(member.covariance_type, np.asarray(member.gaussian.structure.covariance(theta.factors)), k, d)


def log_pdf(member: StudentT, theta: StudentTParameters, x: np.ndarray) -> np.ndarray:
    """Log densities (k, n), by SciPy."""
    every = zip(np.asarray(theta.means), matrices(member, theta), np.asarray(theta.degrees_of_freedom), strict=True)
    return np.array([stats.multivariate_t(m, s, df).logpdf(x) for m, s, df in every])


def log_prior_of_degrees(prior: StudentTPrior, degrees: np.ndarray) -> float:
    """Log density of degrees of freedom, its constant by quadrature."""
    gamma = stats.gamma(prior.shape, scale=1 / prior.rate)
    mass = integrate.quad(gamma.pdf, 1, 200, epsabs=1e-13)[0]
    return float(np.sum(gamma.logpdf(degrees) - np.log(mass)))


def expected_scales(member: StudentT, theta: StudentTParameters, x: np.ndarray) -> np.ndarray:
    """Expected scales (k, n) of rows, from the rows themselves."""
    away = x[None] - np.asarray(theta.means)[:, None]
    squares = np.einsum("knd,kde,kne->kn", away, np.linalg.inv(matrices(member, theta)), away)
    nu = np.asarray(theta.degrees_of_freedom)[:, None]
    return (nu + x.shape[1]) / (nu + squares)
