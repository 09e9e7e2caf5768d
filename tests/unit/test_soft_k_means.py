"""Soft k-means as people use it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import bayessoft as bs
from bayessoft import plots
from bayessoft.errors import DataError, FitError, OptionError

IRIS = load_iris(as_frame=True).data
BLOBS, TRUTH = make_blobs(120, centers=[[0, 0], [8, 0], [0, 9]], random_state=0)
REPEATED = {
    "check_sample_weight_equivalence_on_dense_data": "starts differ where rows are repeated; laws test it from a "
    "given start"
}


@pytest.mark.statistical
@pytest.mark.usefixtures("hardly_optimised")
@pytest.mark.parametrize("beta", ["auto", 1.0])
@pytest.mark.filterwarnings("ignore")
def test_check_estimator(beta):
    found = check_estimator(bs.SoftKMeans(3, beta, random_state=0), expected_failed_checks=REPEATED, on_fail=None)
    assert not [f"{c['check_name']}: {c['exception']!r}" for c in found if c["status"] == "failed"]


@pytest.fixture(scope="module")
def soft():
    return bs.SoftKMeans(3, random_state=0).fit(IRIS)


def test_it_has_what_k_means_has(soft):
    assert soft.converged_ and soft.status_.name == "CONVERGED"
    assert soft.cluster_centers_.shape == (3, 4) and type(soft.cluster_centers_) is np.ndarray
    np.testing.assert_allclose(soft.responsibilities_.sum(1), 1)
    np.testing.assert_array_equal(soft.labels_, soft.responsibilities_.argmax(1))
    np.testing.assert_array_equal(soft.predict(IRIS), soft.labels_)
    np.testing.assert_allclose(soft.predict_proba(IRIS), soft.responsibilities_, atol=1e-12)
    best = KMeans(3, n_init=10, random_state=0).fit(IRIS.to_numpy())
    assert best.inertia_ <= soft.inertia_ < 1.01 * best.inertia_
    distances = soft.transform(IRIS)
    np.testing.assert_allclose((distances.min(1) ** 2).sum(), soft.inertia_)
    assert soft.get_feature_names_out().tolist() == ["softkmeans0", "softkmeans1", "softkmeans2"]
    assert list(soft.summary().columns[:2]) == ["weight", "size"]
    np.testing.assert_array_equal(clone(soft).fit_predict(IRIS), soft.labels_)


def test_the_most_likely_inverse_temperature(soft):
    """That of the tied spherical variance, and no other is more likely."""
    difference = ((IRIS.to_numpy()[:, None] - soft.cluster_centers_) ** 2).sum(-1)
    variance = (soft.responsibilities_ * difference).sum() / IRIS.size
    assert soft.beta_ == pytest.approx(1 / (2 * variance), rel=1e-3)
    for factor in (0.95, 1.05):
        other = bs.SoftKMeans(3, factor * soft.beta_, init=soft.cluster_centers_).fit(IRIS)
        assert other.score(IRIS) < soft.score(IRIS)
    assert soft.fit_.n_parameters == 3 * 4 + 1


def test_it_ends_when_memberships_settle():
    loose, tight = (bs.SoftKMeans(3, 2.0, tol=tol, random_state=0).fit(IRIS) for tol in (1e-2, 1e-8))
    assert loose.n_iter_ < tight.n_iter_
    assert 1e-6 < np.abs(loose.responsibilities_ - tight.responsibilities_).max() < 0.1
    with pytest.warns(ConvergenceWarning, match="stopped at max_iter"):
        few = bs.SoftKMeans(3, 2.0, max_iter=2, random_state=0).fit(IRIS)
    assert few.n_iter_ == 2 and not few.converged_


def test_it_follows_the_units_of_the_columns():
    one = bs.SoftKMeans(3, 2.0, tol=1e-9, random_state=0).fit(IRIS)
    other = bs.SoftKMeans(3, 2.0 / 100, tol=1e-9, random_state=0).fit(10 * IRIS + 5)
    np.testing.assert_allclose(other.cluster_centers_, 10 * one.cluster_centers_ + 5, rtol=1e-6)
    np.testing.assert_allclose(other.responsibilities_, one.responsibilities_, atol=1e-6)


def test_single_precision():
    single = bs.SoftKMeans(3, 1.0, random_state=0).fit(BLOBS.astype(np.float32))
    double = bs.SoftKMeans(3, 1.0, init=single.cluster_centers_).fit(BLOBS)
    assert single.cluster_centers_.dtype == single.responsibilities_.dtype == np.float32
    np.testing.assert_allclose(single.cluster_centers_, double.cluster_centers_, rtol=1e-4, atol=1e-4)


def test_annealing_needs_no_start():
    ends = [bs.SoftKMeans(3, 5.0, anneal=True, random_state=seed).fit(BLOBS) for seed in (0, 1)]
    for model in ends:
        assert model.converged_
        path = model.annealing_
        assert path.centers.shape == (len(path.betas), 3, 2) and path.betas[-1] == pytest.approx(5.0)
        assert (np.diff(path.betas) > 0).all() and path.betas[0] < 1 / (2 * np.linalg.eigvalsh(np.cov(BLOBS.T))[-1])
        np.testing.assert_allclose(path.centers[0], np.broadcast_to(BLOBS.mean(0), (3, 2)), atol=0.2)
        assert len(set(zip(model.labels_, TRUTH, strict=True))) == 3
    assert ends[0].lower_bound_ == pytest.approx(ends[1].lower_bound_, abs=1e-6)
    axes = plots.annealing_tree(ends[0])
    counts = [text.get_text() for text in axes.texts]
    assert counts[0] == "1" and counts[-1] == "3"
    assert plots.annealing_tree(ends[0], axis=1, ax=axes.figure.add_subplot()).get_ylabel() == "centre, x1"
    with pytest.raises(OptionError, match="axis is 'nothing'"):
        plots.annealing_tree(ends[0], axis="nothing")
    with pytest.raises(OptionError, match="that was annealed"):
        plots.annealing_tree(bs.SoftKMeans(3, 5.0, random_state=0).fit(BLOBS))


def test_medians_heed_outliers_less():
    x = np.r_[BLOBS, [[200.0, 200.0]]]
    medians = bs.SoftKMeans(3, 1.0, metric="euclidean", init=[[0, 0], [8, 0], [0, 9]], max_iter=2000).fit(x)
    assert np.abs(medians.cluster_centers_ - [[0, 0], [8, 0], [0, 9]]).max() < 0.7
    means = bs.SoftKMeans(3, 1.0, metric="euclidean", update="mean", init=[[0, 0], [8, 0], [0, 9]]).fit(x)
    assert np.abs(means.cluster_centers_ - [[0, 0], [8, 0], [0, 9]]).max() > 1


def test_sizes_and_names(tmp_path):
    init = pd.DataFrame([[0.0, 0.0], [8.0, 0.0], [0.0, 9.0]], index=["home", "east", "north"])
    sizes = bs.Fixed({"north": 60, "home": 30, "east": 30})
    model = bs.SoftKMeans(3, 1.0, init=init, sizes=sizes).fit(BLOBS)
    np.testing.assert_allclose(model.sizes_, [30, 30, 60], rtol=1e-8)
    assert model.size_bounds_.loc[("rows", "north"), "amount"] == pytest.approx(60)
    np.testing.assert_array_equal(np.bincount(model.assign(BLOBS, sizes=sizes)), [30, 30, 60])
    np.testing.assert_allclose(model.predict_proba(BLOBS).sum(0), [40, 40, 40], atol=8)
    model.save(tmp_path / "model")
    again = bs.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(BLOBS), model.predict_proba(BLOBS))
    assert again.clusters_.tolist() == ["home", "east", "north"]


def test_it_stands_in_a_pipeline():
    labels = make_pipeline(StandardScaler(), bs.SoftKMeans(3, random_state=0)).fit_predict(BLOBS)
    assert len(set(zip(labels, TRUTH, strict=True))) == 3


def test_far_from_the_origin():
    start = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 9.0]])
    near, far = (bs.SoftKMeans(3, 1.0, init=start + by).fit(BLOBS + by) for by in (0, 1e8))
    assert far.inertia_ == pytest.approx(near.inertia_, rel=1e-6)  # rows themselves are rounded to 1e-8
    np.testing.assert_allclose(far.transform(BLOBS + 1e8), near.transform(BLOBS), atol=1e-6)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_on_their_centres_have_no_most_likely_inverse_temperature(metric, dtype):
    x = np.repeat(BLOBS[:3].astype(dtype), 4, axis=0)
    with pytest.raises(FitError, match="collapsed") as caught:
        bs.SoftKMeans(3, metric=metric, init=x[::4]).fit(x)
    assert "pass a number as beta" in str(caught.value)
    found = bs.SoftKMeans(3, 1e6, metric=metric, init=x[::4]).fit(x)
    np.testing.assert_allclose(found.cluster_centers_, x[::4], rtol=1e-6)
    with pytest.raises(DataError, match="all rows are equal"):
        bs.SoftKMeans(2, 1.0, metric=metric, anneal=np.True_).fit(np.ones((5, 2), dtype))


def test_nothing_left_to_do_is_converged():
    """However large the inverse temperature is that rounding is multiplied by."""
    assert bs.SoftKMeans(3, 1e8, init=[[0, 0], [8, 0], [0, 9]], tol=1e-10).fit(BLOBS).converged_


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(beta=0), "beta is 0: pass a finite number above 0"),
        (dict(beta="cold"), "beta is 'cold': pass a number above 0, or 'auto'"),
        (dict(beta=np.inf), "beta is inf"),
        (dict(metric="cosine"), "metric is 'cosine': pass 'sqeuclidean', 'euclidean'"),
        (dict(update="mean"), "update is how centres of distances move"),
        (dict(anneal=True), "beta='auto' is none yet"),
        (dict(beta=1.0, anneal=0.9), "anneal is 0.9: pass True, False, or a factor above 1"),
        (dict(init="random"), "init is 'random': pass"),
        (dict(init=np.zeros((2, 2))), r"init has shape \(2, 2\) and needs \(3, 2\)"),
        (dict(beta=1.0, anneal=True, init=np.zeros((3, 2))), "annealing begins with all centres in one place"),
        (dict(tol=-1), "tol is -1"),
        (dict(max_iter=0), "max_iter is 0"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(OptionError, match=message):
        bs.SoftKMeans(3, **options).fit(BLOBS)
