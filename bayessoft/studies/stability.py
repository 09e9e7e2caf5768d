"""Stability: how far memberships, and what is concluded from them, move when a clustering is fitted to other rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _num_samples, has_fit_parameter

from bayessoft.core.capacity import Capacity, Several
from bayessoft.data.memberships import Memberships, memberships_of
from bayessoft.data.rows import weights_of
from bayessoft.diagnostics.agreement import soft_rand
from bayessoft.errors import DataError, OptionError
from bayessoft.inference.engine import whole

__all__ = ["Stability", "stability"]

Conclusion = Callable[[Any, Float[np.ndarray, "n k"]], Any]
FORMS = ("soft", "hard")


@dataclass(frozen=True, eq=False)
class Stability:
    """How far a clustering moves from fit to fit, with soft memberships and with hard ones.

    Attributes
    ----------
    rows : DataFrame
        A row for each row: its ``label`` in the fit to all rows; ``membership_change``, half of the summed absolute
        change of its memberships, averaged over the refits; and ``label_change``, the share of refits in which its
        label was another. Of memberships of 0 and 1 the two are the same number.
    refits : DataFrame
        A row for each refit: ``soft_rand`` and ``hard_rand``, the adjusted Rand index between its memberships, or its
        labels, and those of the fit to all rows.
    itself : float
        What the memberships of the fit to all rows score against themselves: the `soft_rand` of refits that change
        nothing.
    conclusions : DataFrame or None
        A row for each number that was concluded: for "soft" and "hard" memberships its ``value`` in the fit to all
        rows, and its ``mean`` and ``sd`` over the refits.
    weights : array of shape (n,) or None
        Weights of the rows, None where none were given.
    """

    rows: pd.DataFrame
    refits: pd.DataFrame
    itself: float
    conclusions: pd.DataFrame | None = None
    weights: Float[np.ndarray, " n"] | None = None

    def summary(self) -> pd.DataFrame:
        """Give a table of what moves, with soft memberships and with hard ones beside each other.

        ``change`` is the mean over rows, with their weights, ``largest change`` that of the row that moves most, of
        those with a weight above 0, ``adjusted Rand`` the mean over refits, ``least`` the smallest; of conclusions, the
        standard deviation over refits.
        """
        weights = np.ones(len(self.rows)) if self.weights is None else self.weights
        changes = self.rows[["membership_change", "label_change"]].to_numpy()
        agreement = self.refits[["soft_rand", "hard_rand"]].to_numpy()
        table: dict[str, Any] = {
            "change": np.average(changes, axis=0, weights=weights),
            "largest change": changes[weights > 0].max(0),
            "adjusted Rand": agreement.mean(0),
            "least adjusted Rand": agreement.min(0),
        }
        if self.conclusions is not None:
            spreads = self.conclusions.xs("sd", axis=1, level=1)[list(FORMS)]
            table |= {f"sd of {name}": values for name, values in zip(spreads.index, spreads.to_numpy(), strict=True)}
        return pd.DataFrame.from_dict(table, orient="index", columns=list(FORMS)).rename_axis("measure")


def stability(
    estimator: Any,
    X: Any,
    conclusion: Conclusion | None = None,
    *,
    resamples: int = 20,
    fraction: float | None = None,
    sample_weight: Any = None,
    random_state: Any = 0,
    verbose: int = 0,
) -> Stability:
    """Refit a clustering to resampled rows, and tell how far memberships, labels and a conclusion move.

    Parameters
    ----------
    estimator : estimator
        Any clusterer in the manner of scikit-learn that has ``fit(X)`` and ``predict_proba``. It is cloned, and left
        as it is.
    X : array or DataFrame of shape (n, d)
        Rows.
    conclusion : callable, optional
        What is made of the clusters: ``conclusion(X, memberships)`` gives a number, an array of one dimension, or a
        Series, whose names are kept. It gets all rows, and their memberships (n, k) in each fit, once soft and once
        hard (1 for the most probable cluster); its clusters are in the order of the fit to all rows.
    resamples : int >= 2
        Number of refits.
    fraction : float between 0 and 1, optional
        By default each refit has n rows drawn with replacement (the bootstrap), so that its spread is that of fits to
        other tables of n rows. A fraction draws that share of the rows without replacement: for clusterers that take
        copies of a row for a cluster.
    sample_weight : array of shape (n,), optional
        Weights of the rows, which are drawn with the rows, for an estimator whose ``fit`` takes them.
    random_state : int, RandomState or None, default=0
        Of the rows that are drawn; the estimator has its own.
    verbose : int, default=0
        Above 0, each refit is told of.

    Returns
    -------
    Stability
        By row and by refit, and the conclusions; `summary` has the numbers beside each other.

    Raises
    ------
    OptionError
        An estimator without what is needed, or options out of range.
    DataError
        Memberships that are none, or conclusions that are no numbers, or of changing length.

    Notes
    -----
    The clusters of a refit are matched to those of the fit to all rows such that the sum of the products of their
    memberships, over all rows, is largest; where a refit has fewer clusters, those without a match have no members, and
    where it has more, the others are left without a name. All rows are looked at in every refit, those too that it was
    not fitted to. Resampling to judge a clustering: Hennig, Computational Statistics & Data Analysis 52 (2007).
    A conclusion from labels jumps as rows in doubt change sides, one from memberships moves a little: compare the two.

    Examples
    --------
    >>> import bayessoft as bs
    >>> X = np.vstack([np.random.default_rng(i).normal(3 * i, 1, (40, 2)) for i in range(2)])
    >>> found = stability(bs.GaussianMixture(2, random_state=0), X, lambda X, r: r[:, 0].mean(), resamples=5)
    >>> found.summary().shape
    (5, 2)
    """
    takes = _checked(estimator, resamples, fraction, sample_weight)
    if conclusion is not None and not callable(conclusion):
        raise OptionError(f"conclusion is {conclusion!r}: pass a function of the rows and their memberships, or None")
    rng = np.random.default_rng(check_random_state(random_state).randint(1 << 31))
    weights = None if sample_weight is None else weights_of(sample_weight, _num_samples(X))
    base = _memberships(_fitted(estimator, X, weights, takes), X, weights)
    moved, relabelled = np.zeros((2, base.n))
    agreement = np.empty((resamples, 2))
    concluded = [_concluded(conclusion, X, base.values, base.k)]
    for b, chosen in enumerate(_resampled(rng, base.n, resamples, fraction)):
        try:
            part = None if weights is None else weights[chosen]
            fitted = _fitted(estimator, _safe_indexing(X, chosen), part, takes)
            found = _memberships(fitted, X, weights)
        except Exception as problem:
            problem.add_note(f"in refit {b + 1} of {resamples}, to resampled rows")
            raise
        kept, shares = _matched(base, found.values)
        moved += np.abs(shares - kept).sum(1) / 2
        relabelled += shares.argmax(1) != kept.argmax(1)
        own, other = _hard(base.values), _hard(found.values)
        agreement[b] = soft_rand(base.values, found.values, weights), soft_rand(own, other, weights)
        concluded.append(_concluded(conclusion, X, shares, base.k))
        if verbose:
            soft, sharp = agreement[b]
            print(f"  refit {b + 1} of {resamples}: adjusted Rand {soft:.3f} of memberships, {sharp:.3f} of labels")
    names = X.index if isinstance(X, pd.DataFrame) else pd.RangeIndex(base.n)
    changes = {"membership_change": moved / resamples, "label_change": relabelled / resamples}
    return Stability(
        pd.DataFrame({"label": base.values.argmax(1), **changes}, index=names),
        pd.DataFrame(agreement, pd.RangeIndex(resamples, name="refit"), ["soft_rand", "hard_rand"]),
        soft_rand(base.values, base.values, weights),
        None if conclusion is None else _table(concluded),
        weights,
    )


def _checked(estimator: Any, resamples: int, fraction: Any, sample_weight: Any) -> bool:
    """Refuse what cannot be refitted; tell whether weights are passed."""
    if isinstance(estimator, type) or not all(hasattr(estimator, name) for name in ("fit", "predict_proba")):
        raise OptionError(
            f"estimator is {estimator!r}: pass a clusterer with fit(X) and predict_proba, such as GaussianMixture(3)"
        )
    whole("resamples", resamples, 2)
    if fraction is not None and not (isinstance(fraction, Real) and 0 < float(fraction) < 1):
        raise OptionError(f"fraction is {fraction!r}: pass a share of the rows between 0 and 1, or None to draw n rows")
    if sample_weight is not None and not has_fit_parameter(estimator, "sample_weight"):
        raise OptionError(f"{type(estimator).__name__}.fit takes no sample_weight: leave it out")
    sizes = getattr(estimator, "sizes", None)
    if any(isinstance(part, Capacity | Several) for part in (sizes if isinstance(sizes, list | tuple) else [sizes])):
        raise OptionError(
            "sizes has a Capacity, whose resource belongs to the rows and is not drawn with them: leave it out, or "
            "bound numbers of rows by Fixed or Between with unit='share'"
        )
    return sample_weight is not None


def _resampled(
    rng: np.random.Generator, n: int, resamples: int, fraction: float | None
) -> Iterator[Int[np.ndarray, " m"]]:
    """Give the rows of each refit."""
    for _ in range(resamples):
        if fraction is None:
            yield rng.integers(n, size=n)
        else:
            yield rng.permutation(n)[: max(2, round(fraction * n))]


def _fitted(estimator: Any, X: Any, weights: Any, takes: bool) -> Any:
    """Fit a clone."""
    fitted = clone(estimator)
    if takes:
        fitted.fit(X, sample_weight=weights)
    else:
        fitted.fit(X)
    return fitted


def _memberships(fitted: Any, X: Any, weights: Any) -> Memberships:
    """Give the memberships of all rows, checked."""
    if not hasattr(fitted, "predict_proba"):  # some have it only once they are fitted in a certain way
        raise OptionError(f"{type(fitted).__name__} has no predict_proba after fit: pass one that gives memberships")
    return memberships_of(fitted.predict_proba(X), weights, "predict_proba(X)")


def _matched(
    base: Memberships, found: Float[np.ndarray, "n l"]
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n m"]]:
    """Give the memberships of the base, and those found with their clusters in its order, as many as either has."""
    k, extra = base.k, max(0, found.shape[1] - base.k)
    order = np.arange(max(k, found.shape[1]))
    gain = np.zeros((len(order), len(order)))
    gain[:k, : found.shape[1]] = (base.values * base.weights[:, None]).T @ found
    order = linear_sum_assignment(gain, maximize=True)[1]
    padded = np.pad(found, ((0, 0), (0, len(order) - found.shape[1])))
    return np.pad(base.values, ((0, 0), (0, extra))), padded[:, order]


def _hard(shares: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Give 1 for the most probable cluster of each row."""
    return np.eye(shares.shape[1])[shares.argmax(1)]


