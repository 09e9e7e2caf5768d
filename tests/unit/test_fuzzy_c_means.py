"""Fuzzy c-means as people use it, and against R."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

import bayessoft as bs
from bayessoft.errors import OptionError

IRIS = load_iris(as_frame=True).data
BLOBS, TRUTH = make_blobs(120, centers=[[0, 0], [8, 0], [0, 9]], random_state=0)
INIT = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 9.0]])
REPEATED = {
    "check_sample_weight_equivalence_on_dense_data": "starts differ where rows are repeated; tested from a given start"
}


@pytest.mark.statistical
@pytest.mark.usefixtures("hardly_optimised")
@pytest.mark.filterwarnings("ignore")
def test_check_estimator():
    found = check_estimator(bs.FuzzyCMeans(3, random_state=0), expected_failed_checks=REPEATED, on_fail=None)
    assert not [f"{c['check_name']}: {c['exception']!r}" for c in found if c["status"] == "failed"]


def test_it_finds_what_r_finds():
    """R's e1071 1.7.13, ``cmeans`` run on to a fixed point: iris, 3 clusters, m = 2."""
    model = bs.FuzzyCMeans(3, tol=1e-9, random_state=0).fit(IRIS)
    assert model.objective_ == pytest.approx(60.5057106294886, rel=1e-6)
    centres = [
        [5.00396596061125, 3.41408885877831, 1.48281553260561, 0.253546317478739],
        [5.88893236060968, 2.76106936320441, 4.3639516431329, 1.39731504070782],
        [6.77501122375251, 3.05238227104352, 5.64678178191852, 2.05354665854081],
    ]
    order = np.argsort(model.cluster_centers_[:, 0])
    np.testing.assert_allclose(model.cluster_centers_[order], centres, rtol=1e-6)
    np.testing.assert_allclose(
        model.responsibilities_[0][order], [0.99662358602348, 0.00230437971412522, 0.0010720342623945], rtol=1e-5
    )
    np.testing.assert_allclose(
        model.responsibilities_.sum(0)[order], [51.9292040278731, 53.9921378220799, 44.078658150047], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("m", "objective", "coefficient"),
    [
        (1.3, 77.37077627720886, 0.9618639522448563),
        (2.5, 43.54158517832168, 0.6549336166587506),
        (4.0, 11.531636183750102, 0.45370597091908377),
    ],
)
def test_it_finds_what_scikit_fuzzy_finds(m, objective, coefficient):
    """scikit-fuzzy 0.5.0, ``cmeans`` with ``error=1e-12``, from the memberships of the same centres: iris."""
    model = bs.FuzzyCMeans(3, m=m, init=IRIS.to_numpy()[::50], tol=1e-9, max_iter=1000).fit(IRIS)
    assert model.objective_ == pytest.approx(objective, rel=1e-6)
    assert bs.partition_coefficient(model.responsibilities_) == pytest.approx(coefficient, rel=1e-6)


def test_it_has_what_k_means_has():
    model = bs.FuzzyCMeans(3, random_state=0).fit(IRIS)
    np.testing.assert_allclose(model.predict_proba(IRIS), model.responsibilities_, atol=1e-12)
    np.testing.assert_array_equal(model.predict(IRIS), model.labels_)
    np.testing.assert_array_equal(clone(model).fit_predict(IRIS), model.labels_)
    assert model.transform(IRIS).shape == (150, 3) and model.n_iter_ == len(model.objectives_)
    assert model.get_feature_names_out().tolist() == ["fuzzycmeans0", "fuzzycmeans1", "fuzzycmeans2"]


def test_little_fuzziness_is_k_means():
    fuzzy = bs.FuzzyCMeans(3, m=1.02, init=INIT).fit(BLOBS)
    hard = KMeans(3, init=INIT, n_init=1).fit(BLOBS)
    np.testing.assert_allclose(fuzzy.cluster_centers_, hard.cluster_centers_, rtol=1e-6, atol=1e-6)
    assert fuzzy.objective_ == pytest.approx(hard.inertia_, rel=1e-6)


def test_rows_on_centres_belong_there():
    x = np.repeat([[0.0, 0.0], [5.0, 5.0]], 10, axis=0)
    model = bs.FuzzyCMeans(2, init=[[0.0, 0.0], [5.0, 5.0]]).fit(x)
    np.testing.assert_allclose(model.responsibilities_, np.repeat(np.eye(2), 10, axis=0), atol=1e-12)
    assert model.objective_ == pytest.approx(0, abs=1e-12)


