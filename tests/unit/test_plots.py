"""Plots: what is drawn is where the model says, and nothing of pyplot is touched."""

import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from bayessoft import plots
from bayessoft.errors import OptionError

RNG = np.random.default_rng(5)
MEANS = np.array([[0.0, 10.0, -3.0], [4.0, 10.0, 9.0]])
COVARIANCES = {
    "full": np.array([[[2.0, 1.2, 0.3], [1.2, 1.0, 0.1], [0.3, 0.1, 4.0]], np.diag([0.5, 3.0, 1.0])]),
    "tied": np.array([[2.0, 1.2, 0.3], [1.2, 1.0, 0.1], [0.3, 0.1, 4.0]]),
    "diag": np.array([[2.0, 1.0, 4.0], [0.5, 3.0, 1.0]]),
    "spherical": np.array([2.0, 0.5]),
}
MATRICES = {
    "full": COVARIANCES["full"],
    "tied": np.array([COVARIANCES["tied"]] * 2),
    "diag": np.array([np.diag(c) for c in COVARIANCES["diag"]]),
    "spherical": np.array([c * np.eye(3) for c in COVARIANCES["spherical"]]),
}
X = np.vstack([RNG.multivariate_normal(MEANS[j], MATRICES["full"][j], 50) for j in range(2)])


def model(kind: str = "full", **changes: object) -> SimpleNamespace:
    """Only what a plot asks of a fitted estimator."""
    fitted = {
        "covariance_type": kind,
        "weights_": np.array([0.25, 0.75]),
        "means_": MEANS,
        "covariances_": COVARIANCES[kind],
        "n_features_in_": 3,
        "feature_names_in_": np.array(["length", "depth", "mass"], dtype=object),
    } | changes
    k = len(fitted["weights_"])
    return SimpleNamespace(**fitted, predict_proba=lambda X: np.eye(k)[np.arange(len(X)) % k])


def ellipses(ax) -> list[Ellipse]:
    return [patch for patch in ax.patches if isinstance(patch, Ellipse)]


