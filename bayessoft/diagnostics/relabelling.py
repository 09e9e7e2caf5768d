"""Relabelling: bring the clusters of any draws into one order, by the methods that people compare."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from bayessoft.data.rows import rows as rows_of
from bayessoft.diagnostics.base import best_orders, no_permutation
from bayessoft.errors import DataError, OptionError
from bayessoft.fit import Fit
from bayessoft.posteriors import Draws

__all__ = ["METHODS", "Relabelling", "relabel"]

CELLS = 1 << 22  # memberships looked at at a time: 32 MB, and some copies of them
ROUNDS = 100  # most rounds of the methods that go round
LEAST = 1e-300  # stands for a membership of 0 under a logarithm

METHODS = ("ecr", "ecr-iterative", "stephens", "data")
"""The methods of `relabel` by name."""


@dataclass(frozen=True, eq=False)
class Relabelling:
    """Which component of each draw is which cluster.

    Attributes
    ----------
    order : array of shape (..., k), int
        Cluster j is component ``order[..., j]`` of a draw.
    unclear : array of shape (...), bool
        Draws whose components, each with the cluster most like it, make no permutation. Where these are many, numbers
        by cluster mean little, whatever the order.
    rounds : int
        How often the method went round.
    converged : bool
        Whether the last round changed nothing.
    """

    order: Int[np.ndarray, "... k"]
    unclear: Bool[np.ndarray, "..."]
    rounds: int
    converged: bool

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Reorder what was drawn, an array of shape (..., k) or (..., k, more)."""
        lead = self.order.ndim - 1
        if values.shape[: lead + 1] != self.order.shape:
            raise DataError(f"the values have shape {values.shape}, which has to begin with {self.order.shape}")
        order = self.order.reshape(self.order.shape + (1,) * (values.ndim - lead - 1))
        return np.take_along_axis(values, order, axis=lead)


