"""What every report shares: the outcome of a fit, the names of clusters and their numbers, memberships as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from bayessoft.data.readers import CsvTable
from bayessoft.errors import FitError
from bayessoft.report.methods import MIXTURE, method_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "INTERVAL",
    "Outcome",
    "ambiguity",
    "cluster_names",
    "distributed",
    "dtype_of",
    "labels_of",
    "membership_intervals",
    "memberships_table",
    "noisy",
    "objective_of",
    "placed",
    "posterior_of",
    "shown",
    "sizes_of",
    "summary",
]

INTERVAL = 0.95  # of every interval that the command line reports


@dataclass(frozen=True, eq=False)
class Outcome:
    """A fit with its table and the circumstances.

    Attributes
    ----------
    estimator : estimator
        The fitted one, of any method.
    table : CsvTable
        The rows it was fitted to.
    out : Path
        Folder of the results.
    id : str or None
        Column that names the rows.
    options : mapping
        The options of the fit, as they were understood.
    device : str
        Where it ran.
    seconds : mapping of str to float
        Time by phase.
    """

    estimator: Any
    table: CsvTable
    out: Path
    id: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def distributed(self) -> bool:
        """Whether the fit is a posterior, not a point."""
        return distributed(self.estimator)

    @property
    def notes(self) -> dict[str, str | None]:
        """What the saved model has to remember of its table: the id column, and what answers stand for."""
        answers = {"answers": json.dumps(self.table.answers)} if self.table.answers else {}
        return {"id": self.id} | answers

    @property
    def constrained(self) -> bool:
        """Whether the sizes were fixed or bounded."""
        mixture = getattr(getattr(self.estimator, "fit_", None), "mixture", None)
        return mixture is not None and mixture.sizes is not None


def posterior_of(estimator: Any) -> Any:
    """Give the point, closed form or draws that a mixture ended with; None of other methods."""
    return getattr(getattr(estimator, "fit_", None), "posterior", None)


def distributed(estimator: Any) -> bool:
    """Tell whether an estimator holds a posterior, not a point."""
    from bayessoft.posteriors import Point

    found = posterior_of(estimator)
    return found is not None and not isinstance(found, Point)


def noisy(estimator: Any) -> bool:
    """Tell whether rows may belong to noise instead of a cluster."""
    return getattr(estimator, "variant", None) == "noise"


def dtype_of(estimator: Any) -> np.dtype[Any]:
    """Give the dtype that an estimator was fitted in."""
    return (estimator.weights_ if hasattr(estimator, "weights_") else estimator.cluster_centers_).dtype


def placed(estimator: Any, memberships: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n p"]:
    """Give memberships whose rows sum to 1: beside noise, with what is left for it as the last column."""
    if not noisy(estimator):
        return memberships
    return np.column_stack([memberships, np.maximum(1 - memberships.sum(axis=1), 0)])


def sizes_of(estimator: Any) -> Float[np.ndarray, " p"]:
    """Give the rows of each cluster, each row counted by its memberships, and last those of noise, if any."""
    if hasattr(estimator, "sizes_"):
        return estimator.sizes_
    return placed(estimator, estimator.responsibilities_).sum(axis=0)


def objective_of(estimator: Any) -> tuple[float | None, str]:
    """Give what a fit made as large, or as small, as it could, and in words what that is."""
    if method_of(estimator) == "fuzzy":
        square = {"entropy": "u d^2 + entropy_weight u log u", "noise": "u^m d^2, that of noise included"}
        return estimator.objective_, f"sum of {square.get(estimator.variant, 'u^m d^2')}"
    if method_of(estimator) == "bottleneck":
        return estimator.lagrangian_, "H(T) - alpha H(T|X) - beta I(T; Y), nats"
    if (elbo := getattr(estimator, "elbo_", None)) is not None:
        return elbo, "evidence lower bound, nats"
    return (None, "draws") if distributed(estimator) else (estimator.lower_bound_, "lower bound, nats a row")


def summary(outcome: Outcome) -> pd.DataFrame:
    """Give an estimator's own table of the clusters, with the intervals, and the answers, that are reported."""
    estimator = outcome.estimator
    word, numbers = shown(outcome)
    if method_of(estimator) != MIXTURE:
        found = _summary_of_clusters(estimator, word, numbers)
    else:
        found = estimator.summary(interval=INTERVAL) if distributed(estimator) else estimator.summary()
        labels = iter(numbers)
        found = found.set_axis([f"{word} {next(labels)}" if _of(word, at) else at for at in found.columns], axis=1)
    if outcome.constrained:
        for name, bounds in estimator.size_bounds_.groupby(level="resource", sort=False):
            found = found.join(bounds.droplevel("resource").add_prefix(f"{name} "))
    return found


