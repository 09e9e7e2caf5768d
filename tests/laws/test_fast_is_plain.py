"""Law "fast = plain": the score of a tile, in both forms, is the log density of the stated likelihood."""

from functools import partial

import jax
import numpy as np
import pytest

from . import linear, student_t
from .worlds import MEMBERS, label, parameters, points, shares, statistics_of


@partial(jax.jit, static_argnums=3)
def both_scores(member, theta, x, fast):
    return member.tile_scores(theta, x.T, fast), member.likelihood(theta).log_prob(x[:, None, :]).T


@partial(jax.jit, static_argnums=4)
def collected(member, theta, x, r, fast):
    return statistics_of(member, theta, x, r, fast)


# With a 1 before them, 2 columns make an odd number of things to pair, 5 an even one; 35 are more than one block.
@pytest.mark.parametrize(
    "fast, d", [(True, 2), (True, 5), (False, 2), (False, 35)], ids=["odd", "even", "centred", "blocks"]
)
@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_scores_are_log_densities(member, fast, d):
    x, theta = points(7, d), parameters(member, 2, d)
    scores, plain = both_scores(member, theta, x, fast)
    # squared distances of some hundred in d + d^2 terms: rounding below 1e-12, times the condition of about 10
    np.testing.assert_allclose(scores, plain, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_wide_rows_of_few_components_take_the_form_that_pays(member):
    found = [member.safe(parameters(member, 2, d), 1.0) for d in (8, 9)]
    assert [bool(one) for one in found] == [True, member.covariance_type != "full"]


@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_single_precision_far_from_the_origin(member):
    """Rows and means round before the test begins; nothing may cancel about the origin after that."""
    x = points(7, 3, offset=1e5).astype(np.float32)
    theta = parameters(member, 2, 3, offset=1e5)
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), theta)
    rounded = jax.tree.map(lambda leaf: leaf.astype(np.float64), single)
    scores = member.tile_scores(single, x.T, False)
    assert scores.dtype == np.float32
    plain = both_scores(member, rounded, x.astype(np.float64), False)[1]
    np.testing.assert_allclose(scores, plain, rtol=1e-4)  # squares of ten to a hundred widths, in seven digits
    r = shares(7, 2)
    found = statistics_of(member, single, x, r.astype(np.float32), False)
    exact = collected(member, rounded, x.astype(np.float64), r, False)
    # sums of seven products below ten, each right to 1e-6, seen through factors of condition two and their inverses
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, exact)


@pytest.mark.parametrize("d", [2, 35], ids=["odd", "blocks"])
@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_both_forms_of_the_statistics_agree(member, d):
    x, r, theta = points(7, d), shares(7, 2), parameters(member, 2, d)
    product, centred = (collected(member, theta, x, r, fast) for fast in (True, False))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), product, centred)


@pytest.mark.parametrize("member", MEMBERS, ids=label)
def test_the_density_of_statistics_is_the_sum_over_rows(member):
    x, r, theta, other = points(7, 2), shares(7, 2), parameters(member, 2, 2), parameters(member, 2, 2, seed=4)
    statistics = collected(member, other, x, r, False)
    expected = np.sum(r * both_scores(member, theta, x, False)[1])
    np.testing.assert_allclose(member.statistics_log_density(theta, statistics), expected, rtol=1e-12)


@linear.names
def test_linear_scores_are_log_densities(name):
    """SciPy's, and those of the stated likelihood."""
    family, theta, x = linear.LINEAR[name], linear.parameters(name, 2), linear.points(name, 7)
    found = family.tile_scores(theta, jax.numpy.asarray(linear.encoded(name, x)), False)
    np.testing.assert_allclose(found, linear.log_pmf(name, theta, x), rtol=1e-11)  # a dozen terms of some nats
    stated = family.likelihood(theta)
    assert stated.event_shape == (linear.D,)
    x = linear.every_row(name)[::7]  # of a multinomial, with its total
    found = family.tile_scores(theta, jax.numpy.asarray(linear.encoded(name, x)), False)
    np.testing.assert_allclose(found, stated.log_prob(x[:, None, :]).T, rtol=1e-11)


@linear.names
def test_linear_scores_in_single_precision(name):
    family, theta, x = linear.LINEAR[name], linear.parameters(name, 2), linear.points(name, 7)
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), theta)
    found = family.tile_scores(single, jax.numpy.asarray(linear.encoded(name, x), np.float32), False)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, linear.log_pmf(name, theta, x), rtol=1e-5)


@pytest.mark.parametrize("fast, d", [(True, 2), (False, 2), pytest.param(False, 35, marks=pytest.mark.statistical)])
@student_t.members
def test_student_t_scores_are_log_densities(member, fast, d):
    """SciPy's, and those of the stated likelihood."""
    x, theta = points(7, d), student_t.parameters(member, 2, d)
    scores, plain = both_scores(member, theta, x, fast)
    np.testing.assert_allclose(scores, plain, rtol=1e-10)  # as of Gaussians
    np.testing.assert_allclose(scores, student_t.log_pdf(member, theta, x), rtol=1e-10)


@student_t.members
def test_student_t_statistics_touch_the_density(member):
    """Their density is the sum over rows at their own parameters, and a bound below it elsewhere; in both forms."""
    x, r, theta = points(7, 2), shares(7, 2), student_t.parameters(member, 2, 2)
    product, centred = (collected(member, theta, x, r, fast) for fast in (True, False))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), product, centred)
    expected = np.sum(r * student_t.log_pdf(member, theta, x))
    np.testing.assert_allclose(member.statistics_log_density(theta, centred), expected, rtol=1e-12)
    other = student_t.parameters(member, 2, 2, seed=4)
    assert member.statistics_log_density(other, centred) < np.sum(r * student_t.log_pdf(member, other, x)) - 1e-3


@pytest.mark.statistical
@student_t.members
def test_student_t_in_single_precision_far_from_the_origin(member):
    x = points(7, 3, offset=1e5).astype(np.float32)
    theta = student_t.parameters(member, 2, 3, offset=1e5)
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), theta)
    rounded = jax.tree.map(lambda leaf: leaf.astype(np.float64), single)
    scores = member.tile_scores(single, x.T, False)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, both_scores(member, rounded, x.astype(np.float64), False)[1], rtol=1e-4)
    r = shares(7, 2)
    found = statistics_of(member, single, x, r.astype(np.float32), False)
    exact = collected(member, rounded, x.astype(np.float64), r, False)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), found, exact)
