"""Law "equivariance": the fit of mapped rows is the mapped fit, for the maps under which a model stays what it is."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bayessoft import GaussianMixture, IndependentNormalInverseWishart

from . import student_t
from .worlds import MEMBERS, PRIORS, independent, label, points, some, start, with_prior

N, K, D = 54, 3, 2
SHIFT = np.array([300.0, -0.5])
MAPS = {
    "full": np.array([[2.0, -30.0], [0.3, 4.0]]),
    "tied": np.array([[2.0, -30.0], [0.3, 4.0]]),
    "diag": np.diag([0.01, 50.0]),
    "spherical": 7 * np.array([[0.6, -0.8], [0.8, 0.6]]),  # a turn and a scale
}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # ten steps on purpose
# Ten steps from one start, rows that round at 1e-16 times the offset of up to 1e3 standard deviations: under 1e-12 a
# step, times the conditioning of the steps.
CLOSE = dict(rtol=1e-8, atol=1e-9)

members = pytest.mark.parametrize("member", MEMBERS, ids=label)


def mapped_spread(kind: str, a: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The covariances, in the shape of the structure, of rows multiplied by a."""
    if kind in ("full", "tied"):
        return a @ spread @ a.T
    return spread * (np.diag(a) ** 2 if kind == "diag" else np.linalg.norm(a[0]) ** 2)


def mapped_prior(kind: str, a: np.ndarray, prior: Any) -> Any:
    """The same prior on the parameters of mapped rows."""
    scale, mean = mapped_spread(kind, a, prior.scale), prior.mean @ a.T + SHIFT
    if isinstance(prior, IndependentNormalInverseWishart):
        return replace(prior, mean=mean, covariance=mapped_spread(kind, a, prior.covariance), scale=scale)
    return replace(prior, mean=mean, scale=scale)


@members
@pytest.mark.parametrize("prior", PRIORS)
def test_the_fit_of_mapped_rows_is_the_mapped_fit(member, prior):
    kind, x, begin = member.covariance_type, points(N, D), start(member, K, D)
    a = MAPS[kind]
    inverse = np.linalg.inv(a)
    given = with_prior(member, prior, K, D).prior
    options = dict(covariance_type=kind, reg_covar=0, max_iter=10, tol=0)
    moved = dict(begin, means_init=begin["means_init"] @ a.T + SHIFT)
    moved["precisions_init"] = mapped_spread(kind, inverse.T, begin["precisions_init"])
    one = GaussianMixture(K, **options, **begin, prior=given).fit(x)
    there = given and mapped_prior(kind, a, given)
    other = GaussianMixture(K, **options, **moved, prior=there).fit(x @ a.T + SHIFT)
    volume = np.linalg.slogdet(a)[1]
    np.testing.assert_allclose(other.weights_, one.weights_, **CLOSE)
    np.testing.assert_allclose(other.means_, one.means_ @ a.T + SHIFT, **CLOSE)
    np.testing.assert_allclose(other.covariances_, mapped_spread(kind, a, one.covariances_), **CLOSE)
    np.testing.assert_allclose(other.score_samples(x @ a.T + SHIFT), one.score_samples(x) - volume, **CLOSE)
    np.testing.assert_allclose(np.diff(other.lower_bounds_), np.diff(one.lower_bounds_), atol=1e-9)
    if given is None:
        np.testing.assert_allclose(other.lower_bound_, one.lower_bound_ - volume, **CLOSE)


@pytest.mark.parametrize(("member", "prior"), independent(("diag", "unknown")))
def test_the_fit_of_mapped_rows_is_the_mapped_fit_under_independent_priors(member, prior):
    test_the_fit_of_mapped_rows_is_the_mapped_fit(member, prior)


@pytest.mark.parametrize("prior", ["weak", pytest.param("independent", marks=pytest.mark.statistical)])
@pytest.mark.parametrize("member", some("full"))
def test_a_default_start_and_the_named_priors_follow_too(member, prior):
    x, kind = points(N, D), member.covariance_type
    a = np.diag([3.0, 3.0]) if kind == "spherical" else np.diag([0.01, 50.0])
    options = dict(covariance_type=kind, prior=prior, max_iter=10, tol=0, random_state=0)
    one, other = (GaussianMixture(K, **options).fit(rows) for rows in (x, x @ a + SHIFT))
    np.testing.assert_allclose(other.weights_, one.weights_, **CLOSE)
    np.testing.assert_allclose(other.means_, one.means_ @ a + SHIFT, **CLOSE)
    np.testing.assert_allclose(other.covariances_, mapped_spread(kind, a, one.covariances_), **CLOSE)


@pytest.mark.parametrize("prior", [pytest.param("none", marks=pytest.mark.statistical), "shared"])
@student_t.members
def test_the_student_t_fit_of_mapped_rows_is_the_mapped_fit(member, prior):
    from bayessoft import MixtureModel, StudentT, StudentTPrior

    kind, x = member.covariance_type, points(N, D)
    a, begin = MAPS[kind], student_t.parameters(member, K, D)
    given = student_t.under(member, prior, K, D).prior
    spread = np.asarray(member.gaussian.structure.covariance(begin.factors))
    degrees = np.asarray(begin.degrees_of_freedom)
    one_start = dict(means=points(K, D, seed=9), scales=spread, degrees_of_freedom=degrees)
    moved = one_start | dict(means=one_start["means"] @ a.T + SHIFT, scales=mapped_spread(kind, a, spread))
    there = given and StudentTPrior(mapped_prior(kind, a, given.components), given.shape, given.rate)

    def fitted(rows, start, prior):
        options = dict(weights_init=np.full(K, 1 / K), parameters_init=start, max_iter=10, tol=0)
        return MixtureModel(K, StudentT(kind, prior=prior), **options).fit(rows)

    one, other = fitted(x, one_start, given), fitted(x @ a.T + SHIFT, moved, there)
    np.testing.assert_allclose(other.weights_, one.weights_, **CLOSE)
    np.testing.assert_allclose(other.parameters_["means"], one.parameters_["means"] @ a.T + SHIFT, **CLOSE)
    expected = mapped_spread(kind, a, one.parameters_["scales"])
    np.testing.assert_allclose(other.parameters_["scales"], expected, **CLOSE)
    degrees = [model.parameters_["degrees_of_freedom"] for model in (one, other)]
    np.testing.assert_allclose(*degrees, rtol=1e-6)  # which the rows tell less of
    volume = np.linalg.slogdet(a)[1]
    np.testing.assert_allclose(other.score_samples(x @ a.T + SHIFT), one.score_samples(x) - volume, **CLOSE)
