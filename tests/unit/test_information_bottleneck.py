"""The estimator: scikit-learn's surface, its figures, its path, options, and what bad input ends in."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import rel_entr
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

from bayessoft import InformationBottleneck, load, plots
from bayessoft.core.annealing import correlations
from bayessoft.core.bottleneck import iterate
from bayessoft.errors import DataError, FitError, OptionError
from bayessoft.estimators import information_bottleneck as module
from bayessoft.estimators.bottleneck_path import BottleneckPath
from bayessoft.estimators.joint_table import betas_of
from bayessoft.status import Status

RNG = np.random.default_rng(0)
TOPICS = RNG.dirichlet(np.full(20, 0.2), 3)
KIND = np.repeat([0, 1, 2], 11)
X = np.array([RNG.multinomial(200, TOPICS[kind]) for kind in KIND])
TABLE = pd.DataFrame(X, columns=[f"word {j}" for j in range(20)])

SPARSE_CHECK = (
    "asks whatever has predict_proba for the tags of a classifier, which no clusterer has: "
    "test_sparse_and_full_tables_are_the_same_table"
)
EXPECTED = {
    "check_array_api_input": "not an array-API estimator: rows become NumPy arrays before JAX sees them",
    "check_sample_weight_equivalence_on_dense_data": "fits start at random rows, others where rows are repeated; from "
    "a given start they are the same: test_bottleneck_merges_rows_that_are_alike",
    "check_sample_weight_equivalence_on_sparse_data": "as with dense data",
    "check_estimator_sparse_array": SPARSE_CHECK,
    "check_estimator_sparse_matrix": SPARSE_CHECK,
    "check_clustering": "clusters standardised rows, which have negative cells, whatever the tags say",
}


@pytest.fixture(scope="module")
def fitted() -> InformationBottleneck:
    return InformationBottleneck(3, beta=20, n_init=2, random_state=0).fit(TABLE)


@pytest.fixture(scope="module")
def path() -> BottleneckPath:
    return InformationBottleneck(4, n_init=3, random_state=0).path(X, keep_memberships=True)


@pytest.mark.statistical  # compiles for some forty shapes
@pytest.mark.usefixtures("hardly_optimised")
@pytest.mark.parametrize("alpha", [1.0, 0.0])
def test_check_estimator(alpha):
    estimator = InformationBottleneck(2, beta=50.0, alpha=alpha, n_init=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(estimator, expected_failed_checks=EXPECTED, on_fail=None, on_skip=None)
    assert [f"{c['check_name']}: {c['exception']!r}" for c in found if c["status"] == "failed"] == []


# --- a fit


def test_topics_are_found(fitted):
    assert len({tuple(set(fitted.labels_[KIND == kind])) for kind in range(3)}) == 3
    assert (fitted.status_, fitted.converged_, fitted.n_clusters_used_) == (Status.CONVERGED, True, 3)
    assert fitted.feature_names_in_.tolist() == list(TABLE.columns)
    np.testing.assert_allclose(fitted.cluster_distributions_.sum(axis=1), 1)


def test_it_is_saved(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(TABLE), fitted.predict_proba(TABLE))
    assert again.status_ is Status.CONVERGED
    assert again.get_feature_names_out().tolist() == fitted.get_feature_names_out().tolist()


def test_amounts_are_those_of_the_attributes(fitted):
    joint = fitted.weights_[:, None] * fitted.cluster_distributions_
    own = rel_entr(joint, np.outer(fitted.weights_, joint.sum(0))).sum()
    np.testing.assert_allclose(fitted.information_y_, own, rtol=1e-12)
    assert fitted.lagrangian_ == pytest.approx(fitted.information_x_ - 20 * fitted.information_y_)
    assert 0 < fitted.information_y_ < fitted.information_x_ <= fitted.entropy_


def test_predictions_are_the_memberships(fitted):
    np.testing.assert_allclose(fitted.predict_proba(TABLE), fitted.responsibilities_, atol=fitted.tol)
    np.testing.assert_array_equal(fitted.predict(TABLE), fitted.labels_)
    np.testing.assert_array_equal(clone(fitted).fit_predict(TABLE), fitted.labels_)
    np.testing.assert_allclose(fitted.predict_proba(7 * TABLE), fitted.predict_proba(TABLE), atol=1e-12)


def test_transform_is_the_divergence(fitted):
    rows = X / X.sum(1, keepdims=True)
    expected = rel_entr(rows[:, None], fitted.cluster_distributions_).sum(2)
    found, finite = fitted.transform(TABLE), np.isfinite(expected)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-9, atol=1e-12)
    assert (found[~finite] > 1).all()


def test_sparse_and_full_tables_are_the_same_table(fitted):
    wide = np.hstack([X, np.kron(np.eye(33, dtype=int), [[1, 2, 1]])])  # an eighth of the cells above 0
    options = dict(beta=10, n_init=2, random_state=0)
    full = InformationBottleneck(3, **options).fit(wide)
    for kind in (sparse.csr_matrix, sparse.coo_array):
        other = InformationBottleneck(3, **options).fit(kind(wide))
        np.testing.assert_array_equal(other.responsibilities_, full.responsibilities_)
        np.testing.assert_array_equal(other.predict_proba(kind(wide)), full.predict_proba(wide))


def test_weights_of_rows_are_multiples_of_them(fitted):
    weights = RNG.integers(0, 3, 33)
    by_weight = InformationBottleneck(3, beta=20, n_init=2, random_state=0).fit(X, sample_weight=weights)
    by_counts = InformationBottleneck(3, beta=20, n_init=2, random_state=0).fit(X * weights[:, None])
    some = weights > 0
    np.testing.assert_allclose(by_weight.weights_, by_counts.weights_, atol=1e-9)
    np.testing.assert_allclose(by_weight.responsibilities_[some], by_counts.responsibilities_[some], atol=1e-5)


def test_a_row_without_counts_weighs_nothing(fitted):
    more = InformationBottleneck(3, beta=20, n_init=2, random_state=0).fit(np.vstack([X, np.zeros(20)]))
    np.testing.assert_allclose(more.responsibilities_[-1], more.weights_, atol=1e-9)
    assert more.lagrangian_ == pytest.approx(fitted.lagrangian_, abs=1e-9)
    half = InformationBottleneck(3, beta=20, alpha=0.5, n_init=2, random_state=0).fit(np.vstack([X, np.zeros(20)]))
    np.testing.assert_allclose(half.responsibilities_[-1], half.weights_**2 / (half.weights_**2).sum(), atol=1e-9)


def test_exponents_beyond_the_dtype_are_refused():
    for options, dtype in (({"beta": 1e40}, "float32"), ({"alpha": 1e-40}, "float32"), ({"beta": 1e307}, "float64")):
        model = InformationBottleneck(3, **options)
        with pytest.raises(OptionError, match=f"beta / alpha is .*, which {dtype} cannot hold times a divergence"):
            model.fit(X.astype(dtype))
        assert not hasattr(model, "n_features_in_")
    with pytest.raises(OptionError, match="cannot hold"):
        InformationBottleneck(3).path(X.astype("float32"), betas=[2.0, 1e38])


def test_inverse_temperatures_that_are_none_are_refused():
    for betas in (3.0, "many", [], [1.0, -1.0], [[1.0]], [np.nan], [object()]):
        with pytest.raises(OptionError, match="pass one or more finite numbers > 0"):
            InformationBottleneck(3).path(X, betas=betas)


def test_the_first_clusters_part_later_where_memberships_are_harder():
    """With alpha below 1 a single cluster lasts beyond where the second squared correlation ends it with 1."""
    rng = np.random.default_rng(1)
    table = rng.poisson(rng.gamma(0.7, 3, (12, 6))) + [1, 0, 0, 0, 0, 0]
    betas = np.geomspace(1, 8, 40)
    last = {}
    for alpha in (1.0, 0.5, 0.0):
        path = InformationBottleneck(3, alpha=alpha, n_init=3, random_state=0).path(table, betas=betas)
        last[alpha] = betas[::-1][path.n_clusters_used == 1].max()
    first = 1 / correlations(sparse.csr_array(table / table.sum()), 1)[0]
    assert last[1.0] < 1.1 * first and last[1.0] < last[0.5] <= last[0.0]
    assert last[0.5] > 1.2 * 0.5 * first


def test_single_precision_stays(fitted):
    single = InformationBottleneck(3, beta=20, n_init=2, random_state=0).fit(X.astype(np.float32))
    assert single.responsibilities_.dtype == single.transform(X.astype(np.float32)).dtype == np.float32
    assert single.lagrangian_ == pytest.approx(fitted.lagrangian_, rel=1e-5)


def test_hard_clusters():
    hard = InformationBottleneck(3, beta=20, alpha=0, n_init=2, random_state=0).fit(X)
    assert set(hard.responsibilities_.ravel()) == {0.0, 1.0}
    assert hard.information_x_ == hard.entropy_
    one = InformationBottleneck(3, beta=1.0, alpha=0, n_init=2, random_state=0).fit(X)
    assert (one.n_clusters_used_, one.lagrangian_) == (1, pytest.approx(0, abs=1e-12))
    assert sorted(one.weights_)[:2] == [0, 0]


def test_a_fit_that_stops_early_says_so(capsys):
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        found = InformationBottleneck(3, beta=20, max_iter=1, n_init=2, verbose=1, random_state=0).fit(X)
    assert (found.status_, found.n_iter_) == (Status.NOT_CONVERGED, 1)
    assert capsys.readouterr().out.count("Lagrangian") == 3


def test_a_rise_is_an_error(monkeypatch, fitted):
    def rising(of, d, r, *rest):
        value, after = iterate(of, d, r, *rest)
        return value + 10 * (1 - after.max()), after

    monkeypatch.setattr("bayessoft.core.bottleneck.iterate", rising)
    with pytest.raises(FitError, match=r"step \d+ by .* nats: the objective got worse") as caught:
        InformationBottleneck(2, beta=1.5, n_init=1, max_iter=999, random_state=0).fit(X[:7, :5])
    assert caught.value.status is Status.FELL


@pytest.mark.parametrize(
    "options, words",
    [
        ({"n_clusters": 0}, "n_clusters"),
        ({"beta": 0}, "beta is 0: pass a finite number > 0"),
        ({"beta": np.inf}, "beta is inf"),
        ({"alpha": 1.5}, "alpha is 1.5: pass a finite number >= 0 and <= 1"),
        ({"tol": -1.0}, "tol"),
        ({"n_init": 1.5}, "n_init"),
    ],
)
def test_options_out_of_range(options, words):
    with pytest.raises(OptionError, match=words):
        InformationBottleneck(**options).fit(X)


@pytest.mark.parametrize(
    "table, words",
    [
        (TABLE - 3 * (TABLE.index == 2)[:, None], r"X holds -3 at row 2 column 'word \d+'"),
        (sparse.csr_array(X - 500 * np.eye(33, 20)), "Negative values in data"),
        (X * np.nan, "NaN"),
        (0 * X, "sum to 0"),
        (X[:2], "n_clusters=3 but n_samples = 2"),
    ],
)
def test_unusable_tables(table, words):
    with pytest.raises(DataError, match=words):
        InformationBottleneck(3).fit(table)


# --- a path


def test_each_solution_is_the_best_at_its_inverse_temperature(path):
    table = path.information_x - path.betas[:, None] * path.information_y
    np.testing.assert_allclose(np.diagonal(table), path.lagrangian, rtol=1e-12)
    assert (path.lagrangian - table.min(1)).max() <= 1e-6
    assert path.converged.all() and len(path.betas) == 60


def test_solutions_are_handed_on(monkeypatch):
    counts = np.random.default_rng(4).poisson(np.random.default_rng(5).gamma(0.4, 4.0, (24, 9)))
    estimator = InformationBottleneck(6, n_init=1, random_state=0)
    betas = np.geomspace(1.2, 200, 40)
    after = estimator.path(counts, betas=betas)
    monkeypatch.setattr(module, "ROUNDS", 0)
    with pytest.warns(ConvergenceWarning, match="better, and were not handed on"):
        before = estimator.path(counts, betas=betas)
    assert (after.lagrangian <= before.lagrangian + 1e-9).all()
    assert (before.lagrangian - after.lagrangian).max() > 1e-3


def test_a_path_goes_from_all_clusters_to_one(path):
    assert (path.n_clusters_used[0], path.n_clusters_used[-1]) == (4, 1)
    assert (np.diff(path.information_y) <= 1e-6).all()
    assert path.memberships.shape == (60, 33, 4)
    last = InformationBottleneck(4, beta=path.betas[0], n_init=3, random_state=0).fit(X)
    assert last.lagrangian_ >= path.lagrangian[0] - 1e-6


def test_the_first_split_is_where_correlations_say():
    # two columns and a symmetric table: the squared correlation is that of two binary variables, by hand (1 - 2 * .2)^2
    table = np.array([[40.0, 10.0], [10.0, 40.0]])
    assert correlations(sparse.csr_array(table / 100), 1) == pytest.approx([0.36])
    betas = np.array([1.02, 0.98]) / 0.36
    found = InformationBottleneck(2, random_state=0, tol=1e-9, n_init=1).path(table, betas=betas)
    assert list(found.n_clusters_used) == [2, 1]
    assert found.information_y[0] > 1e-4 > 1e-6 > found.information_y[1]


def test_default_inverse_temperatures_end_where_one_cluster_is_best():
    joint = sparse.csr_array(X / X.sum())
    betas = betas_of(None, joint, 4)
    found = 1 / correlations(joint, 3)
    assert betas[0] == pytest.approx(10 * found[2]) and betas[-1] == pytest.approx(max(1, found[0] / 2))
    large = sparse.random_array(
        (2100, 2050), density=0.002, random_state=0, data_sampler=np.random.default_rng(1).random
    )
    large = sparse.csr_array(large / large.sum())
    some = correlations(large, 2)
    assert some.shape == (2,) and 0 < some[1] <= some[0] <= 1


def test_kinks_suggest_the_number_of_topics(path):
    found = path.kinks()
    assert list(found.index) == sorted(found.index) and found.index[0] == 1
    assert path.suggested == 3
    assert np.isnan(found["angle"].iloc[[0, -1]]).all()
    inner = found.iloc[1:-1]
    # the angle between the lines of slopes 1 / beta_low and 1 / beta_high
    turned = np.arctan(1 / inner["beta_low"]) - np.arctan(1 / inner["beta_high"])
    np.testing.assert_allclose(inner["angle"], turned, rtol=1e-12)
    np.testing.assert_array_equal(found["beta_low"].iloc[1:], found["beta_high"].iloc[:-1])


def test_a_path_leaves_the_estimator_as_it_is(fitted, path):
    estimator = clone(fitted).set_params(n_clusters=4, n_init=3)
    before = dict(vars(estimator))
    found = estimator.path(TABLE, betas=path.betas[::-1])
    assert vars(estimator) == before
    np.testing.assert_array_equal(found.information_y, path.information_y)
    with pytest.raises(OptionError, match="betas"):
        estimator.path(X, betas=[1.0, -2.0])


def test_the_information_plane_draws_the_path(path):
    ax = plots.information_plane(path)
    drawn = next(line for line in ax.get_lines() if line.get_label() == "solutions")
    np.testing.assert_array_equal(drawn.get_xdata(), path.information_x[::-1])
    bound = next(line for line in ax.get_lines() if line.get_label() == "I(X; Y)")
    assert bound.get_ydata()[0] == path.information
    assert plots.information_plane(path, ax=ax) is ax
    with pytest.raises(OptionError, match="path is a dict"):
        plots.information_plane({})


def test_numbers_beside_each_other_in_the_information_plane_are_all_written():
    """Of clusters that keep hardly more, and of rows far more, than fewer do."""
    plane = {"information_x": [2.0, 1.0, 0.5], "information_y": [0.5, 0.499, 0.4], "n_clusters_used": [4, 3, 2]}
    path = SimpleNamespace(information=0.5, suggested=None, kinks=None, **{k: np.array(v) for k, v in plane.items()})
    assert [text.get_text() for text in plots.information_plane(path).texts] == ["2", "3", "4"]
