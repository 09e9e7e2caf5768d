"""The normal-inverse-Wishart prior on the means and covariances of Gaussian components."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import digamma, multigammaln
from jaxtyping import Float

from bayessoft.families import inverse_wishart
from bayessoft.families.covariance import Covariance, Moments, einsum
from bayessoft.families.family import Sample, pytree
from bayessoft.numerics import Affine

__all__ = ["NormalInverseWishart", "weak"]


@pytree()
@dataclass(frozen=True, eq=False)
class NormalInverseWishart:
    r"""A normal-inverse-Wishart prior, one for all clusters or one for each.

    For full covariances, :math:`\Sigma_k \sim IW(\nu, \Psi)`, :math:`\mu_k \mid \Sigma_k \sim N(m, \Sigma_k/\kappa)`.
    Tied covariances share one draw of :math:`\Sigma`. Diagonal ones have :math:`\sigma^2_{kj} \sim IW_1(\nu, \Psi_j)`,
    an inverse gamma with shape :math:`\nu/2` and scale :math:`\Psi_j/2`, in every column; spherical ones have a single
    such variance.

    Parameters
    ----------
    mean : array of shape (d,) or (k, d)
        Prior mean m of the cluster means, in the units of the rows.
    mean_precision : float > 0 or array of shape (k,)
        :math:`\kappa`, how many rows the prior mean is worth.
    degrees_of_freedom : float or array of shape (k,)
        :math:`\nu`; above d - 1 for full and tied covariances, above 0 otherwise. One number for tied covariances.
    scale : array
        :math:`\Psi`, in squared units of the rows: (d, d) for full and tied covariances, (d,) for diagonal ones, a
        number for spherical ones; with a leading k for one prior per cluster (never for tied).

    Notes
    -----
    Densities are with respect to Lebesgue measure on the means and covariances. Gelman et al., *Bayesian Data
    Analysis*, 3rd ed., section 3.6; Fraley and Raftery, J. Classification 24 (2007), for the diagonal and spherical
    forms and for the weak default.

    Examples
    --------
    >>> import numpy as np
    >>> prior = NormalInverseWishart(np.zeros(2), 0.01, 4.0, np.eye(2))
    >>> prior.degrees_of_freedom
    4.0
    """

    mean: Any
    mean_precision: Any
    degrees_of_freedom: Any
    scale: Any

    def checked(self, structure: Covariance, k: int, d: int) -> NormalInverseWishart:
        """Give the same prior as float64 arrays whose shapes and ranges are right.

        Raises
        ------
        OptionError
            A shape or a value that does not fit k clusters and d columns.
        """
        shared = structure.shape(k, d)
        tied = structure.tied
        entry = shared if tied else shared[1:]
        allowed = {
            "mean": ((d,), (k, d)),
            "mean_precision": ((), (k,)),
            "degrees_of_freedom": ((),) if tied else ((), (k,)),
            "scale": (entry,) if tied else (entry, (k, *entry)),
        }
        values = inverse_wishart.checked_arrays(self, allowed, k, d)
        inverse_wishart.above("mean_precision", values["mean_precision"], 0)
        inverse_wishart.above("degrees_of_freedom", values["degrees_of_freedom"], d - 1 if structure.matrix else 0)
        inverse_wishart.positive_definite("scale", values["scale"], structure)
        return NormalInverseWishart(**values)

    def standardised(self, structure: Covariance, frame: Affine) -> NormalInverseWishart:
        """Give the same prior for the parameters of mapped rows."""
        mean = frame.apply(np.atleast_2d(self.mean)).reshape(self.mean.shape)
        return replace(self, mean=mean, scale=structure.map_covariance(self.scale, frame.inverse_matrix()))

    def for_each(self, structure: Covariance, k: int) -> NormalInverseWishart:
        """Give the same prior with a leading axis over k components in every field, those of what is tied aside."""
        d = jnp.shape(self.mean)[-1]
        shape = structure.shape(k, d)
        return NormalInverseWishart(
            jnp.broadcast_to(jnp.asarray(self.mean), (k, d)),
            jnp.broadcast_to(jnp.asarray(self.mean_precision), (k,)),
            jnp.broadcast_to(jnp.asarray(self.degrees_of_freedom), () if structure.tied else (k,)),
            jnp.broadcast_to(jnp.asarray(self.scale), shape),
        )

    def update(
        self, structure: Covariance, statistics: Moments, rows: Float[Array, " k"] | None = None
    ) -> NormalInverseWishart:
        """Give the posterior after rows with these statistics, for each component.

        Gelman et al., section 3.6; in tied covariances the scatter of all clusters adds up. Where a row weighs more or
        less than one, its covariance being divided by its weight, `rows` are how many there are: those count in the
        degrees of freedom, their weight in the precision of the mean.
        """
        k, d = statistics.first.shape
        prior = self.for_each(structure, k)
        kappa = prior.mean_precision + statistics.weight
        pull = prior.mean_precision[:, None] * (prior.mean - statistics.reference)
        mean = statistics.reference + (statistics.first + pull) / kappa[:, None]
        shift = prior.mean - mean
        drawn = structure.outer(prior.mean_precision[:, None] * shift, shift)
        scale = prior.scale + statistics.about(structure, mean).second + drawn
        seen = structure.degrees(statistics.weight if rows is None else rows, d)
        degrees = prior.degrees_of_freedom + seen.reshape(jnp.shape(prior.degrees_of_freedom))
        return NormalInverseWishart(mean, kappa, degrees, scale)

    def blend(self, structure: Covariance, other: NormalInverseWishart, rate: Array) -> NormalInverseWishart:
        """Give the prior whose natural parameters are blended; both have a prior for each component.

        Those are linear in kappa, nu, kappa m, and Psi + kappa m m'; written about the new mean, nothing cancels.
        """
        mine, its = (1 - rate) * self.mean_precision, rate * other.mean_precision
        kappa, apart = mine + its, other.mean - self.mean
        between = structure.outer((mine * its / kappa)[:, None] * apart, apart)
        return NormalInverseWishart(
            self.mean + (its / kappa)[:, None] * apart,
            kappa,
            (1 - rate) * self.degrees_of_freedom + rate * other.degrees_of_freedom,
            (1 - rate) * self.scale + rate * other.scale + between,
        )

    def mode(
        self, structure: Covariance, statistics: Moments, rows: Float[Array, " k"] | None = None
    ) -> tuple[Array, Array]:
        """Give the most probable means and factors after rows with these statistics; `rows` as of `update`."""
        after = self.update(structure, statistics, rows)
        k, d = jnp.shape(after.mean)
        drawn = structure.degrees(jnp.ones(k, after.scale.dtype), d)  # the densities of the means, given the spread
        degrees = after._degrees(structure) + drawn + after._order(structure) + 1
        return after.mean, structure.factor(after.scale / degrees)

    def expected(self, structure: Covariance) -> tuple[Array, Array, Array]:
        """Give means, factors and a constant whose log density is the expected one, of a prior for each component.

        The factors are of the expected precisions; the constant is half of how far the expected log determinants lie
        below theirs, and what the uncertainty of the means takes off (Bishop, *Pattern Recognition and Machine
        Learning*, eqs. 10.64 and 10.65).
        """
        d, order, nu = self.mean.shape[1], self._order(structure), self.degrees_of_freedom
        below = _multidigamma(nu / 2, order) + order * jnp.log(2 / nu)
        return self.mean, self._factor(structure), 0.5 * (d // order) * below - 0.5 * d / self.mean_precision

    def divergence(self, structure: Covariance, other: NormalInverseWishart) -> Array:
        """Kullback-Leibler divergence from `other`, in nats; both have a prior for each component."""
        d, order = self.mean.shape[1], self._order(structure)
        ratio = other.mean_precision / self.mean_precision
        factors = self._factor(structure)
        offset = structure.whiten(factors, (self.mean - other.mean)[:, :, None])[:, :, 0]
        normal = d * (ratio - 1 - jnp.log(ratio)) + other.mean_precision * jnp.sum(offset**2, -1)
        if structure.matrix:
            nu, nu_other = self.degrees_of_freedom, other.degrees_of_freedom
            logs = jnp.linalg.slogdet(self.scale)[1] - jnp.linalg.slogdet(other.scale)[1]
            trace = einsum("...ab,...ac,...bc->...", other.scale, factors, factors)
        else:
            nu, nu_other = self._degrees(structure), other._degrees(structure)
            logs, trace = jnp.log(self.scale) - jnp.log(other.scale), other.scale * factors**2
        spread = nu_other * logs + trace - nu * order + (nu - nu_other) * _multidigamma(nu / 2, order)
        constants = multigammaln(nu_other / 2, order) - multigammaln(nu / 2, order)
        return 0.5 * jnp.sum(normal) + jnp.sum(0.5 * spread + constants)

    def predictive(self, structure: Covariance) -> tuple[Array, Array, Array, Array]:
        """Give what makes the Student-t density of a row in each component, of a prior for each component.

        Returns
        -------
        locations : array of shape (k, d)
        factors : array
            Of the squared scale, but for the inflation.
        degrees : array of shape (k,) or ()
            Degrees of freedom, of each column where columns are independent.
        inflation : array of shape (k,)
            What the uncertainty of the means multiplies the squared scale by.
        """
        lower = self._order(structure) - 1
        factors = structure.factor(self.scale / (self._degrees(structure) - lower))
        return self.mean, factors, self.degrees_of_freedom - lower, 1 + 1 / self.mean_precision

    def same(self, structure: Covariance, k: int) -> Any:
        """Tell which pairs of components, (k, k), have the same prior."""
        fields = [(self.mean, 1), (self.mean_precision, 0)]
        if not structure.tied:
            fields += [(self.degrees_of_freedom, 0), (self.scale, len(structure.shape(k, 2)) - 1)]
        return inverse_wishart.same_fields(fields, k)

    def _order(self, structure: Covariance) -> int:
        """Rows of a Wishart matrix; 1 for variances."""
        return inverse_wishart.order_of(structure, int(jnp.shape(self.mean)[-1]))

    def _degrees(self, structure: Covariance) -> Array:
        """Give the degrees of freedom, shaped to stand beside the scale, of a prior for each component."""
        nu = jnp.asarray(self.degrees_of_freedom)
        return nu if structure.tied else nu.reshape(-1, *[1] * (jnp.ndim(self.scale) - 1))

    def _factor(self, structure: Covariance) -> Array:
        """Give the factors of the expected precisions, of a prior for each component."""
        return structure.factor(self.scale / self._degrees(structure))

    def log_density(self, structure: Covariance, means: Array, factors: Array) -> Array:
        """Log density of means (k, d) and of the covariances that the factors give, with respect to the covariances."""
        k, d = means.shape
        nu, kappa = jnp.asarray(self.degrees_of_freedom), jnp.broadcast_to(jnp.asarray(self.mean_precision), (k,))
        half_logs = structure.log_det(factors, d)  # minus half the log determinant of each covariance
        offset = structure.whiten(factors, (means - self.mean)[:, :, None])[:, :, 0]
        normal = 0.5 * d * jnp.log(kappa / (2 * jnp.pi)) + half_logs - 0.5 * kappa * jnp.sum(offset**2, -1)
        spread = inverse_wishart.log_density(structure, factors, d, nu, jnp.asarray(self.scale))
        return jnp.sum(normal) + spread

    def draw(self, structure: Covariance, sample: Sample, k: int) -> tuple[Array, Array]:
        """Draw means and factors through `sample`: the prior as a NumPyro model.

        For full and tied covariances the site ``precisions_cholesky`` is lower triangular: the Cholesky factor of the
        precision matrix with its rows and columns reversed, so that reversed back it is the upper triangular factor.
        """
        d = jnp.shape(self.mean)[-1]
        nu, scale = jnp.asarray(self.degrees_of_freedom), jnp.asarray(self.scale)
        factors = inverse_wishart.draw(structure, sample, k, d, nu, scale)
        return sample("means", self._means(structure, factors, k, d)), factors

    def sites(self, structure: Covariance, means: Array, factors: Array) -> dict[str, Array]:
        """Give the sites of `draw` that make means and factors."""
        return {"means": means, **inverse_wishart.site(structure, factors)}

    def _means(self, structure: Covariance, factors: Array, k: int, d: int) -> Any:
        """Distribution of the means given the factors."""
        kappa = jnp.broadcast_to(jnp.asarray(self.mean_precision), (k,))
        centre = jnp.broadcast_to(self.mean, (k, d))
        if structure.matrix:
            transposed = jnp.swapaxes(factors, -1, -2)  # lower triangular, and so is its inverse
            eye = jnp.broadcast_to(jnp.eye(d, dtype=factors.dtype), factors.shape)
            spreads = jnp.broadcast_to(solve_triangular(transposed, eye, lower=True), (k, d, d))
            return dist.MultivariateNormal(centre, scale_tril=spreads / jnp.sqrt(kappa)[:, None, None]).to_event(1)
        spread = 1 / (factors.reshape(k, -1) * jnp.sqrt(kappa)[:, None])
        return dist.Normal(centre, jnp.broadcast_to(spread, (k, d))).to_event(2)


def _multidigamma(a: Array, order: int) -> Array:
    """Give the derivative of ``multigammaln(a, order)``."""
    return jnp.sum(digamma(jnp.asarray(a)[..., None] - jnp.arange(order) / 2), -1)


def weak(structure: Covariance, k: int, mean: np.ndarray, covariance: np.ndarray) -> NormalInverseWishart:
    """Give a prior worth a hundredth of a row for the mean, and a covariance of 1/k of the rows' volume.

    After Fraley and Raftery (2007), section 3: prior mean at the rows' mean, `mean_precision` 0.01,
    `degrees_of_freedom` d + 2 (3 for variances), and a `scale` equal to the prior mean of the covariance, the rows'
    covariance divided by ``k^(2/d)``.
    """
    d = len(mean)
    order = d if structure.matrix else 1
    return NormalInverseWishart(mean, 0.01, order + 2.0, structure.reduced(covariance) / k ** (2 / d))
