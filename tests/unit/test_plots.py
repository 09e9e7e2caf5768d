"""Plots: what is drawn is where the model says, and nothing of pyplot is touched."""

import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from scipy.special import kl_div

from bayessoft import canvas, plots, size_plots
from bayessoft.core.sizes import Between
from bayessoft.errors import OptionError
from bayessoft.estimators.mixture_model import MixtureModel

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


@pytest.fixture(scope="module")
def counts() -> MixtureModel:
    """Counts of two clusters: the second column separates them, the first hardly, the third not at all."""
    rates = np.array([[4.0, 1.0, 30.0], [6.0, 40.0, 30.0]])
    rows = np.random.default_rng(1).poisson(rates[np.arange(80) % 2])
    return MixtureModel(2, "poisson", random_state=0).fit(pd.DataFrame(rows, columns=["small", "large", "none"]))


@pytest.fixture(scope="module")
def answers() -> MixtureModel:
    """Answers of two clusters: the second question, of three answers, separates them, the first less so."""
    places, clusters = np.arange(80), np.arange(80) % 2
    first, second = np.where(places % 4 < 2, 0, clusters), np.where(places % 10 < 2, 1, 2 * clusters)
    start = {"probabilities": np.array([[0.8, 0.2, 0.8, 0.1, 0.1], [0.2, 0.8, 0.1, 0.1, 0.8]])}
    model = MixtureModel(2, "categorical", weights_init=[0.5, 0.5], parameters_init=start)
    return model.fit(np.column_stack([first, second]))


def dots(ax) -> list[np.ndarray]:
    """The places of the dots of each cluster."""
    return [np.asarray(found.get_offsets()) for found in ax.collections if isinstance(found, PathCollection)]


def lines(ax) -> list[str]:
    return [text.get_text() for text in ax.get_yticklabels()]


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
    odd = plots.memberships(model(feature_names_in_=np.array(["price $a$", "\\$\\frac$", "l" * 60])), X, columns=[1, 2])
    odd.get_figure().canvas.draw()  # \frac by itself is no mathematics
    assert (odd.get_xlabel(), len(odd.get_ylabel())) == ("\\$\\frac$", canvas.LETTERS)


def test_of_many_clusters_the_largest_are_named():
    k = 30
    weights = np.arange(1.0, k + 1) / np.arange(1.0, k + 1).sum()
    means = np.arange(3.0 * k).reshape(k, 3)
    ax = plots.memberships(model("diag", weights_=weights, means_=means, covariances_=np.ones((k, 3))), X)
    texts = [text.get_text().split("  ")[0] for text in ax.get_legend().get_texts()]
    assert texts == [*(f"cluster {j}" for j in range(10, 30)), "and 10 smaller ones", "in doubt"]


def test_a_colour_is_pure_where_certain_and_grey_where_not():
    probabilities = np.array([[1, 0], [0, 1], [0.5, 0.5], [0.75, 0.25]])
    colours = canvas.faded(probabilities)
    first, second, grey = (np.array(to_rgb(c)) for c in (*plots.COLOURS[:2], canvas.DOUBT))
    np.testing.assert_allclose(colours, [first, second, grey, (first + grey) / 2], rtol=1e-12)
    np.testing.assert_allclose(canvas.faded(np.ones((2, 1))), [first, first])


def test_memberships_can_be_given():
    ax = plots.memberships(model(), X, columns=[0, 1], probabilities=np.full((len(X), 2), 0.5))
    colours = np.vstack([points.get_facecolors() for points in ax.collections])
    np.testing.assert_allclose(colours[:, :3], np.broadcast_to(to_rgb(canvas.DOUBT), (len(X), 3)))


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


# --- profiles


