"""The methods of `relabel`: what they find, what they respect, what they refuse."""

import warnings
from itertools import permutations

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from bayessoft import GaussianMixture, Gibbs, relabel
from bayessoft.diagnostics import relabelling
from bayessoft.errors import DataError, OptionError

K, N, DRAWS = 4, 60, 40
METHODS = relabelling.METHODS


def world(
    seed: int = 0, noise: float = 0.1, moved: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of four clusters, the truth, and draws of labels and memberships in orders of their own."""
    rng = np.random.default_rng(seed)
    truth = np.arange(N) % K
    X = np.array([[0, 0], [6, 0], [0, 6], [6, 6]])[truth] + rng.normal(size=(N, 2))
    orders = np.array([rng.permutation(K) if moved else np.arange(K) for _ in range(DRAWS)])
    orders[0] = np.arange(K)
    wrong = rng.random((DRAWS, N)) < noise
    clusters = np.where(wrong, rng.integers(0, K, (DRAWS, N)), truth)
    drawn = np.take_along_axis(np.argsort(orders, axis=1), clusters, 1)
    shares = 0.9 * np.eye(K)[drawn] + 0.1 * rng.dirichlet(np.ones(K), (DRAWS, N))
    return X, drawn.reshape(2, -1, N), shares.reshape(2, -1, N, K), np.argsort(orders, axis=1).reshape(2, -1, K)


@pytest.mark.parametrize("parts", [1 << 22, 3 * N * K], ids=["whole", "parts"])
@pytest.mark.parametrize("method", METHODS)
def test_orders_are_found(method, parts, monkeypatch):
    monkeypatch.setattr(relabelling, "CELLS", parts)
    X, drawn, shares, orders = world()
    for draws in (drawn, shares) if method != "stephens" else (shares,):
        found = relabel(draws, method, X=X)
        np.testing.assert_array_equal(found.order, orders)
        assert found.converged
        assert not found.unclear.any()


def test_values_are_reordered():
    _, drawn, _, orders = world()
    means = np.take_along_axis(np.broadcast_to(np.arange(4.0), orders.shape), np.argsort(orders, -1), -1)
    found = relabel(drawn)
    np.testing.assert_array_equal(found.apply(means), np.broadcast_to(np.arange(4.0), orders.shape))
    doubled = found.apply(np.stack([means, means], -1))
    np.testing.assert_array_equal(doubled[..., 1], found.apply(means))
    with pytest.raises(DataError, match="has to begin with"):
        found.apply(means[..., :2])


def test_stephens_minimises_the_divergence():
    """At the end no order of any draw is nearer to the mean memberships, in Kullback and Leibler's sense."""
    _, _, shares, _ = world(noise=0.5)
    flat = shares.reshape(-1, N, K)
    order = relabel(shares, "stephens").order.reshape(-1, K)
    mean = np.take_along_axis(flat, order[:, None], 2).mean(0)

    def divergence(p: np.ndarray) -> float:
        return float(np.sum(p * np.log(p / mean)))

    for p, mine in zip(flat, order, strict=True):
        least = min(divergence(p[:, list(other)]) for other in permutations(range(K)))
        assert divergence(p[:, mine]) == pytest.approx(least, rel=1e-12)


def test_going_round_helps_where_the_first_draw_is_odd():
    """Two clusters of the first draw are mixed up: the pivot cannot tell them, the most frequent labels can."""
    _, drawn, _, orders = world()
    odd = drawn.copy()
    rng = np.random.default_rng(1)
    pair = np.isin(odd[0, 0], [0, 1])
    odd[0, 0, pair] = rng.integers(0, 2, pair.sum())
    once, round_ = relabel(odd), relabel(odd, "ecr-iterative")
    rest = (slice(None), slice(1, None))

    def agreement(order: np.ndarray) -> float:
        names = np.argsort(order, -1)
        clusters = np.take_along_axis(names[rest], odd[rest], -1).reshape(-1, N)
        return float((clusters == clusters[:1]).mean())

    assert agreement(round_.order) > 0.75
    assert agreement(round_.order) >= agreement(once.order)
    assert round_.rounds > 1


def test_only_exchangeable_clusters_change_places():
    _, drawn, _, _ = world()
    order = relabel(drawn, exchangeable=[0, 0, 1, 1]).order
    assert (np.sort(order[..., :2], -1) == [0, 1]).all()
    assert (np.sort(order[..., 2:], -1) == [2, 3]).all()


def test_draws_that_merge_clusters_are_unclear():
    _, drawn, _, _ = world(noise=0.0, moved=False)
    merged = drawn.copy()
    merged[1, 5:8] = np.minimum(merged[1, 5:8], 2)  # the last cluster joins another
    found = relabel(merged, k=K)
    assert found.unclear.sum() == 3
    assert found.unclear[1, 5:8].all()


def test_the_densest_draw_is_the_pivot_that_may_be_given():
    _, drawn, _, orders = world()
    pivot = drawn[1, 3]
    found = relabel(drawn, pivot=pivot)
    np.testing.assert_array_equal(found.order[1, 3], np.arange(K))
    assert np.array_equal(found.order[0, 0], np.argsort(orders[1, 3]))


def test_a_fits_draws_computed_as_needed():
    X = world()[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        gm = GaussianMixture(K, covariance_type="diag", inference=Gibbs(60, 100, 2), random_state=0).fit(X)
    for method in ("ecr", "stephens", "data"):
        found = relabel(gm.fit_, method, X=X)
        assert found.order.shape == (2, 60, K)
        same = np.argsort(gm.fit_.posterior.order, -1)  # the estimator's own alignment, but for the pivot's numbers
        turned = np.take_along_axis(same, found.order, -1)
        assert (turned == turned[0, 0]).all(-1).mean() > 0.95


@pytest.mark.parametrize(
    ("draws", "options", "error", "message"),
    [
        (
            np.zeros((3, 5), int),
            {"method": "kl"},
            OptionError,
            "pass one of 'ecr', 'ecr-iterative'",
        ),
        (np.zeros((3, 5), int), {"method": "stephens"}, OptionError, "compares memberships"),
        (np.zeros((3, 5), int), {"method": "data"}, OptionError, "pass X"),
        (np.zeros((3, 5), int), {"method": "data", "X": np.zeros((4, 2))}, DataError, r"needs \(5, d\)"),
        (np.zeros((3, 5), int), {"pivot": np.zeros(4, int)}, DataError, "pivot has shape"),
        (np.zeros((3, 5), int), {"pivot": np.ones(5, int)}, DataError, "whole numbers from 0 to 0"),
        (np.zeros((3, 5), int) - 1, {}, DataError, "labels -1 to -1"),
        (np.full((3, 5), 4), {"k": 3}, DataError, "whole numbers from 0 to 2"),
        (np.zeros((3, 5)), {}, DataError, "pass labels"),
        (np.zeros((3, 5), int), {"exchangeable": [0, 1]}, DataError, "exchangeable has shape"),
    ],
)
def test_refusals(draws, options, error, message):
    with pytest.raises(error, match=message):
        relabel(draws, **options)


def test_a_point_has_no_draws():
    X = world()[0]
    with pytest.raises(OptionError, match="only draws have labels"):
        relabel(GaussianMixture(2, random_state=0).fit(X).fit_, X=X)
