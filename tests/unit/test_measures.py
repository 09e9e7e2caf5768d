"""Measures of soft clusterings: what they take, give and refuse."""

import warnings
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

import bayessoft as bs
from bayessoft.data.memberships import memberships_of
from bayessoft.diagnostics import agreement, separation, silhouette
from bayessoft.errors import DataError, FitError, OptionError
from bayessoft.posteriors import Draws
from bayessoft.status import Status

RNG = np.random.default_rng(0)
N, D, K = 50, 3, 4
X = RNG.normal(size=(N, D)) + 3 * RNG.integers(0, 2, (N, 1))
R = RNG.dirichlet(np.full(K, 0.4), N)
W = RNG.random(N)
EVERY = {
    "membership_entropy": lambda X, r, w: bs.membership_entropy(r),
    "partition_coefficient": lambda X, r, w: bs.partition_coefficient(r, w),
    "soft_scatter": lambda X, r, w: bs.soft_scatter(X, r, w).pooled,
    "fisher_ratio": lambda X, r, w: bs.fisher_ratio(X, r, w),
    "xie_beni": lambda X, r, w: bs.xie_beni(X, r, sample_weight=w),
    "soft_silhouette": lambda X, r, w: bs.soft_silhouette(X, r, w).values,
    "soft_rand": lambda X, r, w: bs.soft_rand(r, R, w),
}
every = pytest.mark.parametrize("name", EVERY)


@every
def test_frames_of_any_kind_and_lists_count_as_arrays(name):
    measure = EVERY[name]
    expected = measure(X, R, W)
    for kind in (pd.DataFrame, lambda values: pl.DataFrame(values, schema=[*map(str, range(values.shape[1]))]), list):
        np.testing.assert_array_equal(measure(kind(X), kind(R), W), expected)


@every
def test_float32_comes_near(name):
    """Also of rows far from the origin, of which float32 keeps four digits after the point."""
    measure, far = EVERY[name], (X + 1000).astype(np.float32)
    found = measure(far, R.astype(np.float32), W)
    # memberships are rounded to 1e-7, and distances of float32 to 1e-6 of the widest
    np.testing.assert_allclose(found, measure(far.astype(np.float64), R, W), rtol=1e-4, atol=1e-5)


@every
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (R - 0.25, "negative in .* first row 0 cluster"),
        (2 * R, r"does not sum to 1 in 50 rows, first row 0 \(2\)"),
        (np.where(R > 0.9, np.nan, R), "NaN or infinite"),
        (R.argmax(1), r"of labels, numpy.eye\(k\)\[labels\]"),
        (np.empty((0, 3)), "shape"),
        (csr_array(np.eye(4)), r"(memberships|first) is sparse.*\.toarray\(\)"),
        ([["a", "b"]], "^(memberships|first) holds text"),
        (R[:, :2], "where the rest is noise, add it as one more column"),
    ],
    ids=["negative", "sum", "nan", "labels", "empty", "sparse", "text", "noise"],
)
def test_what_are_no_memberships_is_refused(name, wrong, words):
    with pytest.raises(DataError, match=words):
        EVERY[name](X, wrong, None)


@every
def test_what_belongs_to_other_rows_is_refused(name):
    if name not in ("membership_entropy", "partition_coefficient"):
        with pytest.raises(DataError, match="50 rows? and .* has 49|49 rows? and .* has 50"):
            EVERY[name](X, R[1:], None)
    if name != "membership_entropy":
        with pytest.raises(DataError, match="sample_weight has shape"):
            EVERY[name](X, R, W[1:])


def test_checked_memberships():
    found = memberships_of(pd.DataFrame(R, index=[f"r{i}" for i in range(N)], columns=list("abcd")))
    assert (found.clusters, found.ids[:2], found.n, found.k) == (("a", "b", "c", "d"), ("r0", "r1"), N, K)
    assert not found.values.flags.writeable
    assert memberships_of(R).clusters == ("0", "1", "2", "3")
    rounded = memberships_of(R.astype(np.float32).astype(np.float64))  # a table of float64 that came from float32
    np.testing.assert_allclose(rounded.values.sum(1), 1, rtol=1e-15)
    assert memberships_of(R.astype(np.float16)).values.dtype == np.float64
    assert memberships_of(np.eye(3, dtype=bool)).values.dtype == np.float64
    np.testing.assert_array_equal(memberships_of(np.array([[1.0, 5e-324]])).values, [[1, 5e-324]])  # as a softmax gives
    given = R.copy()
    memberships_of(given)
    np.testing.assert_array_equal(given, R)


