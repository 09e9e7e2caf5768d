"""Poisson components: counts, each column with a rate per cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import digamma

from bayessoft.data.rows import Rows
from bayessoft.families.family import pytree
from bayessoft.families.linear import LinearFamily, Sums, counts_only, log, log_rising

__all__ = ["Gamma", "Poisson", "Rates"]


@pytree()
@dataclass(frozen=True, eq=False)
class Gamma:
    """A gamma prior on the rates of Poisson components, one for all clusters or one for each.

    Parameters
    ----------
    shape : float > 0 or array of shape (d,) or (k, d)
        How many events the prior is worth. At least 1 for EM, whose mode lies at ``(shape - 1) / rate``.
    rate : float > 0 or array of shape (d,) or (k, d)
        How many rows it is worth; the mean is ``shape / rate``.

    Examples
    --------
    >>> Gamma(2.0, 0.5).rate
    0.5
    """

    shape: Any
    rate: Any


@pytree()
@dataclass(frozen=True, eq=False)
class Rates:
    """Rates of k components.

    Attributes
    ----------
    rates : array of shape (k, d)
        Events that a row is expected to have.
    """

    rates: Any


@pytree()
@dataclass(frozen=True, eq=False)
class Poisson(LinearFamily):
    r"""Poisson components: columns are counts, independent within a cluster.

    Parameters
    ----------
    prior : Gamma, "weak" or None
        On the rates. "weak" has a shape of 1.5 and its mode at the mean of the column plus the standard deviation that
        a Poisson distribution leaves unexplained. None is no prior: maximum likelihood.

    Notes
    -----
    The posterior of a rate is Gamma(shape + events, rate + rows), a new row's count negative binomial: Gelman et al.,
    *Bayesian Data Analysis*, 3rd ed., section 2.6.

    Examples
    --------
    >>> Poisson(Gamma(1.5, 0.1)).prior.shape
    1.5
    """

    PRIOR = Gamma
    PARAMETERS = Rates
    COUNTED = ("shape",)
    BASED: ClassVar[bool] = True
    SHOWN: ClassVar[str] = "rate"

    def check(self, rows: Rows) -> None:
        counts_only(rows, "Poisson")

    def weak(self, rows: Rows) -> Gamma:
        share = rows.weights / rows.total_weight
        mean = share @ rows.values.astype(np.float64)
        variance = share @ (rows.values - mean) ** 2
        scale = np.maximum(mean + np.sqrt(np.maximum(variance - mean, 0)), 0.5 / rows.total_weight)
        return Gamma(np.full(rows.d, 1.5), 0.5 / scale)

    def natural(self, parameters: Rates) -> tuple[Array, Array]:
        return log(parameters.rates), -parameters.rates.sum(-1)

    def log_base(self, x: Any, gammaln: Callable[[Any], Any]) -> Any:
        return -gammaln(x + 1).sum(-1)

    def centres(self, means: Array) -> Rates:
        return Rates(means[:, :-1] + 0.5)

    def embedded(self, x: np.ndarray) -> np.ndarray:
        return np.sqrt(x[:, :-1])  # whose variance is the same whatever the rate, nearly: Bartlett (1936)

    def distributions(self, k: int) -> dict[str, dist.Distribution]:
        return {"rates": dist.Gamma(*self.spread(k)).to_event(2)}

    def gathered(self, sites: Mapping[str, Array]) -> Rates:
        rates = sites["rates"]
        return Rates(jnp.maximum(rates, jnp.finfo(rates.dtype).tiny))

    def mode(self, statistics: Sums, floor: Array | float) -> Rates:
        events, rows = statistics.first, statistics.weight[:, None]
        if self.prior is not None:
            shape, rate = self.spread(len(rows))
            events, rows = events + shape - 1, rows + rate
        return self.gathered({"rates": events / (rows + jnp.finfo(rows.dtype).tiny)})

    def update(self, statistics: Sums) -> Poisson:
        shape, rate = self.spread(len(statistics.weight))
        return replace(self, prior=Gamma(shape + statistics.first, rate + statistics.weight[:, None]))

    def expected(self, k: int) -> tuple[Rates, Array]:
        shape, rate = self.spread(k)
        geometric = jnp.exp(digamma(shape)) / rate
        return Rates(geometric), jnp.sum(geometric - shape / rate, -1)

    def centre(self, k: int) -> Rates:
        shape, rate = self.spread(k)
        return Rates(shape / rate)

    def tile_predictive(self, k: int, x: Array) -> Array:
        counts, base = self.parted(x)
        shape, rate = (field[:, :, None] for field in self.spread(k))
        return jnp.sum(log_rising(shape, counts) - shape * jnp.log1p(1 / rate) - counts * jnp.log1p(rate), 1) + base

    def likelihood(self, parameters: Rates) -> Any:
        return dist.Poisson(parameters.rates).to_event(1)

    def simulate(self, parameters: Rates, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.poisson(np.asarray(parameters.rates, np.float64)[labels]).astype(np.float64)
