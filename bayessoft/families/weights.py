"""Priors on the mixture proportions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import digamma, gammaln
from jaxtyping import Float
from scipy.stats import beta

from bayessoft.errors import OptionError
from bayessoft.families.family import Sample, pytree

__all__ = ["Dirichlet", "Equal"]


@pytree()
@dataclass(frozen=True, eq=False)
class Dirichlet:
    r"""A Dirichlet prior on the mixture proportions.

    Parameters
    ----------
    concentration : float > 0 or array of shape (k,)
        :math:`\alpha`; a number serves every cluster. 1 is uniform, larger values pull towards equal proportions,
        values below 1 towards few clusters.

    Notes
    -----
    The density is with respect to Lebesgue measure on the first k - 1 proportions.

    Examples
    --------
    >>> Dirichlet(2.0).checked(3).concentration
    array([2., 2., 2.])
    """

    concentration: Any = 1.0

    def checked(self, k: int) -> Dirichlet:
        """Give the same prior with one finite, positive concentration for each of k clusters.

        Raises
        ------
        OptionError
            A wrong number of concentrations, or one that is not above 0.
        """
        value = np.asarray(self.concentration, dtype=np.float64)
        if value.shape not in ((), (k,)):
            raise OptionError(f"the concentration has shape {value.shape}: pass one number, or {k}, one per cluster")
        if not (np.isfinite(value).all() and (value > 0).all()):
            raise OptionError(f"the concentration is {value}: pass finite numbers above 0")
        return Dirichlet(np.broadcast_to(value, (k,)).copy())

    def raised(self, count: float) -> Dirichlet:
        """Give the prior after each cluster received `count` rows."""
        return Dirichlet(np.asarray(self.concentration) + count)

    def update(self, weight: Float[Array, " k"]) -> Dirichlet:
        """Give the posterior after clusters received `weight` rows."""
        return Dirichlet(jnp.asarray(self.concentration) + weight)

    def blend(self, other: Dirichlet, rate: Array) -> Dirichlet:
        """Give the prior with natural parameters ``(1 - rate) * own + rate * those of other``."""
        return Dirichlet((1 - rate) * jnp.asarray(self.concentration) + rate * jnp.asarray(other.concentration))

    def expected_log(self) -> Float[Array, " k"]:
        """Give the expected log proportions, of one concentration per cluster."""
        alpha = jnp.asarray(self.concentration)
        return digamma(alpha) - digamma(alpha.sum())

    def marginal(self, interval: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give the standard deviation, and the ends of an equal-tailed interval, of each cluster's proportion."""
        alpha = np.asarray(self.concentration, np.float64)
        if len(alpha) == 1:
            return np.zeros(1), np.ones(1), np.ones(1)
        of_each = beta(alpha, alpha.sum() - alpha)
        return of_each.std(), *of_each.interval(interval)

    def divergence(self, other: Dirichlet) -> Array:
        """Kullback-Leibler divergence from `other`, in nats; both have one concentration per cluster."""
        alpha, its = jnp.asarray(self.concentration), jnp.asarray(other.concentration)
        normaliser = gammaln(alpha.sum()) - gammaln(its.sum()) - jnp.sum(gammaln(alpha) - gammaln(its))
        return normaliser + jnp.sum((alpha - its) * self.expected_log())

    def mode(self, weight: Float[Array, " k"]) -> Float[Array, " k"]:
        """Give the most probable proportions after clusters received `weight` rows."""
        counts = weight + (jnp.asarray(self.concentration) - 1)
        return counts / counts.sum()

    def log_density(self, weights: Float[Array, " k"]) -> Array:
        """Log density of proportions."""
        alpha = jnp.asarray(self.concentration)
        powers = jnp.where(alpha == 1, 0.0, (alpha - 1) * jnp.log(weights))  # x^0 = 1 at x = 0 too
        return jnp.sum(powers) + gammaln(alpha.sum()) - gammaln(alpha).sum()

    def draw(self, sample: Sample, k: int) -> Float[Array, " k"]:
        """Draw proportions through `sample`."""
        return sample("weights", dist.Dirichlet(jnp.broadcast_to(jnp.asarray(self.concentration), (k,))))


@pytree()
@dataclass(frozen=True, eq=False)
class Equal:
    """Equal proportions, whatever the rows: nothing is left to find of them."""

    concentration: ClassVar[float] = 1.0
    """Of no cluster more than of another."""

    def checked(self, k: int) -> Equal:
        """Give the same, for k clusters."""
        return self

    def raised(self, count: float) -> Equal:
        """Give the same after each cluster received `count` rows."""
        return self

    def mode(self, weight: Float[Array, " k"]) -> Float[Array, " k"]:
        """Give equal proportions."""
        return jnp.full_like(weight, 1 / len(weight))

    def log_density(self, weights: Float[Array, " k"]) -> Array:
        """Log density of what cannot be otherwise."""
        return jnp.zeros(())
