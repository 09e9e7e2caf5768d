"""Law "measures": of hard labels the classical numbers, of soft ones expectations; names and order count for naught."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import entropy, norm
from sklearn.metrics import adjusted_rand_score, rand_score, silhouette_samples

from bayessoft import (
    GaussianMixture,
    fisher_ratio,
    membership_entropy,
    overlap,
    partition_coefficient,
    soft_rand,
    soft_scatter,
    soft_silhouette,
    xie_beni,
)

K = 3
CLOSE = dict(rtol=1e-11, atol=1e-11)  # sums of a few hundred terms near 1, in another order


def world(n: int = 60, d: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, memberships and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % K)
    return rng.normal(size=(n, d)) + 2 * labels[:, None], rng.dirichlet(np.full(K, 0.5), n), labels


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_scatter_within_and_between_is_the_total(offset):
    n = 20_000  # some tiles
    rng = np.random.default_rng(0)
    shares, w = rng.dirichlet(np.ones(K), n), rng.random(n)
    X = offset + rng.normal(size=(n, 2)) * [1.0, 1e-2] + shares @ rng.normal(size=(K, 2)) * 5
    found = soft_scatter(X, shares, w)
    # an entry is a sum of n terms near 30; an offset leaves 1e-16 * offset of each row, times its distance
    np.testing.assert_allclose(found.pooled + found.between, found.total, rtol=1e-9, atol=1e-9 * n)
    np.testing.assert_allclose(found.total, np.cov(X.T, aweights=w, ddof=0) * w.sum(), rtol=1e-9, atol=1e-12 * n)


def test_scatter_of_hard_labels_is_the_classical_one():
    X, _, labels = world()
    found = soft_scatter(X, np.eye(K)[labels])
    for j in range(K):
        own = X[labels == j]
        np.testing.assert_allclose(found.means[j], own.mean(0), **CLOSE)
        np.testing.assert_allclose(found.within[j] / len(own), np.cov(own.T, ddof=0), **CLOSE)
    assert np.array_equal(found.sizes, np.bincount(labels))


@pytest.mark.parametrize("width", [1.0, 1e-7])
def test_silhouette_of_hard_labels_is_rousseeuws(width):
    """Also of clusters so narrow that products of rows have lost all digits of their distances."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2, 3], [40, 60, 1, 30])  # one of them a single row
    X = rng.normal(size=(4, 5))[labels] + width * rng.normal(size=(len(labels), 5))
    X[3] = X[4]
    found = soft_silhouette(X, np.eye(4)[labels])
    expected = silhouette_samples(cdist(X, X), labels, metric="precomputed")
    np.testing.assert_allclose(found.values, expected, rtol=1e-9, atol=1e-11)
    # what is left to 1 is near the width: 1e-16 of rows near 1, and of the silhouette itself, is 1e-9 of it
    np.testing.assert_allclose(1 - found.values, 1 - expected, rtol=1e-7)
    assert found.values[100] == 0
    assert found.mean == pytest.approx(expected.mean(), rel=1e-9)


def test_silhouette_is_what_its_sums_over_all_pairs_say():
    """Soft, over several tiles: against plain sums over every other row."""
    X, shares, _ = world(n=1100, d=2)
    found = soft_silhouette(X, shares).values
    distance = cdist(X, X)
    for i in (0, 1, 511, 512, 777, 1099):
        others = np.arange(len(X)) != i
        apart = np.average(np.broadcast_to(distance[i, others, None], (1099, K)), axis=0, weights=shares[others])
        each = []
        for j in range(K):
            nearest = min(apart[other] for other in range(K) if other != j)
            each.append((nearest - apart[j]) / max(nearest, apart[j]))
        assert found[i] == pytest.approx(np.average(each, weights=shares[i]), rel=1e-9, abs=1e-11)


def test_rand_of_hard_labels_is_the_classical_one():
    rng = np.random.default_rng(2)
    for k, other in ((2, 2), (3, 5), (1, 4), (1, 1)):
        y, z = rng.integers(0, k, 50), rng.integers(0, other, 50)
        parts = np.eye(k)[y], np.eye(other)[z]
        assert soft_rand(*parts) == pytest.approx(adjusted_rand_score(y, z), abs=1e-13)
        assert soft_rand(*parts, adjusted=False) == pytest.approx(rand_score(y, z), abs=1e-13)


def test_rand_is_the_expectation_over_labels():
    """Drawn row by row, each partition on its own: every labelling of four rows is looked at."""
    rng = np.random.default_rng(3)
    one, other = rng.dirichlet(np.ones(2), 4), rng.dirichlet(np.ones(3), 4)
    rows, total = np.arange(4), 0.0
    for y in product(range(2), repeat=4):
        for z in product(range(3), repeat=4):
            total += one[rows, y].prod() * other[rows, z].prod() * rand_score(y, z)
    assert soft_rand(one, other, adjusted=False) == pytest.approx(total, rel=1e-12)


def test_adjusted_rand_is_zero_over_all_orders_of_rows():
    rng = np.random.default_rng(4)
    one, other = rng.dirichlet(np.full(2, 0.3), 6), rng.dirichlet(np.full(3, 0.3), 6)
    every = [soft_rand(one, other[list(order)]) for order in permutations(range(6))]
    assert abs(np.mean(every)) < 1e-13  # rounding of 720 terms below 1
    assert max(np.abs(every)) > 0.05


