"""Gaussian components with full, tied, diagonal or spherical covariances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.lax import stop_gradient
from jax.scipy.special import gammaln

from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError
from bayessoft.families.covariance import Covariance, Moments
from bayessoft.families.family import ConjugateFamily, Sample, moved, pytree, rows_of_a_tile
from bayessoft.families.independent_normal_inverse_wishart import IndependentNormalInverseWishart, independent
from bayessoft.families.normal_inverse_wishart import NormalInverseWishart, weak
from bayessoft.families.structures import STRUCTURES
from bayessoft.numerics import Affine, standardising

__all__ = ["Gaussian", "GaussianParameters"]

SINGLE_CONDITION = np.finfo(np.float32).eps ** -0.5  # ratio of standard deviations that float32 covariances can hold
FAST_CONDITION = 4e6  # radius^2 * precision up to which the product form keeps 9 digits in float64


@pytree()
@dataclass(frozen=True, eq=False)
class GaussianParameters:
    """Means and covariances of k components.

    Attributes
    ----------
    means : array of shape (k, d)
    factors : array
        F of ``inv(Sigma) = F F'``, upper triangular where a matrix, shaped by the structure, see `families.covariance`.
    """

    means: Any
    factors: Any


@pytree(static=("covariance_type",))
@dataclass(frozen=True, eq=False)
class Gaussian(ConjugateFamily):
    """Gaussian components.

    Parameters
    ----------
    covariance_type : {"full", "tied", "diag", "spherical"}
        A covariance matrix per cluster, one for all, variances per cluster and column, or one variance per cluster.
    prior : NormalInverseWishart, IndependentNormalInverseWishart, "weak", "independent" or None
        None is no prior: maximum likelihood. Under an independent prior, with numbers of one's own or of the rows,
        there is no posterior in closed form.
    """

    SHOWN: ClassVar[str] = "mean"

    covariance_type: str = "full"
    prior: Any = None

    @property
    def structure(self) -> Covariance:
        """What is particular to the covariance type."""
        return STRUCTURES[self.covariance_type]

    @property
    def group(self) -> str:
        return self.structure.group

    @property
    def conjugate(self) -> bool:
        named = isinstance(self.prior, str) and self.prior == "independent"
        return not named and not isinstance(self.prior, IndependentNormalInverseWishart)

    def tile_rows(self, k: int, d: int) -> int:
        width = self.structure.width(k, d)
        least = 512 if width < 4096 else 256  # matrix products want 512 rows; measured at 64 and 100 columns
        return rows_of_a_tile(width + k, least)

    def safe(self, parameters: GaussianParameters, radius: Array) -> Array | bool:
        if parameters.means.dtype != jnp.float64 or not self.structure.product_pays(*parameters.means.shape):
            return False
        return self.structure.sharpness(parameters.factors) * radius**2 < FAST_CONDITION

    def tile_features(self, parameters: GaussianParameters, x: Array, fast: bool) -> Any:
        if fast:
            return self.structure.product_features(x)
        return self.structure.centred_features(parameters.factors, parameters.means, x)

    def tile_log_density(self, parameters: GaussianParameters, features: Any, fast: bool) -> Array:
        means, factors = parameters.means, parameters.factors
        k, d = means.shape
        constant = self.structure.log_det(factors, d) - 0.5 * d * jnp.log(2 * jnp.pi)
        constant = jnp.broadcast_to(constant, (k,)).astype(means.dtype)
        scores = self.structure.product_scores if fast else self.structure.centred_scores
        return scores(factors, means, constant, features)

    def tile_statistics(self, parameters: GaussianParameters, features: Any, r: Array, fast: bool) -> Any:
        sums = self.structure.product_sums if fast else self.structure.centred_sums
        return sums(stop_gradient(features), r)

    def collect(self, parameters: GaussianParameters, total: Any, fast: bool) -> Moments:
        held = stop_gradient(parameters)
        if not fast:
            return Moments(*self.structure.centred_moments(held.factors, held.means, total), held.means)
        weight, first, second = self.structure.product_moments(total, held.means.shape[1])
        return Moments(weight, first, second, jnp.zeros_like(first)).about(self.structure, held.means)

    def statistics_log_density(self, parameters: GaussianParameters, statistics: Moments) -> Array:
        d = parameters.means.shape[1]
        here = statistics.about(self.structure, parameters.means)
        constant = self.structure.log_det(parameters.factors, d) - 0.5 * d * jnp.log(2 * jnp.pi)
        return jnp.sum(here.weight * constant) - 0.5 * self.structure.inner(parameters.factors, here.second)

    def mode(self, statistics: Moments, floor: Array | float, rows: Array | None = None) -> GaussianParameters:
        """Give the most probable parameters; `rows`, (k,), are how many were summed where that is not their weight."""
        structure, prior = self.structure, self.prior
        d = statistics.first.shape[1]
        if prior is None:
            least = 10 * jnp.finfo(statistics.weight.dtype).eps  # as scikit-learn: no 0/0
            weight = statistics.weight + least
            seen = weight if rows is None else rows + least
            means = statistics.reference + statistics.first / weight[:, None]
            covariance = statistics.about(structure, means).second / structure.degrees(seen, d) + floor
            return GaussianParameters(means, structure.factor(covariance))
        return GaussianParameters(*prior.mode(structure, statistics, rows))

    def log_prior(self, parameters: GaussianParameters) -> Array:
        if self.prior is None:
            return jnp.zeros(())  # of the scope's dtype: results in original units are float64 beside float32 rows
        return self.prior.log_density(self.structure, parameters.means, parameters.factors)

    def draw(self, sample: Sample, k: int) -> GaussianParameters:
        return GaussianParameters(*self.prior.draw(self.structure, sample, k))

    def sites(self, parameters: GaussianParameters) -> dict[str, Array]:
        return self.prior.sites(self.structure, parameters.means, parameters.factors)

    def with_prior(self, prior: Any) -> Gaussian:
        return replace(self, prior=prior)

    def arranged(self, parameters: GaussianParameters, order: np.ndarray) -> GaussianParameters:
        factors = parameters.factors if self.structure.tied else moved(parameters.factors, order)
        return GaussianParameters(moved(parameters.means, order), factors)

    def update(self, statistics: Moments) -> Gaussian:
        return replace(self, prior=self.prior.update(self.structure, statistics))

    def blend(self, other: Gaussian, rate: Array) -> Gaussian:
        return replace(self, prior=self.prior.blend(self.structure, other.prior, rate))

    def expected(self, k: int) -> tuple[GaussianParameters, Array]:
        means, factors, constant = self.prior.for_each(self.structure, k).expected(self.structure)
        return GaussianParameters(means, factors), constant

    def centre(self, k: int) -> GaussianParameters:
        return self.expected(k)[0]

    def divergence(self, other: Gaussian, k: int) -> Array:
        mine, its = (family.prior.for_each(self.structure, k) for family in (self, other))
        return mine.divergence(self.structure, its)

    def tile_predictive(self, k: int, x: Array) -> Array:
        """Student-t densities: Gelman et al., *Bayesian Data Analysis*, 3rd ed., section 3.6."""
        structure = self.structure
        means, factors, degrees, inflation = self.prior.for_each(structure, k).predictive(structure)
        white = structure.whiten(factors, x - means[:, :, None])
        degrees = jnp.broadcast_to(degrees, (k,))[:, None]
        p = 1 if structure.columnwise else len(x)
        squares = white**2 if structure.columnwise else jnp.sum(white**2, 1, keepdims=True)
        tails = jnp.log1p(squares / (degrees * inflation[:, None])[:, :, None]).sum(1)
        constant = gammaln((degrees + p) / 2) - gammaln(degrees / 2) - 0.5 * p * jnp.log(jnp.pi * degrees)
        constant = constant * (len(x) // p) - 0.5 * len(x) * jnp.log(inflation)[:, None]
        log_det = jnp.broadcast_to(structure.log_det(factors, len(x)), (k,))[:, None]
        return constant + log_det - 0.5 * (degrees + p) * tails

    def redraw(self, parameters: GaussianParameters, statistics: Moments, sample: Sample) -> GaussianParameters:
        if self.conjugate:
            return self.update(statistics).draw(sample, len(statistics.weight))
        return GaussianParameters(*self.prior.redraw(self.structure, parameters.factors, statistics, sample))

    def same_prior(self, k: int) -> Any:
        return self.prior.same(self.structure, k)

    def likelihood(self, parameters: GaussianParameters) -> Any:
        covariance = self.structure.covariance(parameters.factors)
        means = parameters.means
        if self.structure.matrix:
            return dist.MultivariateNormal(means, covariance_matrix=covariance)
        spread = jnp.sqrt(covariance).reshape(len(means), -1)
        return dist.Normal(means, jnp.broadcast_to(spread, means.shape)).to_event(1)

    def centres(self, means: Array) -> GaussianParameters:
        k, d = means.shape
        ones = jnp.ones(self.structure.shape(k, d), means.dtype)
        return GaussianParameters(means, jnp.eye(d, dtype=means.dtype) * ones if self.structure.matrix else ones)

    def nearby(self, statistics: Moments) -> GaussianParameters:
        least = jnp.finfo(statistics.weight.dtype).tiny
        return self.centres(statistics.first / jnp.maximum(statistics.weight, least)[:, None])

    def n_parameters(self, k: int, d: int) -> int:
        return k * d + self.structure.size(k, d)

    def resolved(self, k: int, rows: Rows) -> Gaussian:
        if self.prior is None:
            return self
        prior = self.prior
        if isinstance(prior, str) and prior == "weak":
            frame = standardising(rows.values, rows.weights, "affine")
            prior = weak(self.structure, k, frame.shift, frame.matrix() @ frame.matrix().T)
        if isinstance(prior, str) and prior == "independent":
            prior = independent(self.structure, rows)
        if not isinstance(prior, NormalInverseWishart | IndependentNormalInverseWishart):
            what = repr(prior) if isinstance(prior, str) else f"a {type(prior).__name__}"
            raise OptionError(
                f"prior is {what}: pass None, 'weak' or a NormalInverseWishart, 'independent' or an "
                "IndependentNormalInverseWishart"
            )
        return replace(self, prior=prior.checked(self.structure, k, rows.d))

    def standardised(self, frame: Affine) -> Gaussian:
        return self if self.prior is None else replace(self, prior=self.prior.standardised(self.structure, frame))

    def floor(self, reg_covar: float, frame: Affine) -> np.ndarray:
        eye = self.structure.reduced(np.eye(len(frame.shift)))
        return reg_covar * self.structure.map_covariance(eye, frame.inverse_matrix())

    def shapes(self, k: int, d: int) -> dict[str, tuple[int, ...]]:
        return {"means": (k, d), "covariances": self.structure.shape(k, d)}

    def given_parameters(
        self, given: Mapping[str, np.ndarray], frame: Affine, spread: str = "covariances"
    ) -> GaussianParameters:
        means, spreads, factors = given.get("means"), given.get(spread), None
        if spreads is not None:
            mapped = self.structure.map_covariance(np.asarray(spreads), frame.inverse_matrix())
            factors = np.asarray(self.structure.factor(jnp.asarray(mapped)))
            if not np.isfinite(factors).all():
                raise OptionError(f"{spread} to start from must be symmetric positive definite; variances positive")
        return GaussianParameters(None if means is None else frame.apply(np.asarray(means)), factors)

    def quantities(self, parameters: GaussianParameters) -> dict[str, tuple[tuple[str, ...], Any]]:
        per_cluster = () if self.structure.tied else ("cluster",)
        within = len(self.structure.shape(2, 3)) - len(per_cluster)
        return {
            "means": (("cluster", "feature"), parameters.means),
            "covariances": (
                (*per_cluster, *("feature", "feature_bis")[:within]),
                self.structure.dense(parameters.factors),
            ),
        }

    def coordinates(self, columns: Sequence[str]) -> dict[str, list[str]]:
        return {"feature": list(columns), "feature_bis": list(columns)}

    def map_parameters(self, parameters: GaussianParameters, frame: Affine) -> GaussianParameters:
        factors = self.structure.map_factor(np.asarray(parameters.factors, np.float64), frame.inverse_matrix())
        return GaussianParameters(frame.invert(np.asarray(parameters.means, np.float64)), factors)

    def doubt(self, parameters: GaussianParameters, frame: Affine, dtype: np.dtype[Any], reg_covar: float) -> str:
        if self.structure.matrix and dtype == np.float32:
            widths = np.linalg.svd(self.map_parameters(parameters, frame).factors, compute_uv=False)
            if (widths.max(-1) > SINGLE_CONDITION * widths.min(-1)).any():
                return "ill-conditioned"
        return "reg_covar" if self.prior is None and (frame.scale[frame.varies] ** 2 < reg_covar).any() else ""

    def simulate(self, parameters: GaussianParameters, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        means, factors = np.asarray(parameters.means), np.asarray(parameters.factors)
        noise = rng.standard_normal((len(labels), means.shape[1]))
        if self.structure.matrix:
            stacked = np.broadcast_to(factors, (len(means), *factors.shape[-2:]))
            for cluster in np.unique(labels):
                rows = labels == cluster
                noise[rows] = np.linalg.solve(stacked[cluster].T, noise[rows].T).T
            return means[labels] + noise
        return means[labels] + noise / factors.reshape(len(means), -1)[labels]