@pytest.fixture(autouse=True)
def no_pyplot(monkeypatch):
    """Importing pyplot fails, and no setting may change."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    before = dict(dict.items(matplotlib.rcParams))  # asking for the backend by name would look for pyplot
    yield
    assert dict(dict.items(matplotlib.rcParams)) == before


@pytest.mark.parametrize("kind", COVARIANCES)
def test_ellipses_hold_68_and_95_percent_of_each_component(kind):
    n = 20_000
    ax = plots.memberships(model(kind), X, columns=["mass", "length"])
    drawn = ellipses(ax)
    assert len(drawn) == 4
    for ellipse, (j, level) in zip(drawn, [(0, 0.68), (0, 0.95), (1, 0.68), (1, 0.95)], strict=True):
        rows = RNG.multivariate_normal(MEANS[j], MATRICES[kind][j], n)[:, [2, 0]]
        inside = ellipse.get_path().contains_points(ellipse.get_patch_transform().inverted().transform(rows)).mean()
        assert abs(inside - level) < 5 * np.sqrt(level * (1 - level) / n)  # 5 standard errors: 1 in 2 million


@pytest.mark.parametrize("kind", COVARIANCES)
def test_one_column_shows_densities(kind):
    ax = plots.memberships(model(kind), X, columns=["depth"])
    *parts, whole = ax.get_lines()
    x, y = whole.get_data()
    np.testing.assert_allclose(np.trapezoid(y, x), 1, atol=0.005)  # 3 standard deviations on both sides leave .0027
    for part, weight in zip(parts, [0.25, 0.75], strict=True):
        np.testing.assert_allclose(np.trapezoid(*part.get_data()[::-1]), weight, atol=0.005)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("depth", "density")
    ticks = ax.collections[-1].get_segments()
    np.testing.assert_array_equal([tick[0][0] for tick in ticks], X[:, 1])
    assert max(tick[:, 1].max() for tick in ticks) < 0


def test_rows_labels_and_legend():
    ax = plots.memberships(model(), pd.DataFrame(X, columns=["length", "depth", "mass"]), columns=[0, "depth"])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("length", "depth")
    drawn = np.vstack([points.get_offsets() for points in ax.collections])
    np.testing.assert_array_equal(drawn, np.vstack([X[0::2, :2], X[1::2, :2]]))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["cluster 0  25.0%", "cluster 1  75.0%", "in doubt"]


def test_of_many_clusters_the_largest_are_named():
    k = 30
    weights = np.arange(1.0, k + 1) / np.arange(1.0, k + 1).sum()
    means = np.arange(3.0 * k).reshape(k, 3)
    ax = plots.memberships(model("diag", weights_=weights, means_=means, covariances_=np.ones((k, 3))), X)
    texts = [text.get_text().split("  ")[0] for text in ax.get_legend().get_texts()]
    assert texts == [*(f"cluster {j}" for j in range(10, 30)), "and 10 smaller ones", "in doubt"]


def test_a_colour_is_pure_where_certain_and_grey_where_not():
    probabilities = np.array([[1, 0], [0, 1], [0.5, 0.5], [0.75, 0.25]])
    colours = plots._faded(probabilities)
    first, second, grey = (np.array(to_rgb(c)) for c in (*plots.COLOURS[:2], plots.DOUBT))
    np.testing.assert_allclose(colours, [first, second, grey, (first + grey) / 2], rtol=1e-12)
    np.testing.assert_allclose(plots._faded(np.ones((2, 1))), [first, first])


def test_memberships_can_be_given():
    ax = plots.memberships(model(), X, columns=[0, 1], probabilities=np.full((len(X), 2), 0.5))
    colours = np.vstack([points.get_facecolors() for points in ax.collections])
    np.testing.assert_allclose(colours[:, :3], np.broadcast_to(to_rgb(plots.DOUBT), (len(X), 3)))


def test_the_pair_that_separates_is_chosen():
    means = np.array([[0, 0, 0, 7.0], [0, 5, 0.5, 0], [0, -5, 0, 0]])
    kwargs = {"means_": means, "weights_": np.full(3, 1 / 3), "n_features_in_": 4}
    fitted = model("diag", covariances_=np.ones((3, 4)), feature_names_in_=None, **kwargs)
    assert plots._best_columns(fitted) == [1, 3]
    units = np.array([1e6, 1e-6, 1.0, 1e3])  # whatever the units
    moved = model("diag", covariances_=np.ones((3, 4)) * units**2, **kwargs | {"means_": means * units})
    assert plots._best_columns(moved) == [1, 3]
    constant = model("diag", covariances_=np.array([[0.0, 1, 1, 1]] * 3), **kwargs)
    assert plots._best_columns(constant) == [1, 3]


def test_columns_without_names_and_the_default_for_few_columns():
    fitted = model("spherical", means_=MEANS[:, :1], n_features_in_=1, feature_names_in_=None, covariances_=np.ones(2))
    assert plots.memberships(fitted, X[:, :1]).get_xlabel() == "column 0"


def test_axes_are_used_and_returned():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plots.memberships(model(), X, ax=right) is right
    assert not left.collections
    assert right.collections


def test_of_many_rows_some_are_drawn(monkeypatch):
    monkeypatch.setattr(plots, "MOST", 10)
    ax = plots.memberships(model(), X)
    assert sum(len(points.get_offsets()) for points in ax.collections) == 10


@pytest.mark.parametrize(
    ("k", "scale"), [(1, 1.0), (60, 1.0), (2, 1e-150), (2, 1e100)], ids=["one", "many", "tiny", "huge"]
)
@pytest.mark.parametrize("columns", [None, [0]])
def test_a_picture_is_saved(tmp_path, k, scale, columns):
    means = np.arange(3.0 * k).reshape(k, 3) * scale
    covariances = np.broadcast_to(np.full(3, scale) ** 2, (k, 3))
    fitted = model("diag", weights_=np.full(k, 1 / k), means_=means, covariances_=covariances)
    plots.save(plots.memberships(fitted, X * scale, columns=columns), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["lenght"], "columns has 'lenght': choose from 'length', 'depth', 'mass', or positions from 0"),
        ([3], "columns has 3: choose from"),
        ([-1], "columns has -1: choose from"),
        ([], "name one column, or two different ones"),
        ([0, 1, 2], "name one column, or two different ones"),
        ([1, 1], "name one column, or two different ones"),
        ("mass", "name one column, or two different ones"),
    ],
)
def test_unknown_columns_are_refused(columns, words):
    with pytest.raises(OptionError, match=words):
        plots.memberships(model(), X, columns=columns)
