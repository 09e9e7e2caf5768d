"""Sizes with other engines than EM: counts that hold in every draw of Gibbs, proportions near a target with any."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

import bayessoft as bs
from bayessoft.core import rearrange
from bayessoft.errors import OptionError

RNG = np.random.default_rng(3)
TRUTH = np.repeat([0, 1, 2], [40, 25, 15])
ORDER = RNG.permutation(80)
TRUTH = TRUTH[ORDER]
X = pd.DataFrame(RNG.normal(size=(80, 2)) + np.array([[0, 0], [4, 0], [2, 4]])[TRUTH], columns=["length", "width"])
FEW = bs.Gibbs(draws=60, warmup=30, chains=2)


def fitted(sizes, table=X, inference=FEW, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few draws on purpose
        gm = bs.GaussianMixture(3, covariance_type="diag", sizes=sizes, inference=inference, random_state=0)
        return gm.set_params(**options).fit(table)


@pytest.fixture(scope="module")
def known():
    return fitted(bs.Fixed([20, 35, 25]))


def test_counts_hold_in_every_draw(known):
    counts = known.fit_.posterior.counts
    assert counts.shape == (2, 60, 3)
    np.testing.assert_array_equal(np.sort(counts, -1), np.broadcast_to([20, 25, 35], counts.shape))
    labels = known.fit_.posterior.labels
    assert labels.shape == (2, 60, 80)
    every = (labels[..., None] == np.arange(3)).sum(2)
    np.testing.assert_array_equal(every, counts)


def test_sizes_memberships_and_summary_are_those_of_the_labels(known, tmp_path):
    np.testing.assert_allclose(np.sort(known.sizes_), [20, 25, 35])
    np.testing.assert_allclose(known.responsibilities_.sum(0), known.sizes_)
    np.testing.assert_allclose(known.responsibilities_.sum(1), 1)
    table = known.summary()
    np.testing.assert_array_equal(table["size_low"], known.sizes_)
    assert (table["size_low"] == table["size_high"]).all()
    assert not hasattr(known, "prices_")
    free = known.predict_proba(X)
    assert np.abs(free.sum(0) - known.sizes_).max() > 1  # which prediction does not know
    known.save(tmp_path / "model")
    again = bs.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), free)
    np.testing.assert_array_equal(again.sizes_, known.sizes_)


def test_counts_between_bounds_move_inside_them():
    gm = fitted(bs.Between([10, 30, 10], [20, 80, 30]))
    counts = gm.fit_.posterior.counts
    assert (counts.sum(-1) == 80).all()
    assert (counts >= 10).all() and (counts.max(-1) >= 30).all()
    assert (counts.std((0, 1)) > 0).any()
    free = fitted(bs.Between(1, 80), inference=bs.Gibbs(draws=300, warmup=100, chains=2))
    without = fitted(None, inference=bs.Gibbs(draws=300, warmup=100, chains=2))
    np.testing.assert_allclose(np.sort(free.sizes_), np.sort(without.summary()["size"]), atol=1.5)


def test_sizes_that_were_given_to_clusters_stay_theirs():
    """Clusters that all but coincide change places in the draws, but not across different sizes."""
    rows = RNG.normal(size=(40, 2))
    given = bs.Fixed([10, 10, 20], order="given")
    gm = fitted(given, rows, means_init=np.array([[0.0, 0.3], [0.3, 0], [-0.3, -0.3]]))
    np.testing.assert_allclose(gm.sizes_, [10, 10, 20])
    ancestry = gm.fit_.posterior.ancestry
    assert (ancestry[..., 2] == 2).all() and {0, 1} == set(ancestry[..., 0].ravel())  # those of one size change places


def test_sizes_of_any_order_go_where_they_suit():
    gm = fitted(bs.Fixed([20, 20, 40]))
    ancestry = gm.fit_.posterior.ancestry
    for chain, counts in zip(ancestry, gm.fit_.posterior.counts, strict=True):
        large = int(counts[0].argmax())
        assert (chain[:, large] == large).all()
        assert all(len(set(chain[:, j])) == 2 for j in range(3) if j != large)


@pytest.mark.statistical
def test_single_precision(known):
    gm = fitted(bs.Fixed([20, 35, 25]), X.astype(np.float32))
    assert gm.responsibilities_.dtype == np.float32
    counts = gm.fit_.posterior.counts
    np.testing.assert_array_equal(np.sort(counts, -1), np.broadcast_to([20, 25, 35], counts.shape))
    np.testing.assert_allclose(np.sort(gm.means_, 0), np.sort(known.means_, 0), atol=0.3)


def test_priors_that_tell_clusters_apart_need_sizes_in_order():
    with pytest.raises(OptionError, match="sizes of any order would go to other clusters"):
        fitted(bs.Fixed([20, 35, 25]), weight_concentration_prior=[1.0, 2.0, 3.0])


def test_rows_without_weight_have_no_part():
    weights = np.ones(80)
    weights[[0, 40, 79]] = 0
    gm = bs.GaussianMixture(3, covariance_type="diag", sizes=bs.Fixed([20, 34, 23]), inference=FEW, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        gm.fit(X, sample_weight=weights)
    counts = gm.fit_.posterior.counts
    np.testing.assert_array_equal(np.sort(counts, -1), np.broadcast_to([20, 23, 34], counts.shape))
    np.testing.assert_allclose(gm.responsibilities_[weights == 0], gm.predict_proba(X)[weights == 0])


def test_cavi_and_gibbs_count_the_proportions_as_free(known, tmp_path):
    closed, point = (fitted(bs.Fixed([20, 35, 25]), inference=name) for name in ("cavi", "em"))
    assert known.fit_.n_parameters == closed.fit_.n_parameters == point.fit_.n_parameters + 2
    np.testing.assert_array_equal(closed.fit_predict(X), closed.responsibilities_.argmax(1))
    np.testing.assert_allclose(closed.summary()["size"], closed.sizes_)
    closed.save(tmp_path / "model")
    again = bs.load(tmp_path / "model")
    np.testing.assert_array_equal(again.prices_, closed.prices_)
    np.testing.assert_array_equal(again.fit_.own_memberships(X.to_numpy(), np.ones(80)), closed.responsibilities_)


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        (
            bs.Fixed([0.333, 0.333, 0.334], unit="share"),
            None,
            r"pass sizes in whole rows, such as Fixed\(\[2",
        ),
        (bs.Between(26.5, 26.9), None, "the high bounds|no whole numbers"),
        (bs.Fixed([20, 35, 25]), 2, "labels drawn under sizes have one row each"),
        (bs.Fixed([20, 35, 24]), None, "the rows sum to 80"),
    ],
)
def test_sizes_that_labels_cannot_have_are_refused(sizes, weights, message):
    gm = bs.GaussianMixture(3, sizes=sizes, inference=FEW)
    with pytest.raises(OptionError, match=message):
        gm.fit(X, sample_weight=None if weights is None else np.r_[weights, np.ones(80 - weights), 0][:80])


def test_what_counts_end_is_refused(known):
    with pytest.raises(OptionError, match="rows that are independent, which a size constraint ends"):
        known.loo(X)
    with pytest.raises(OptionError, match="the kernel leaves sizes free"):
        bs.Gibbs().kernel(bs.Mixture(3, sizes=bs.Fixed([20, 35, 25])))
    with pytest.raises(OptionError, match="'gibbs' for numbers of rows that hold in every draw"):
        fitted(bs.Fixed([20, 35, 25]), inference="nuts")


@pytest.mark.statistical
def test_a_run_goes_on_with_the_same_labels(tmp_path):
    def run(draws, **more):
        return fitted(bs.Fixed([20, 35, 25]), inference=bs.Gibbs(draws=draws, warmup=30, chains=2), **more)

    run(20, checkpoint=tmp_path / "kept")
    on, whole = run(60, checkpoint=tmp_path / "kept"), run(60)
    for name in ("weights", "counts", "labels", "labelled"):
        np.testing.assert_array_equal(getattr(on.fit_.posterior, name), getattr(whole.fit_.posterior, name))
    less = run(30, checkpoint=tmp_path / "kept")  # of a run that was longer
    np.testing.assert_array_equal(less.fit_.posterior.labels, whole.fit_.posterior.labels[:, :30])


@pytest.mark.statistical
def test_labels_are_kept_of_the_last_draws(known, monkeypatch):
    monkeypatch.setattr("bayessoft.inference.gibbs.KEPT", 40)
    monkeypatch.setattr("bayessoft.inference.gibbs.KEPT_CELLS", 1)
    jax.clear_caches()
    gm = fitted(bs.Fixed([20, 35, 25]))
    jax.clear_caches()
    np.testing.assert_array_equal(gm.fit_.posterior.labelled, np.arange(12, 60, 3))
    every = (gm.fit_.posterior.labels[..., None] == np.arange(3)).sum(2)
    np.testing.assert_array_equal(every, gm.fit_.posterior.counts[:, 12:60:3])
    np.testing.assert_array_equal(gm.fit_.posterior.labels, known.fit_.posterior.labels[:, 12:60:3])


def test_labels_begin_with_allowed_counts():
    w = jnp.asarray([0.0, 1, 1, 1, 0, 1, 1, 0])
    for low, high in (([1, 2, 2], [1, 2, 2]), ([0, 0, 4], [5, 5, 5]), ([0, 0, 0], [1, 2, 3])):
        labels = rearrange.filled(jnp.asarray(low), jnp.asarray(high), w, jnp.uint8)
        counts = np.asarray(rearrange.counted(labels, w, 3))
        assert (counts >= low).all() and (counts <= high).all() and counts.sum() == 5


NEAR = bs.Near([10, 50, 20], 2000)


@pytest.mark.parametrize("inference", ["em", "cavi", pytest.param(FEW, marks=pytest.mark.statistical)], ids=str)
def test_proportions_are_drawn_near_a_target(inference):
    gm = fitted(NEAR, inference=inference)
    np.testing.assert_allclose(np.sort(gm.weights_), np.array([10, 20, 50]) / 80, atol=0.02)
    free = fitted(None, inference=inference, weight_concentration_prior=1.0)
    assert np.abs(np.sort(free.weights_) - np.sort(gm.weights_)).max() > 0.02
    # the largest share belongs to the largest cluster, wherever the target has it
    np.testing.assert_allclose(gm.weights_, np.array([10, 50, 20]) / 80, atol=0.02)
    assert gm.means_[1] @ [1, 1] < gm.means_[[0, 2]].sum(1).min()
    assert not hasattr(gm, "prices_") and gm.get_params()["sizes"] is NEAR


@pytest.mark.statistical
def test_nuts_draws_proportions_near_a_target():
    gm = fitted(NEAR, inference=bs.NUTS(draws=100, warmup=100, chains=2))
    np.testing.assert_allclose(gm.weights_, np.array([10, 50, 20]) / 80, atol=0.02)


def test_a_weak_target_gives_way():
    strong, weak = (fitted(bs.Near([70, 5, 5], s), inference="cavi").weights_.max() for s in (1000, 3))
    assert strong > 0.75 and weak < 0.6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": [1, 0], "strength": 3}, "target is .* finite numbers above 0"),
        ({"target": [], "strength": 3}, "target is"),
        ({"target": "ab", "strength": 3}, "pass a sequence of numbers"),
        ({"target": [1, 2], "strength": 0}, "strength is 0: pass a number of rows above 0"),
        ({"target": [1, 2], "strength": True}, "strength is True"),
    ],
)
def test_targets_that_are_none_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        bs.Near(**options)


def test_a_target_for_other_clusters_is_refused():
    with pytest.raises(OptionError, match="the concentration has shape"):
        fitted(bs.Near([1, 2], 10), inference="cavi")
    with pytest.raises(OptionError, match="both state a prior on the proportions"):
        fitted(NEAR, inference="cavi", weight_concentration_prior=2.0)
    with pytest.raises(OptionError, match="concentration below 1 has no mode"):
        fitted(bs.Near([70, 5, 5], 3), inference="em")


@pytest.mark.statistical
@pytest.mark.parametrize("sizes", [bs.Fixed([6, 2]), bs.Fixed([5, 3]), bs.Between([1, 5], [4, 8])], ids=str)
def test_gibbs_is_calibrated_under_sizes(sizes):
    prior = bs.NormalInverseWishart(np.array([1.0, -1.0]), 0.3, 5.0, np.ones(2))
    found = bs.calibrate(bs.Mixture(2, bs.Gaussian("diag", prior), bs.Dirichlet(2.0), sizes), n=8)
    print(found.summary().round(3))
    assert not found.rejected()
