"""Labels and convergence, on arrays made by hand."""

from itertools import permutations

import numpy as np
import pytest

from bayessoft import arviz_io
from bayessoft.diagnostics.convergence import judge, label_free, modes
from bayessoft.diagnostics.labels import align
from bayessoft.posteriors import Checks
from bayessoft.status import Status


def products(pivot: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `align` takes, of memberships (n, k) and (draws, n, k)."""
    return np.einsum("nj,snk->sjk", pivot, shares), (shares**2).sum(1), (pivot**2).sum(0)


def test_permuted_memberships_are_put_back():
    rng = np.random.default_rng(0)
    pivot = rng.dirichlet(np.full(4, 0.3), 30)
    orders = np.array(list(permutations(range(4))))
    found = align(*products(pivot, np.stack([pivot[:, order] for order in orders])))
    np.testing.assert_array_equal(np.take_along_axis(orders, found.order, 1), np.tile(np.arange(4), (24, 1)))
    assert not found.unclear.any()
    np.testing.assert_allclose(found.sizes, np.tile(pivot.sum(0), (24, 1)))
    np.testing.assert_allclose(found.overlap.sum((1, 2)), 1)


def test_the_order_is_the_best_of_all():
    rng = np.random.default_rng(1)
    overlap = rng.random((50, 4, 4))
    found = align(overlap, np.ones((50, 4)), np.ones(4)).order
    best = [max(permutations(range(4)), key=lambda p, o=o: sum(o[j, p[j]] for j in range(4))) for o in overlap]
    np.testing.assert_array_equal(found, best)


def test_two_components_in_one_cluster_are_unclear():
    pivot = np.repeat(np.eye(3), 10, axis=0)
    split = pivot[:, [0, 0, 1]] * [0.5, 0.5, 1.0]  # the third cluster is claimed by nobody
    found = align(*products(pivot, np.stack([pivot, split])))
    assert found.unclear.tolist() == [False, True]
    assert sorted(found.order[1]) == [0, 1, 2]


def test_a_small_cluster_beside_a_large_one_is_clear():
    rng = np.random.default_rng(2)
    small = np.where(np.arange(300) < 10, 0.6, 0.05)  # more of its weight lies on the large cluster's rows
    draws = np.stack([np.clip(small + rng.normal(0, 0.02, 300), 0, 1) for _ in range(20)])
    shares = np.stack([draws, 1 - draws], -1)
    assert not align(*products(np.stack([small, 1 - small], 1), shares)).unclear.any()


def test_nothing_label_free_depends_on_labels():
    weights = np.random.default_rng(3).dirichlet(np.ones(3), (2, 5))
    one, other = (label_free(w, np.zeros((2, 5))) for w in (weights, weights[..., [2, 0, 1]]))
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=1e-14)


def test_chains_apart_are_different_modes():
    values = np.random.default_rng(4).normal(size=(4, 100, 2))
    assert modes(values) == (0, 0, 0, 0)
    values[2, :, 1] += 8
    assert modes(values) == (0, 0, 1, 0)
    assert modes(np.ones((3, 5, 1))) == (0, 0, 0)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, Status.SAMPLED),
        ({"divergent": 0.02}, Status.DIVERGENT),
        ({"rhat": {"weights": 1.2}}, Status.NOT_MIXED),
        ({"ess": {"weights": 60.0}}, Status.NOT_MIXED),
        ({"rhat": {"weights": np.nan}, "ess": {"weights": np.nan}}, Status.NOT_MIXED),
        ({"unclear": 0.2, "divergent": 0.5}, Status.LABELS_UNCLEAR),
        ({"modes": (0, 1), "unclear": 0.2}, Status.MODES),
    ],
)
def test_the_gravest_finding_is_the_status(change, status):
    good = {"rhat": {"weights": 1.0}, "ess": {"weights": 400.0}, "divergent": 0.0, "unclear": 0.0, "modes": (0, 0)}
    assert judge(Checks(**(good | change)), Status.SAMPLED) is status


@pytest.mark.parametrize(
    ("k", "unclear", "ended", "status"),
    [
        (0.5, 0.0, Status.CONVERGED, Status.CONVERGED),
        (0.8, 0.0, Status.CONVERGED, Status.GUIDE_FAR),
        (np.nan, 0.0, Status.CONVERGED, Status.GUIDE_FAR),
        (0.8, 0.0, Status.NOT_CONVERGED, Status.NOT_CONVERGED),
        (0.8, 0.2, Status.NOT_CONVERGED, Status.LABELS_UNCLEAR),
    ],
)
def test_draws_of_a_guide_are_judged_by_their_tail(k, unclear, ended, status):
    assert judge(Checks({}, {}, None, unclear, (0,), k), ended) is status


def test_rhat_and_ess():
    rng = np.random.default_rng(5)
    mixed = rng.normal(size=(4, 500, 2))
    apart = mixed + np.arange(4)[:, None, None] * [0.0, 3.0]
    rhat, ess = arviz_io.rhat(apart), arviz_io.ess(mixed)
    assert rhat.shape == ess.shape == (2,)
    assert rhat[0] < 1.01 < 1.5 < rhat[1]
    assert (ess > 1500).all()
    assert arviz_io.rhat(mixed[:1])[0] < 1.02  # a single chain, in halves
    drift = np.linspace(0, 9, 500)[None, :, None] + mixed[:1]
    assert arviz_io.rhat(drift)[0] > 1.2
    assert np.isnan(arviz_io.rhat(np.ones((4, 50)))) and np.isnan(arviz_io.ess(mixed[:, :2])).all()
