"""Multinomial components: rows of counts that share their total out, with shares per cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import digamma

from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError
from bayessoft.families.family import pytree
from bayessoft.families.linear import LinearFamily, Sums, counts_only, log, log_rising
from bayessoft.families.weights import Dirichlet
from bayessoft.numerics import Affine

__all__ = ["Multinomial", "Shares"]


@pytree()
@dataclass(frozen=True, eq=False)
class Shares:
    """Shares of k components.

    Attributes
    ----------
    shares : array of shape (k, d)
        Probability that a count falls into each column; rows sum to 1.
    """

    shares: Any


@pytree(static=("total",))
@dataclass(frozen=True, eq=False)
class Multinomial(LinearFamily):
    """Multinomial components: the columns of a row share its total out, as the words of a document do.

    Parameters
    ----------
    prior : Dirichlet, "weak" or None
        On the shares, with a concentration for all columns, for each (d,), or for each cluster and column (k, d).
        "weak" has its mode at the shares of the table, worth one count. None is no prior: maximum likelihood.
    total : int, optional
        Counts of each row that is drawn; by default the mean over the rows that are fitted. Rows may have any total:
        the density of a row is that of how its own total is shared out.

    Notes
    -----
    The posterior of the shares is Dirichlet(concentration + counts), a new row Dirichlet-multinomial.

    Examples
    --------
    >>> Multinomial(Dirichlet(1.0)).prior.concentration
    1.0
    """

    PRIOR = Dirichlet
    PARAMETERS = Shares
    COUNTED = ("concentration",)
    BASED: ClassVar[bool] = True
    MOST: ClassVar[float] = 1.0
    SHOWN: ClassVar[str] = "share"

    total: int | None = None

    def check(self, rows: Rows) -> None:
        counts_only(rows, "Multinomial")

    def resolved(self, k: int, rows: Rows) -> Self:
        resolved = super().resolved(k, rows)
        total = self.total
        if total is None:
            total = int(round(float(rows.weights @ rows.values.sum(1, dtype=np.float64)) / rows.total_weight))
        if isinstance(total, bool) or not isinstance(total, int | np.integer) or total < 0:
            raise OptionError(f"total is {total!r}: pass a whole number >= 0")
        return replace(resolved, total=int(total))

    @property
    def _total(self) -> int:
        """The total of rows that are drawn, once it is known."""
        if self.total is None:
            raise OptionError("nothing says how many counts a drawn row has: pass Multinomial(total=...)")
        return self.total

    def standardised(self, frame: Affine) -> Multinomial:
        return replace(self, total=None)  # which no pass heeds: tables with other totals share their programs

    def weak(self, rows: Rows) -> Dirichlet:
        counts = rows.weights @ rows.values.astype(np.float64)
        return Dirichlet(1 + (counts + 1) / (counts + 1).sum())

    def natural(self, parameters: Shares) -> tuple[Array, Array]:
        return log(parameters.shares), jnp.zeros(parameters.shares.shape[:-1], parameters.shares.dtype)

    def log_base(self, x: Any, gammaln: Callable[[Any], Any]) -> Any:
        return gammaln(x.sum(-1) + 1) - gammaln(x + 1).sum(-1)

    def centres(self, means: Array) -> Shares:
        counts = means[:, :-1] + 0.5
        return Shares(counts / counts.sum(-1, keepdims=True))

    def embedded(self, x: np.ndarray) -> np.ndarray:
        counts = x[:, :-1]
        return np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1))  # Hellinger's distance

    def distributions(self, k: int) -> dict[str, dist.Distribution]:
        return {"shares": dist.Dirichlet(self.spread(k)[0]).to_event(1)}

    def gathered(self, sites: Mapping[str, Array]) -> Shares:
        shares = sites["shares"]
        return Shares(jnp.maximum(shares, jnp.finfo(shares.dtype).tiny))

    def mode(self, statistics: Sums, floor: Array | float) -> Shares:
        counts = statistics.first
        if self.prior is not None:
            counts = counts + self.spread(len(counts))[0] - 1
        counts = counts + jnp.finfo(counts.dtype).tiny
        return self.gathered({"shares": counts / counts.sum(-1, keepdims=True)})

    def update(self, statistics: Sums) -> Multinomial:
        prior = self.spread(len(statistics.first))[0]
        return replace(self, prior=Dirichlet(prior + statistics.first))

    def expected(self, k: int) -> tuple[Shares, Array]:
        concentration = self.spread(k)[0]
        logs = digamma(concentration) - digamma(concentration.sum(-1, keepdims=True))
        return Shares(jnp.exp(logs)), jnp.zeros(k, logs.dtype)  # of less than 1 in sum, as every count has its part

    def centre(self, k: int) -> Shares:
        concentration = self.spread(k)[0]
        return self.gathered({"shares": concentration / concentration.sum(-1, keepdims=True)})

    def tile_predictive(self, k: int, x: Array) -> Array:
        counts, base = self.parted(x)
        concentration = self.spread(k)[0]
        seen = jnp.sum(log_rising(concentration[:, :, None], counts), 1)
        return seen - log_rising(concentration.sum(-1)[:, None], counts.sum(0)) + base

    def likelihood(self, parameters: Shares) -> Any:
        return dist.Multinomial(self._total, probs=parameters.shares)

    def n_parameters(self, k: int, d: int) -> int:
        return k * (d - 1)

    def simulate(self, parameters: Shares, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shares = np.asarray(parameters.shares, np.float64)
        shares = shares / shares.sum(-1, keepdims=True)
        return rng.multinomial(self._total, shares[labels]).astype(np.float64)
