"""Checks of a model: how it predicts, what tables it makes, whence its results come."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from bayessoft import GaussianMixture, Gibbs, MixtureModel, NormalInverseWishart
from bayessoft.diagnostics.sensitivity import cumulative_divergence, sensitivity
from bayessoft.errors import FitError, OptionError

RNG = np.random.default_rng(5)
X = pd.DataFrame(RNG.normal(size=(30, 2)) + [3.0, -1.0], columns=["height", "width"])
PRIOR = NormalInverseWishart(np.array([3.0, -1.0]), 0.1, 4.0, np.eye(2))
ENGINE = Gibbs(draws=600, warmup=50, chains=2)


@pytest.fixture(scope="module")
def one():
    """A single Gaussian: its posterior is known, and Gibbs draws from it independently."""
    return GaussianMixture(1, prior=PRIOR, inference=ENGINE, random_state=0).fit(X)


@pytest.fixture(scope="module")
def counts():
    """Counts of more spread than any two groups of Poisson counts have."""
    rng = np.random.default_rng(1)
    return pd.DataFrame(rng.poisson(rng.gamma(1.0, 12.0, (150, 1)) * [1.0, 1.0]), columns=["visits", "calls"])


def test_leaving_a_row_out_is_fitting_without_it(one):
    """Of one component, CAVI is exact: it says what each row's density is given all others."""
    exact = [
        GaussianMixture(1, prior=PRIOR, inference="cavi", tol=1e-10).fit(X.drop(i)).score_samples(X.loc[[i]])[0]
        for i in range(8)
    ]
    found = one.loo(X)
    np.testing.assert_allclose(found.pointwise[:8], exact, atol=0.1)
    assert found.pareto_k.shape == (30,) and not len(found.doubtful)
    assert found.elpd == pytest.approx(found.pointwise.sum())
    assert 2 < found.p_loo < 8  # five parameters
    itself = np.log(np.exp(one.fit_.log_likelihood(X.to_numpy())).mean(0))
    assert (itself > found.pointwise).all()


@pytest.mark.statistical
def test_rows_that_decide_a_cluster_are_told():
    far = np.concatenate([X.to_numpy()[:20], [[60.0, 60.0]]])
    found = GaussianMixture(2, inference=Gibbs(draws=150, warmup=50, chains=1), random_state=0).fit(far).loo(far)
    assert 20 in found.doubtful
    assert "20" in found.text and "not to be trusted" in found.text


def test_arviz_leaves_out_the_same(one):
    import arviz

    told = arviz.loo(one.to_arviz(X, log_likelihood=True), pointwise=True)
    theirs = getattr(told, "elpd_i", None)
    theirs = told.loo_i if theirs is None else theirs
    np.testing.assert_allclose(one.loo(X).pointwise, np.asarray(theirs), atol=5e-3)


def test_tables_drawn_from_the_truth_look_like_it(one):
    table = one.posterior_predictive_check(X, draws=100)
    assert list(table.columns) == ["observed", "mean", "low", "high", "p_value"]
    assert {"mean height", "sd width", "correlation height, width"} <= set(table.index)
    assert table["p_value"].between(0.02, 0.98).all()
    assert (table["low"] < table["high"]).all()


def test_a_model_that_makes_no_such_tables_is_told(counts):
    fit = MixtureModel(2, "poisson", random_state=0).fit(counts)
    table = fit.posterior_predictive_check(counts, {"largest": lambda x: x.max(), "mean": np.mean}, draws=100)
    assert table.loc["largest", "p_value"] < 0.02
    assert 0.02 < table.loc["mean", "p_value"] < 0.98


def test_shares_are_what_few_values_have():
    rng = np.random.default_rng(0)
    answers = pd.DataFrame({"smokes": rng.integers(0, 2, 60), "owns": np.ones(60, int)})
    table = MixtureModel(1, "bernoulli").fit(answers).posterior_predictive_check(answers, draws=50)
    assert list(table.index) == ["share of 1 smokes"]  # a column of one value has nothing to be compared