def test_weights_count_rows():
    weights = np.where(np.arange(120) % 4 == 0, 3, 1)
    one = bs.FuzzyCMeans(3, init=INIT, tol=1e-10).fit(BLOBS, sample_weight=weights)
    other = bs.FuzzyCMeans(3, init=INIT, tol=1e-10).fit(np.repeat(BLOBS, weights, axis=0))
    np.testing.assert_allclose(one.cluster_centers_, other.cluster_centers_, atol=1e-9)
    assert one.objective_ == pytest.approx(other.objective_, rel=1e-9)


@pytest.mark.parametrize("variant", ["standard", "gustafson-kessel"])
def test_it_follows_the_units_of_the_columns(variant):
    """Round clusters one scale for all columns, shaped ones any map."""
    a = 3.0 * np.eye(2) if variant == "standard" else np.array([[2.0, 0.5], [0.0, 0.3]])
    one = bs.FuzzyCMeans(3, variant=variant, init=INIT, tol=1e-9).fit(BLOBS)
    other = bs.FuzzyCMeans(3, variant=variant, init=INIT @ a.T + 7, tol=1e-9).fit(BLOBS @ a.T + 7)
    np.testing.assert_allclose(other.responsibilities_, one.responsibilities_, atol=1e-6)
    assert other.objective_ == pytest.approx(one.objective_ * np.linalg.det(a), rel=1e-6)


def test_single_precision_and_rows_far_from_the_origin():
    double = bs.FuzzyCMeans(3, init=INIT).fit(BLOBS)
    single = bs.FuzzyCMeans(3, init=INIT).fit(BLOBS.astype(np.float32))
    assert single.cluster_centers_.dtype == single.responsibilities_.dtype == np.float32
    np.testing.assert_allclose(single.responsibilities_, double.responsibilities_, atol=1e-3)
    away = bs.FuzzyCMeans(3, init=INIT + 1e6).fit(BLOBS + 1e6)
    np.testing.assert_allclose(away.responsibilities_, double.responsibilities_, atol=1e-6)


def test_noise_takes_outliers():
    x = np.r_[BLOBS, [[60.0, 60.0]]]
    model = bs.FuzzyCMeans(3, variant="noise", noise_distance=5.0, init=INIT).fit(x)
    assert model.labels_[-1] == -1 and model.responsibilities_[-1].sum() < 0.05
    assert (model.labels_[:-1] == TRUTH).mean() > 0.95
    np.testing.assert_array_equal(model.predict(x), model.labels_)
    far = bs.FuzzyCMeans(3, variant="noise", noise_distance=1e6, init=INIT, tol=1e-9).fit(x)
    plain = bs.FuzzyCMeans(3, init=INIT, tol=1e-9).fit(x)
    np.testing.assert_allclose(far.cluster_centers_, plain.cluster_centers_, rtol=1e-6)
    spread = np.sqrt(((BLOBS - BLOBS.mean(0)) ** 2).sum(1).mean())
    auto = bs.FuzzyCMeans(3, variant="noise", init=INIT).fit(BLOBS)
    assert np.sqrt(auto.fit_.strength) == pytest.approx(spread)


def test_shapes_are_found():
    rng = np.random.default_rng(0)
    long = rng.normal(size=(200, 2)) * [6.0, 0.4]
    x = np.r_[long + [0, 2], long[:, ::-1] + [12, 0]]
    model = bs.FuzzyCMeans(2, variant="gustafson-kessel", n_init=5, random_state=0).fit(x)
    np.testing.assert_allclose(np.linalg.det(model.covariances_), 1, rtol=1e-8)
    first, second = model.covariances_[np.argsort(model.cluster_centers_[:, 0])]
    assert first[0, 0] > 20 * first[1, 1] and second[1, 1] > 20 * second[0, 0]


def test_coincident_centres_are_told():
    x = np.random.default_rng(0).normal(size=(200, 50))
    with pytest.warns(ConvergenceWarning, match="centres of clusters coincide.*lower m towards 1"):
        model = bs.FuzzyCMeans(3, random_state=0).fit(x)
    assert model.status_.name == "COINCIDENT" and not model.converged_