def _summary_of_clusters(estimator: Any, word: str, numbers: Mapping[str, Any]) -> pd.DataFrame:
    """Give the table of clusters that are no components of a mixture; the line of noise is -1, as its label is."""
    import pandas as pd

    sizes = sizes_of(estimator)
    index = pd.Index([*range(len(sizes) - noisy(estimator)), *([-1] if noisy(estimator) else [])], name="cluster")
    named = {f"{word} {label}": values for label, values in numbers.items()}
    weights = {"weight": estimator.weights_} if hasattr(estimator, "weights_") else {}
    return pd.DataFrame({"size": sizes, "share": sizes / sizes.sum(), **weights, **named}, index=index)


def _of(word: str, label: str) -> bool:
    """Tell whether a column of a summary holds the word's number of a column of the table, or of an answer."""
    return label.startswith(f"{word} ")


def shown(outcome: Outcome) -> tuple[str, dict[str, Float[np.ndarray, " k"]]]:
    """Give the numbers that tell the clusters apart: the word for them, and those of each column, or answer.

    A column of two answers in a family of one probability a column is labelled by the second, but for plain 0 and 1.
    """
    columns = list(map(str, outcome.table.frame))
    if method_of(outcome.estimator) == "bottleneck":
        return "share", dict(zip(columns, outcome.estimator.cluster_distributions_.T, strict=True))
    if method_of(outcome.estimator) != MIXTURE:
        centres = outcome.estimator.cluster_centers_.astype(np.float64)
        if noisy(outcome.estimator):
            centres = np.vstack([centres, np.full(centres.shape[1], np.nan)])
        return "centre", dict(zip(columns, centres.T, strict=True))
    from bayessoft.estimators import posterior

    fit, answers = outcome.estimator.fit_, outcome.table.answers
    word = fit.mixture.family.plain.SHOWN
    every = posterior.shown(fit, columns).items()
    found = {label.removeprefix(f"{word} "): values for label, values in every if _of(word, label)}
    if not answers:
        return word, found
    if len(found) == len(columns):
        labels = [name if answers[name] == ("0", "1") else f"{name}={answers[name][1]}" for name in columns]
    else:
        labels = [f"{name}={answer}" for name in columns for answer in answers[name]]
    return word, dict(zip(labels, found.values(), strict=True))


def membership_intervals(estimator: Any, frame: pd.DataFrame) -> Float[np.ndarray, "n k 2"] | None:
    """Give the intervals of the memberships; None of a point, and where draws cannot tell the clusters apart."""
    if not distributed(estimator):
        return None
    try:
        return estimator.membership_interval(frame, interval=INTERVAL)
    except FitError:  # the status says so, too
        return None


def cluster_names(k: int, noise: bool = False) -> list[str]:
    """Name the clusters, counted from 0 as everywhere; the last one is noise where there is any.

    Examples
    --------
    >>> cluster_names(2)
    ['cluster_0', 'cluster_1']
    >>> cluster_names(2, noise=True)
    ['cluster_0', 'noise']
    """
    return [f"cluster_{j}" for j in range(k - noise)] + ["noise"] * noise


def labels_of(memberships: Float[np.ndarray, "n p"], noise: bool) -> Int[np.ndarray, " n"]:
    """Give the most probable cluster of each row, -1 for noise, which is the last column where there is any."""
    labels = memberships.argmax(axis=1)
    return np.where(labels == memberships.shape[1] - 1, -1, labels) if noise else labels


def ambiguity(memberships: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
    """Give the entropy of each row's memberships over its largest value, log k: 0 certain, 1 any cluster as well.

    Examples
    --------
    >>> ambiguity(np.array([[1.0, 0.0], [0.5, 0.5]]))
    array([0., 1.])
    """
    from bayessoft.diagnostics.ambiguity import membership_entropy

    return membership_entropy(memberships, share=True) + 0.0  # no -0


def memberships_table(
    memberships: Float[np.ndarray, "n k"],
    ids: Sequence[Any],
    id: str | None,
    intervals: Float[np.ndarray, "n k 2"] | None = None,
    noise: bool = False,
) -> pd.DataFrame:
    """Give memberships as a table: id, most probable cluster, ambiguity, one column a cluster, intervals.

    Parameters
    ----------
    memberships : array of shape (n, k)
        Probabilities; every row sums to 1.
    ids : sequence of length n
        What names the rows.
    id : str or None
        Name of the id column; "row" where there is none.
    intervals : array of shape (n, k, 2), optional
        Lower and upper end for every probability.
    noise : bool
        Whether the last column of the memberships is noise, whose label is -1.

    Returns
    -------
    pandas.DataFrame
        One row a row, in the order given.
    """
    import pandas as pd

    names = cluster_names(memberships.shape[1], noise)
    columns: dict[str, Any] = {"cluster": labels_of(memberships, noise), "ambiguity": ambiguity(memberships)}
    columns |= dict(zip(names, memberships.T, strict=True))
    if intervals is not None:
        for j, name in enumerate(names):
            columns |= {f"{name}_low": intervals[:, j, 0], f"{name}_high": intervals[:, j, 1]}
    first = id or "row"
    return pd.DataFrame({f"{first}_" if first in columns else first: list(ids), **columns})
