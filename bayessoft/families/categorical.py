"""Categorical components, a latent class model: answers out of a few, each column with probabilities per cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import digamma

from bayessoft.data.rows import Rows
from bayessoft.errors import DataError, OptionError
from bayessoft.families.family import pytree
from bayessoft.families.linear import LinearFamily, Sums, log, refuse
from bayessoft.families.weights import Dirichlet

__all__ = ["AnswerProbabilities", "Categorical"]


@pytree()
@dataclass(frozen=True, eq=False)
class AnswerProbabilities:
    """Probabilities of all answers of all columns in k components.

    Attributes
    ----------
    probabilities : array of shape (k, f)
        The answers of the first column, then those of the second, and so on; those of a column sum to 1.
    """

    probabilities: Any


ANSWERS = 1000  # of a column, at most, that are believed to be such


def _is_level(most: Any) -> bool:
    return isinstance(most, int | np.integer) and not isinstance(most, bool) and bool(most >= 1)


class _Answers(dist.CategoricalProbs):
    """NumPyro's distribution, whose values may be whole numbers of any dtype, as cells of tables are."""

    def log_prob(self, value: Any) -> Array:
        return super().log_prob(jnp.asarray(value).astype(jnp.int32))


@pytree(static=("levels",))
@dataclass(frozen=True, eq=False)
class Categorical(LinearFamily):
    """Categorical components: columns are answers 0, 1, 2, ..., independent within a cluster (a latent class model).

    Parameters
    ----------
    prior : Dirichlet, "weak" or None
        On the probabilities of the answers of each column, with a concentration for all, or for each of the f answers
        of all columns one after the other, (f,), or for each cluster and answer (k, f). "weak" has its modes at the
        shares of the answers (nearly: none is 0), worth one row. None is no prior: maximum likelihood.
    levels : tuple of int, optional
        How many answers each column has; by default one more than the largest that the rows hold.

    Notes
    -----
    The posterior of the probabilities of a column is Dirichlet(concentration + rows with each answer). Lazarsfeld and
    Henry, *Latent Structure Analysis* (1968); Goodman, Biometrika 61 (1974).

    Examples
    --------
    >>> Categorical(levels=(2, 3)).levels
    (2, 3)
    """

    PRIOR = Dirichlet
    PARAMETERS = AnswerProbabilities
    COUNTED = ("concentration",)
    MOST: ClassVar[float] = 1.0
    ALONG: ClassVar[str] = "answer"
    SHOWN: ClassVar[str] = "probability"

    levels: tuple[int, ...] | None = None

    def check(self, rows: Rows) -> None:
        wrong = (rows.values < 0) | (rows.values != np.floor(rows.values))
        refuse(
            rows,
            wrong,
            "Categorical components need answers numbered 0, 1, 2, ...: sklearn.preprocessing.OrdinalEncoder numbers "
            "answers in words",
        )
        if self.levels is None:
            return
        if len(self.levels) != rows.d:
            raise DataError(f"X has {rows.d} columns but levels {len(self.levels)}: pass a number of answers for each")
        wrong = rows.values >= np.array(self.levels)
        refuse(rows, wrong, f"the columns have {', '.join(map(str, self.levels))} answers, numbered from 0")

    def resolved(self, k: int, rows: Rows) -> Self:
        levels = self.levels
        if levels is None:
            levels = tuple(int(most) + 1 for most in np.maximum(rows.values[rows.weights > 0].max(0), 0))
            if max(levels) > ANSWERS:
                column = int(np.argmax(levels))
                name = repr(rows.columns[column]) if rows.columns else column
                raise DataError(
                    f"column {name} has answers up to {max(levels) - 1}: number the answers from 0 without gaps "
                    f"(sklearn.preprocessing.OrdinalEncoder does), or leave the column out; over {ANSWERS} need levels"
                )
        elif not isinstance(levels, tuple | list) or not all(_is_level(most) for most in levels):
            raise OptionError(f"levels is {levels!r}: pass a tuple of whole numbers >= 1")
        return super(Categorical, replace(self, levels=tuple(map(int, levels)))).resolved(k, rows)

    def weak(self, rows: Rows) -> Dirichlet:
        shares = []
        for j, most in enumerate(self._levels):
            counts = np.bincount(rows.values[:, j].astype(int), rows.weights, most) + 0.5
            shares.append(counts / counts.sum())
        return Dirichlet(1 + np.concatenate(shares))

    @property
    def _levels(self) -> tuple[int, ...]:
        """Numbers of answers, once they are known."""
        if self.levels is None:
            raise OptionError("nothing says how many answers there are: pass levels=(2, 3, ...), one for each column")
        return self.levels

    @property
    def _column(self) -> np.ndarray:
        """The column of each answer, (f,)."""
        return np.repeat(np.arange(len(self._levels)), self._levels)

    @property
    def _answer(self) -> np.ndarray:
        """The number of each answer within its column, (f,)."""
        return np.concatenate([np.arange(most) for most in self._levels])

    def spread(self, k: int) -> tuple[Array, ...]:
        return (jnp.broadcast_to(jnp.asarray(self.prior.concentration), (k, sum(self._levels))),)

    def entry(self, d: int) -> int:
        return sum(self._levels)

    def features(self, x: Array) -> Array:
        return (x[self._column] == self._answer[:, None]).astype(x.dtype)

    def natural(self, parameters: AnswerProbabilities) -> tuple[Array, Array]:
        p = parameters.probabilities
        return log(p), jnp.zeros(p.shape[:-1], p.dtype)

    def centres(self, means: Array) -> AnswerProbabilities:
        same = jnp.abs(means[:, self._column] - self._answer) < 0.5
        return AnswerProbabilities(self._shared(jnp.where(same, 1.0, 0.1).astype(means.dtype)))

    def embedded(self, x: np.ndarray) -> np.ndarray:
        return (x[:, self._column] == self._answer).astype(x.dtype)

    def _totals(self, counts: Array) -> Array:
        """Sum over the answers of each column, and give the sums to each of them."""
        sums = jnp.zeros((*counts.shape[:-1], len(self._levels)), counts.dtype)
        return sums.at[..., self._column].add(counts)[..., self._column]

    def _shared(self, counts: Array) -> Array:
        """Give counts as shares of their columns."""
        return counts / self._totals(counts)

    def _kinds(self) -> dict[str, np.ndarray]:
        """Give the answers, (columns, answers), of all columns with the same number of answers, by their site."""
        first = np.concatenate([[0], np.cumsum(self._levels)[:-1]])
        levels = np.array(self._levels)
        return {
            f"probabilities_{most}": first[levels == most][:, None] + np.arange(most) for most in sorted(set(levels))
        }

    def distributions(self, k: int) -> dict[str, dist.Distribution]:
        concentration = self.spread(k)[0]
        return {name: dist.Dirichlet(concentration[:, of]).to_event(2) for name, of in self._kinds().items()}

    def gathered(self, sites: Mapping[str, Array]) -> AnswerProbabilities:
        kinds = self._kinds()
        order = np.argsort(np.concatenate([of.ravel() for of in kinds.values()]))
        every = [sites[name].reshape(*sites[name].shape[:-2], -1) for name in kinds]
        p = jnp.concatenate(every, -1)[..., order]
        return AnswerProbabilities(jnp.maximum(p, jnp.finfo(p.dtype).tiny))

    def sites(self, parameters: AnswerProbabilities) -> dict[str, Array]:
        return {name: parameters.probabilities[..., of] for name, of in self._kinds().items()}

    def mode(self, statistics: Sums, floor: Array | float) -> AnswerProbabilities:
        counts = statistics.first
        if self.prior is not None:
            counts = counts + self.spread(len(counts))[0] - 1
        shares = self._shared(counts + jnp.finfo(counts.dtype).tiny)
        return AnswerProbabilities(jnp.maximum(shares, jnp.finfo(shares.dtype).tiny))

    def update(self, statistics: Sums) -> Categorical:
        prior = self.spread(len(statistics.first))[0]
        return replace(self, prior=Dirichlet(prior + statistics.first))

    def expected(self, k: int) -> tuple[AnswerProbabilities, Array]:
        concentration = self.spread(k)[0]
        logs = digamma(concentration) - digamma(self._totals(concentration))
        return AnswerProbabilities(jnp.exp(logs)), jnp.zeros(k, logs.dtype)  # of less than 1 in sum

    def centre(self, k: int) -> AnswerProbabilities:
        return AnswerProbabilities(self._shared(self.spread(k)[0]))

    def tile_predictive(self, k: int, x: Array) -> Array:
        return self.tile_scores(self.centre(k), x, False)

    def likelihood(self, parameters: AnswerProbabilities) -> Any:
        most = max(self._levels)
        padded = jnp.zeros((*parameters.probabilities.shape[:-1], len(self._levels), most))
        padded = padded.astype(parameters.probabilities.dtype)
        every = padded.at[..., self._column, self._answer].set(parameters.probabilities)
        return _Answers(every).to_event(1)

    def coordinates(self, columns: Sequence[str]) -> dict[str, list[str]]:
        return {"answer": [f"{columns[j]}={a}" for j, a in zip(self._column, self._answer, strict=True)]}

    def n_parameters(self, k: int, d: int) -> int:
        return k * sum(most - 1 for most in self._levels)

    def simulate(self, parameters: AnswerProbabilities, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        p = np.asarray(parameters.probabilities, np.float64)
        rows = np.empty((len(labels), len(self._levels)))
        for j in range(rows.shape[1]):
            below = np.cumsum(p[:, self._column == j], -1)[labels]
            rows[:, j] = (rng.random((len(labels), 1)) * below[:, -1:] >= below[:, :-1]).sum(1)
        return rows
