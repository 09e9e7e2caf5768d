"""The degrees of freedom of Student-t components: their prior, their most probable value, and a draw of them.

Given scales u of the rows, a component has the log density

    n phi(nu / 2) + nu / 2 * deviation + constant,    phi(a) = a log a - a - log Gamma(a),

where n counts its rows and `deviation` sums log u - u + 1 over them: 0 where every scale is 1, below it elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array, lax
from jax.scipy.special import digamma, gammainc, gammaln
from jaxtyping import Float
from numpyro.distributions import constraints

from bayessoft.errors import OptionError
from bayessoft.families.family import Sample, pytree
from bayessoft.families.linear import stirling

__all__ = [
    "HIGHEST_DEGREES",
    "LOWEST_DEGREES",
    "StudentTPrior",
    "TruncatedGamma",
    "inside",
    "most_probable",
    "phi",
    "phi_slope",
    "sliced",
]

LOWEST_DEGREES, HIGHEST_DEGREES = 1.0, 200.0
HALVINGS = 60  # of an interval, down to the rounding of float64
STEPS, SHRINKS = 2, 40  # of the slice, each of which leaves a half to three quarters of an interval: 1e-7 and less
LEAST_MASS = 0.01  # of a prior, within the range
MARGIN = 1e-3  # share of the range that starts keep from its ends, which lie at infinity in free coordinates


class TruncatedGamma(dist.Distribution):
    """A gamma distribution within the range of the degrees of freedom.

    Parameters
    ----------
    shape, rate : float > 0
    """

    arg_constraints = {"shape_": constraints.positive, "rate": constraints.positive}
    support = constraints.interval(LOWEST_DEGREES, HIGHEST_DEGREES)

    def __init__(self, shape_: Any, rate: Any, *, validate_args: bool | None = None) -> None:
        self.shape_, self.rate = jnp.asarray(shape_, float), jnp.asarray(rate, float)
        super().__init__(jnp.broadcast_shapes(self.shape_.shape, self.rate.shape), validate_args=validate_args)

    @property
    def mass(self) -> Array:
        """The probability of the range without truncation."""
        return self._below(HIGHEST_DEGREES) - self._below(LOWEST_DEGREES)

    def _below(self, nu: Any) -> Array:
        return gammainc(self.shape_, self.rate * nu)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw by halving the range until the distribution function meets a uniform number."""
        u = jax.random.uniform(key, (*sample_shape, *self.batch_shape), self.rate.dtype)
        wanted = self._below(LOWEST_DEGREES) + u * self.mass
        return _halved(lambda nu: self._below(nu) < wanted, wanted)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log density, with its constant."""
        kernel = (self.shape_ - 1) * jnp.log(value) - self.rate * value
        return kernel + self.shape_ * jnp.log(self.rate) - gammaln(self.shape_) - jnp.log(self.mass)


@pytree()
@dataclass(frozen=True, eq=False)
class StudentTPrior:
    r"""A prior on Student-t components.

    Parameters
    ----------
    components : NormalInverseWishart
        On means and scale matrices, in the places of the means and covariances of Gaussian components.
    shape : float >= 1
        Shape of the gamma prior on the degrees of freedom of each component, cut off at 1 and 200. It plays no part
        where those are fixed.
    rate : float > 0
        Its rate; the mean is ``shape / rate``.

    Notes
    -----
    The default :math:`\nu_k \sim \mathrm{Gamma}(2, 0.1)` is that of Juárez and Steel, J. Business and Economic
    Statistics 28 (2010); 98.5 % of it lies between 1 and 84. Densities keep the constant that the cut makes.

    Examples
    --------
    >>> import numpy as np
    >>> from bayessoft import NormalInverseWishart
    >>> prior = StudentTPrior(NormalInverseWishart(np.zeros(2), 0.01, 4.0, np.eye(2)))
    >>> prior.shape, prior.rate
    (2.0, 0.1)
    """

    components: Any
    shape: Any = 2.0
    rate: Any = 0.1

    def checked(self) -> StudentTPrior:
        """Give the same prior on the degrees of freedom as float64 numbers.

        Raises
        ------
        OptionError
            A number out of range, or a prior that hardly meets the range of the degrees of freedom.
        """
        for name, least in (("shape", 1.0), ("rate", 0.0)):
            value = getattr(self, name)
            if np.ndim(value) or not np.isfinite(value) or value < least or value <= 0:
                raise OptionError(f"prior.{name} is {value!r}: pass a number {'>= 1' if least else 'above 0'}")
        mass = float(TruncatedGamma(self.shape, self.rate).mass)
        if mass < LEAST_MASS:
            raise OptionError(
                f"prior.shape={self.shape:g} and prior.rate={self.rate:g} leave {mass:.2g} of the degrees of freedom "
                f"between {LOWEST_DEGREES:g} and {HIGHEST_DEGREES:g}: pass a mean, shape / rate, in that range"
            )
        return replace(self, shape=np.float64(self.shape), rate=np.float64(self.rate))


def phi(a: Array) -> Array:
    """Give ``a log a - a - log Gamma(a)`` for a > 0, of large a by Stirling's series: nothing large cancels."""
    small, large = jnp.minimum(a, 16.0), jnp.maximum(a, 16.0)
    series = 0.5 * jnp.log(large / (2 * jnp.pi)) - stirling(large)
    return jnp.where(a < 16, small * jnp.log(small) - small - gammaln(small), series)


