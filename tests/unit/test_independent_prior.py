"""Priors under which means and covariances are independent, from the estimator's side."""

import numpy as np
import pytest

from bayessoft import SVI, Dirichlet, Gaussian, GaussianMixture, Gibbs, IndependentNormalInverseWishart, Mixture, load
from bayessoft.data.rows import rows
from bayessoft.errors import OptionError

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal([0.0, 10.0], [1.0, 3.0], (40, 2)), RNG.normal([6.0, 30.0], [1.5, 2.0], (20, 2))])
EYE = np.eye(2)


def stated(**changes):
    fields = dict(mean=np.zeros(2), covariance=EYE, degrees_of_freedom=4.0, scale=EYE)
    return IndependentNormalInverseWishart(**(fields | changes))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("full", {"mean": np.zeros(3)}, r"prior.mean has shape \(3,\)"),
        ("full", {"covariance": np.ones(2)}, r"prior.covariance has shape \(2,\); allowed .* \(2, 2\) or \(3, 2, 2\)"),
        ("full", {"covariance": -EYE}, "prior.covariance must be symmetric positive definite"),
        ("full", {"scale": 1 - EYE}, "prior.scale must be symmetric positive definite"),
        ("full", {"degrees_of_freedom": 1.0}, "prior.degrees_of_freedom is 1.0: pass numbers above 1"),
        ("full", {"scale_degrees_of_freedom": 1.0}, "prior.scale_degrees_of_freedom is 1.0: pass numbers above 1"),
        ("full", {"scale": np.array([EYE] * 3), "scale_degrees_of_freedom": 3.0}, "makes it one that all share"),
        ("tied", {"degrees_of_freedom": np.full(3, 4.0)}, "degrees_of_freedom has shape"),
        ("diag", {"covariance": np.ones(2), "scale": np.array([1.0, np.nan])}, "prior.scale holds NaN"),
        ("spherical", {"covariance": 1.0, "scale": 0.0}, "positive, for variances"),
    ],
)
def test_what_does_not_fit_is_refused(kind, changes, message):
    with pytest.raises(OptionError, match=message):
        GaussianMixture(3, covariance_type=kind, prior=stated(**changes)).fit(X)


@pytest.mark.parametrize("inference", ["cavi", SVI(guide="conjugate")], ids=["cavi", "svi"])
@pytest.mark.parametrize("prior", ["independent", stated()], ids=["named", "stated"])
def test_engines_of_closed_forms_refuse_it_by_name(inference, prior):
    with pytest.raises(OptionError, match="independent|IndependentNormalInverseWishart") as refusal:
        GaussianMixture(2, prior=prior, inference=inference).fit(X)
    assert "use 'gibbs', 'nuts', 'svi' with a guide of NumPyro, or 'map'" in str(refusal.value)


def test_an_unknown_name_is_refused():
    with pytest.raises(OptionError, match="prior is 'dependent': pass None, 'weak'"):
        GaussianMixture(2, prior="dependent").fit(X)


@pytest.mark.parametrize(
    ("kind", "covariance", "degrees", "scale", "unknown"),
    [
        ("full", np.diag([100.0, 1.0, 1.0]), 7.0, np.diag([7.0, 0.07, 0.07]), 3.0),
        ("diag", np.array([100.0, 1.0, 1.0]), 5.0, np.array([5.0, 0.05, 0.05]), 1.0),
        ("spherical", np.array(101 / 3), 5.0, np.array(101 / 60), 1.0),
    ],
)
def test_the_named_prior_is_of_the_ranges(kind, covariance, degrees, scale, unknown):
    """Columns with ranges of 10, 1 and 0: the last counts as 1, or as 0 in what columns share."""
    x = np.array([[-4.0, 0.0, 7.0], [6.0, 0.5, 7.0], [0.0, 1.0, 7.0], [1.0, 1.0, 7.0]])
    prior = Gaussian(kind, "independent").resolved(2, rows(x)).prior
    np.testing.assert_allclose(prior.mean, [1.0, 0.5, 7.0])
    np.testing.assert_allclose(prior.covariance, covariance)
    np.testing.assert_allclose(prior.scale, scale)
    assert (prior.degrees_of_freedom, prior.scale_degrees_of_freedom) == (degrees, unknown)


def test_clusters_with_other_priors_do_not_change_places():
    apart = stated(mean=np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), covariance=np.array([EYE, EYE, EYE]))
    mixture = Mixture(3, Gaussian("full", apart.checked(Gaussian().structure, 3, 2)), Dirichlet(1.0).checked(3))
    assert list(mixture.exchangeable()) == [0, 1, 0]
    wider = stated(covariance=np.array([EYE, EYE, 2 * EYE]), scale_degrees_of_freedom=3.0)
    mixture = Mixture(3, Gaussian("full", wider.checked(Gaussian().structure, 3, 2)), Dirichlet(1.0).checked(3))
    assert list(mixture.exchangeable()) == [0, 0, 2]


OPTIONS = dict(covariance_type="diag", prior="independent", weight_concentration_prior=1.5, random_state=0)


@pytest.mark.statistical
def test_em_never_falls_and_gradients_end_where_it_does():
    em = GaussianMixture(2, **OPTIONS, tol=1e-10, max_iter=500).fit(X)
    assert em.converged_
    assert np.diff(em.lower_bounds_).min() > -1e-12  # rounding of some nats
    uphill = GaussianMixture(2, **OPTIONS, tol=1e-10, max_iter=500, inference="map").fit(X)
    assert uphill.lower_bound_ == pytest.approx(em.lower_bound_, abs=1e-7)  # both ended by steps of 1e-10 a row
    np.testing.assert_allclose(np.sort(uphill.means_, 0), np.sort(em.means_, 0), rtol=1e-3)


@pytest.mark.statistical
def test_in_single_precision():
    double, single = (GaussianMixture(2, **OPTIONS).fit(X.astype(dtype)) for dtype in (np.float64, np.float32))
    assert single.converged_ and single.means_.dtype == np.float32
    np.testing.assert_allclose(np.sort(single.means_, 0), np.sort(double.means_, 0), rtol=1e-2)  # tol is 1e-3


@pytest.mark.statistical
def test_draws_are_saved_checked_and_weighed_against_the_prior(tmp_path):
    gm = GaussianMixture(2, **OPTIONS, inference=Gibbs(draws=300, warmup=100, chains=2)).fit(X)
    assert gm.status_.labelled
    assert np.abs(np.sort(gm.means_, 0) - [[0.0, 10.0], [6.0, 30.0]]).max() < 2
    gm.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again.prior_, IndependentNormalInverseWishart)
    np.testing.assert_array_equal(again.prior_.covariance, gm.prior_.covariance)
    np.testing.assert_array_equal(again.predict_proba(X), gm.predict_proba(X))
    table = gm.prior_sensitivity()
    assert np.isfinite(table[["prior", "likelihood"]].to_numpy()).all()
    assert (table["diagnosis"] == "").all()
    checked = gm.prior_predictive_check(X, draws=100)
    inside = (checked["low"] < checked["observed"]) & (checked["observed"] < checked["high"])
    assert inside.mean() > 0.5
