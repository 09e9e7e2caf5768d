"""Densities of many components: what they are made from, what they refuse, and fewer components in their place."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gaussian_kde, kstest, norm
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KernelDensity

from bayessoft import FuzzyCMeans, GaussianMixture, MixtureDensity, plots, reduce_mixture
from bayessoft.core import merging, refine
from bayessoft.densities import mixture_density
from bayessoft.errors import DataError, FitError, OptionError
from bayessoft.families.structures import STRUCTURES
from bayessoft.status import Status

RNG = np.random.default_rng(3)
X = RNG.normal(size=(120, 2)) @ np.array([[3.0, 1.0], [0.0, 0.2]]) + 5 * RNG.integers(0, 2, 120)[:, None]
WEIGHTS = RNG.uniform(0.2, 3, 120)
AT = X[:30] + 0.1
SMALL = MixtureDensity([0.2, 0.3, 0.5], [[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]], np.diag([1.0, 2.0]))


@pytest.mark.parametrize("rule", ["scott", "silverman"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["even", "weighted"])
def test_rules_are_scipys(rule, weights):
    found = MixtureDensity.from_kernels(X, rule, weights).score_samples(AT)
    np.testing.assert_allclose(found, gaussian_kde(X.T, rule, weights).logpdf(AT.T), rtol=1e-12)


@pytest.mark.parametrize("bandwidth", [0.5, [0.5, 0.5], [[0.25, 0.0], [0.0, 0.25]]], ids=["one", "columns", "matrix"])
def test_numbers_are_standard_deviations_and_matrices_are_covariances(bandwidth):
    found = MixtureDensity.from_kernels(X, bandwidth).score_samples(AT)
    expected = KernelDensity(bandwidth=0.5, leaf_size=len(X)).fit(X).score_samples(AT)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def left_out(x: np.ndarray, weights: np.ndarray, covariance: np.ndarray) -> float:
    """The mean log density of rows, each under the kernels of the others."""
    shares = weights / weights.sum()
    found = 0.0
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        others = MixtureDensity(shares[rest] / shares[rest].sum(), x[rest], covariance)
        found += shares[i] * others.score_samples(x[[i]])[0]
    return found


def test_likelihood_is_largest_where_rows_are_left_out():
    x, weights = X[:16], WEIGHTS[:16]
    covariance = MixtureDensity.from_kernels(x, "likelihood", weights).covariances
    best = left_out(x, weights, covariance)
    for factor in (0.95, 1.05):
        assert left_out(x, weights, factor**2 * covariance) < best
    np.testing.assert_allclose(
        covariance / covariance[0, 0], np.cov(x.T, aweights=weights) / np.cov(x.T, aweights=weights)[0, 0]
    )


def test_a_repeated_row_is_left_out_with_its_copies():
    x = np.repeat(X[:40], 2, axis=0)
    with pytest.warns(UserWarning, match="50% of the rows repeat others"):
        twice = MixtureDensity.from_kernels(x, "likelihood")
    once = MixtureDensity.from_kernels(X[:40], "likelihood")
    # the covariances of the rows differ by (n - 1) / n, which the scale makes up for, to the search's tolerance
    np.testing.assert_allclose(twice.covariances, once.covariances, rtol=1e-3)


def test_a_row_of_weight_zero_has_no_kernel():
    weights = np.where(np.arange(len(X)) < 100, WEIGHTS, 0)
    for bandwidth in ("scott", "likelihood"):
        with_it, without = (
            MixtureDensity.from_kernels(X, bandwidth, weights),
            MixtureDensity.from_kernels(X[:100], bandwidth, WEIGHTS[:100]),
        )
        np.testing.assert_allclose(with_it.score_samples(AT), without.score_samples(AT), rtol=1e-9)


def fitted(kind: str) -> GaussianMixture:
    return GaussianMixture(2, covariance_type=kind, random_state=0).fit(pd.DataFrame(X, columns=["a", "b"]))


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "tied" else pytest.mark.statistical) for kind in STRUCTURES]
)
def test_a_fit_is_the_density_that_it_scores(kind):
    gm, frame = fitted(kind), pd.DataFrame(AT, columns=["a", "b"])
    density = MixtureDensity.from_fit(gm)
    np.testing.assert_allclose(density.score_samples(frame), gm.score_samples(frame), rtol=1e-10)
    np.testing.assert_allclose(density.predict_proba(frame), gm.predict_proba(frame), atol=1e-12)
    assert density.columns == ("a", "b")
    with pytest.raises(DataError, match="X has columns 'b', 'a'"):
        density.score(frame[["b", "a"]])
    one = reduce_mixture(gm, 1, refine=False)
    np.testing.assert_allclose(one.density.means, gm.weights_[None] @ gm.means_, rtol=1e-12)


def test_a_fit_of_other_components_is_refused(monkeypatch):
    gm = GaussianMixture(2)
    gm.fit_ = None
    for other in (gm.means_init, X, FuzzyCMeans(2)):
        with pytest.raises(OptionError, match="needs a fitted GaussianMixture or MixtureModel, and got"):
            reduce_mixture(other, 1)
    monkeypatch.setattr(mixture_density.posterior, "centre", lambda fit: (np.ones(1), {"rates": np.ones((1, 2))}))
    with pytest.raises(OptionError, match="needs Gaussian components, and these have rates"):
        MixtureDensity.from_fit(gm)
    with pytest.raises(NotFittedError):
        reduce_mixture(GaussianMixture(2), 1)


def test_a_fit_at_a_temperature_is_the_density_that_it_scores():
    gm = GaussianMixture(2, temperature=2.0, random_state=0).fit(X)
    np.testing.assert_allclose(MixtureDensity.from_fit(gm).score_samples(X), gm.score_samples(X), rtol=1e-10)


@pytest.mark.statistical
def test_the_centre_of_a_posterior_is_what_it_shows():
    gm = GaussianMixture(2, inference="cavi", random_state=0).fit(X)
    density = MixtureDensity.from_fit(gm)
    np.testing.assert_allclose(density.means, gm.means_)
    np.testing.assert_allclose(density.covariances, gm.covariances_)


def test_single_precision_stays():
    x = (1e4 + X).astype(np.float32)
    density = MixtureDensity.from_kernels(x, 0.5)
    found = density.score_samples(x[:30])
    assert (
        density.means.dtype
        == found.dtype
        == density.predict_proba(x[:2]).dtype
        == density.sample(3).dtype
        == np.float32
    )
    # rows are rounded to 1e-3 at 1e4, but both see the same ones; widths of some 40, in 24 digits of two
    expected = KernelDensity(bandwidth=0.5, leaf_size=len(x)).fit(x.astype(float)).score_samples(x[:30].astype(float))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    reduction = reduce_mixture(MixtureDensity.from_kernels(x[:6], 0.5), 3, refine=False, curve=[])
    assert reduction.density.means.dtype == np.float32


def test_draws_are_from_the_density():
    shared, each = SMALL, MixtureDensity(SMALL.weights, SMALL.means, [np.eye(2), 2 * np.eye(2), [[2.0, 1], [1, 1]]])
    for density in (shared, each):
        drawn = density.sample(4000, random_state=0)
        turn = np.array([0.6, -0.8])  # along a line, where the distribution function is a sum of SciPy's
        centres, covariances = density.means @ turn, np.broadcast_to(density.covariances, (3, 2, 2))
        spreads = np.sqrt(np.einsum("kab,a,b->k", covariances, turn, turn))
        below = norm(centres, spreads).cdf((drawn @ turn)[:, None]) @ density.weights
        assert kstest(below, "uniform").pvalue > 1e-3  # and the seed is fixed
    np.testing.assert_array_equal(density.sample(2, random_state=1), density.sample(2, random_state=1))


def test_blocks_change_nothing(monkeypatch):
    """Rows and components in many blocks, their last ones filled."""
    rows, at = np.concatenate([X] * 6), np.concatenate([X] * 4) + 0.3
    density = MixtureDensity.from_kernels(rows, 0.7)
    expected = MixtureDensity.from_kernels(X, 0.7).score_samples(X + 0.3)
    np.testing.assert_allclose(density.score_samples(at), np.tile(expected, 4), rtol=1e-12)
    assert density.score(at) == pytest.approx(expected.mean())
    shares = density.predict_proba(at)
    np.testing.assert_allclose(
        shares.reshape(len(at), 6, -1).sum(1),
        np.tile(MixtureDensity.from_kernels(X, 0.7).predict_proba(X + 0.3), (4, 1)),
        atol=1e-12,
    )
    monkeypatch.setattr(mixture_density, "MOST", 1000)
    with pytest.raises(OptionError, match="pass at most 1 rows at a time, or reduce_mixture first"):
        density.predict_proba(at)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": [0.5, 0.6, 0.1]}, "sum to 1.2"),
        ({"weights": [-0.5, 1.0, 0.5]}, "range from -0.5"),
        ({"weights": [0.5, 0.5]}, r"pass \(3,\)"),
        ({"means": [1.0, 2.0, 3.0]}, "a row for each component"),
        ({"means": [[np.nan, 0.0]] * 3}, "NaN or infinite"),
        ({"means": "here"}, "no numbers"),
        ({"covariances": np.eye(3)}, r"pass \(2, 2\), or \(3, 2, 2\)"),
        ({"covariances": [[1.0, 2.0], [2.0, 1.0]]}, "the covariance is not symmetric and positive definite"),
        ({"covariances": [np.eye(2), [[1, 0.5], [0, 1]], np.eye(2)]}, "covariance 1 is not symmetric"),
        ({"columns": ["a"]}, "columns has 1 names"),
    ],
)
def test_what_is_no_mixture_is_refused(change, words):
    given = {"weights": SMALL.weights, "means": SMALL.means, "covariances": SMALL.covariances} | change
    with pytest.raises(OptionError, match=words):
        MixtureDensity(**given)


@pytest.mark.parametrize("bandwidth", ["scot", 0.0, -1.0, np.nan, [1.0], [1.0, -1.0], None, True, np.eye(3)])
def test_what_is_no_bandwidth_is_refused(bandwidth):
    with pytest.raises(OptionError, match="bandwidth is .*: pass"):
        MixtureDensity.from_kernels(X, bandwidth)


def test_rows_without_width_are_refused():
    with pytest.raises(DataError, match="column 'b' is constant"):
        MixtureDensity.from_kernels(pd.DataFrame({"a": X[:, 0], "b": 1.0}))
    with pytest.raises(DataError, match="span fewer dimensions"):
        MixtureDensity.from_kernels(X[:, :1] * [1.0, 2.0])
    with pytest.raises(DataError, match="X has 3 features, and this density has 2"):
        SMALL.score(np.ones((2, 3)))
    with pytest.raises(OptionError, match="n is 0"):
        SMALL.sample(0)


def test_a_summary_names_the_columns():
    table = MixtureDensity(SMALL.weights, SMALL.means, SMALL.covariances, ["a", "b"]).summary()
    assert list(table) == ["weight", "mean a", "mean b", "sd a", "sd b"]
    np.testing.assert_allclose(table["sd b"], np.sqrt(2.0))
    assert "3 components in 2 dimensions, one covariance" in repr(SMALL)


def test_a_reduction_to_as_many_changes_nothing():
    found = reduce_mixture(SMALL, 3)
    assert found.density is SMALL
    assert found.bound == found.squared_error == found.share == 0
    assert found.parents.tolist() == [0, 1, 2]
    assert found.status is Status.CONVERGED


def test_equal_components_are_merged_at_no_cost():
    twice = MixtureDensity(np.repeat(SMALL.weights, 2) / 2, np.repeat(SMALL.means, 2, axis=0), SMALL.covariances)
    found = reduce_mixture(twice, 3)
    assert found.parents.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(found.density.means, SMALL.means, atol=1e-14)
    assert found.bound < 1e-14  # each of three merges costs the rounding of a log determinant
    assert found.n_iter == 0  # there is nothing to refine


def test_components_of_weight_zero_may_be_merged():
    density = MixtureDensity([0.0, 0.2, 0.2, 0.3, 0.3, 0.0], X[:6], np.eye(2))
    found = reduce_mixture(density, 3, curve=[])
    np.testing.assert_allclose(found.merged.weights.sum(), 1)
    assert np.isfinite(found.density.means).all()


def test_real_rows_in_fewer_components():
    """Iris: the kernel density in four components is nearer than k-means' groups would be."""
    frame = load_iris(as_frame=True).data.iloc[:, 2:]
    density = MixtureDensity.from_kernels(frame)
    found = reduce_mixture(density, 4, curve=[4, 10])
    assert found.status is Status.CONVERGED
    stopped = reduce_mixture(density, 4, curve=[], max_iter=2)
    assert (stopped.status, stopped.n_iter) == (Status.NOT_CONVERGED, 2)
    assert found.squared_error < stopped.squared_error < found.squared_error_merged
    labels = KMeans(4, n_init=10, random_state=0).fit_predict(frame)
    parts = merging.Parts(density.weights, density.means.T, np.repeat(density.covariances[:, :, None], len(frame), 2))
    weights, means, covariances = merging.moment_matched(parts, labels)
    grid = np.stack(np.meshgrid(np.linspace(-6, 14, 200), np.linspace(-4, 6.5, 200)), -1).reshape(-1, 2)
    area = 20 / 199 * 10.5 / 199
    of_means = MixtureDensity(weights, means.T, np.moveaxis(covariances, 2, 0))
    errors = [
        np.sum((np.exp(density.score_samples(grid)) - np.exp(m.score_samples(grid))) ** 2) * area
        for m in (found.density, found.merged, of_means)
    ]
    assert errors[0] < errors[1] and errors[0] < errors[2]
    np.testing.assert_allclose(errors[:2], [found.squared_error, found.squared_error_merged], rtol=1e-6)
    assert found.density.columns == density.columns == tuple(frame.columns)
    np.testing.assert_allclose(found.curve["bound"].iloc[-1], found.bound)
    assert found.curve["squared_error"].dropna().index.tolist() == [10, 4]
    assert found.curve["bound"].is_monotonic_increasing
    assert list(found.curve.index) == list(range(150, 3, -1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "pass a whole number from 1 to 3"),
        ({"k": 4}, "the mixture has 3 components"),
        ({"k": True}, "k is True"),
        ({"k": 2, "curve": 2}, "curve is 2: pass a list of whole numbers from k=2 to 3"),
        ({"k": 2, "curve": [1]}, "curve has 1: pass whole numbers from k=2 to 3"),
        ({"k": 2, "max_iter": 0}, "max_iter is 0"),
        ({"k": 2, "tol": 0.0}, "tol is 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        reduce_mixture(SMALL, **options)


def test_a_refinement_that_fails_says_so(monkeypatch):
    from bayessoft.densities import reduction

    def failing(target, own, start, *rest):
        return refine.Refined(start, 3, False, False)

    monkeypatch.setattr(reduction, "refined", failing)
    with pytest.raises(FitError, match="not finite at step 3") as problem:
        reduce_mixture(SMALL, 2, curve=[])
    assert problem.value.status is Status.NON_FINITE


def test_the_curve_is_drawn():
    found = reduce_mixture(MixtureDensity.from_kernels(X[:6]), 2, refine=False)
    ax = plots.reduction_curve(found)
    bound, error = ax.get_lines()
    np.testing.assert_allclose(bound.get_ydata(), found.curve["bound"].iloc[1:])
    assert error.get_xdata().tolist() == found.curve["share"].iloc[1:].dropna().index.tolist()
    assert plots.reduction_curve(found, ax=ax) is ax
    with pytest.raises(OptionError, match="nothing was merged"):
        plots.reduction_curve(reduce_mixture(SMALL, 3))
    with pytest.raises(OptionError, match="reduction is a DataFrame"):
        plots.reduction_curve(found.curve)
