"""Posteriors, as engines give them: a point, a closed form, or draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bayessoft.core.demand import SizeResult
from bayessoft.data.rows import fresh
from bayessoft.errors import OptionError, counted
from bayessoft.families.family import seeded
from bayessoft.mixture import Mixture
from bayessoft.numerics import scoped

__all__ = ["AnnealingPath", "Checks", "Conjugate", "Draws", "Guided", "Point", "drawn", "enough_draws", "on_device"]

LEAST_DRAWS = 100  # that the tail of importance weights is judged by


@dataclass(frozen=True, eq=False)
class AnnealingPath:
    """Where centres were as the inverse temperature rose.

    Attributes
    ----------
    betas : array of shape (L,)
        Inverse temperatures, in original units.
    centers : array of shape (L, k, d)
        Centres that memberships settled at, in original units.
    """

    betas: Float[np.ndarray, " L"]
    centers: Float[np.ndarray, "L k d"]


@dataclass(frozen=True, eq=False)
class Point:
    """A posterior summarised by a point: its mode, or the maximum of the likelihood.

    Attributes
    ----------
    weights : array of shape (k,)
        Proportions.
    parameters
        Parameters of the components, for rows mapped by the fit's frame.
    sizes : SizeResult or None
        What a size constraint did.
    path : AnnealingPath or None
        What led there, where the inverse temperature rose.
    """

    weights: Float[np.ndarray, " k"]
    parameters: Any
    sizes: SizeResult | None = None
    path: AnnealingPath | None = None


@dataclass(frozen=True, eq=False)
class Conjugate:
    """A posterior in closed form: proportions and parameters of each component have distributions of their own.

    Attributes
    ----------
    weights : array of shape (k,)
        Expected proportions.
    parameters
        Parameters at the centre of their posterior, for rows mapped by the fit's frame.
    mixture : Mixture
        The posterior, as the priors of a mixture of mapped rows.
    elbo : float
        Evidence lower bound in total, in nats, in original units.
    expected_sizes : array of shape (k,)
        Sums of the variational memberships, in units of weight.
    seed : int
        Seed of what is drawn from it.
    sizes : SizeResult or None
        What a size constraint did.
    """

    weights: Float[np.ndarray, " k"]
    parameters: Any
    mixture: Mixture
    elbo: float
    expected_sizes: Float[np.ndarray, " k"]
    seed: int
    sizes: SizeResult | None = None

    def draw(self, number: int, dtype: np.dtype[Any]) -> tuple[Float[np.ndarray, "s k"], Any]:
        """Draw proportions and parameters, always the same for the same seed."""
        with scoped(dtype):
            keys = jax.random.split(jax.random.key(self.seed), number)
            return jax.tree.map(np.asarray, drawn(on_device(self.mixture, dtype), keys))


@dataclass(frozen=True, eq=False)
class Checks:
    """What the draws say of themselves.

    Attributes
    ----------
    rhat : dict of str to float
        The largest R-hat: first of what no labels enter (``log_density``, ``sorted_weights``, ``entropy``), then of
        the aligned ``weights`` and the components' parameters, such as ``means`` and ``variances``. NaN where it cannot
        be had.
    ess : dict of str to float
        The smallest number of effective draws of the same.
    divergent : float or None
        Share of divergent transitions; None where the sampler has none.
    unclear : float
        Share of the draws whose clusters are not those of the pivot one for one.
    modes : tuple of int
        The mode that each chain is in, counted from 0.
    pareto_k : float or None
        Of draws of a guide, which have no R-hat and no effective number: the shape of the tail of their importance
        ratios.
    """

    rhat: dict[str, float]
    ess: dict[str, float]
    divergent: float | None
    unclear: float
    modes: tuple[int, ...]
    pareto_k: float | None = None

    @property
    def worst_rhat(self) -> float:
        """The largest R-hat; NaN where none could be had."""
        return max((value for value in self.rhat.values() if not np.isnan(value)), default=np.nan)

    @property
    def least_ess(self) -> float:
        """The smallest number of effective draws; NaN where none could be had."""
        return min((value for value in self.ess.values() if not np.isnan(value)), default=np.nan)

    @property
    def text(self) -> str:
        """The worst of each in one line."""
        if self.pareto_k is not None:
            return f"Pareto k {self.pareto_k:.2f}, clusters unclear in {self.unclear:.1%} of the draws of the guide"
        divergent = "" if self.divergent is None else f"{self.divergent:.1%} of the transitions divergent, "
        return (
            f"R-hat up to {self.worst_rhat:.3f}, {self.least_ess:.0f} effective draws or more, {divergent}"
            f"clusters unclear in {self.unclear:.1%} of the draws, chains in {counted(len(set(self.modes)), 'mode')}"
        )


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws from the posterior as they came: a cluster may have other labels in other draws.

    Attributes
    ----------
    weights : array of shape (c, s, k)
        Proportions, of c chains with s draws each.
    parameters
        Parameters of the components with leading axes (c, s), for rows mapped by the fit's frame.
    stats : dict of str to array of shape (c, s)
        How each was made; ``log_density`` is its log-likelihood plus log prior density there.
    ancestry : array of shape (c, s, k) or None
        Where a sampler changes the places of clusters: component i of a draw was cluster ``ancestry[c, s, i]`` at the
        start of its chain.
    order : array of shape (c, s, k) or None
        Aligned cluster j is component ``order[c, s, j]`` of a draw; None before labels were aligned.
    expected_sizes : array of shape (c, s, k) or None
        Sums of the memberships in the aligned clusters, in units of weight; under a size constraint the numbers of
        rows.
    checks : Checks or None
        None before they were made.
    counts : array of shape (c, s, k) or None
        Under a size constraint, the rows of each component by their labels.
    labels : array of shape (c, m, n) or None
        Under a size constraint, labels of the rows in some of the draws: components, as they came.
    labelled : array of shape (m,) or None
        The numbers of those draws.
    """

    weights: Float[np.ndarray, "c s k"]
    parameters: Any
    stats: dict[str, np.ndarray]
    ancestry: Int[np.ndarray, "c s k"] | None = None
    order: Int[np.ndarray, "c s k"] | None = None
    expected_sizes: Float[np.ndarray, "c s k"] | None = None
    checks: Checks | None = None
    counts: Int[np.ndarray, "c s k"] | None = None
    labels: Int[np.ndarray, "c m n"] | None = None
    labelled: Int[np.ndarray, " m"] | None = None

    @property
    def log_density(self) -> Float[np.ndarray, "c s"]:
        """Log-likelihood plus log prior density, of standardised rows."""
        return self.stats["log_density"]


