"""Pictures of memberships: what is drawn is where the memberships say."""

import io
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bayessoft import ambiguity_plots, canvas, plots
from bayessoft.errors import DataError, OptionError

RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(60, 4)) * [1.0, 1e3, 1e-3, 1.0], columns=["a", "b", "c", "d"])
X["d"] = 2 * X["a"] + 0.1 * X["d"]
R = RNG.dirichlet(np.full(3, 0.2), 60)
R[:3] = [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0, 0, 1]]


@pytest.fixture(autouse=True)
def no_pyplot(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)


def drawn(ax):
    """Places, colours and areas of all marks."""
    parts = [(c.get_offsets(), c.get_facecolors()[:, :3], c.get_sizes()) for c in ax.collections]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def at(places, point):
    (found,) = np.flatnonzero((np.abs(places - point) < 1e-12 * (1 + np.abs(point))).all(1))
    return found


def test_a_map_fades_and_grows_with_doubt():
    ax = plots.ambiguity_map(X, R, columns=["a", 2])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "c")
    places, colours, areas = drawn(ax)
    assert len(places) == 60
    sure, doubt = (at(places, X.iloc[i][["a", "c"]].to_numpy()) for i in (0, 1))
    np.testing.assert_allclose(colours[sure], to_rgb(canvas.COLOURS[0]))
    np.testing.assert_allclose(colours[doubt], to_rgb(canvas.DOUBT), atol=1e-12)
    assert areas[doubt] == pytest.approx(3 * areas[sure])
    heights = [c.get_zorder() for c in ax.collections for _ in c.get_offsets()]
    assert heights[doubt] > heights[sure]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [*(f"cluster {j}  {share:.1%}" for j, share in enumerate(R.mean(axis=0))), "in doubt"]


def test_principal_axes_are_those_of_standardised_columns():
    ax = plots.ambiguity_map(X, R)
    places, _, _ = drawn(ax)
    scaled = (X - X.mean()) / X.std(ddof=0)
    u, s, _ = np.linalg.svd(scaled.to_numpy(), full_matrices=False)
    for j, name in enumerate((ax.get_xlabel(), ax.get_ylabel())):
        assert name == f"principal axis {j + 1} ({s[j] ** 2 / (s**2).sum():.0%} of the variance)"
        own = np.sort(np.abs(u[:, j] * s[j]))
        np.testing.assert_allclose(np.sort(np.abs(places[:, j])), own, rtol=1e-9, atol=1e-9)
    constant = plots.ambiguity_map(np.column_stack([X[["a", "b"]], np.ones(60)]), R)
    assert "nan" not in constant.get_xlabel()


def test_two_columns_are_themselves_and_one_is_refused():
    ax = plots.ambiguity_map(X[["a", "b"]], R)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    assert plots.ambiguity_map(X.to_numpy()[:, :2], R).get_ylabel() == "column 1"
    for wrong in (X[["a"]], X):
        with pytest.raises(OptionError, match="two columns"):
            plots.ambiguity_map(wrong, R, columns=["a"])
    with pytest.raises(OptionError, match="choose from"):
        plots.ambiguity_map(X, R, columns=["a", "z"])
    with pytest.raises(DataError, match="has 59"):
        plots.ambiguity_map(X, R[1:])


def test_corners_of_the_simplex():
    names = ["north", "$5", "south"]
    ax = plots.simplex(pd.DataFrame(R, columns=names))
    places, colours, _ = drawn(ax)
    corners = np.array([text.xy for text in ax.texts])
    np.testing.assert_allclose(np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1), 1)
    for i, point in enumerate((corners[0], corners.mean(0), corners[2])):
        assert np.abs(places - point).sum(1).min() < 1e-12, i
    np.testing.assert_allclose(places.mean(0), R.mean(0) @ corners)  # barycentric: means go to means
    assert [text.get_text() for text in ax.texts] == [
        f"cluster {name}\n{share:.1%}" for name, share in zip(names, R.mean(0), strict=True)
    ]
    with pytest.raises(OptionError, match="there are 4"):
        plots.simplex(np.full((2, 4), 0.25))


def test_bars_are_the_memberships_in_order():
    ax = plots.membership_profiles(R)
    area = {j: 0.0 for j in range(3)}
    for part in ax.collections:
        shade = next(j for j in range(3) if np.allclose(part.get_facecolor()[0, :3], to_rgb(canvas.COLOURS[j])))
        x, y = part.get_paths()[0].vertices.T
        area[shade] += abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2  # the shoelace formula
    np.testing.assert_allclose([area[j] for j in range(3)], R.sum(0), rtol=1e-9)
    counts = np.bincount(R.argmax(1))
    lines = [line.get_xdata()[0] for line in ax.get_lines()]
    np.testing.assert_allclose(lines, np.cumsum(counts)[:-1])
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 60), (0, 1))


def test_many_rows_are_thinned_out_and_axes_may_be_given(monkeypatch):
    monkeypatch.setattr(ambiguity_plots, "MOST", 30)
    figure = Figure()
    for j, draw in enumerate((lambda ax: plots.ambiguity_map(X, R, ax=ax), lambda ax: plots.simplex(R, ax=ax))):
        ax = figure.add_subplot(1, 3, j + 1)
        assert draw(ax) is ax
        assert len(drawn(ax)[0]) == 30
    bars = plots.membership_profiles(R, ax=figure.add_subplot(1, 3, 3))
    assert bars.get_xlabel() == "60 rows, sorted"
    figure.savefig(io.BytesIO(), format="png")


def test_one_cluster_is_never_in_doubt():
    ax = plots.ambiguity_map(X, np.ones((60, 1)))
    np.testing.assert_allclose(drawn(ax)[1], np.broadcast_to(to_rgb(canvas.COLOURS[0]), (60, 3)))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["cluster 0  100.0%"]
    assert len(plots.membership_profiles(np.ones((5, 1))).collections) == 1


@pytest.mark.parametrize("k", [12, 25])
def test_profiles_have_room_for_many_clusters(tmp_path, k):
    ax = plots.membership_profiles(np.random.default_rng(1).dirichlet(np.full(k, 0.1), 60))
    plots.save(ax, tmp_path / "plot.png")
    legend = ax.get_legend().get_window_extent()
    assert legend.y0 >= 0 and legend.y1 <= ax.get_figure().bbox.y1
