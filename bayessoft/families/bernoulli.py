"""Bernoulli components: answers of yes or no, each column with a probability per cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import digamma

from bayessoft.data.rows import Rows
from bayessoft.families.family import pytree
from bayessoft.families.linear import LinearFamily, Sums, refuse

__all__ = ["Bernoulli", "Beta", "Probabilities"]


@pytree()
@dataclass(frozen=True, eq=False)
class Beta:
    """A beta prior on the probabilities of Bernoulli components, one for all clusters or one for each.

    Parameters
    ----------
    yes, no : float > 0 or array of shape (d,) or (k, d)
        The parameters of the distribution, usually called a and b: how many rows with a 1, and with a 0, the prior is
        worth. At least 1 for EM, whose mode lies at ``(yes - 1) / (yes + no - 2)``.

    Examples
    --------
    >>> Beta(1.0, 1.0).no
    1.0
    """

    yes: Any
    no: Any


@pytree()
@dataclass(frozen=True, eq=False)
class Probabilities:
    """Probabilities of a 1 in k components.

    Attributes
    ----------
    probabilities : array of shape (k, d)
    """

    probabilities: Any


@pytree()
@dataclass(frozen=True, eq=False)
class Bernoulli(LinearFamily):
    """Bernoulli components: columns are 0 or 1, independent within a cluster.

    Parameters
    ----------
    prior : Beta, "weak" or None
        On the probabilities of a 1. "weak" has its mode at the share of the column (held 0.01 from 0 and 1), worth one
        row. None is no prior: maximum likelihood.

    Notes
    -----
    The posterior of a probability is Beta(yes + ones, no + zeros).

    Examples
    --------
    >>> Bernoulli(Beta(1.0, 1.0)).prior.yes
    1.0
    """

    PRIOR = Beta
    PARAMETERS = Probabilities
    COUNTED = ("yes", "no")
    MOST: ClassVar[float] = 1.0
    SHOWN: ClassVar[str] = "probability"

    def check(self, rows: Rows) -> None:
        wrong = (rows.values != 0) & (rows.values != 1)
        refuse(rows, wrong, "Bernoulli components need 0 or 1; for more answers use Categorical ones")

    def weak(self, rows: Rows) -> Beta:
        share = rows.weights @ rows.values.astype(np.float64) / rows.total_weight
        share = np.clip(share, 0.01, 0.99)
        return Beta(1 + share, 2 - share)

    def natural(self, parameters: Probabilities) -> tuple[Array, Array]:
        p = self.gathered({"probabilities": parameters.probabilities}).probabilities
        log_no = jnp.log1p(-p)
        return jnp.log(p) - log_no, log_no.sum(-1)

    def centres(self, means: Array) -> Probabilities:
        return Probabilities(0.25 + 0.5 * means)

    def distributions(self, k: int) -> dict[str, dist.Distribution]:
        return {"probabilities": dist.Beta(*self.spread(k)).to_event(2)}

    def gathered(self, sites: Mapping[str, Array]) -> Probabilities:
        p = sites["probabilities"]
        least = jnp.finfo(p.dtype).epsneg  # from 0 and from 1 alike
        return Probabilities(jnp.clip(p, least, 1 - least))

    def _answers(self, statistics: Sums) -> tuple[Array, Array]:
        """Give how many rows have a 1, and a 0."""
        yes = statistics.first
        return yes, jnp.maximum(statistics.weight[:, None] - yes, 0)

    def mode(self, statistics: Sums, floor: Array | float) -> Probabilities:
        yes, no = self._answers(statistics)
        if self.prior is not None:
            prior_yes, prior_no = self.spread(len(yes))
            yes, no = yes + prior_yes - 1, no + prior_no - 1
        tiny = jnp.finfo(yes.dtype).tiny  # where nothing is known, a half
        return self.gathered({"probabilities": (yes + tiny) / (yes + no + 2 * tiny)})

    def update(self, statistics: Sums) -> Bernoulli:
        yes, no = self._answers(statistics)
        prior_yes, prior_no = self.spread(len(yes))
        return replace(self, prior=Beta(prior_yes + yes, prior_no + no))

    def expected(self, k: int) -> tuple[Probabilities, Array]:
        yes, no = self.spread(k)
        odds = digamma(yes) - digamma(no)
        below = digamma(no) - digamma(yes + no) + jnp.logaddexp(odds, 0.0)
        return self.gathered({"probabilities": 1 / (1 + jnp.exp(-odds))}), below.sum(-1)

    def centre(self, k: int) -> Probabilities:
        yes, no = self.spread(k)
        return self.gathered({"probabilities": yes / (yes + no)})

    def tile_predictive(self, k: int, x: Array) -> Array:
        return self.tile_scores(self.centre(k), x, False)

    def likelihood(self, parameters: Probabilities) -> Any:
        return dist.Bernoulli(probs=parameters.probabilities).to_event(1)

    def simulate(self, parameters: Probabilities, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        p = np.asarray(parameters.probabilities, np.float64)[labels]
        return (rng.random(p.shape) < p).astype(np.float64)