def _concluded(conclusion: Conclusion | None, X: Any, shares: Float[np.ndarray, "n m"], k: int) -> list[pd.Series]:
    """Give what is concluded from soft memberships in the first k clusters, and from hard ones."""
    if conclusion is None:
        return []
    found = []
    for each in (shares, _hard(shares)):
        value = conclusion(X, each[:, :k].copy())
        dtype = getattr(value, "dtype", np.asarray(value).dtype)
        if dtype.kind not in "fiub":  # None, too, of a function without return
            what = "None" if value is None else f"a {type(value).__name__} that is not of numbers"
            raise DataError(f"conclusion gave {what}: return a number, an array of one dimension, or a Series of them")
        if not isinstance(value, pd.Series):
            value = np.asarray(value)
            if value.ndim > 1:
                raise DataError(f"conclusion gave an array of shape {value.shape}: give a number, or one dimension")
            value = pd.Series(np.atleast_1d(value), ["conclusion"] if value.ndim == 0 else None)
        if (twice := value.index.duplicated()).any():
            raise DataError(f"conclusion gave {value.index[twice][0]!r} twice: give names that differ")
        found.append(value.astype(np.float64))
    return found


def _table(concluded: list[list[pd.Series]]) -> pd.DataFrame:
    """Put conclusions from all fits, that to all rows first, side by side."""
    first = concluded[0][0].index
    if any(not each.index.equals(first) for pair in concluded for each in pair):
        raise DataError("conclusion gave numbers of other names or of another number from fit to fit: give the same")
    parts = {}
    for form, values in zip(FORMS, zip(*concluded, strict=True), strict=True):
        own, refits = values[0], np.stack([value.to_numpy() for value in values[1:]])
        table = {"value": own.to_numpy(), "mean": refits.mean(0), "sd": refits.std(0, ddof=1)}
        parts[form] = pd.DataFrame(table, index=first)
    return pd.concat(parts, axis=1)
