"""What every report shares: the outcome of a fit, the names of clusters and their numbers, memberships as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from bayessoft.data.readers import CsvTable
from bayessoft.errors import FitError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "INTERVAL",
    "Outcome",
    "ambiguity",
    "cluster_names",
    "distributed",
    "membership_intervals",
    "memberships_table",
    "shown",
    "summary",
]

INTERVAL = 0.95  # of every interval that the command line reports


@dataclass(frozen=True, eq=False)
class Outcome:
    """A fit with its table and the circumstances.

    Attributes
    ----------
    estimator : GaussianMixture or MixtureModel
        The fitted estimator.
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
        return self.estimator.fit_.mixture.sizes is not None


def distributed(estimator: Any) -> bool:
    """Tell whether an estimator holds a posterior, not a point."""
    from bayessoft.posteriors import Point

    return not isinstance(estimator.fit_.posterior, Point)


def summary(outcome: Outcome) -> pd.DataFrame:
    """Give an estimator's own table of the clusters, with the intervals, and the answers, that are reported."""
    estimator = outcome.estimator
    found = estimator.summary(interval=INTERVAL) if distributed(estimator) else estimator.summary()
    word, numbers = shown(outcome)
    labels = iter(numbers)
    found = found.set_axis([f"{word} {next(labels)}" if _of(word, at) else at for at in found.columns], axis=1)
    if outcome.constrained:
        for name, bounds in estimator.size_bounds_.groupby(level="resource", sort=False):
            found = found.join(bounds.droplevel("resource").add_prefix(f"{name} "))
    return found


def _of(word: str, label: str) -> bool:
    """Tell whether a column of a summary holds the word's number of a column of the table, or of an answer."""
    return label.startswith(f"{word} ")


def shown(outcome: Outcome) -> tuple[str, dict[str, Float[np.ndarray, " k"]]]:
    """Give the numbers that tell the clusters apart: the word for them, and those of each column, or answer.

    A column of two answers in a family of one probability a column is labelled by the second, but for plain 0 and 1.
    """
    from bayessoft.estimators import posterior

    fit, answers = outcome.estimator.fit_, outcome.table.answers
    columns = list(map(str, outcome.table.frame))
    word = fit.mixture.family.SHOWN
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


def cluster_names(k: int) -> list[str]:
    """Name the clusters, counted from 0 as everywhere.

    Examples
    --------
    >>> cluster_names(2)
    ['cluster_0', 'cluster_1']
    """
    return [f"cluster_{j}" for j in range(k)]


def ambiguity(memberships: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
    """Give the entropy of each row's memberships over its largest value, log k: 0 certain, 1 any cluster as well.

    Examples
    --------
    >>> ambiguity(np.array([[1.0, 0.0], [0.5, 0.5]]))
    array([0., 1.])
    """
    k = memberships.shape[1]
    if k == 1:
        return np.zeros(len(memberships))
    entropy = -np.sum(memberships * np.log(np.where(memberships > 0, memberships, 1.0)), axis=1)
    return np.clip(entropy / np.log(k), 0.0, 1.0) + 0.0  # no -0


def memberships_table(
    memberships: Float[np.ndarray, "n k"],
    ids: Sequence[Any],
    id: str | None,
    intervals: Float[np.ndarray, "n k 2"] | None = None,
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

    Returns
    -------
    pandas.DataFrame
        One row a row, in the order given.
    """
    import pandas as pd

    names = cluster_names(memberships.shape[1])
    columns: dict[str, Any] = {"cluster": memberships.argmax(axis=1), "ambiguity": ambiguity(memberships)}
    columns |= dict(zip(names, memberships.T, strict=True))
    if intervals is not None:
        for j, name in enumerate(names):
            columns |= {f"{name}_low": intervals[:, j, 0], f"{name}_high": intervals[:, j, 1]}
    first = id or "row"
    return pd.DataFrame({f"{first}_" if first in columns else first: list(ids), **columns})