def test_the_same_centre_is_no_coincidence_where_shapes_differ():
    """Nor is a small distance between centres where others are far away."""
    rng = np.random.default_rng(0)
    long = rng.normal(size=(100, 2)) * [6.0, 0.3]
    long = np.r_[long, -long]
    cross = bs.FuzzyCMeans(2, variant="gustafson-kessel", n_init=5, random_state=0).fit(np.r_[long, long[:, ::-1]])
    np.testing.assert_allclose(cross.cluster_centers_, 0, atol=1e-3)
    assert cross.status_.name == "CONVERGED"
    away = np.r_[BLOBS, 1e5 + BLOBS]
    assert bs.FuzzyCMeans(4, init=np.r_[INIT, [[1e5, 1e5]]]).fit(away).status_.name == "CONVERGED"
    with pytest.warns(ConvergenceWarning, match="coincide"):  # as many clusters as rows that differ, and one
        same = bs.FuzzyCMeans(3, random_state=0).fit(np.repeat([[0.0, 0.0], [1.0, 1.0]], 5, axis=0))
    assert same.status_.name == "COINCIDENT"


def test_a_tolerance_of_0_ends_where_nothing_changes():
    model = bs.FuzzyCMeans(2, tol=0, random_state=0).fit(np.repeat([[0.0, 0.0], [1.0, 1.0]], 5, axis=0))
    assert model.converged_ and model.n_iter_ < 5


def test_distances_keep_digits_far_from_the_origin():
    near = bs.FuzzyCMeans(3, init=INIT).fit(BLOBS)
    away = bs.FuzzyCMeans(3, init=INIT + 1e8).fit(BLOBS + 1e8)
    np.testing.assert_allclose(away.transform(BLOBS + 1e8), near.transform(BLOBS), atol=1e-6)  # rounding of rows: 1e-8


def test_saved_and_named(tmp_path):
    init = pd.DataFrame(INIT, index=["home", "east", "north"])
    model = bs.FuzzyCMeans(3, variant="gustafson-kessel", init=init).fit(BLOBS)
    assert model.clusters_.tolist() == ["home", "east", "north"]
    model.save(tmp_path / "model")
    again = bs.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(BLOBS), model.predict_proba(BLOBS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(m=1.0), "m is 1.0: pass a finite number above 1"),
        (dict(variant="hard"), "variant is 'hard': pass 'standard', 'gustafson-kessel', 'entropy', 'noise'"),
        (dict(variant="entropy"), "variant='entropy' needs an entropy_weight"),
        (dict(variant="entropy", entropy_weight=1.0, m=3.0), "m set, which variant='entropy' does not use"),
        (dict(entropy_weight=1.0), "entropy_weight set, which variant='standard' does not use"),
        (dict(noise_distance=1.0), "noise_distance set"),
        (dict(variant="noise", noise_distance=-1), "noise_distance is -1: pass a finite number above 0"),
        (dict(init="best"), "init is 'best': pass"),
        (dict(init=np.zeros((3, 5))), r"init has shape \(3, 5\) and needs \(3, 2\)"),
        (dict(n_clusters=0), "n_clusters is 0"),
        (dict(tol=-1), "tol is -1"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(OptionError, match=message):
        bs.FuzzyCMeans(**({"n_clusters": 3} | options)).fit(BLOBS)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (BLOBS, dict(m=60.0), "m is 60.0: memberships of 1 / 3 to that power are lost.*float64.*at most 33.8"),
        (BLOBS.astype(np.float32), dict(m=20.0), "lost in the rounding of float32"),
        (BLOBS, dict(m=1 + 1e-12), "so near 1 that float64 cannot tell distances apart"),
        (BLOBS.astype(np.float32), dict(m=1.0001), "so near 1 that float32"),
        (np.c_[BLOBS, np.ones(120)], dict(variant="gustafson-kessel"), "column 2 is constant"),
        (np.c_[BLOBS, BLOBS.sum(1)], dict(variant="gustafson-kessel"), "span fewer dimensions than the 3 columns"),
        (np.ones((9, 2)), dict(variant="noise"), "all rows are equal, so their spread gives no noise_distance"),
        (BLOBS * 1e-200, {}, "leave the range of float64: rescale X"),
        (BLOBS, dict(variant="noise", noise_distance=1e200), "noise_distance is so far from the spread of the rows"),
        (BLOBS, dict(variant="noise", noise_distance=1e-200), "noise_distance is so far from the spread of the rows"),
    ],
)
def test_rows_and_options_that_do_not_go_together(x, options, message):
    model = bs.FuzzyCMeans(3, **options)
    with pytest.raises(ValueError, match=message):
        model.fit(x)
    assert not hasattr(model, "n_features_in_")