def test_ambiguity_is_that_of_labels_drawn_twice():
    _, shares, _ = world()
    np.testing.assert_allclose(membership_entropy(shares), entropy(shares, axis=1), **CLOSE)
    agree = sum(shares[:, j] ** 2 for j in range(K)).mean()  # a label drawn twice
    assert partition_coefficient(shares) == pytest.approx(agree, rel=1e-12)
    assert partition_coefficient(np.full((4, K), 1 / K), modified=True) == pytest.approx(0, abs=1e-12)
    assert partition_coefficient(np.eye(K), modified=True) == 1


def numbers(X, shares, w=None) -> dict:
    """Every measure that has one number for all rows."""
    scatter = soft_scatter(X, shares, w)
    return {
        "partition coefficient": partition_coefficient(shares, w),
        "trace": fisher_ratio(scatter),
        "determinant": fisher_ratio(X, shares, w, kind="determinant"),
        "xie beni": xie_beni(X, shares, sample_weight=w),
        "silhouette": soft_silhouette(X, shares, w).mean,
        "rand": soft_rand(shares, np.roll(shares, 1, axis=1) ** 2 / (shares**2).sum(1, keepdims=True), w),
        "plain rand": soft_rand(shares, np.eye(K)[shares.argmax(1)], w, adjusted=False),
    }


def test_weights_count_copies_of_rows():
    X, shares, _ = world(n=30)
    w = np.random.default_rng(5).integers(0, 4, 30)
    weighted, copied = numbers(X, shares, w), numbers(X.repeat(w, axis=0), shares.repeat(w, axis=0))
    for name, value in copied.items():
        assert weighted[name] == pytest.approx(value, rel=1e-10), name


def test_names_of_clusters_and_the_order_of_rows_count_for_nothing():
    X, shares, _ = world()
    order = np.random.default_rng(6).permutation(len(X))
    for name, value in numbers(X, shares).items():
        assert numbers(X[order], shares[order][:, [2, 0, 1]])[name] == pytest.approx(value, rel=1e-10), name


def test_pairs_are_clusters_alone():
    X, _, labels = world()
    for kind in ("trace", "determinant"):
        table = fisher_ratio(X, np.eye(K)[labels], kind=kind, pairs=True)
        np.testing.assert_array_equal(table, table.T)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            own = np.isin(labels, [i, j])
            alone = fisher_ratio(X[own], np.eye(K)[labels[own]][:, [i, j]], kind=kind)
            assert table[i, j] == pytest.approx(alone, rel=1e-10)


def test_no_linear_map_changes_the_determinants():
    X, shares, _ = world()
    A = np.random.default_rng(7).normal(size=(3, 3)) * [1e-3, 1.0, 1e3]
    value = fisher_ratio(X, shares, kind="determinant")
    assert fisher_ratio(X @ A + 5, shares, kind="determinant") == pytest.approx(value, rel=1e-9)
    within, total = soft_scatter(X, shares).pooled, soft_scatter(X, shares).total
    assert value == pytest.approx(np.linalg.det(total) / np.linalg.det(within), rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_overlap_is_that_of_the_best_rule_at_any_temperature(temperature):
    """Of unequal weights: rows go to the second where it is the more probable, which is beyond a point."""
    start = {"weights_init": [0.9, 0.1], "means_init": [[0.0], [2.5]], "precisions_init": np.ones((2, 1))}
    model = GaussianMixture(2, covariance_type="diag", temperature=temperature, max_iter=0, **start)
    found = overlap(model.fit(np.random.default_rng(0).normal(size=(20, 1))), n=40_000, random_state=1)
    point = 1.25 + np.log(9) / 2.5
    expected = 0.9 * norm.sf(point) + 0.1 * norm.cdf(point - 2.5)
    assert abs(found.bayes_error - expected) < 5 * found.bayes_error_error < 0.01  # 5 standard errors: 1 in 2 million


def test_overlap_of_two_gaussians_is_the_tail_beyond_the_middle():
    """Equal weights and one covariance: Phi(-delta / 2), delta the distance of the means in its units."""
    start = {"weights_init": [0.5, 0.5], "means_init": [[0.0, 0.0], [1.0, 2.0]]}
    covariance = np.array([[1.0, 0.4], [0.4, 2.0]])
    model = GaussianMixture(2, covariance_type="tied", max_iter=0, precisions_init=np.linalg.inv(covariance), **start)
    model.fit(np.random.default_rng(0).normal(size=(20, 2)))
    delta = np.sqrt([1.0, 2.0] @ np.linalg.solve(covariance, [1.0, 2.0]))
    found = overlap(model, n=40_000, random_state=1)
    expected = norm.cdf(-delta / 2)
    for i, j in ((0, 1), (1, 0)):  # 5 standard errors: 1 in 2 million
        assert abs(found.table.loc[i, j] - expected) < 5 * found.table_error.loc[i, j] < 0.02
        assert found.pairs.loc[i, j] == found.table.loc[i, j]
    assert abs(found.bayes_error - expected) < 5 * found.bayes_error_error < 0.02
