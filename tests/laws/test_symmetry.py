"""Law "symmetry": the order of clusters and of rows, and the tiles that rows come in, change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayessoft import GaussianMixture
from bayessoft.core.allocate import allocate

from . import linear, student_t
from .worlds import MEMBERS, label, laid_out, linear_tiles, parameters, points, proportions, rowwise, some, start, swept

N, K, D = 54, 3, 2
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # ten steps on purpose
CLUSTERS = np.array([2, 0, 1])
# sums of N terms of size 1 to 10, in another order; through ten steps of a fit, times their conditioning
CLOSE, FITTED = dict(rtol=1e-11, atol=1e-11), dict(rtol=1e-9, atol=1e-9)

members = pytest.mark.parametrize("member", MEMBERS, ids=label)


def permuted(member, array):
    """An array with a leading axis over clusters, relabelled; what clusters share stays."""
    return array if member.covariance_type == "tied" and np.ndim(array) == 2 else array[CLUSTERS]


@members
def test_relabelling_permutes_the_statistics(member):
    rows, pi, theta = laid_out(points(N, D), tile_rows=8), proportions(K), parameters(member, K, D)
    value, s = swept(member, theta, np.log(pi), rows)
    turned = type(theta)(theta.means[CLUSTERS], permuted(member, theta.factors))
    other, t = swept(member, turned, np.log(pi)[CLUSTERS], rows)
    np.testing.assert_allclose(other, value, **CLOSE)
    np.testing.assert_allclose(t.weight, s.weight[CLUSTERS], **CLOSE)
    np.testing.assert_allclose(t.first, s.first[CLUSTERS], **CLOSE)
    np.testing.assert_allclose(t.second, permuted(member, s.second), **CLOSE)


@members
def test_the_order_of_rows_changes_nothing(member):
    x, w, order = points(N, D), np.random.default_rng(1).random(N), np.random.default_rng(2).permutation(N)
    theta, logs = parameters(member, K, D), np.log(proportions(K))
    one, other = (swept(member, theta, logs, laid_out(x[i], w[i], 8)) for i in (np.arange(N), order))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), one, other)


@members
def test_tiles_change_no_row(member):
    x, theta, logs = points(N, D), parameters(member, K, D), np.log(proportions(K))

    def of_rows(tile_rows):
        found, r = rowwise(member, theta, logs, laid_out(x, tile_rows=tile_rows))
        return np.asarray(found).ravel()[:N], np.moveaxis(np.asarray(r), 1, 2).reshape(-1, K)[:N]

    for a, b in zip(of_rows(7), of_rows(64), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("repeated", [False, True], ids=["labels", "counts"])
@pytest.mark.parametrize("member", some("diag"))
def test_tiling_changes_no_label(member, repeated):
    x, theta, logs = points(N, D), parameters(member, K, D), jnp.log(proportions(K))
    w = np.random.default_rng(3).integers(0, 4 if repeated else 2, N)
    key = jax.random.key(5)
    parts = [
        jax.jit(allocate, static_argnames="repeated")(member, theta, logs, laid_out(x, w, rows), key, repeated=repeated)
        for rows in (8, 64)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), *parts)
    weight = np.asarray(parts[0][1].weight)
    np.testing.assert_array_equal(weight, np.round(weight))
    assert weight.sum() == w.sum()


@members
def test_a_fit_follows_its_start_and_forgets_the_order_of_rows(member):
    x, order, begin = points(N, D), np.random.default_rng(2).permutation(N), start(member, K, D)
    turned = {name: permuted(member, value) for name, value in begin.items()}
    turned["means_init"] = begin["means_init"][CLUSTERS]
    options = dict(covariance_type=member.covariance_type, reg_covar=1e-3, max_iter=10, tol=0)
    one = GaussianMixture(K, **options, **begin).fit(x)
    other = GaussianMixture(K, **options, **turned).fit(x[order])
    np.testing.assert_allclose(other.weights_, one.weights_[CLUSTERS], **FITTED)
    np.testing.assert_allclose(other.means_, one.means_[CLUSTERS], **FITTED)
    np.testing.assert_allclose(other.covariances_, permuted(member, one.covariances_), **FITTED)
    np.testing.assert_allclose(other.lower_bound_, one.lower_bound_, **FITTED)
    np.testing.assert_allclose(other.predict_proba(x), one.predict_proba(x)[:, CLUSTERS], **FITTED)


@linear.names
def test_linear_families_forget_the_order_of_clusters_rows_and_tiles(name):
    family, x, w = linear.LINEAR[name], linear.points(name, 24), np.random.default_rng(1).random(24)
    theta, pi, order = linear.parameters(name, K), proportions(K), np.random.default_rng(2).permutation(24)
    value, s = swept(family, theta, np.log(pi), linear_tiles(name, x, w, 8))
    turned = family.arranged(theta, CLUSTERS)
    other, t = swept(family, turned, np.log(pi)[CLUSTERS], linear_tiles(name, x[order], w[order], 7))
    np.testing.assert_allclose(other, value, **CLOSE)
    np.testing.assert_allclose(t.weight, s.weight[CLUSTERS], **CLOSE)
    np.testing.assert_allclose(t.first, s.first[CLUSTERS], **CLOSE)


@pytest.mark.parametrize("name", [name for name in linear.LINEAR if name != "categorical"])
def test_the_fit_of_linear_components_follows_the_columns(name):
    from bayessoft import MixtureModel

    x, columns = linear.points(name, N), np.array([2, 0, 1])
    # rows of 0 and 1 are as far from one centre as from another, and rounding decides where k-means puts them
    options = dict(max_iter=10, tol=0, random_state=0, init_params="random" if name == "bernoulli" else "kmeans")
    one, other = (MixtureModel(K, name, **options).fit(rows) for rows in (x, x[:, columns]))
    for key, value in one.parameters_.items():
        np.testing.assert_allclose(other.parameters_[key], value[:, columns], **FITTED)
    np.testing.assert_allclose(other.score_samples(x[:, columns]), one.score_samples(x), **FITTED)


@pytest.mark.parametrize("member", student_t.some("tied"))
def test_student_t_forgets_the_order_of_clusters_rows_and_tiles(member):
    x, w, order = points(24, D), np.random.default_rng(1).random(24), np.random.default_rng(2).permutation(24)
    theta, pi = student_t.parameters(member, K, D), proportions(K)
    value, s = swept(member, theta, np.log(pi), laid_out(x, w, 8))
    turned = member.arranged(theta, CLUSTERS)
    other, t = swept(member, turned, np.log(pi)[CLUSTERS], laid_out(x[order], w[order], 7))
    np.testing.assert_allclose(other, value, **CLOSE)
    np.testing.assert_allclose(t.weight, s.weight[CLUSTERS], **CLOSE)
    np.testing.assert_allclose(t.deviation, s.deviation[CLUSTERS], **CLOSE)
    np.testing.assert_allclose(t.moments.first, s.moments.first[CLUSTERS], **CLOSE)
    np.testing.assert_allclose(t.moments.second, permuted(member, s.moments.second), **CLOSE)


def test_tiling_changes_no_scale_that_student_t_draws():
    """Nor does a row that weighs nothing draw any."""
    member, x = student_t.STUDENT[0], points(N, D)
    theta, logs = student_t.parameters(member, K, D), jnp.log(proportions(K))
    w, key = np.random.default_rng(3).integers(0, 2, N), jax.random.key(5)
    parts = [jax.jit(allocate)(member, theta, logs, laid_out(x, w, rows), key) for rows in (8, 64)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), *parts)
    statistics = parts[0][1]
    assert statistics.weight.sum() == w.sum() and statistics.entropy == 0 and (statistics.deviation <= 0).all()