def test_a_profile_has_a_line_for_each_column_and_a_dot_for_each_cluster(counts, tmp_path):
    ax = plots.profiles(counts)
    assert lines(ax) == ["large", "small", "none"]  # the best at separating first
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # on top
    for j, drawn in enumerate(dots(ax)):
        np.testing.assert_allclose(drawn[:, 0], counts.parameters_["rates"][j, [1, 0, 2]])
        np.testing.assert_allclose(drawn[:, 1], range(3), atol=0.2)  # apart, and nearer to their own line
    assert ax.get_xlabel() == "rate, on a scale of square roots"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [f"cluster {j}  {counts.weights_[j]:.1%}" for j in range(2)]
    plots.save(ax, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_answers_to_a_question_stay_together(answers):
    ax = plots.profiles(answers)
    assert lines(ax) == ["column 1=0", "column 1=1", "column 1=2", "column 0=0", "column 0=1"]
    gaps = np.diff(ax.get_yticks())
    assert gaps[2] > gaps[0] == gaps[1] == gaps[3]
    assert (ax.get_xlabel(), ax.get_xlim(), ax.get_title(loc="left")) == ("probability", (0, 1), "")
    named = plots.profiles(answers, labels=["sex=f", "sex=m", "colour=blue", "colour=red", "c" * 50])
    assert lines(named) == ["colour=blue", "colour=red", f"{'c' * 39}…", "sex=f", "sex=m"]
    with pytest.raises(OptionError, match="labels has 1 names: pass 5"):
        plots.profiles(answers, labels=["sex"])


def test_of_many_columns_the_best_are_drawn(counts, answers):
    ax = plots.profiles(counts, most=2)
    assert lines(ax) == ["large", "small"]
    assert ax.get_title(loc="left") == "the 2 of 3 columns that separate the clusters best"
    assert lines(plots.profiles(answers, most=4)) == ["column 1=0", "column 1=1", "column 1=2"]
    assert len(lines(plots.profiles(answers, most=1))) == 3  # never half a column, never none


@pytest.mark.filterwarnings("error:constrained_layout")
def test_a_figure_has_room_for_long_names_and_many_clusters(tmp_path):
    rows = np.random.default_rng(1).poisson(np.arange(1.0, 51.0)[:, None] * [1, 2])
    frame = pd.DataFrame(rows, columns=["$x^2$", "a name " * 9])
    ax = plots.profiles(MixtureModel(25, "poisson", random_state=0).fit(frame))
    assert len(dots(ax)) == 25
    assert len(ax.get_legend().get_texts()) == 21  # the largest, and how many are smaller
    plots.save(ax, tmp_path / "plot.png")
    figure = ax.get_figure()
    inside = ax.get_tightbbox().transformed(figure.dpi_scale_trans.inverted()), ax.get_legend().get_window_extent()
    assert inside[0].x0 >= 0
    assert inside[1].y0 >= 0
    assert inside[1].y1 <= figure.bbox.y1


def test_the_order_of_columns_is_that_of_the_divergence():
    weights, p = np.array([0.3, 0.7]), np.array([[0.2, 0.5], [0.6, 0.5]])
    whole = weights @ p
    expected = weights @ (kl_div(p, whole) + kl_div(1 - p, 1 - whole))
    found = plots._divergence(weights, p) + plots._divergence(weights, 1 - p)
    np.testing.assert_allclose(found, expected, atol=1e-15)
    np.testing.assert_allclose(plots._divergence(weights, p * 9), weights @ kl_div(p * 9, whole * 9), atol=1e-14)
    assert np.isfinite(plots._divergence(weights, np.zeros((2, 1)))).all()


@pytest.mark.parametrize("top", [1e-9, 0.047, 1.0, 58.8, 12345.0])
def test_ticks_of_a_root_scale_are_apart(top):
    ticks = plots._root_ticks(top)
    assert ticks[0] == 0
    assert 3 < len(ticks) < 10
    assert top / 2.5 <= ticks[-1] <= top
    assert np.diff(np.sqrt(ticks)).min() > 0.1 * np.sqrt(top)


def test_each_picture_refuses_the_other_families(counts):
    with pytest.raises(OptionError, match="these have rates: try plots.profiles"):
        plots.memberships(counts, X)
    with pytest.raises(OptionError, match="these components have means: use plots.memberships"):
        plots.profiles(MixtureModel(2, random_state=0).fit(X))


def test_a_gaussian_model_is_drawn_as_a_gaussian_mixture():
    fitted = MixtureModel(2, random_state=0).fit(X)
    means, covariances = plots._components(fitted)
    np.testing.assert_array_equal(means, fitted.parameters_["means"])
    np.testing.assert_array_equal(covariances, fitted.parameters_["covariances"])
    assert len(ellipses(plots.memberships(fitted, X))) == 4


# --- sizes


def bounds_table(*resources: tuple[str, list, list, list, list, list]) -> SimpleNamespace:
    """What the plot of sizes asks of an estimator: for each resource its name, low, high, amount, bound and price."""
    tables = {
        name: pd.DataFrame(dict(zip(("low", "high", "amount", "bound", "price"), columns, strict=True)))
        for name, *columns in resources
    }
    return SimpleNamespace(size_bounds_=pd.concat(tables, names=["resource", "cluster"]))


SIZES = bounds_table(
    ("rows", [0.0, 20.0, 20.0], [100.0, 100.0, 30.0], [50.0, 20.0, 30.0], ["", "low", "high"], [0.0, 0.531, -0.02]),
    ("$load$", [0.0, 5.0, 2.0], [7.0, 5.0, 9.0], [1.0, 5.0, 4.0], ["", "fixed", ""], [0.0, 1.5, 0.0]),
)


def marks(ax, shade: str) -> set[tuple[float, float]]:
    """Bound and cluster of the marks of a colour."""
    drawn = [found for found in ax.collections if isinstance(found, LineCollection)]
    drawn = [found for found in drawn if len(found.get_segments()) and to_rgb(shade) == tuple(found.get_color()[0][:3])]
    return {(segment[0, 0], round(segment[:, 1].mean(), 9)) for found in drawn for segment in found.get_segments()}


def test_sizes_are_bars_in_bands_with_prices():
    ax = plots.sizes(SIZES)
    bands, bars = ax.containers
    assert [bar.get_width() for bar in bars] == [50, 20, 30]
    assert [to_rgb(bar.get_facecolor()[:3]) for bar in bars] == [to_rgb(shade) for shade in plots.COLOURS[:3]]
    top = ax.get_xlim()[1]
    assert top > 50
    assert [(band.get_x(), band.get_x() + band.get_width()) for band in bands] == [(0, top), (20, top), (20, 30)]
    assert marks(ax, size_plots.ACTIVE) == {(20, 1), (30, 2)}
    assert marks(ax, size_plots.IDLE) == {(20, 2)}
    assert [text.get_text() for text in ax.texts] == [
        "not binding",
        "0.53 nats per row",
        "\N{MINUS SIGN}0.02 nats per row",
    ]
    assert [text.xy[1] for text in ax.texts] == [0, 1, 2]
    assert lines(ax) == ["cluster 0", "cluster 1", "cluster 2"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["allowed", "active bound", "bound"]


def test_a_resource_is_chosen_and_axes_are_kept(tmp_path):
    left, right = Figure(layout="constrained").subplots(1, 2)
    assert plots.sizes(SIZES, resource="$load$", ax=right) is right
    assert not left.containers
    assert right.get_xlabel() == "sum of $load$"
    assert [text.get_text() for text in right.texts] == ["not binding", "1.5 nats per unit", "not binding"]
    assert marks(right, size_plots.ACTIVE) == {(5, 1)}
    plots.save(plots.sizes(SIZES, ax=left), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OptionError, match=r"resource is 'hours': choose from 'rows', '\$load\$'"):
        plots.sizes(SIZES, resource="hours")
    with pytest.raises(OptionError, match="there are none: fit with sizes="):
        plots.sizes(MixtureModel(2, random_state=0).fit(X))


def test_draws_have_bounds_without_prices():
    nan = [np.nan] * 3
    ax = plots.sizes(bounds_table(("rows", [5.0] * 3, [60.0] * 3, [5.0, 60.0, 35.0], ["low", "high", ""], nan)))
    assert [text.get_text() for text in ax.texts] == ["at its low bound", "at its high bound", "not binding"]
    ax = plots.sizes(bounds_table(("rows", [5.0] * 3, [5.0] * 3, [5.0] * 3, ["fixed"] * 3, nan)))
    assert [text.get_text() for text in ax.texts] == ["fixed"] * 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["active bound"]


@pytest.mark.filterwarnings("error:constrained_layout")
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e12])
def test_texts_of_sizes_stay_apart(scale):
    k = 20
    amount = np.linspace(1, 2, k) * scale
    prices = np.linspace(-5, 5, k) / scale
    table = bounds_table(("a name " * 9, amount / 2, amount * 1.5, amount, ["high"] * k, prices))
    ax = plots.sizes(table)
    figure = ax.get_figure()
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in [*ax.texts, *ax.get_legend().get_texts()]]
    assert all(not one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert min(box.x0 for box in boxes[:k]) > ax.bbox.x1
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
    assert max(box.y1 for box in boxes) <= figure.bbox.y1


def test_a_curve_has_strokes_whose_slope_is_minus_the_price(tmp_path):
    found = {
        "objective": [-9.0, -5.0, -5.5],
        "price": [-1.0, 0.0, -0.25],
        "status": ["CONVERGED"] * 2 + ["NOT_CONVERGED"],
    }
    ax = plots.size_curve(pd.DataFrame(found, index=pd.Index([10.0, 16.0, 13.0], name="high")))
    curve, ended, stopped = ax.get_lines()
    np.testing.assert_array_equal(curve.get_xydata(), [[10, -9], [13, -5.5], [16, -5]])
    np.testing.assert_array_equal(ended.get_xydata(), [[10, -9], [16, -5]])
    np.testing.assert_array_equal(stopped.get_xydata(), [[13, -5.5]])
    strokes = ax.collections[0].get_segments()
    for stroke, middle, price in zip(strokes, curve.get_xydata(), [-1.0, -0.25, 0.0], strict=True):
        (x0, y0), (x1, y1) = stroke
        assert (y1 - y0) / (x1 - x0) == pytest.approx(-price)
        np.testing.assert_allclose(stroke.mean(0), middle)
    assert strokes[0][1, 0] < strokes[1][0, 0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("high bound", "objective in nats")
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["fit", "fit that has not converged", "slope: minus the price"]
    one = plots.size_curve(pd.DataFrame(found).iloc[:1], ax=Figure().subplots())
    plots.save(one, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OptionError, match="the table lacks 'price', 'status'"):
        plots.size_curve(pd.DataFrame({"objective": [1.0]}))


def test_what_a_fit_found_is_drawn():
    rows = np.vstack([RNG.normal(9 * j, 1, (30 + 20 * j, 2)) for j in range(2)])
    fitted = MixtureModel(2, sizes=Between(low=38), random_state=0).fit(rows)
    ax = plots.sizes(fitted)
    table = fitted.size_bounds_
    assert [bar.get_width() for bar in ax.containers[1]] == table["amount"].to_list()
    assert sorted(marks(ax, size_plots.ACTIVE)) == [(38, list(table["bound"]).index("low"))]
    smaller = int(np.argmax(table["price"]))
    curve = fitted.size_curve(rows, smaller, [32, 36, 38])
    drawn = plots.size_curve(curve).get_lines()[0]
    np.testing.assert_array_equal(drawn.get_ydata(), curve["objective"])
