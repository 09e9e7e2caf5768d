"""What every engine returns: a status, a trace, a posterior, and the fit that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bayessoft.core.sizes import SizeResult
from bayessoft.core.sweep import Tiles, rowwise
from bayessoft.data.rows import fresh
from bayessoft.errors import counted
from bayessoft.families.family import SweptFamily
from bayessoft.mixture import Mixture
from bayessoft.numerics import Affine, scoped

EVALUATED = 1 << 19  # numbers of rows and memberships evaluated at a time: 4 MB, and some copies of them
NUMBERS = 1 << 21  # numbers of all draws together that are looked at at a time: 16 MB, and some copies of them

__all__ = ["Checks", "Draws", "Fit", "Point", "Status"]


class Status(Enum):
    """How a fit ended. The value tells what to do next."""

    CONVERGED = "converged"
    SAMPLED = "sampled: R-hat and effective sample sizes are as they should be"
    MODES = (
        "sampled, but the chains are in different modes and do not mix: their draws are no one posterior; use fewer "
        "components, a stronger prior, or compare the modes chain by chain"
    )
    LABELS_UNCLEAR = (
        "sampled, but clusters cannot be told apart from draw to draw, so numbers by cluster mean little and intervals "
        "are refused: use fewer components, or a stronger prior"
    )
    NOT_MIXED = (
        "sampled, but R-hat or the effective sample sizes say that there are too few draws: raise draws and warmup of "
        "NUTS, use fewer components, or a stronger prior"
    )
    DIVERGENT = (
        "sampled, but with divergent transitions, so parts of the posterior may be missing: raise target_accept of "
        "NUTS, for example to 0.95, or use a stronger prior"
    )
    NOT_CONVERGED = (
        "stopped at max_iter before the objective settled: raise max_iter or tol, or try other starts (n_init)"
    )
    REG_COVAR_DOMINATES = (
        "converged, but reg_covar is larger than the variance of a column: rescale the columns, or lower reg_covar"
    )
    COLLAPSED = (
        "a component collapsed onto too few rows: set reg_covar above 0 or prior='weak', use fewer components, "
        "or a simpler covariance_type"
    )
    NON_FINITE = "the objective is not finite: look for extreme rows, rescale the columns, or set prior='weak'"
    FELL = "the objective fell, which EM never does in exact arithmetic: pass float64, rescale, or set prior='weak'"
    SIZES_NOT_MET = (
        "the size constraint is not met: the bounds may be all but impossible for these clusters; widen them, or try "
        "other starts (n_init)"
    )
    ILL_CONDITIONED = (
        "the covariances are singular, or too ill-conditioned for this dtype: pass X.astype(numpy.float64) where X is "
        "float32, drop columns that are constant or nearly combinations of others, or set reg_covar or prior='weak'"
    )

    @property
    def text(self) -> str:
        """What happened, and what to do next."""
        return self.value

    @property
    def failed(self) -> bool:
        """Whether there is no result to return."""
        return self in (Status.COLLAPSED, Status.NON_FINITE, Status.FELL, Status.ILL_CONDITIONED)

    @property
    def converged(self) -> bool:
        """Whether the result is where the engine meant to arrive."""
        return self in (Status.CONVERGED, Status.SAMPLED, Status.REG_COVAR_DOMINATES)

    @property
    def labelled(self) -> bool:
        """Whether numbers by cluster mean something: intervals are refused otherwise."""
        return self not in (Status.MODES, Status.LABELS_UNCLEAR)


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
    """

    weights: Float[np.ndarray, " k"]
    parameters: Any
    sizes: SizeResult | None = None


