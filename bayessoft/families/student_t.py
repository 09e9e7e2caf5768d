"""Student-t components: Gaussian ones whose covariance is divided by a scale of each row: outliers weigh little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.lax import stop_gradient
from jax.scipy.special import digamma, gammaln
from jaxtyping import Float

from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError, listed
from bayessoft.families.covariance import Moments
from bayessoft.families.degrees_of_freedom import (
    HIGHEST_DEGREES,
    LOWEST_DEGREES,
    StudentTPrior,
    TruncatedGamma,
    inside,
    most_probable,
    phi,
    phi_slope,
    sliced,
)
from bayessoft.families.family import GibbsFamily, Sample, moved, pytree
from bayessoft.families.gaussian import Gaussian, GaussianParameters
from bayessoft.families.linear import log_rising
from bayessoft.families.structures import STRUCTURES
from bayessoft.numerics import Affine

__all__ = ["StudentT", "StudentTParameters"]


@pytree()
@dataclass(frozen=True, eq=False)
class StudentTParameters:
    """Means, scale matrices and degrees of freedom of k components.

    Attributes
    ----------
    means : array of shape (k, d)
    factors : array
        F of ``inv(scale matrix) = F F'``, as of `GaussianParameters`.
    degrees_of_freedom : array of shape (k,)
    """

    means: Any
    factors: Any
    degrees_of_freedom: Any

    @property
    def gaussian(self) -> GaussianParameters:
        """Those of the Gaussian components that a row of scale 1 has."""
        return GaussianParameters(self.means, self.factors)


@pytree()
@dataclass(frozen=True, eq=False)
class ScaledMoments:
    """Sufficient statistics of rows and their scales u, expected or drawn.

    Attributes
    ----------
    weight : array of shape (k,)
        Sum of the responsibilities.
    deviation : array of shape (k,)
        Sum of the responsibility times ``log u - u + 1``.
    entropy : scalar
        Sum of the responsibility times the entropy of u; 0 where u was drawn.
    moments : Moments
        Of the rows under the responsibility times u.
    """

    weight: Float[Array, " k"]
    deviation: Float[Array, " k"]
    entropy: Float[Array, ""]
    moments: Moments


@pytree(static=("covariance_type",))
@dataclass(frozen=True, eq=False)
class StudentT(GibbsFamily):
    r"""Student-t components: clusters with heavy tails, which outliers hardly move.

    Parameters
    ----------
    covariance_type : {"full", "tied", "diag", "spherical"}
        A scale matrix per cluster, one for all, a diagonal one per cluster, or a multiple of the identity per cluster.
        In all of them a row has one scale, so that the densities are elliptical: columns of "diag" are uncorrelated,
        not independent.
    degrees_of_freedom : float >= 1 or None
        Those of all clusters; 1 is Cauchy's distribution, and large ones are nearly Gaussian. None estimates them for
        each cluster, between 1 and 200: that range is part of the model.
    prior : StudentTPrior, "weak" or None
        None is no prior: maximum likelihood.

    Notes
    -----
    :math:`x \mid u \sim N(\mu_k, \Sigma_k / u)` with :math:`u \sim \mathrm{Gamma}(\nu_k/2, \nu_k/2)` (shape, rate).
    Means exist for :math:`\nu > 1`, covariances, :math:`\Sigma \nu / (\nu - 2)`, for :math:`\nu > 2`. EM is that of
    Peel and McLachlan, Statistics and Computing 10 (2000), on labels and scales together. A Gibbs sweep draws both
    for each row, then proportions, means, scale matrices and degrees of freedom given those, the last ones by slice
    sampling.

    Examples
    --------
    >>> import numpy as np
    >>> import bayessoft as bs
    >>> X = np.concatenate([np.linspace(-1, 1, 30), np.linspace(8, 10, 30), [90.0]])[:, None]
    >>> model = bs.MixtureModel(2, StudentT("tied", 3.0), random_state=0).fit(X)
    >>> sorted(abs(model.parameters_["means"][:, 0].round()).tolist())
    [0.0, 9.0]
    """

    SHOWN: ClassVar[str] = "mean"

    covariance_type: str = "full"
    degrees_of_freedom: Any = None
    prior: Any = None

    def __post_init__(self) -> None:
        """Refuse a covariance type that there is not."""
        if self.covariance_type not in STRUCTURES:
            raise OptionError(f"covariance_type is {self.covariance_type!r}: pass one of {listed(list(STRUCTURES))}")

    @property
    def gaussian(self) -> Gaussian:
        """The family of a row of scale 1."""
        return Gaussian(self.covariance_type, None if self.prior is None else self.prior.components)

    @property
    def labels_alone(self) -> bool:
        return False

    @property
    def group(self) -> str:
        return STRUCTURES[self.covariance_type].group

    def tile_rows(self, k: int, d: int) -> int:
        return Gaussian(self.covariance_type).tile_rows(k, d)

    def safe(self, parameters: StudentTParameters, radius: Array) -> Array | bool:
        return self.gaussian.safe(parameters.gaussian, radius)

    def tile_features(self, parameters: StudentTParameters, x: Array, fast: bool) -> tuple[Any, Array]:
        """Give the features of Gaussian components, and squared distances from the means, (k, t)."""
        structure, means = self.gaussian.structure, parameters.means
        features = self.gaussian.tile_features(parameters.gaussian, x, fast)
        scores = structure.product_scores if fast else structure.centred_scores
        return features, -2 * scores(parameters.factors, means, jnp.zeros_like(means[:, 0]), features)

    def tile_log_density(self, parameters: StudentTParameters, features: tuple[Any, Array], fast: bool) -> Array:
        nu, d = parameters.degrees_of_freedom, parameters.means.shape[1]
        constant = log_rising(nu / 2, jnp.full_like(nu, d / 2)) - 0.5 * d * jnp.log(jnp.pi * nu)
        constant = constant + self.gaussian.structure.log_det(parameters.factors, d)
        return constant[:, None] - 0.5 * (nu + d)[:, None] * jnp.log1p(features[1] / nu[:, None])

    def tile_statistics(self, parameters: StudentTParameters, features: tuple[Any, Array], r: Array, fast: bool) -> Any:
        """Give sums under the expected scales, which move with the parameters: only the rows are held."""
        own, squares = features
        d = parameters.means.shape[1]
        nu, a = parameters.degrees_of_freedom[:, None], (parameters.degrees_of_freedom[:, None] + d) / 2
        grown = jnp.log1p(squares / nu)
        deviation = jnp.log1p(d / nu) - phi_slope(a) - grown - (d - squares) / (nu + squares)
        entropy = a + gammaln(a) + (1 - a) * digamma(a) - jnp.log(nu / 2) - grown
        return self._summed(own, r, 2 * a / (nu + squares), deviation, jnp.sum(r * entropy), fast)

    def tile_labelled(
        self, parameters: StudentTParameters, features: tuple[Any, Array], r: Array, keys: Array, fast: bool
    ) -> Any:
        """Give sums under drawn scales; a row weighs 0 or 1."""
        own, squares = features
        d, label = parameters.means.shape[1], jnp.argmax(r, axis=0)
        nu = parameters.degrees_of_freedom[label]
        distance = jnp.take_along_axis(squares, label[None], 0)[0]

        def gamma(key: Array, a: Array) -> Array:
            return jax.random.gamma(jax.random.fold_in(key, 1), a, dtype=r.dtype)

        scale = 2 * jax.vmap(gamma)(keys, (nu + d) / 2) / (nu + distance)
        scale = jnp.maximum(scale, jnp.finfo(r.dtype).tiny)
        return self._summed(own, r, scale[None], (jnp.log(scale) - scale + 1)[None], jnp.zeros((), r.dtype), fast)

    def _summed(self, own: Any, r: Array, scale: Array, deviation: Array, entropy: Array, fast: bool) -> Any:
        structure = self.gaussian.structure
        sums = structure.product_sums if fast else structure.centred_sums
        return r.sum(1), jnp.sum(r * deviation, 1), entropy, sums(stop_gradient(own), r * scale)

    def collect(self, parameters: StudentTParameters, total: Any, fast: bool) -> ScaledMoments:
        weight, deviation, entropy, sums = total
        return ScaledMoments(weight, deviation, entropy, self.gaussian.collect(parameters.gaussian, sums, fast))

    def statistics_log_density(self, parameters: StudentTParameters, statistics: ScaledMoments) -> Array:
        structure, d = self.gaussian.structure, parameters.means.shape[1]
        weight, deviation, moments = statistics.weight, statistics.deviation, statistics.moments
        logs = deviation + moments.weight - weight  # sums of log u
        half = parameters.degrees_of_freedom / 2
        constant = structure.log_det(parameters.factors, d) - 0.5 * d * jnp.log(2 * jnp.pi)
        of_scales = jnp.sum(weight * (phi(half) + constant) + half * deviation + (d / 2 - 1) * logs)
        second = moments.about(structure, parameters.means).second
        return of_scales - 0.5 * structure.inner(parameters.factors, second) + statistics.entropy

    def mode(self, statistics: ScaledMoments, floor: Array | float) -> StudentTParameters:
        found = self.gaussian.mode(statistics.moments, floor, statistics.weight)
        degrees = self._fixed(found.means[:, 0])
        if degrees is None:
            shape, rate = (1.0, 0.0) if self.prior is None else (self.prior.shape, self.prior.rate)
            degrees = most_probable(statistics.weight, statistics.deviation, shape, rate)
        return StudentTParameters(found.means, found.factors, degrees)

    def redraw(self, parameters: StudentTParameters, statistics: ScaledMoments, sample: Sample) -> StudentTParameters:
        structure, prior, weight = self.gaussian.structure, self.prior, statistics.weight
        posterior = prior.components.update(structure, statistics.moments, weight)
        means, factors = posterior.draw(structure, sample, len(weight))
        degrees = self._fixed(weight)
        if degrees is None:
            now, deviation = parameters.degrees_of_freedom, statistics.deviation
            degrees = sliced(now, weight, deviation, prior.shape, prior.rate, sample)
        return StudentTParameters(means, factors, degrees)

    def log_prior(self, parameters: StudentTParameters) -> Array:
        if self.prior is None:
            return jnp.zeros(())
        density = self.gaussian.log_prior(parameters.gaussian)
        if self.degrees_of_freedom is not None:
            return density
        of_degrees = TruncatedGamma(self.prior.shape, self.prior.rate)
        return density + jnp.sum(of_degrees.log_prob(parameters.degrees_of_freedom))

    def draw(self, sample: Sample, k: int) -> StudentTParameters:
        found = self.gaussian.draw(sample, k)
        degrees = self._fixed(found.means[:, 0])
        if degrees is None:
            of_degrees = TruncatedGamma(self.prior.shape, self.prior.rate)
            degrees = sample("degrees_of_freedom", of_degrees.expand((k,)).to_event(1))
        return StudentTParameters(found.means, found.factors, degrees)

    def sites(self, parameters: StudentTParameters) -> dict[str, Array]:
        found = self.gaussian.sites(parameters.gaussian)
        if self.degrees_of_freedom is not None:
            return found
        return found | {"degrees_of_freedom": inside(parameters.degrees_of_freedom)}

    def _fixed(self, like: Array) -> Array | None:
        """Give the fixed degrees of freedom of k components; None where they are to be found."""
        return None if self.degrees_of_freedom is None else jnp.full_like(like, self.degrees_of_freedom)

    def with_prior(self, prior: Any) -> StudentT:
        return replace(self, prior=prior)

    def arranged(self, parameters: StudentTParameters, order: Any) -> StudentTParameters:
        found = self.gaussian.arranged(parameters.gaussian, order)
        return StudentTParameters(found.means, found.factors, moved(parameters.degrees_of_freedom, order))

    def same_prior(self, k: int) -> Any:
        return self.gaussian.same_prior(k)

    def likelihood(self, parameters: StudentTParameters) -> Any:
        structure, means = self.gaussian.structure, parameters.means
        k, d = means.shape
        spread = structure.covariance(parameters.factors)
        if structure.matrix:
            tril = jnp.broadcast_to(jnp.linalg.cholesky(spread), (k, d, d))
        else:
            tril = jnp.sqrt(spread).reshape(k, -1, 1) * jnp.eye(d, dtype=means.dtype)
        return dist.MultivariateStudentT(parameters.degrees_of_freedom, means, tril)

    def centres(self, means: Array) -> StudentTParameters:
        found = self.gaussian.centres(means)
        degrees = self._fixed(means[:, 0])
        if degrees is None:  # nearly Gaussian
            degrees = inside(jnp.full_like(means[:, 0], HIGHEST_DEGREES))
        return StudentTParameters(found.means, found.factors, degrees)

    def nearby(self, statistics: ScaledMoments) -> StudentTParameters:
        return self.centres(self.gaussian.nearby(statistics.moments).means)

    def embedded(self, x: Float[np.ndarray, "n d"]) -> np.ndarray:
        """Give rows with the far ones drawn in: else k-means spends its centres on outliers.

        Columns are in median absolute deviations from their medians, of which the logarithm is taken.
        """
        away = x - np.median(x, axis=0)
        spread = np.median(np.abs(away), axis=0)
        away = away / np.where(spread > 0, spread, 1.0)
        return np.sign(away) * np.log1p(np.abs(away))

    def n_parameters(self, k: int, d: int) -> int:
        return self.gaussian.n_parameters(k, d) + (k if self.degrees_of_freedom is None else 0)

    def resolved(self, k: int, rows: Rows) -> StudentT:
        degrees = self.degrees_of_freedom
        real = isinstance(degrees, Real) and not isinstance(degrees, bool)
        if degrees is not None and not (real and LOWEST_DEGREES <= float(degrees) < np.inf):
            raise OptionError(f"degrees_of_freedom is {degrees!r}: pass a number >= {LOWEST_DEGREES:g}, or None")
        prior = self.prior
        if prior is None:
            return self
        if isinstance(prior, str) and prior == "weak":
            prior = StudentTPrior("weak")
        if not isinstance(prior, StudentTPrior):
            what = repr(prior) if isinstance(prior, str) else f"a {type(prior).__name__}"
            raise OptionError(f"prior is {what}: pass None, 'weak' or a StudentTPrior")
        components = prior.components
        if components is None:
            raise OptionError("prior.components is None: pass a NormalInverseWishart, or 'weak'")
        found = Gaussian(self.covariance_type, components)
        if not found.conjugate:
            raise OptionError("prior.components must be a NormalInverseWishart, or 'weak': independent ones do not go")
        components = found.resolved(k, rows).prior
        return replace(self, prior=replace(prior.checked(), components=components))

    def standardised(self, frame: Affine) -> StudentT:
        if self.prior is None:
            return self
        return replace(self, prior=replace(self.prior, components=self.gaussian.standardised(frame).prior))

    def floor(self, reg_covar: float, frame: Affine) -> np.ndarray:
        return self.gaussian.floor(reg_covar, frame)

    def shapes(self, k: int, d: int) -> dict[str, tuple[int, ...]]:
        found = self.gaussian.shapes(k, d)
        return {"means": found["means"], "scales": found["covariances"], "degrees_of_freedom": (k,)}

    def given_parameters(self, given: Mapping[str, np.ndarray], frame: Affine) -> StudentTParameters:
        found = self.gaussian.given_parameters(given, frame, "scales")
        degrees = given.get("degrees_of_freedom")
        fixed = self.degrees_of_freedom
        # a mean over draws, or a float32, is theirs but for rounding
        if degrees is not None and fixed is not None and not np.allclose(degrees, fixed, rtol=1e-6, atol=0):
            raise OptionError(
                f"degrees_of_freedom to start from are {degrees}, but the family fixes them at "
                f"{fixed:g}: leave them out"
            )
        if fixed is not None and (degrees is not None or found.means is not None):
            degrees = np.full(len(found.means if degrees is None else degrees), float(fixed))
        if degrees is not None and (degrees < LOWEST_DEGREES).any():
            raise OptionError(f"degrees_of_freedom to start from are {degrees}: pass numbers >= {LOWEST_DEGREES:g}")
        return StudentTParameters(found.means, found.factors, degrees)

    def quantities(self, parameters: StudentTParameters) -> dict[str, tuple[tuple[str, ...], Any]]:
        found = self.gaussian.quantities(parameters.gaussian)
        degrees = (("cluster",), parameters.degrees_of_freedom)
        return {"means": found["means"], "scales": found["covariances"], "degrees_of_freedom": degrees}

    def shown(self, parameters: StudentTParameters) -> dict[str, str]:
        return {"means": self.SHOWN, "degrees_of_freedom": "degrees of freedom"}

    def coordinates(self, columns: Sequence[str]) -> dict[str, list[str]]:
        return self.gaussian.coordinates(columns)

    def map_parameters(self, parameters: StudentTParameters, frame: Affine) -> StudentTParameters:
        found = self.gaussian.map_parameters(parameters.gaussian, frame)
        return StudentTParameters(found.means, found.factors, np.asarray(parameters.degrees_of_freedom, np.float64))

    def doubt(self, parameters: StudentTParameters, frame: Affine, dtype: np.dtype[Any], reg_covar: float) -> str:
        return self.gaussian.doubt(parameters.gaussian, frame, dtype, reg_covar)

    def simulate(self, parameters: StudentTParameters, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        means, degrees = np.asarray(parameters.means), np.asarray(parameters.degrees_of_freedom)[labels]
        centred = GaussianParameters(np.zeros_like(means), parameters.factors)
        scale = rng.chisquare(degrees) / degrees
        return means[labels] + self.gaussian.simulate(centred, labels, rng) / np.sqrt(scale)[:, None]
