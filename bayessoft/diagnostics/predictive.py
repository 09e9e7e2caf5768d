"""Whether tables drawn from a model look like the table at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import skew

from bayessoft.errors import OptionError

__all__ = ["Statistic", "check", "statistics_of"]

Statistic = Callable[[Float[np.ndarray, "n d"]], float]
"""A number that says something of a table."""

OF_COLUMN: dict[str, Callable[[np.ndarray], Any]] = {
    "mean": np.mean,
    "sd": np.std,
    "skewness": lambda column: skew(column) if np.ptp(column) > 0 else 0.0,
    "5%": lambda column: np.quantile(column, 0.05),
    "95%": lambda column: np.quantile(column, 0.95),
}

FEW_VALUES = 10  # a column of so many values is one of answers or small counts: their shares say all of it


def statistics_of(
    values: Float[np.ndarray, "n d"], columns: Sequence[str], discrete: Bool[np.ndarray, " d"]
) -> dict[str, Statistic]:
    """Give what is looked at where nothing is said.

    Of a `discrete` column with few values the share of each but the first; of others mean, standard deviation, skewness
    and the 5 and 95 per cent points; and the correlation of every pair of columns, of up to five.
    """
    found: dict[str, Statistic] = {}
    for j, name in enumerate(columns):
        known = np.unique(values[:, j])
        if len(known) == 1:
            continue
        if discrete[j] and len(known) <= FEW_VALUES:
            found |= {f"share of {value:g} {name}": _share(j, value) for value in known[1:]}
            continue
        found |= {f"{what} {name}": _of_column(j, of) for what, of in OF_COLUMN.items()}
    varying = [j for j in range(len(columns)) if np.ptp(values[:, j]) > 0]
    if len(columns) <= 5:
        pairs = ((i, j) for i in varying for j in varying if j < i)
        found |= {f"correlation {columns[j]}, {columns[i]}": _correlation(i, j) for i, j in pairs}
    return found


def _of_column(j: int, of: Callable[[np.ndarray], Any]) -> Statistic:
    return lambda x: float(of(x[:, j]))


def _share(j: int, value: float) -> Statistic:
    return lambda x: float(np.mean(x[:, j] == value))


def _correlation(i: int, j: int) -> Statistic:
    def of(x: np.ndarray) -> float:
        a, b = x[:, i] - x[:, i].mean(), x[:, j] - x[:, j].mean()
        scale = np.sqrt(np.dot(a, a) * np.dot(b, b))
        return float(np.dot(a, b) / scale) if scale > 0 else 0.0

    return of


def check(
    values: Float[np.ndarray, "n d"],
    statistics: Mapping[str, Statistic],
    draw: Callable[[], np.ndarray],
    draws: int,
    interval: float,
) -> pd.DataFrame:
    """Compare the statistics of a table with those of tables that `draw` gives.

    Returns
    -------
    DataFrame
        A row per statistic: ``observed``; ``mean``, ``low`` and ``high`` of the drawn tables; and ``p_value``, the
        share of those above the observed one, equal ones by half.

    Raises
    ------
    OptionError
        A statistic that is not one finite number of the table at hand.
    """
    if not statistics:
        raise OptionError("there is nothing to compare, where every column is constant: pass statistics of your own")
    values = values.astype(np.float64)
    observed = np.array([_number(name, of, values) for name, of in statistics.items()])
    drawn = np.empty((draws, len(observed)))
    for one in drawn:
        table = draw()
        one[:] = [of(table) for of in statistics.values()]
    drawn = np.ma.masked_invalid(drawn)  # a statistic that some tables do not have
    low, high = np.nanquantile(drawn.filled(np.nan), [(1 - interval) / 2, (1 + interval) / 2], axis=0)
    above = (drawn > observed).mean(0) + 0.5 * (drawn == observed).mean(0)
    found = {"observed": observed, "mean": drawn.mean(0), "low": low, "high": high, "p_value": above}
    filled = {name: np.ma.filled(column, np.nan) for name, column in found.items()}
    return pd.DataFrame(filled, index=pd.Index(list(statistics), name="statistic"))


def _number(name: str, of: Any, values: np.ndarray) -> float:
    """Give a statistic of the table at hand."""
    found = np.asarray(of(values))
    if found.shape != () or not np.isfinite(found):
        raise OptionError(
            f"the statistic {name!r} is {found} of the table at hand: pass functions that give one finite number"
        )
    return float(found)
