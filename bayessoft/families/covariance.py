"""The contract of a Gaussian's covariance structure: what differs between structures, and nothing else.

Throughout, a *factor* F gives the precision matrix, ``inv(Sigma) = F F'``: an upper triangular matrix per cluster
(full), one matrix (tied), a row of reciprocal standard deviations per cluster (diag) or a single one (spherical).
These are the shapes of scikit-learn's ``precisions_cholesky_``. Letters: k clusters, t rows of a tile, d columns,
f features. In a tile the rows lie along the last axis, so that every operation runs along memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bayessoft.families.family import pytree
from bayessoft.numerics import HIGHEST

__all__ = ["Covariance", "Differences", "Moments", "einsum"]

einsum = partial(jnp.einsum, precision=HIGHEST)


class Covariance(ABC):
    """One structure. Members have no state; `families.structures` holds one of each.

    Two forms compute the same numbers. The *product* form is linear in features of the rows, a constant, columns and
    their products, taken about the origin: two matrix products, for where rounding allows it and it pays. The *centred*
    form goes through each component's own coordinates, or through differences from its centre, and is right everywhere.
    """

    group: str
    """The maps of rows under which the model stays what it is, a word that `numerics.standardising` knows."""
    matrix: bool
    """Whether factors are matrices, not variances."""
    tied: bool = False
    """Whether all clusters share one covariance."""
    columnwise: bool = False
    """Whether every column has a variance of its own: then columns are independent within a cluster."""

    @abstractmethod
    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """Shape of the covariances, and of the factors."""

    @abstractmethod
    def size(self, k: int, d: int) -> int:
        """Number of free parameters in the covariances."""

    @abstractmethod
    def width(self, k: int, d: int) -> int:
        """Numbers per row that the faster form works on; sets how many rows a tile has."""

    def product_pays(self, k: int, d: int) -> bool:
        """Tell whether the product form is the faster one."""
        return True

    @abstractmethod
    def log_det(self, factor: Array, d: int) -> Array:
        """Log determinant of the factor, broadcastable to (k,)."""

    @abstractmethod
    def whiten(self, factor: Array, difference: Float[Array, "k d t"]) -> Float[Array, "k d t"]:
        """Multiply differences from the means by the factor."""

    @abstractmethod
    def sharpness(self, factor: Array) -> Array:
        """Give an upper bound of the largest precision in any direction, the maximum over clusters."""

    @abstractmethod
    def product_features(self, x: Float[Array, "d t"]) -> Float[Array, "f t"]:
        """What the product form is linear in."""

    @abstractmethod
    def product_scores(
        self, factor: Array, means: Float[Array, "k d"], constant: Float[Array, " k"], features: Float[Array, "f t"]
    ) -> Float[Array, "k t"]:
        """Half the squared distances, negated, plus a constant of each cluster, in product form."""

    @abstractmethod
    def product_sums(self, features: Float[Array, "f t"], r: Float[Array, "k t"]) -> Any:
        """Sums of features under responsibilities, in a layout that adds up over tiles."""

    @abstractmethod
    def product_moments(self, sums: Any, d: int) -> tuple[Float[Array, " k"], Float[Array, "k d"], Array]:
        """Turn summed `product_sums` into weights, first moments, and second ones in the shape of the covariances."""

    @abstractmethod
    def centred_features(self, factor: Array, means: Float[Array, "k d"], x: Float[Array, "d t"]) -> Any:
        """Rows as each component sees them: what scores and sums of the centred form are computed from."""

    @abstractmethod
    def centred_scores(
        self, factor: Array, means: Float[Array, "k d"], constant: Float[Array, " k"], features: Any
    ) -> Float[Array, "k t"]:
        """Give what `product_scores` gives, in centred form."""

    @abstractmethod
    def centred_sums(self, features: Any, r: Float[Array, "k t"]) -> Any:
        """Sums over the rows that tell the moments about the means, in a layout that adds up over tiles."""

    @abstractmethod
    def centred_moments(
        self, factor: Array, means: Float[Array, "k d"], sums: Any
    ) -> tuple[Float[Array, " k"], Float[Array, "k d"], Array]:
        """Turn summed `centred_sums` into weights and moments about the means."""

    @abstractmethod
    def outer(self, a: Float[Array, "k d"], b: Float[Array, "k d"]) -> Array:
        """The symmetric product ``(a b' + b a') / 2`` of each cluster, in the shape of a moment."""

    @abstractmethod
    def inner(self, factor: Array, moment: Array) -> Array:
        """``trace(inv(Sigma) moment)``, summed over clusters."""

    @abstractmethod
    def degrees(self, weight: Float[Array, " k"], d: int) -> Array:
        """How many squares each entry of a moment sums: what a moment is divided by."""

    @abstractmethod
    def factor(self, covariance: Array) -> Array:
        """Give the factor of covariances; NaN where one is not positive definite."""

    @abstractmethod
    def covariance(self, factor: Array) -> Array:
        """Give the covariances of factors."""

    @abstractmethod
    def dense(self, factor: np.ndarray) -> np.ndarray:
        """Give the covariances of factors as `covariance` does, in NumPy and float64."""

    @abstractmethod
    def reduced(self, covariance: Float[np.ndarray, "d d"]) -> np.ndarray:
        """Keep of one covariance matrix what a single cluster of this structure has."""

    @abstractmethod
    def map_covariance(self, covariance: np.ndarray, a: Float[np.ndarray, "d d"]) -> np.ndarray:
        """Give covariances of rows multiplied by a matrix of the group."""

    @abstractmethod
    def map_factor(self, factor: np.ndarray, a: Float[np.ndarray, "d d"]) -> np.ndarray:
        """Give the factors for rows x where the given ones are for ``a x``; triangles stay triangles."""


class Differences(Covariance):
    """The centred form for structures in which differences from each mean cost little."""

    @abstractmethod
    def squares(self, difference: Float[Array, "k d t"], r: Float[Array, "k t"]) -> Array:
        """Products of differences under responsibilities, in the shape of the covariances."""

    def centred_features(self, factor: Array, means: Array, x: Array) -> Array:
        return x - means[:, :, None]

    def centred_scores(self, factor: Array, means: Array, constant: Array, features: Array) -> Array:
        white = self.whiten(factor, features)
        return constant[:, None] - 0.5 * jnp.sum(white * white, axis=1)

    def centred_sums(self, features: Array, r: Array) -> Any:
        return r.sum(1), einsum("kt,kdt->kd", r, features), self.squares(features, r)

    def centred_moments(self, factor: Array, means: Array, sums: Any) -> tuple[Array, Array, Array]:
        weight, first, second = sums
        return weight, first, second


@pytree()
@dataclass(frozen=True, eq=False)
class Moments:
    """Sufficient statistics about a reference point per component.

    Attributes
    ----------
    weight : array of shape (k,)
        Sum of the responsibilities.
    first : array of shape (k, d)
        Sum of the responsibility times the difference from the reference.
    second : array
        Sum of the responsibility times the products of differences, shaped as the covariances.
    reference : array of shape (k, d)
        The reference points.
    """

    weight: Array
    first: Array
    second: Array
    reference: Array

    def about(self, structure: Covariance, points: Float[Array, "k d"]) -> Moments:
        """Give the same statistics about other points, exactly."""
        step = points - self.reference
        moved = self.weight[:, None] * step
        second = self.second - 2 * structure.outer(self.first, step) + structure.outer(moved, step)
        return Moments(self.weight, self.first - moved, second, points)