def test_entropy():
    np.testing.assert_array_equal(bs.membership_entropy(np.ones((3, 1))), np.zeros(3))
    np.testing.assert_array_equal(bs.membership_entropy(np.ones((3, 1)), share=True), np.zeros(3))
    even = np.full((2, 7), 1 / 7, np.float32)
    found = bs.membership_entropy(even, share=True)
    assert found.dtype == np.float32 and (found <= 1).all()
    np.testing.assert_allclose(found, 1, rtol=1e-6)
    with pytest.raises(OptionError, match="one cluster only"):
        bs.partition_coefficient(np.ones((3, 1)), modified=True)


def test_clusters_without_members():
    shares = np.column_stack([R, np.zeros(N)])
    found, without = bs.soft_scatter(X, shares), bs.soft_scatter(X, R)
    assert np.isnan(found.means[-1]).all() and not found.within[-1].any() and found.sizes[-1] == 0
    np.testing.assert_allclose(found.between, without.between, rtol=1e-12)
    pairs = bs.fisher_ratio(found, pairs=True)
    assert np.isnan(pairs[-1]).all() and np.isfinite(pairs[:-1, :-1]).all()
    np.testing.assert_array_equal(bs.soft_silhouette(X, shares).values, bs.soft_silhouette(X, R).values)
    with pytest.raises(DataError, match="cluster 4 has no members"):
        bs.xie_beni(X, shares)
    assert bs.soft_rand(shares, R) == pytest.approx(bs.soft_rand(R, R), rel=1e-12)


def test_ratios_at_their_ends():
    points, labels = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0], [1.0, 2.5]]), np.eye(2)[[0, 0, 1, 1]]
    assert bs.fisher_ratio(points, labels) > 1
    assert bs.fisher_ratio(points, labels, kind="determinant") == np.inf  # nothing scatters along the first column
    assert bs.fisher_ratio(points[[0, 1, 2, 2]], labels) == np.inf
    for kind, wrong in (("trace", np.ones((4, 2))), ("determinant", points[:, [0, 0]])):
        with pytest.raises(DataError, match="do not scatter"):
            bs.fisher_ratio(wrong, labels, kind=kind)
    assert bs.fisher_ratio(points[[0, 2]], np.eye(2), kind="determinant", pairs=True).tolist()[0][0] == 1
    with pytest.raises(OptionError, match="'trace' or 'determinant'"):
        bs.fisher_ratio(points, labels, kind="wilks")
    scatter = bs.soft_scatter(points, labels)
    for arguments in ((points,), (points, None, np.ones(4)), (scatter, labels), (scatter, None, np.ones(4))):
        with pytest.raises(OptionError, match="either"):
            bs.fisher_ratio(*arguments)


@pytest.mark.parametrize("m", [1.0, 2.0, 3.5])
def test_xie_beni_is_what_its_definition_says(m, monkeypatch):
    monkeypatch.setattr(separation, "TILE", 7)  # tiles are merged
    power = R**m * W[:, None]
    centers = np.stack([np.average(X, axis=0, weights=column) for column in power.T])
    gaps = cdist(centers, centers, "sqeuclidean")
    expected = (power * cdist(X, centers, "sqeuclidean")).sum() / W.sum() / gaps[gaps > 0].min()
    assert bs.xie_beni(X, R, m=m, sample_weight=W) == pytest.approx(expected, rel=1e-12)
    moved = centers + 0.1
    expected = (power * cdist(X, moved, "sqeuclidean")).sum() / W.sum() / gaps[gaps > 0].min()
    assert bs.xie_beni(X, R, moved, m, W) == pytest.approx(expected, rel=1e-12)


