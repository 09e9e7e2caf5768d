"""Stability: what moves from refit to refit, and what does not."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture as Peer

from bayessoft import Capacity, GaussianMixture, MixtureModel, stability
from bayessoft.errors import DataError, OptionError

RNG = np.random.default_rng(0)
X = pd.DataFrame(
    np.vstack([RNG.normal(2.5 * j, 1, (40, 2)) for j in range(3)]), [f"r{i}" for i in range(120)], ["a", "b"]
)


class Still(BaseEstimator):
    """Memberships by the first column alone, whatever it is fitted to, in clusters that turn with every fit."""

    fits = 0

    def __init__(self, k: int = 3, grow: bool = False):
        self.k, self.grow = k, grow

    def fit(self, X, y=None):
        Still.fits += 1
        self.turn_ = Still.fits
        return self

    def predict_proba(self, X):
        logits = -((np.asarray(X)[:, [0]] - 2.5 * np.arange(self.k)) ** 2)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        shares = np.roll(shares, self.turn_, axis=1)
        return np.column_stack([shares, np.zeros(len(shares))]) if self.grow and self.turn_ % 2 else shares


class Weighty(Still):
    """Remembers the weights and rows of its fits."""

    seen = []

    def fit(self, X, y=None, sample_weight=None):
        Weighty.seen.append((np.asarray(X), sample_weight))
        return super().fit(X)


@pytest.mark.parametrize("grow", [False, True], ids=["turning", "another number"])
def test_what_does_not_move_has_moved_nowhere_whatever_its_names(grow):
    Still.fits = 1
    found = stability(Still(grow=grow), X, lambda X, r: r[:, 1].sum(), resamples=4)
    assert (found.rows["membership_change"] < 1e-15).all()  # sums of turned memberships round in another order
    assert not found.rows["label_change"].any()
    np.testing.assert_allclose(found.refits["soft_rand"], found.itself, rtol=1e-12)
    np.testing.assert_array_equal(found.refits["hard_rand"], 1)
    assert found.itself < 1
    np.testing.assert_allclose(found.conclusions.xs("sd", axis=1, level=1), 0, atol=1e-12)
    assert list(found.rows.index) == list(X.index)


def test_numbers_are_those_of_the_refits():
    """By hand, with scikit-learn's mixture as the clusterer, on the rows that its fits got."""
    labels, memberships = [], []
    found = stability(Recorded(3, labels, memberships), X, lambda X, r: pd.Series(r.mean(0), list("abc")), resamples=5)
    agreement = [adjusted_rand_score(labels[0], other) for other in labels[1:]]
    np.testing.assert_allclose(found.refits["hard_rand"], agreement, rtol=1e-12)
    orders = [
        max(map(list, permutations(range(3))), key=lambda o: np.sum(memberships[0] * r[:, o])) for r in memberships
    ]  # noqa: B023
    named = [r[:, order] for r, order in zip(memberships, orders, strict=True)]
    moved = np.mean([np.maximum(r - named[0], 0).sum(1) for r in named[1:]], axis=0)  # what one loses another gains
    np.testing.assert_allclose(found.rows["membership_change"], moved, rtol=1e-10, atol=1e-14)
    changed = np.mean([r.argmax(1) != labels[0] for r in named[1:]], axis=0)
    np.testing.assert_allclose(found.rows["label_change"], changed)
    assert changed.any()
    np.testing.assert_allclose(found.conclusions[("soft", "value")], memberships[0].mean(0), rtol=1e-12)
    hard = np.bincount(labels[0], minlength=3) / len(X)
    np.testing.assert_allclose(found.conclusions[("hard", "value")], hard, rtol=1e-12)
    sorted_means = np.sort([r.mean(0) for r in memberships[1:]], axis=1)  # whatever cluster is which
    np.testing.assert_allclose(found.conclusions[("soft", "mean")].sum(), sorted_means.mean(0).sum(), rtol=1e-12)
    table = found.summary()
    assert list(table.columns) == ["soft", "hard"]
    assert list(table.index[-3:]) == ["sd of a", "sd of b", "sd of c"]
    assert table.loc["change", "hard"] == found.rows["label_change"].mean()
    assert table.loc["sd of b", "soft"] == found.conclusions.loc["b", ("soft", "sd")]


