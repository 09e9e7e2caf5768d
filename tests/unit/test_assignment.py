"""Hard labels under bounds of their counts: against SciPy's solvers, with ties, from samples, and refused."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linear_sum_assignment, linprog

from bayessoft.core import assignment
from bayessoft.core.assignment import best_labels
from bayessoft.errors import OptionError


@pytest.fixture(params=[(512, 32), (5, 1)], ids=["at-once", "by-samples"])
def handful(request, monkeypatch):
    """The sizes as shipped, and such that a few rows go through several samples and second looks."""
    sample, at_hand = request.param
    monkeypatch.setattr(assignment, "SAMPLE", sample)
    monkeypatch.setattr(assignment, "AT_HAND", at_hand)


def drawn(rng):
    """Scores of all sizes, with ties, duplicated rows and rows that are kept out of clusters."""
    n, k = rng.integers(1, 40), rng.integers(1, 7)
    scores = rng.normal(size=(n, k)) * 10 ** rng.uniform(-2, 3)
    kind = rng.integers(3)
    if kind == 1:
        scores = np.round(scores)
    if kind == 2:
        scores = scores[rng.integers(0, 1 + n // 6, n)]
    if rng.random() < 0.4:
        scores[rng.random((n, k)) < rng.uniform(0, 0.7)] = -np.inf
    return scores, np.diff(np.concatenate([[0], np.sort(rng.integers(0, n + 1, k - 1)), [n]]))


def loosened(sizes, rng):
    """Bounds around sizes, some of them open."""
    n, k = sizes.sum(), len(sizes)
    low = np.maximum(sizes - rng.integers(0, n // 2 + 1, k), 0) * (rng.random(k) < 0.6)
    return low, np.where(rng.random(k) < 0.5, sizes + rng.integers(0, n // 2 + 1, k), n)


def by_assignment(scores, sizes):
    """The largest sum, each cluster as many columns as it takes rows; None where there is none."""
    columns = np.repeat(np.arange(len(sizes)), sizes)
    try:
        return scores[:, columns][linear_sum_assignment(scores[:, columns], maximize=True)].sum()
    except ValueError as error:
        assert "infeasible" in str(error)
        return None


def by_programme(scores, low, high):
    """The largest value of the linear programme; None where nothing is feasible."""
    n, k = scores.shape
    allowed = np.isfinite(scores)
    counts = sparse.kron(np.ones((1, n)), sparse.eye(k))
    found = linprog(
        -np.where(allowed, scores, 0).ravel(),
        A_eq=sparse.kron(sparse.eye(n), np.ones((1, k))),
        b_eq=np.ones(n),
        A_ub=sparse.vstack([counts, -counts]),
        b_ub=np.concatenate([high, -low]),
        bounds=np.stack([np.zeros(n * k), allowed.ravel()], 1),
        method="highs",
    )
    return -found.fun if found.status == 0 else None


def check(scores, low, high, best):
    n, k = scores.shape
    scale = n * (1 + np.abs(scores[np.isfinite(scores)]).max())  # rounding of a sum of n such scores is 1e-16 of it
    counts = np.bincount(best.labels, minlength=k)
    assert ((low <= counts) & (counts <= high)).all()
    np.testing.assert_allclose(best.value, scores[np.arange(n), best.labels].sum(), atol=1e-14 * scale)
    assert 0 <= best.gap < 1e-14 * scale
    loose = low < high
    np.testing.assert_array_equal(counts[loose & (best.prices > 0)], low[loose & (best.prices > 0)])
    np.testing.assert_array_equal(counts[loose & (best.prices < 0)], high[loose & (best.prices < 0)])
    priced = scores + best.prices
    lost = priced.max(1) - priced[np.arange(n), best.labels]
    np.testing.assert_allclose(lost, 0, atol=1e-14 * scale)


def check_against(oracle, scores, low, high):
    if oracle is None:
        with pytest.raises(OptionError, match="-inf"):
            best_labels(scores, low, high)
        return
    best = best_labels(scores, low, high)
    check(scores, low, high, best)
    # the solvers' tolerance of 1e-7, relative to scores that come in all sizes
    np.testing.assert_allclose(best.value, oracle, atol=1e-7 * max(1, np.abs(scores[np.isfinite(scores)]).max()))


@pytest.mark.usefixtures("handful")
@pytest.mark.parametrize("seed", range(4))
def test_fixed_counts_against_linear_sum_assignment(seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        scores, sizes = drawn(rng)
        check_against(by_assignment(scores, sizes), scores, sizes, sizes)


@pytest.mark.usefixtures("handful")
@pytest.mark.parametrize("seed", range(4))
def test_bounds_against_a_linear_programme(seed):
    rng = np.random.default_rng(10 + seed)
    for _ in range(60):
        scores, sizes = drawn(rng)
        low, high = loosened(sizes, rng)
        check_against(by_programme(scores, low, high), scores, low, high)


@pytest.mark.parametrize("seed", [740, 7522])
def test_a_price_between_the_bounds_is_no_rounding_error(seed, monkeypatch):
    """Of scores with which sums of distances leave 1e-17, above 0 or below."""
    monkeypatch.setattr(assignment, "SAMPLE", 8)
    scores = np.random.default_rng(seed).normal(size=(40, 5))
    low, high = np.array([12, 10, 0, 0, 0]), np.array([40, 40, 8, 9, 40])
    best = best_labels(scores, low, high)
    check(scores, low, high, best)
    assert np.bincount(best.labels)[2] in range(1, 8) and best.prices[2] == 0


def gaussian_scores(n, k, distance, rng):
    means = rng.normal(size=(k, 3)) * distance
    x = means[rng.choice(k, n, p=rng.dirichlet(np.ones(k)))] + rng.normal(size=(n, 3))
    return -((x[:, None] - means) ** 2).sum(-1) / 2


@pytest.mark.parametrize("distance", [0.3, 3.0, 50.0])
def test_many_rows(distance):
    scores = gaussian_scores(20_000, 8, distance, np.random.default_rng(0))
    equal = np.full(8, 2500)
    check(scores, equal, equal, best_labels(scores, equal, equal))
    for width in (200, 1000, 2000):  # all bounds are active, or some
        low, high = equal - width, equal + width
        check(scores, low, high, best_labels(scores, low, high))
    again = best_labels(scores, equal, equal)
    np.testing.assert_array_equal(again.labels, best_labels(scores, equal, equal).labels)
    np.testing.assert_allclose(again.prices @ equal, 0, atol=1e-9 * 20_000)


@pytest.mark.parametrize("kinds", [1, 7, 500])
def test_thousands_of_identical_rows(kinds):
    rng = np.random.default_rng(1)
    scores = gaussian_scores(kinds, 6, 1.0, rng)[rng.integers(0, kinds, 12_000)]
    sizes = np.array([6000, 3000, 1500, 1000, 499, 1])
    check(scores, sizes, sizes, best_labels(scores, sizes, sizes))
    check(scores, sizes // 2, 2 * sizes, best_labels(scores, sizes // 2, 2 * sizes))


def test_open_bounds_leave_each_row_its_largest_score():
    scores = gaussian_scores(3000, 5, 1.0, np.random.default_rng(2))
    for high in (3000, np.iinfo(np.int64).max):
        best = best_labels(scores, np.zeros(5, int), np.full(5, high))
        np.testing.assert_array_equal(best.labels, scores.argmax(1))
        np.testing.assert_array_equal(best.prices, 0)
        assert best.gap == 0


def test_one_cluster_few_rows_and_none():
    one = best_labels(np.array([[1.0], [2.0]]), np.array([2]), np.array([2]))
    assert (one.value, one.gap, one.labels.tolist()) == (3.0, 0.0, [0, 0])
    few = best_labels(np.eye(2, 5), np.zeros(5, int), np.array([0, 2, 2, 2, 2]))
    assert (few.value, few.gap) == (1.0, 0.0)
    assert few.prices[0] == -1 and (few.prices[1:] == 0).all()
    none = best_labels(np.empty((0, 3)), np.zeros(3, int), np.ones(3, int))
    assert (none.labels.shape, none.value, none.gap) == ((0,), 0.0, 0.0)


@pytest.mark.parametrize(
    "low, high, words",
    [([2, 2], [3, 3], "at least, 3"), ([0, 0], [1, 1], "at least, 3"), ([2, 0], [1, 3], "low <= high")],
)
def test_bounds_that_no_rows_meet_are_refused(low, high, words):
    with pytest.raises(OptionError, match=words):
        best_labels(np.zeros((3, 2)), np.array(low), np.array(high))


@pytest.mark.parametrize("score", [-np.inf, np.inf, np.nan])
def test_a_row_without_a_score_is_refused(score):
    scores = np.array([[0.0, 1.0], [-np.inf, score]])
    with pytest.raises(OptionError, match=f"row 1 is {score}"):
        best_labels(scores, np.array([0, 0]), np.array([2, 2]))