def test_xie_beni_refuses():
    assert bs.xie_beni(X, np.full((N, 2), 0.5)) > 1e20  # two centres that only rounding tells apart
    assert bs.xie_beni(X, np.full((N, 2), 0.5), np.zeros((2, D))) == np.inf
    for wrong in (0.5, True, "2", np.inf):
        with pytest.raises(OptionError, match="a power of 1 or more"):
            bs.xie_beni(X, R, m=wrong)
    for wrong in (np.zeros((2, D)), np.full((K, D), np.nan), "middle"):
        with pytest.raises(DataError, match="centers"):
            bs.xie_beni(X, R, wrong)
    with pytest.raises(DataError, match="centers lie so far out"):
        bs.xie_beni(X, np.full((N, 2), 0.5), np.outer([-1e200, 1e200], np.ones(D)))
    with pytest.raises(DataError, match="one cluster only"):
        bs.xie_beni(X, np.ones((N, 1)))


def test_tiles_change_nothing(monkeypatch):
    plain = [np.asarray(measure(X, R, W)) for measure in EVERY.values()]
    for module in (separation, agreement, silhouette):
        monkeypatch.setattr(module, "TILE", 16)
    for before, measure in zip(plain, EVERY.values(), strict=True):
        np.testing.assert_allclose(measure(X, R, W), before, rtol=1e-10, atol=1e-12)


def test_silhouettes_at_their_ends():
    """Rows alone in all that they belong to, one point, and units whose squares overflow."""
    alone = bs.soft_silhouette([[0.0], [1.0], [5.0]], [[1, 0], [1, 0], [0.5, 0.5]])
    assert alone.values[2] == 0  # no other row in its second cluster, and none beside its first to compare with
    assert not bs.soft_silhouette(np.ones((4, 2)), np.eye(2)[[0, 0, 1, 1]]).values.any()
    small = bs.soft_silhouette(X, R).values
    np.testing.assert_allclose(bs.soft_silhouette(X * 1e200, R).values, small, rtol=1e-10, atol=1e-12)
    with pytest.raises(DataError, match="only one has members"):
        bs.soft_silhouette(X, np.eye(2)[np.zeros(N, int)])


def test_rows_of_weight_zero_are_looked_at_but_do_not_count():
    w = np.ones(N)
    w[:10] = 0
    found, without = bs.soft_silhouette(X, R, w), bs.soft_silhouette(X[10:], R[10:])
    np.testing.assert_allclose(found.values[10:], without.values, rtol=1e-11)
    assert np.isfinite(found.values[:10]).all() and found.mean == pytest.approx(without.mean)


def test_rand_of_what_is_in_doubt():
    even = np.full((N, 3), 1 / 3)
    assert bs.soft_rand(even, even) == pytest.approx(0, abs=1e-12)
    assert 0 < bs.soft_rand(R, R) < 1
    assert bs.soft_rand(np.ones((1, 1)), np.ones((1, 1))) == bs.soft_rand([[1.0]], [[1.0]], adjusted=False) == 1