@dataclass(frozen=True, eq=False)
class Checks:
    """What the draws say of themselves.

    Attributes
    ----------
    rhat : dict of str to float
        The largest R-hat: first of what no labels enter (``log_density``, ``sorted_weights``, ``entropy``), then of
        the aligned ``weights``, ``means`` and ``variances``. NaN where it cannot be had.
    ess : dict of str to float
        The smallest number of effective draws of the same.
    divergent : float
        Share of divergent transitions.
    unclear : float
        Share of the draws whose clusters are not those of the pivot one for one.
    modes : tuple of int
        The mode that each chain is in, counted from 0.
    """

    rhat: dict[str, float]
    ess: dict[str, float]
    divergent: float
    unclear: float
    modes: tuple[int, ...]

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
        return (
            f"R-hat up to {self.worst_rhat:.3f}, {self.least_ess:.0f} effective draws or more, {self.divergent:.1%} of "
            f"the transitions divergent, clusters unclear in {self.unclear:.1%} of the draws, chains in "
            f"{counted(len(set(self.modes)), 'mode')}"
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
    order : array of shape (c, s, k) or None
        Aligned cluster j is component ``order[c, s, j]`` of a draw; None before labels were aligned.
    expected_sizes : array of shape (c, s, k) or None
        Sums of the memberships in the aligned clusters, in units of weight.
    checks : Checks or None
        None before they were made.
    """

    weights: Float[np.ndarray, "c s k"]
    parameters: Any
    stats: dict[str, np.ndarray]
    order: Int[np.ndarray, "c s k"] | None = None
    expected_sizes: Float[np.ndarray, "c s k"] | None = None
    checks: Checks | None = None

    @property
    def log_density(self) -> Float[np.ndarray, "c s"]:
        """Log-likelihood plus log prior density, of standardised rows."""
        return self.stats["log_density"]


@dataclass(frozen=True, eq=False)
class Fit:
    """A mixture fitted to rows.

    Attributes
    ----------
    mixture : Mixture
        What was fitted, with every automatic setting resolved, in original units.
    frame : Affine
        The map to the standardised rows in which the fit was computed.
    posterior : Point or Draws
        The result.
    status : Status
        How the fit ended.
    trace : array of shape (n_iter,)
        The objective after each step: log-likelihood plus log prior, per unit weight, in original units; of draws, the
        mean over chains.
    n : int
        Number of rows.
    total_weight : float
        Sum of their weights.
    dtype, device : str
        What it was computed in and on.
    """

    mixture: Mixture
    frame: Affine
    posterior: Point | Draws
    status: Status
    trace: Float[np.ndarray, " steps"]
    n: int
    total_weight: float
    dtype: str
    device: str

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        return self.mixture.n_parameters(len(self.frame.shift))

    def aligned(self) -> tuple[np.ndarray, Any]:
        """Give proportions and parameters in standardised units, draws with their labels aligned."""
        posterior = self.posterior
        if isinstance(posterior, Point) or posterior.order is None:
            return posterior.weights, posterior.parameters
        weights = np.take_along_axis(posterior.weights, posterior.order, -1)
        return weights, self.mixture.family.arranged(posterior.parameters, posterior.order)

    def flat(self) -> tuple[np.ndarray, Any]:
        """Give `aligned` with one leading axis over the draws of all chains; a point is one draw."""
        lead = self.posterior.weights.ndim - 1
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[lead:]), self.aligned())

    def simulate(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw n rows in original units, and their labels, ordered by label; of draws, each row from one of them."""
        weights, inside = self.flat()
        chosen, counts = np.unique(rng.integers(len(weights), size=n), return_counts=True)
        parts = []
        for draw, count in zip(chosen, counts, strict=True):
            parameters = self.mixture.family.map_parameters(jax.tree.map(lambda leaf: leaf[draw], inside), self.frame)  # noqa: B023
            parts.append(self.mixture.simulate(weights[draw].astype(np.float64), parameters, int(count), rng))
        values, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.argsort(labels, kind="stable")
        return values[order], labels[order]

    def evaluate(self, values: np.ndarray, constrained: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Give the log density (n,) and the memberships (n, k) of rows in original units, in the rows' dtype.

        Of draws, the log of the mean density, and the mean memberships, over all of them. With `constrained`, the
        prices of a size constraint enter, and the first part is no density.
        """
        sizes = self.posterior.sizes if constrained and isinstance(self.posterior, Point) else None
        log_density = np.empty(len(values), values.dtype)
        memberships = np.empty((len(values), self.mixture.k), values.dtype)
        most = max(16, EVALUATED // (self.mixture.k + values.shape[1]))
        parts = max(1, -(-len(values) // most))
        for part, draws, rows in self._parts(values, -(-len(values) // parts)):  # of one size: one compilation
            prices = None if sizes is None else jnp.asarray(fresh(sizes.prices), values.dtype)
            found, shares = _averaged(self.mixture.family, draws, rows, prices)
            log_density[part] = np.asarray(found).ravel()[: part.stop - part.start] + self.frame.log_det
            memberships[part] = _by_row(np.asarray(shares))[: part.stop - part.start]
        return log_density, memberships

    def membership_interval(self, values: np.ndarray, interval: float) -> Float[np.ndarray, "n k 2"]:
        """Give equal-tailed posterior intervals of the memberships of rows in original units."""
        ends = [(1 - interval) / 2, (1 + interval) / 2]
        result = np.empty((len(values), self.mixture.k, 2), values.dtype)
        for part, draws, rows in self._parts(values, self._rows_of(self.mixture.k)):
            shares = _by_row(np.asarray(_every_membership(self.mixture.family, draws, rows)))
            found = np.quantile(shares[: part.stop - part.start], ends, axis=-1)
            result[part] = np.moveaxis(found, 0, -1)
        return result

    def log_likelihood(self, values: np.ndarray) -> Float[np.ndarray, "draws n"]:
        """Give the log density of rows in original units under each draw, chains one after the other."""
        number = len(self.flat()[0])
        result = np.empty((number, len(values)), values.dtype)
        for part, draws, rows in self._parts(values, self._rows_of(1)):
            found = np.asarray(_every_log_density(self.mixture.family, draws, rows)).reshape(number, -1)
            result[:, part] = found[:, : part.stop - part.start] + self.frame.log_det
        return result

    def _rows_of(self, numbers: int) -> int:
        """Tell how many rows to look at in all draws at once, at some numbers each: it bounds the memory."""
        return max(16, NUMBERS // (numbers * self.posterior.weights[..., 0].size))

    def _parts(self, values: np.ndarray, size: int) -> Iterator[tuple[slice, Any, Tiles]]:
        """Give the rows in parts laid out on the device, with their place and the draws there."""
        with scoped(values.dtype):
            weights, parameters = jax.tree.map(lambda leaf: jnp.asarray(fresh(leaf), values.dtype), self.flat())
            for first in range(0, len(values), size):
                part = values[first : first + size]
                rows = self.mixture.lay_out(part, np.ones(len(part)), self.frame)
                yield slice(first, first + len(part)), (jnp.log(weights), parameters), rows


def _by_row(shares: np.ndarray) -> np.ndarray:
    """Bring memberships of shape (T, k, t, ...) into the order of the rows."""
    return np.moveaxis(shares, 1, 2).reshape(-1, shares.shape[1], *shares.shape[3:])


@jax.jit
def _averaged(family: SweptFamily, draws: Any, rows: Tiles, prices: Array | None) -> tuple[Array, Array]:
    """Give the log of the mean density, and the mean memberships, over draws."""

    def add(total: tuple[Array, Array], draw: Any) -> tuple[tuple[Array, Array], None]:
        log_density, shares = rowwise(family, draw[1], draw[0], rows, prices)
        return (jnp.logaddexp(total[0], log_density), total[1] + shares), None

    number, k = draws[0].shape
    tiles, t = rows.w.shape
    none = (jnp.full((tiles, t), -jnp.inf, rows.x.dtype), jnp.zeros((tiles, k, t), rows.x.dtype))
    log_density, shares = jax.lax.scan(add, none, draws)[0]
    return log_density - jnp.log(number), shares / number


@jax.jit
def _every_membership(family: SweptFamily, draws: Any, rows: Tiles) -> Float[Array, "T k t draws"]:
    """Give the memberships of rows under each draw."""
    every = jax.lax.map(lambda draw: rowwise(family, draw[1], draw[0], rows)[1], draws)
    return jnp.moveaxis(every, 0, -1)


@jax.jit
def _every_log_density(family: SweptFamily, draws: Any, rows: Tiles) -> Float[Array, "draws T t"]:
    """Give the log densities of rows under each draw."""
    return jax.lax.map(lambda draw: rowwise(family, draw[1], draw[0], rows)[0], draws)