def test_statistics_that_some_tables_do_not_have(one):
    """The share is of the tables that have it."""
    asked = iter([0.5, *[np.nan, 1.0] * 20])
    table = one.posterior_predictive_check(X, {"odd": lambda _: next(asked)}, draws=40)
    assert table.loc["odd"].tolist() == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_tables_drawn_from_the_prior():
    near, far = (
        GaussianMixture(2, prior=NormalInverseWishart(np.full(2, at), 0.1, 6.0, np.eye(2)), inference="gibbs")
        for at in (1.0, 400.0)
    )
    one, other = (each.prior_predictive_check(X, draws=60).loc["mean height"] for each in (near, far))
    assert one["low"] < one["observed"] < one["high"]
    assert other["observed"] < other["low"]
    assert not hasattr(near, "fit_")
    with pytest.raises(ValueError, match="width"):  # the cell is named
        near.prior_predictive_check(X.assign(width=np.nan))


def test_distance_between_distributions_is_that_of_their_functions():
    """Draws and weights of two normal distributions against the integral over their distribution functions."""
    u = (np.arange(20_000) + 0.5) / 20_000
    draws = norm.ppf(u)
    weights = np.exp(0.3 * draws)
    t = np.linspace(draws[0], draws[-1], 200_001)
    p, q = norm.cdf(t), norm.cdf(t - 0.3)
    middle = np.log2((p + q) / 2)
    inside = p * (np.log2(p) - middle) + q * (np.log2(q) - middle)
    exact = np.sqrt(np.trapezoid(inside, t) / np.trapezoid(p + q, t))
    assert cumulative_divergence(draws, weights) == pytest.approx(exact, rel=1e-3)
    assert cumulative_divergence(np.zeros(5), np.arange(1.0, 6.0)) == 0


def test_a_part_that_says_nothing_is_not_sensitive():
    draws = np.random.default_rng(0).normal(size=(2, 500, 3))
    assert (sensitivity(np.zeros((2, 500)), draws) < 1e-6).all()
    assert (sensitivity(-0.5 * draws[..., 0] ** 2, draws[..., :1]) > 0.05).all()


@pytest.mark.parametrize(("mean", "diagnosis"), [(3.0, ""), (30.0, "prior-data conflict")])
def test_a_prior_against_the_rows_is_told(mean, diagnosis):
    prior = NormalInverseWishart(np.array([mean, -1.0]), 0.01 if mean == 3 else 5.0, 4.0, np.eye(2))
    gm = GaussianMixture(1, prior=prior, inference=ENGINE, random_state=0).fit(X)
    table = gm.prior_sensitivity()
    assert table.loc[(0, "mean height"), "diagnosis"] == diagnosis
    assert table.loc[(0, "mean height"), "likelihood"] > 0.05
    assert table.loc[(0, "weight"), "prior"] == 0  # of one cluster the weight is 1


def test_refusals(one):
    point = GaussianMixture(1).fit(X)
    for ask in (lambda: point.loo(X), point.prior_sensitivity):
        with pytest.raises(OptionError, match="'gibbs' or 'nuts'"):
            ask()
    with pytest.raises(OptionError, match="one finite number"):
        one.posterior_predictive_check(X, {"columns": lambda x: x.mean(0)})
    with pytest.raises(OptionError, match="nothing to compare"):
        point.posterior_predictive_check(X, {})
    with pytest.raises(OptionError, match="the fit has 30 rows of weight 30 in all, X has 29"):
        one.loo(X.iloc[1:])
    with pytest.raises(OptionError, match="draws is 3"):
        one.posterior_predictive_check(X, draws=3)
    few = GaussianMixture(1, prior=PRIOR, inference=Gibbs(draws=20, warmup=5, chains=1), random_state=0)
    with pytest.warns(match="too few draws"):
        few.fit(X)
    with pytest.raises(OptionError, match="100 draws"):
        few.loo(X)


@pytest.mark.statistical
def test_sensitivity_by_cluster_needs_clusters():
    alike = GaussianMixture(4, inference=Gibbs(draws=150, warmup=20, chains=1), random_state=0)
    with pytest.warns(match="clusters cannot be told apart"):
        alike.fit(X)
    with pytest.raises(FitError, match="refused"):
        alike.prior_sensitivity()