@pytest.fixture(scope="module")
def fitted():
    """Three Gaussians in a row, as they are stated: nothing is fitted."""
    start = {
        "means_init": [[0.0, 0], [3, 3], [6, 6]],
        "precisions_init": np.ones((3, 2)),
        "weights_init": [0.2, 0.3, 0.5],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bs.GaussianMixture(3, covariance_type="diag", max_iter=0, **start).fit(RNG.normal(size=(40, 2)))


def test_overlap_of_three_in_a_row(fitted):
    found = bs.overlap(fitted, n=500, random_state=3)
    np.testing.assert_allclose(found.table.sum(axis=1), 1)
    assert found.table.index.name == "from" and found.table.columns.name == "to" and found.n == 500
    assert (found.pairs.to_numpy() >= found.table.to_numpy() * (1 - np.eye(3))).all()  # a third one can only take away
    assert (np.diag(found.pairs) == 0).all() and (found.table_error > 0).all().all()
    np.testing.assert_allclose(found.bayes_error, fitted.weights_ @ (1 - np.diag(found.table)))
    pd.testing.assert_frame_equal(bs.overlap(fitted.fit_, n=500, random_state=3).table, found.table)
    assert not found.table.equals(bs.overlap(fitted, n=500, random_state=4).table)


def test_overlap_of_draws_is_that_of_their_centre(fitted):
    """Two draws, with means on both sides of those of a point, and clusters that changed their names between them."""
    point, orders = fitted.fit_, np.array([[0, 1, 2], [2, 0, 1]])
    own = point.posterior.parameters
    both = [replace(own, means=own.means + side) for side in (0.3, -0.3)]
    turned = [jax.tree.map(lambda leaf, i=i: leaf[orders[i]], (point.posterior.weights, both[i])) for i in range(2)]
    weights, parameters = jax.tree.map(lambda *leaves: np.stack(leaves)[None], *turned)
    posterior = Draws(weights, parameters, {}, order=np.argsort(orders, axis=1)[None])
    drawn = replace(point, posterior=posterior, status=Status.SAMPLED)
    found, expected = (bs.overlap(fit, 300).table.to_numpy() for fit in (drawn, point))
    np.testing.assert_allclose(found, expected, atol=1.01 / 300)  # rounding may give one row to another
    with pytest.raises(FitError, match="refused"):
        bs.overlap(replace(drawn, status=Status.LABELS_UNCLEAR))


def test_overlap_refuses(fitted):
    for wrong in (bs.GaussianMixture(2), X, None):
        with pytest.raises(OptionError, match="no fitted mixture"):
            bs.overlap(wrong)
    with pytest.raises(OptionError, match="n is 0"):
        bs.overlap(fitted, n=0)


def test_columns_of_one_value_do_not_scatter_whatever_their_rounding():
    """Weighted means of 0.1 are not 0.1, and what that leaves is no direction in which rows scatter."""
    flat = np.full((N, 1), 0.1)
    scatter = bs.soft_scatter(np.hstack([X, flat]), R, W)
    for part in (scatter.pooled, scatter.between, scatter.total):
        assert not part[-1].any() and not part[:, -1].any()
    for kind, wrong in (("determinant", np.hstack([X, flat])), ("trace", flat)):
        with pytest.raises(DataError, match="do not scatter"):
            bs.fisher_ratio(wrong, R, W, kind=kind)
    assert np.isnan(bs.fisher_ratio(flat, R, pairs=True)[0, 1])
    apart = flat + np.arange(N)[:, None] % 2  # two points
    assert bs.fisher_ratio(apart, np.eye(2)[np.arange(N) % 2], W) == np.inf
    assert bs.xie_beni(apart, np.eye(2)[np.arange(N) % 2], sample_weight=W) == 0


@pytest.mark.parametrize("unit", [1e-160, 1e160])
@pytest.mark.parametrize("measure", [bs.fisher_ratio, bs.soft_scatter, bs.xie_beni])
def test_units_whose_squares_no_float_holds_are_refused(measure, unit):
    frame = pd.DataFrame(X, columns=list("xyz")).assign(y=lambda frame: frame["y"] * unit)
    with pytest.raises(DataError, match="column 'y' spans .* cannot hold its squares: rescale the column"):
        measure(frame, R)


@pytest.mark.parametrize("unit", [1e-300, 1e-6, 1e100, 1e290])
def test_the_unit_of_weights_counts_only_for_copies(unit):
    """Below 1 a row is there once; from 1e6 on all pairs of copies together hardly differ from all pairs."""
    large = np.full(N, 1e6 if unit > 1 else 0.5)
    for dtype in (np.float64, np.float32):
        found, expected = (bs.soft_silhouette(X.astype(dtype), R, w).mean for w in (np.full(N, unit), large))
        assert found == pytest.approx(expected, abs=1e-6)
    hard = np.eye(K)[R.argmax(1)]
    for adjusted in (True, False):
        found, expected = (bs.soft_rand(R, hard, w, adjusted) for w in (np.full(N, unit), large))
        assert found == pytest.approx(expected, abs=1e-6)


def test_rand_of_singles_and_of_one_cluster_is_1_whatever_rounding_leaves():
    for seed in range(20):
        w = np.random.default_rng(seed).random(300)
        for same in (np.eye(300), np.ones((300, 1)), np.eye(2)[np.zeros(300, int)]):
            assert bs.soft_rand(same, same, w) == 1
        assert bs.soft_rand(np.eye(300), np.ones((300, 1)), w) == pytest.approx(0, abs=1e-12)