@dataclass(frozen=True, eq=False)
class Guided(Draws):
    """Independent draws, as of one chain, from a guide: a distribution found to be near the posterior.

    Attributes
    ----------
    elbo : float
        The evidence lower bound as the draws estimate it, with all constants, in original units, in nats: the mean of
        ``log_ratio`` of `stats`, which is the log of the posterior's density, not normalised, less that of the guide's.
    """

    elbo: float = np.nan


def enough_draws(posterior: Point | Conjugate | Draws, what: str) -> Draws:
    """Give the draws of a sampler, where there are enough for what asks for them.

    Raises
    ------
    OptionError
        A posterior of another kind, with less than 100 draws, or under a size constraint, given which rows are not
        independent.
    """
    if not isinstance(posterior, Draws) or isinstance(posterior, Guided):
        raise OptionError(f"{what} needs draws from the posterior: fit with inference='gibbs' or 'nuts'")
    if posterior.counts is not None:
        raise OptionError(f"{what} is of rows that are independent, which a size constraint ends: fit without sizes")
    number = posterior.log_density.size
    if number < LEAST_DRAWS:
        raise OptionError(
            f"{what} needs {LEAST_DRAWS} draws or more, and the fit has {number}: raise draws of the engine"
        )
    return posterior


def on_device(tree: Any, dtype: np.dtype[Any]) -> Any:
    """Give the arrays of a tree on the device, inside `numerics.scoped`."""
    return jax.tree.map(lambda leaf: jnp.asarray(fresh(np.asarray(leaf)), dtype), tree)


@jax.jit
def drawn(mixture: Mixture, keys: Array) -> tuple[Array, Any]:
    """Draw proportions and parameters from the priors with each key, inside `numerics.scoped`."""
    return jax.vmap(lambda key: mixture.draw(seeded(key)))(keys)