class _Drawn(ABC):
    """Memberships of n rows in k clusters under many draws, looked at a part at a time."""

    lead: Any
    n: Any
    k: Any
    pivot: Any = 0
    """The draw to begin with."""

    @abstractmethod
    def products(self, score: Float[np.ndarray, "n k"]) -> tuple[np.ndarray, np.ndarray]:
        """Sum, over rows, score (first) times membership (second), and squared memberships, for each draw."""

    @abstractmethod
    def mean(self, order: Int[np.ndarray, "draws k"]) -> Float[np.ndarray, "n k"]:
        """Give the mean memberships of reordered draws."""

    @abstractmethod
    def labels_of(self, draw: int) -> Int[np.ndarray, " n"]:
        """Give the most probable labels of a draw."""

    def parts(self) -> Iterator[slice]:
        """Give the places of all draws, in parts of one size but for the last."""
        size = max(1, CELLS // (self.n * self.k))
        number = int(np.prod(self.lead))
        return (slice(first, min(first + size, number)) for first in range(0, number, size))


@dataclass(frozen=True, eq=False)
class _Labels(_Drawn):
    """Memberships that are 0 and 1, given by labels (draws, n)."""

    lead: tuple[int, ...]
    n: int
    k: int
    z: Int[np.ndarray, "draws n"]

    def products(self, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gain, counts = np.empty((len(self.z), self.k, self.k)), np.empty((len(self.z), self.k))
        labels = score.argmax(1) if np.array_equal(score, np.eye(self.k)[score.argmax(1)]) else None
        for place in self.parts():
            z = self.z[place]
            number = len(z)
            cell = (z + self.k * np.arange(number)[:, None]).ravel()
            counts[place] = np.bincount(cell, minlength=number * self.k).reshape(number, self.k)
            if labels is not None:  # counts of pairs of labels
                pairs = np.bincount((cell.reshape(number, -1) * self.k + labels).ravel(), minlength=number * self.k**2)
                gain[place] = pairs.reshape(number, self.k, self.k).swapaxes(1, 2)
                continue
            for j, column in enumerate(score.T):
                sums = np.bincount(cell, np.tile(column, number), minlength=number * self.k)
                gain[place, j] = sums.reshape(number, self.k)
        return gain, counts

    def mean(self, order: np.ndarray) -> np.ndarray:
        names, total = np.argsort(order, axis=1), np.zeros(self.n * self.k)
        for place in self.parts():
            clusters = np.take_along_axis(names[place], self.z[place], 1)
            total += np.bincount((clusters + self.k * np.arange(self.n)).ravel(), minlength=len(total))
        return total.reshape(self.n, self.k) / len(order)

    def labels_of(self, draw: int) -> np.ndarray:
        return np.asarray(self.z[draw])


@dataclass(frozen=True, eq=False)
class _Memberships(_Drawn):
    """Memberships of any size; `part` gives those (draws, n, k) of some draws."""

    lead: tuple[int, ...]
    n: int
    k: int
    part: Callable[[slice], Float[np.ndarray, "draws n k"]]
    pivot: int = 0

    def products(self, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = []
        for place in self.parts():
            p = self.part(place)
            found.append((np.matmul(score.T.astype(p.dtype), p), np.einsum("snk,snk->sk", p, p)))
        gains, squares = zip(*found, strict=True)
        return np.concatenate(gains).astype(np.float64), np.concatenate(squares).astype(np.float64)

    def mean(self, order: np.ndarray) -> np.ndarray:
        total = np.zeros((self.n, self.k))
        for place in self.parts():
            total += np.take_along_axis(self.part(place), order[place][:, None, :], 2).sum(0)
        return total / len(order)

    def labels_of(self, draw: int) -> np.ndarray:
        return self.part(slice(draw, draw + 1))[0].argmax(1)


def relabel(
    draws: np.ndarray | Fit,
    method: str = "ecr",
    *,
    k: int | None = None,
    pivot: Int[np.ndarray, " n"] | None = None,
    X: Float[np.ndarray, "n d"] | None = None,
    exchangeable: Int[np.ndarray, " k"] | None = None,
) -> Relabelling:
    """Bring the clusters of draws into one order.

    Parameters
    ----------
    draws : array of shape (..., n) or (..., n, k), or Fit
        Labels 0 to k - 1 (of a whole-number dtype) or memberships (of a floating one) of n rows in each draw, with any
        leading axes, such as chains and draws; an array in a file is read a part at a time. Of a fit (the `fit_` of an
        estimator) the memberships of the rows X, which are computed as they are needed.
    method : {"ecr", "ecr-iterative", "stephens", "data"}
        What is compared between draws:

        - "ecr", equivalence classes representatives: the labels with those of a `pivot`, so that most rows agree;
        - "ecr-iterative": the same, the pivot being each row's most frequent label, until nothing changes;
        - "stephens": the memberships with their mean over draws, in Kullback-Leibler divergence, until nothing changes;
        - "data": the rows of each cluster with the mean and the spreads of the cluster so far, until nothing changes.
    k : int, optional
        Number of clusters, of labels; by default one more than the largest.
    pivot : array of shape (n,), int, optional
        Labels to compare with, or to begin with; by default those of the first draw, or of a fit's densest. Best is a
        draw of high density.
    X : array of shape (n, d), optional
        The rows, for "data" and for a fit.
    exchangeable : array of shape (k,), int, optional
        Clusters change places only with those of the same number; by default with all.

    Returns
    -------
    Relabelling
        The order of each draw, and which draws are no permutation of the others.

    Raises
    ------
    DataError
        Draws that are no labels or memberships, or something else that does not fit them.
    OptionError
        An unknown method, or one that needs memberships or rows that are not there.

    Notes
    -----
    ECR: Papastamoulis and Iliopoulos, J. Computational and Graphical Statistics 19 (2010); iterative: Rodriguez and
    Walker, same journal 23 (2014), as is "data", with squared distances in standard deviations. "stephens" is algorithm
    2 of Stephens, J. Royal Statistical Society B 62 (2000). All four give each draw the order that makes the sum over
    rows of membership times a score largest. Memberships enter ECR as they are, where labels are 0 and 1.

    Examples
    --------
    >>> draws = np.array([[0, 0, 1, 1], [1, 1, 0, 0]])
    >>> relabel(draws).order
    array([[0, 1],
           [1, 0]])
    """
    if method not in METHODS:
        raise OptionError(f"method is {method!r}: pass one of {', '.join(map(repr, METHODS))}")
    soft = isinstance(draws, Fit) or np.asanyarray(draws).dtype.kind == "f"
    if method == "stephens" and not soft:
        raise OptionError("'stephens' compares memberships: pass an array of shape (..., n, k), or use 'ecr-iterative'")
    drawn = _of_fit(draws, X) if isinstance(draws, Fit) else _of_array(np.asanyarray(draws), k)
    score = _scores(method, drawn, X)
    groups = np.zeros(drawn.k, int) if exchangeable is None else _fitting("exchangeable", exchangeable, (drawn.k,))
    first = drawn.labels_of(drawn.pivot) if pivot is None else _fitting("pivot", pivot, (drawn.n,))
    if first.min() < 0 or first.max() >= drawn.k:
        raise DataError(f"pivot has labels {first.min()} to {first.max()}: pass whole numbers from 0 to {drawn.k - 1}")
    reference, order = np.eye(drawn.k)[first], np.full((int(np.prod(drawn.lead)), drawn.k), -1)
    apart, rounds, converged = groups[:, None] != groups, 0, False
    while not converged and rounds < ROUNDS:
        gain, squares = drawn.products(score(reference))
        gain[:, apart] = -(drawn.k + 1) * (1 + 2 * np.abs(gain).max())  # less than any order within the groups gains
        before, order, rounds = order, best_orders(gain), rounds + 1
        converged = method == "ecr" or np.array_equal(before, order)
        if not converged:
            mean = drawn.mean(order)
            reference = np.eye(drawn.k)[mean.argmax(1)] if method == "ecr-iterative" else mean
    overlap = drawn.products(reference)[0]
    unclear = no_permutation(overlap, squares, np.sum(reference**2, 0))
    return Relabelling(order.reshape(*drawn.lead, drawn.k), unclear.reshape(drawn.lead), rounds, converged)


def _scores(method: str, drawn: _Drawn, X: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Give what tells the score (n, k) of a row in a cluster from the reference memberships."""
    if method == "stephens":
        return lambda reference: np.log(np.maximum(reference, LEAST))
    if method != "data":
        return lambda reference: reference
    if X is None:
        raise OptionError("'data' compares the rows of clusters: pass X")
    rows = np.asarray(X, np.float64)
    if rows.ndim != 2 or len(rows) != drawn.n:
        raise DataError(f"X has shape {rows.shape} and needs ({drawn.n}, d), a row for each label")
    rows = rows - rows.mean(0)

    def distances(reference: np.ndarray) -> np.ndarray:
        weight = np.maximum(reference.sum(0), np.finfo(np.float64).tiny)[:, None]
        mean, square = reference.T @ rows / weight, reference.T @ rows**2 / weight
        least = np.maximum(1e-6 * rows.var(0), np.finfo(np.float64).tiny)  # a cluster of one row has no spread
        variance = np.maximum(square - mean**2, least)
        return -((rows**2) @ (1 / variance).T - 2 * rows @ (mean / variance).T + (mean**2 / variance).sum(1))

    return distances


def _fitting(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value)
    if array.shape != shape or array.dtype.kind not in "iu":
        raise DataError(f"{name} has shape {array.shape} and dtype {array.dtype}: pass whole numbers of shape {shape}")
    return array


def _of_array(draws: np.ndarray, k: int | None) -> _Drawn:
    """Give memberships as they are, or those that labels are."""
    if draws.dtype.kind == "f" and draws.ndim >= 3 and k in (None, draws.shape[-1]):
        flat = draws.reshape(-1, *draws.shape[-2:])
        return _Memberships(draws.shape[:-2], flat.shape[1], flat.shape[2], lambda part: np.asarray(flat[part]))
    if draws.dtype.kind not in "iu" or draws.ndim < 2:
        raise DataError(
            f"draws has shape {draws.shape} and dtype {draws.dtype}: pass labels, whole numbers of shape (..., n), or "
            "memberships, of shape (..., n, k) with k as in the last axis"
        )
    most = int(draws.max())
    k = most + 1 if k is None else k
    if draws.min() < 0 or most >= k:
        raise DataError(f"draws has labels {draws.min()} to {most}: pass whole numbers from 0 to {k - 1}")
    return _Labels(draws.shape[:-1], draws.shape[-1], k, draws.reshape(-1, draws.shape[-1]))


def _of_fit(fit: Fit, X: Any) -> _Drawn:
    """Give the memberships of rows under the raw draws of a fit."""
    if not isinstance(fit.posterior, Draws) or X is None:
        raise OptionError(
            "only draws have labels to be brought into one order: pass the fit of a sampler, and its rows X"
        )
    values = rows_of(np.asarray(X)).values
    c, s, k = fit.posterior.weights.shape
    best = int(fit.posterior.log_density.argmax())
    return _Memberships((c, s), len(values), k, lambda part: fit.drawn_memberships(values, part), best)