def phi_slope(a: Array) -> Array:
    """Give the derivative of `phi`, ``log a - digamma(a)``: above 1 / (2 a), and falling."""
    return jnp.log(a) - digamma(a)


def inside(degrees: Array) -> Array:
    """Keep degrees of freedom off the ends of their range."""
    return jnp.clip(degrees, LOWEST_DEGREES * (1 + MARGIN), HIGHEST_DEGREES * (1 - MARGIN))


def most_probable(rows: Float[Array, " k"], deviation: Float[Array, " k"], shape: Any, rate: Any) -> Float[Array, " k"]:
    """Give the degrees of freedom in their range where the density of the scales times the prior is highest.

    Peel and McLachlan, Statistics and Computing 10 (2000), eq. 31, with the slope of a gamma prior added; its shape is
    at least 1, so that the slope falls throughout. A shape of 1 and a rate of 0 are no prior.
    """

    def rises(nu: Array) -> Array:
        return 0.5 * (rows * phi_slope(nu / 2) + deviation) + (shape - 1) / nu - rate > 0

    return _halved(rises, deviation)


def sliced(
    degrees: Float[Array, " k"],
    rows: Float[Array, " k"],
    deviation: Float[Array, " k"],
    shape: Any,
    rate: Any,
    sample: Sample,
) -> Float[Array, " k"]:
    """Give the degrees of freedom after some steps that leave their density given the scales what it is.

    Slice sampling on log nu, with the whole range as the first interval: Neal, Annals of Statistics 31 (2003), section
    4.2. A step whose every shrinking misses the slice stays where it is. Since paths from x to y are as probable as
    those back, however long, the density stays what it is all the same, at a fixed amount of work.
    """

    def log_density(log_nu: Array) -> Array:
        nu = jnp.exp(log_nu)
        return rows * phi(nu / 2) + nu * (deviation / 2 - rate) + shape * log_nu

    low, high = (jnp.full_like(deviation, jnp.log(end)) for end in (LOWEST_DEGREES, HIGHEST_DEGREES))
    numbers = dist.Uniform(jnp.zeros((), deviation.dtype), 1).expand((STEPS, SHRINKS + 1, len(deviation))).to_event(3)

    def step(now: Array, u: Array) -> tuple[Array, None]:
        level = log_density(now) + jnp.log1p(-u[0])

        def shrink(state: Any, u: Array) -> tuple[Any, None]:
            low, high, found, done = state
            tried = low + u * (high - low)
            hit = ~done & (log_density(tried) >= level)
            done = done | hit
            found = jnp.where(hit, tried, found)
            low = jnp.where(~done & (tried < now), tried, low)
            high = jnp.where(~done & (tried >= now), tried, high)
            return (low, high, found, done), None

        return lax.scan(shrink, (low, high, now, jnp.zeros(now.shape, bool)), u[1:])[0][2], None

    begun = jnp.clip(jnp.log(degrees), low, high)
    return jnp.exp(lax.scan(step, begun, sample("degrees_of_freedom_slice", numbers))[0])


def _halved(rises: Any, like: Array) -> Array:
    """Give where a condition that holds below some number and not above it changes, within the range."""
    low, high = (jnp.full_like(like, jnp.log(end)) for end in (LOWEST_DEGREES, HIGHEST_DEGREES))

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        further = rises(jnp.exp(middle))
        return jnp.where(further, middle, low), jnp.where(further, high, middle)

    low, high = lax.fori_loop(0, HALVINGS, halve, (low, high))
    return jnp.exp(0.5 * (low + high))