class Recorded(BaseEstimator):
    """scikit-learn's mixture, with what it gave kept where a test sees it."""

    def __init__(self, k, labels, memberships):
        self.k, self.labels, self.memberships = k, labels, memberships

    def __sklearn_clone__(self):
        return Recorded(self.k, self.labels, self.memberships)

    def fit(self, X, y=None):
        self.peer_ = Peer(self.k, random_state=0).fit(X)
        return self

    def predict_proba(self, X):
        found = self.peer_.predict_proba(X)
        self.labels.append(found.argmax(1))
        self.memberships.append(found)
        return found


def test_our_own_estimators_are_left_as_they_are(capsys):
    model = GaussianMixture(3, covariance_type="spherical", max_iter=20, tol=1e-1, random_state=0)
    found = stability(model, X, resamples=2, sample_weight=np.linspace(0.5, 2, 120), verbose=1)
    assert not hasattr(model, "fit_")
    assert capsys.readouterr().out.count("\n") == 2
    assert 0.3 < found.refits["hard_rand"].min() <= 1
    again = stability(model, X, resamples=2, sample_weight=np.linspace(0.5, 2, 120))
    pd.testing.assert_frame_equal(again.rows, found.rows)


def test_rows_are_drawn_with_their_weights():
    Weighty.seen.clear()
    plain = X.to_numpy()
    stability(Weighty(), plain, resamples=2, sample_weight=plain[:, 0] ** 2 + 1, fraction=0.5)
    (first, w), *refits = Weighty.seen
    np.testing.assert_array_equal(first, plain)
    for rows, weights in [(first, w), *refits]:
        np.testing.assert_array_equal(weights, rows[:, 0] ** 2 + 1)
    assert [len(np.unique(rows, axis=0)) for rows, _ in refits] == [60, 60]
    Weighty.seen.clear()
    stability(Weighty(), plain, resamples=2)
    assert [len(rows) for rows, _ in Weighty.seen] == [120] * 3
    assert all(len(np.unique(rows, axis=0)) < 100 for rows, _ in Weighty.seen[1:])  # drawn with replacement


def test_rows_count_by_their_weights_in_the_summary():
    w = np.r_[np.zeros(40), np.arange(1.0, 81)]
    found = stability(GaussianMixture(2, covariance_type="diag", random_state=0), X, resamples=3, sample_weight=w)
    counted = found.rows.loc[found.rows.index.repeat(w.astype(int)), ["membership_change", "label_change"]]
    table = found.summary()
    np.testing.assert_allclose(table.loc["change"], counted.mean(), rtol=1e-12)
    np.testing.assert_array_equal(table.loc["largest change"], counted.max())
    assert found.rows["membership_change"].mean() != pytest.approx(table.loc["change", "soft"], rel=1e-3)


class Failing(Still):
    def fit(self, X, y=None):
        if len(np.unique(X, axis=0)) < len(X):
            raise ValueError("a row came twice")
        return super().fit(X)


def test_refusals():
    for wrong in (Still, object(), BaseEstimator()):
        with pytest.raises(OptionError, match="fit\\(X\\) and predict_proba"):
            stability(wrong, X)
    for options, words in (
        ({"resamples": 1}, "resamples is 1"),
        ({"fraction": 1.0}, "fraction is 1.0"),
        ({"sample_weight": np.ones(120)}, "takes no sample_weight"),
    ):
        with pytest.raises(OptionError, match=words):
            stability(Still(), X, **options)
    with pytest.raises(OptionError, match="sizes has a Capacity"):
        stability(MixtureModel(2, sizes=Capacity(np.ones(120), high=70)), X)
    with pytest.raises(ValueError, match="a row came twice") as caught:
        stability(Failing(), X)
    assert caught.value.__notes__ == ["in refit 1 of 20, to resampled rows"]
    with pytest.raises(OptionError, match="conclusion is 3"):
        stability(Still(), X, 3)
    for wrong, words in (
        (None, "conclusion gave None: return a number"),
        ("many", "conclusion gave a str that is not of numbers"),
        (pd.Series([1.0, 2.0], ["a", "a"]), "conclusion gave 'a' twice"),
    ):
        with pytest.raises(DataError, match=words):
            stability(Still(), X, lambda X, r, wrong=wrong: wrong, resamples=2)
    nullable = pd.Series([1.0, 2.0], dtype="Float64")
    assert stability(Still(), X, lambda X, r: nullable, resamples=2).conclusions.shape == (2, 6)
    with pytest.raises(DataError, match="shape \\(120, 3\\)"):
        stability(Still(), X, lambda X, r: r)
    sizes = iter([2, 2, 3, 3, 3, 3])
    with pytest.raises(DataError, match="of other names or of another number"):
        stability(Still(), X, lambda X, r: np.ones(next(sizes)), resamples=2)
