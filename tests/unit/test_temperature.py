"""Mixtures at a temperature, as people use them: what is of the temperature, and what of the mixture itself."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.datasets import make_blobs

import bayessoft as bs
from bayessoft import plots
from bayessoft.errors import OptionError

BLOBS, _ = make_blobs(150, centers=[[0, 0], [4, 0], [0, 5]], random_state=0)
INIT = [[0.0, 0.0], [4.0, 0.0], [0.0, 5.0]]
TABLE = np.random.default_rng(0).integers(0, 3, (80, 4))


@pytest.fixture(scope="module")
def tempered():
    return bs.GaussianMixture(3, temperature=2.0, means_init=INIT, tol=1e-6, max_iter=500).fit(BLOBS)


def test_evidence_does_not_count_by_the_temperature(tempered):
    evidence = np.random.default_rng(1).normal(size=(150, 3))
    plain = tempered.predict_proba(BLOBS)
    found = tempered.predict_proba(BLOBS, evidence=evidence)
    np.testing.assert_allclose(found, softmax(np.log(plain) + evidence, axis=1), atol=1e-10)


def test_weights_count_rows():
    weights = np.random.default_rng(2).integers(0, 3, 150)
    start = dict(weights_init=[0.5, 0.3, 0.2], means_init=INIT, precisions_init=[1.0, 1.0, 1.0])
    options = dict(covariance_type="spherical", temperature=2.5, tol=1e-10, max_iter=2000, **start)
    one = bs.GaussianMixture(3, **options).fit(BLOBS, sample_weight=weights)
    other = bs.GaussianMixture(3, **options).fit(np.repeat(BLOBS, weights, axis=0))
    np.testing.assert_allclose(one.means_, other.means_, atol=1e-4)
    np.testing.assert_allclose(one.lower_bound_, other.lower_bound_, atol=1e-7)


def test_overlap_is_that_of_the_mixture(tempered):
    same = dict(weights_init=tempered.weights_, means_init=tempered.means_, precisions_init=tempered.precisions_)
    with pytest.warns(UserWarning, match="max_iter"):
        plain = bs.GaussianMixture(3, max_iter=1, reg_covar=0, tol=0, **same).fit(BLOBS)
    plain.fit_ = tempered.fit_.plain
    assert bs.overlap(tempered, 2000).bayes_error == bs.overlap(plain, 2000).bayes_error


@pytest.mark.parametrize("family", ["gaussian", "poisson", "categorical"])
def test_pictures_and_saved_models(family, tmp_path):
    x = BLOBS if family == "gaussian" else TABLE
    model = bs.MixtureModel(2, family, temperature=2.0, random_state=0).fit(x)
    ax = plots.memberships(model, x) if family == "gaussian" else plots.profiles(model)
    assert ax.get_xlabel()
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(bs.load(tmp_path / "model").predict_proba(x), model.predict_proba(x))


@pytest.mark.parametrize("temperature", [0, -1.0, np.nan, np.inf, "2", True])
def test_what_is_no_temperature_is_refused(temperature):
    with pytest.raises(OptionError, match="temperature is .*: pass a finite number above 0"):
        bs.GaussianMixture(2, temperature=temperature).fit(BLOBS)


@pytest.mark.parametrize("inference", ["map", "cavi", "svi", "gibbs", "nuts"])
def test_engines_that_find_a_posterior_refuse_it(inference):
    with pytest.raises(OptionError, match="temperature=2, and .* finds a posterior, which has no temperature"):
        bs.GaussianMixture(2, temperature=2.0, prior="weak", inference=inference).fit(BLOBS)
