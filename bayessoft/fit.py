"""What every engine returns: a status, a trace, a posterior, and the fit that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayessoft.core.sizes import SizeResult
from bayessoft.core.sweep import rowwise
from bayessoft.data.rows import fresh
from bayessoft.mixture import Mixture
from bayessoft.numerics import Affine, scoped

CHUNK = 1 << 16  # rows evaluated at a time: bounds the memory

__all__ = ["Fit", "Point", "Status"]


class Status(Enum):
    """How a fit ended. The value tells what to do next."""

    CONVERGED = "converged"
    SAMPLED = "sampled: R-hat and effective sample sizes are as they should be"
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
        "the covariances are too ill-conditioned for this dtype: pass X.astype(numpy.float64), or drop columns that "
        "are nearly combinations of others"
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
class Fit:
    """A mixture fitted to rows.

    Attributes
    ----------
    mixture : Mixture
        What was fitted, with every automatic setting resolved, in original units.
    frame : Affine
        The map to the standardised rows in which the fit was computed.
    posterior : Point
        The result.
    status : Status
        How the fit ended.
    trace : array of shape (n_iter,)
        The objective after each step: log-likelihood plus log prior, per unit weight, in original units.
    n : int
        Number of rows.
    total_weight : float
        Sum of their weights.
    dtype, device : str
        What it was computed in and on.
    """

    mixture: Mixture
    frame: Affine
    posterior: Point
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

    def simulate(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw n rows in original units, and their labels."""
        parameters = self.mixture.family.map_parameters(self.posterior.parameters, self.frame)
        return self.mixture.simulate(self.posterior.weights.astype(np.float64), parameters, n, rng)

    def evaluate(self, values: np.ndarray, constrained: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Give the log density (n,) and the memberships (n, k) of rows in original units, in the rows' dtype.

        With `constrained`, the prices of a size constraint enter, and the first part is no density.
        """
        log_density = np.empty(len(values), values.dtype)
        memberships = np.empty((len(values), self.mixture.k), values.dtype)
        with scoped(values.dtype):
            parameters = jax.tree.map(lambda leaf: jnp.asarray(fresh(leaf), values.dtype), self.posterior.parameters)
            log_weights = jnp.log(jnp.asarray(fresh(self.posterior.weights), values.dtype))
            sizes = self.posterior.sizes if constrained else None
            prices = None if sizes is None else jnp.asarray(fresh(sizes.prices), values.dtype)
            for first in range(0, len(values), CHUNK):
                part = values[first : first + CHUNK]
                rows = self.mixture.lay_out(part, np.ones(len(part)), self.frame)
                found, shares = _rowwise(self.mixture.family, parameters, log_weights, rows, prices)
                stop = first + len(part)
                log_density[first:stop] = np.asarray(found).ravel()[: len(part)] + self.frame.log_det
                memberships[first:stop] = np.moveaxis(np.asarray(shares), 1, 2).reshape(-1, self.mixture.k)[: len(part)]
        return log_density, memberships


_rowwise = jax.jit(rowwise)
