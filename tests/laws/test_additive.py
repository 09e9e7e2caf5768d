"""Law "additive": statistics of parts, re-based, add up to those of the whole."""

import jax
import numpy as np
import pytest

from bayessoft import GaussianMixture

from . import linear, student_t
from .worlds import (
    MEMBERS,
    label,
    laid_out,
    linear_tiles,
    parameters,
    points,
    proportions,
    shares,
    start,
    statistics_of,
    swept,
)

# Sums of about 40 terms of size 1 to 10 round to 1e-14; far from the origin (1e4) the rows themselves round at 2e-12,
# and products about the origin would at 1e-8, so this also tells the two forms apart.
TOLERANCE = {0.0: dict(rtol=1e-11, atol=1e-11), 1e4: dict(rtol=1e-9, atol=1e-9)}
K, D = 3, 2
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # ten steps on purpose

members = pytest.mark.parametrize("member", MEMBERS, ids=label)
offsets = pytest.mark.parametrize("offset", TOLERANCE, ids=["product", "centred"])


def total(parts):
    return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *parts)


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), **tolerance), a, b)


def passed(member, rows, offset=0.0):
    theta = parameters(member, K, D, offset=offset)
    assert bool(member.safe(theta, rows.radius)) is (offset == 0)  # the form that the test means to run
    return swept(member, theta, np.log(proportions(K)), rows)


@members
@pytest.mark.parametrize("fast", [True, False], ids=["product", "centred"])
def test_statistics_of_parts_about_different_points_add_up(member, fast):
    x, r = points(24, D), shares(24, K)
    here, there, common = (parameters(member, K, D, seed=seed) for seed in (0, 1, 2))

    def statistics(theta, part):
        return statistics_of(member, theta, x[part], r[:, part], fast)

    first, second = statistics(here, slice(0, 10)), statistics(there, slice(10, None))
    whole = statistics(common, slice(None))
    moved = [part.about(member.structure, common.means) for part in (first, second)]
    summed = total([(part.weight, part.first, part.second) for part in moved])
    close(summed, (whole.weight, whole.first, whole.second), **TOLERANCE[0.0])


@members
@offsets
def test_sweeps_over_parts_add_up(member, offset):
    x, w = points(40, D, offset=offset), np.random.default_rng(1).random(40)
    halves = [passed(member, laid_out(x[part], w[part], 8), offset) for part in (slice(0, 20), slice(20, None))]
    value, whole = passed(member, laid_out(x, w, 8), offset)
    close(halves[0][0] + halves[1][0], value, **TOLERANCE[offset])
    summed = total([(s.weight, s.first, s.second) for _, s in halves])
    close(summed, (whole.weight, whole.first, whole.second), **TOLERANCE[offset])


@members
def test_weight_two_is_the_row_twice(member):
    x, w = points(20, D), np.where(np.arange(20) % 4, 1.0, 2.0)
    doubled = np.repeat(x, w.astype(int), axis=0)
    once, twice = passed(member, laid_out(x, w, 8)), passed(member, laid_out(doubled, tile_rows=8))
    close(once, twice, **TOLERANCE[0.0])


@members
def test_a_fit_with_weight_two_is_the_fit_of_the_row_twice(member):
    # ten steps from one start: rounding grows by the conditioning of the steps, well under 1e3
    x, w = points(54, D), np.repeat([2.0, 1.0, 0.0], [14, 26, 14])
    kind = member.covariance_type
    gm = GaussianMixture(K, covariance_type=kind, reg_covar=1e-3, max_iter=10, tol=0, **start(member, K, D))

    def found(x, w=None):
        gm.fit(x, sample_weight=w)
        return gm.weights_, gm.means_, gm.covariances_, gm.lower_bound_, gm.n_iter_

    close(found(x, w), found(np.repeat(x, w.astype(int), axis=0)), rtol=1e-9, atol=1e-10)


@members
@offsets
def test_the_size_of_tiles_changes_nothing(member, offset):
    x, w = points(40, D, offset=offset), np.random.default_rng(1).random(40)
    whole = passed(member, laid_out(x, w, 64), offset)
    for tile_rows in (7, 8):  # 7 leaves a tile with filling
        close(passed(member, laid_out(x, w, tile_rows), offset), whole, **TOLERANCE[offset])


@linear.names
def test_linear_sweeps_over_parts_add_up(name):
    """Halves, tiles of other sizes, and rows of weight 2 in the place of two rows."""
    x, w = linear.points(name, 24), np.where(np.arange(24) % 4, 1.0, 2.0)
    theta, logs = linear.parameters(name, K), np.log(proportions(K))

    def passed(x, w, tile_rows=8):
        return swept(linear.LINEAR[name], theta, logs, linear_tiles(name, x, w, tile_rows))

    whole = passed(x, w)
    close(total([passed(x[part], w[part]) for part in (slice(0, 10), slice(10, None))]), whole, **TOLERANCE[0.0])
    close(passed(x, w, 7), whole, **TOLERANCE[0.0])
    close(passed(np.repeat(x, w.astype(int), axis=0), np.ones(int(w.sum()))), whole, **TOLERANCE[0.0])


@student_t.members
@pytest.mark.parametrize("offset", [0.0, pytest.param(1e4, marks=pytest.mark.statistical)])
def test_student_t_sweeps_over_parts_add_up(member, offset):
    """Halves, tiles of other sizes, and rows of weight 2 in the place of two rows."""
    x, w = points(24, D, offset=offset), np.where(np.arange(24) % 4, 1.0, 2.0)
    theta, logs = student_t.parameters(member, K, D, offset=offset), np.log(proportions(K))

    def passed(x, w, tile_rows=8):
        rows = laid_out(x, w, tile_rows)
        assert bool(member.safe(theta, rows.radius)) is (offset == 0)
        value, s = swept(member, theta, logs, rows)
        return value, s.weight, s.deviation, s.entropy, s.moments.weight, s.moments.first, s.moments.second

    whole = passed(x, w)
    close(total([passed(x[part], w[part]) for part in (slice(0, 10), slice(10, None))]), whole, **TOLERANCE[offset])
    close(passed(x, w, 7), whole, **TOLERANCE[offset])
    close(passed(np.repeat(x, w.astype(int), axis=0), np.ones(int(w.sum()))), whole, **TOLERANCE[offset])
