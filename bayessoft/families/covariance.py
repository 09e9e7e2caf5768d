"""The four structures of a Gaussian's covariance: what differs between them, and nothing else.

Throughout, a *factor* F gives the precision matrix, ``inv(Sigma) = F F'``, and is triangular: a matrix per cluster
(full), one matrix (tied), a row of reciprocal standard deviations per cluster (diag) or a single one (spherical).
These are the shapes of scikit-learn's ``precisions_cholesky_``. Letters: k clusters, t rows of a tile, d columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from bayessoft.numerics import HIGHEST

__all__ = ["STRUCTURES", "Covariance"]

BLOCK = 8  # columns of a block in the products of pairs of columns, see `_blocks`

einsum = partial(jnp.einsum, precision=HIGHEST)


class Covariance(ABC):
    """One structure. Members have no state; `STRUCTURES` holds one of each.

    Two forms compute the same numbers. The *product* form sums products of columns about the origin of the tile's
    coordinates, the fastest where rounding allows it; the *centred* form subtracts each component's centre first.
    """

    group: str
    """The maps of rows under which the model stays what it is, a word that `numerics.standardising` knows."""
    matrix: bool
    """Whether factors are matrices, not variances."""

    @abstractmethod
    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """Shape of the covariances, and of the factors."""

    @abstractmethod
    def size(self, k: int, d: int) -> int:
        """Number of free parameters in the covariances."""

    @abstractmethod
    def width(self, d: int) -> int:
        """Numbers per row that the product form holds at a time; sets the size of a tile."""

    @abstractmethod
    def log_det(self, factor: Array, d: int) -> Array:
        """Log determinant of the factor, broadcastable to (k,)."""

    @abstractmethod
    def whiten(self, factor: Array, difference: Float[Array, "k t d"]) -> Float[Array, "k t d"]:
        """Multiply differences from the means by the factor."""

    @abstractmethod
    def sharpness(self, factor: Array) -> Array:
        """Give an upper bound of the largest precision in any direction, the maximum over clusters."""

    @abstractmethod
    def product_scores(self, factor: Array, means: Float[Array, "k d"], x: Float[Array, "t d"]) -> Float[Array, "k t"]:
        """Half the squared distances, negated, in product form."""

    @abstractmethod
    def product_moment(self, x: Float[Array, "t d"], r: Float[Array, "k t"]) -> Any:
        """Second moments about the origin, in a layout that sums over tiles."""

    @abstractmethod
    def assemble(self, moment: Any, d: int) -> Array:
        """Bring summed `product_moment` into the shape of the covariances."""

    @abstractmethod
    def centred_moment(self, difference: Float[Array, "k t d"], r: Float[Array, "k t"]) -> Array:
        """Second moments about each cluster's reference, in the shape of the covariances (without the division)."""

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


def _upper(covariance: Array) -> Array:
    """Inverse transpose of the Cholesky factor, upper triangular."""
    lower = jnp.linalg.cholesky(covariance)
    eye = jnp.broadcast_to(jnp.eye(lower.shape[-1], dtype=lower.dtype), lower.shape)
    return jnp.swapaxes(solve_triangular(lower, eye, lower=True), -1, -2)


def _inverse_square(factor: Array) -> Array:
    """``inv(F F')`` for a triangular F, upper or lower."""
    eye = jnp.eye(factor.shape[-1], dtype=factor.dtype)
    inverse = jnp.linalg.solve(factor, jnp.broadcast_to(eye, factor.shape))
    return einsum("...ji,...jl->...il", inverse, inverse)


def _log_diagonal(factor: Array) -> Array:
    return jnp.log(jnp.abs(jnp.diagonal(factor, axis1=-2, axis2=-1))).sum(-1)


def _blocks(d: int) -> list[tuple[slice, slice]]:
    """Pairs of column blocks that cover the upper triangle of all pairs of columns.

    Products of whole blocks are formed by broadcasting, several times faster than gathering the pairs of a triangle,
    and blocks below the diagonal are left out.
    """
    edges = [slice(first, min(first + BLOCK, d)) for first in range(0, d, BLOCK)]
    return [(a, b) for i, a in enumerate(edges) for b in edges[i:]]


def _pairs(x: Float[Array, "t d"], block: tuple[slice, slice]) -> Float[Array, "t p"]:
    a, b = block
    return (x[:, a, None] * x[:, None, b]).reshape(len(x), -1)


class Matrices(Covariance):
    """What full and tied covariances share."""

    group = "affine"
    matrix = True

    def log_det(self, factor: Array, d: int) -> Array:
        return _log_diagonal(factor)

    def factor(self, covariance: Array) -> Array:
        return _upper(covariance)

    def covariance(self, factor: Array) -> Array:
        return _inverse_square(factor)

    def dense(self, factor: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(factor)
        return np.swapaxes(inverse, -1, -2) @ inverse

    def reduced(self, covariance: np.ndarray) -> np.ndarray:
        return covariance

    def map_covariance(self, covariance: np.ndarray, a: np.ndarray) -> np.ndarray:
        return a @ covariance @ a.T

    def map_factor(self, factor: np.ndarray, a: np.ndarray) -> np.ndarray:
        return a.T @ factor


class Full(Matrices):
    """A covariance matrix of its own for every cluster."""

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d, d)

    def size(self, k: int, d: int) -> int:
        return k * d * (d + 1) // 2

    def width(self, d: int) -> int:
        return d + sum((a.stop - a.start) * (b.stop - b.start) for a, b in _blocks(d))

    def whiten(self, factor: Array, difference: Array) -> Array:
        return einsum("ktd,kde->kte", difference, factor)

    def sharpness(self, factor: Array) -> Array:
        return jnp.sum(factor**2, (-1, -2)).max()

    def product_scores(self, factor: Array, means: Array, x: Array) -> Array:
        precision = einsum("kab,kcb->kac", factor, factor)
        linear = einsum("kab,kb->ka", precision, means)
        scores = einsum("kd,td->kt", linear, x) - 0.5 * jnp.sum(linear * means, 1)[:, None]
        for a, b in _blocks(x.shape[1]):
            entries = (-0.5 if a == b else -1.0) * precision[:, a, b].reshape(len(means), -1)
            scores = scores + einsum("kp,tp->kt", entries, _pairs(x, (a, b)))
        return scores

    def product_moment(self, x: Array, r: Array) -> Any:
        return [einsum("kt,tp->kp", r, _pairs(x, block)) for block in _blocks(x.shape[1])]

    def assemble(self, moment: Any, d: int) -> Array:
        k = moment[0].shape[0]
        full = jnp.zeros((k, d, d), moment[0].dtype)
        for (a, b), entries in zip(_blocks(d), moment, strict=True):
            square = entries.reshape(k, a.stop - a.start, b.stop - b.start)
            full = full.at[:, b, a].set(jnp.swapaxes(square, 1, 2)).at[:, a, b].set(square)
        return full

    def centred_moment(self, difference: Array, r: Array) -> Array:
        return einsum("kta,ktb->kab", difference * r[:, :, None], difference)

    def outer(self, a: Array, b: Array) -> Array:
        product = a[:, :, None] * b[:, None, :]
        return (product + jnp.swapaxes(product, 1, 2)) / 2

    def inner(self, factor: Array, moment: Array) -> Array:
        return jnp.sum(factor * einsum("kab,kbc->kac", moment, factor))

    def degrees(self, weight: Array, d: int) -> Array:
        return weight[:, None, None]


class Tied(Matrices):
    """One covariance matrix for all clusters."""

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (d, d)

    def size(self, k: int, d: int) -> int:
        return d * (d + 1) // 2

    def width(self, d: int) -> int:
        return 3 * d

    def whiten(self, factor: Array, difference: Array) -> Array:
        return einsum("ktd,de->kte", difference, factor)

    def sharpness(self, factor: Array) -> Array:
        return jnp.sum(factor**2)

    def product_scores(self, factor: Array, means: Array, x: Array) -> Array:
        y, m = einsum("td,de->te", x, factor), einsum("kd,de->ke", means, factor)
        return einsum("ke,te->kt", m, y) - 0.5 * (jnp.sum(m * m, 1)[:, None] + jnp.sum(y * y, 1))

    def product_moment(self, x: Array, r: Array) -> Any:
        return einsum("ta,tb->ab", x * r.sum(0)[:, None], x)

    def assemble(self, moment: Any, d: int) -> Array:
        return moment

    def centred_moment(self, difference: Array, r: Array) -> Array:
        return einsum("kta,ktb->ab", difference * r[:, :, None], difference)

    def outer(self, a: Array, b: Array) -> Array:
        product = einsum("ka,kb->ab", a, b)
        return (product + product.T) / 2

    def inner(self, factor: Array, moment: Array) -> Array:
        return jnp.sum(factor * einsum("ab,bc->ac", moment, factor))

    def degrees(self, weight: Array, d: int) -> Array:
        return weight.sum()


class Variances(Covariance):
    """What diagonal and spherical covariances share."""

    matrix = False

    def sharpness(self, factor: Array) -> Array:
        return jnp.max(factor**2)

    def inner(self, factor: Array, moment: Array) -> Array:
        return jnp.sum(factor**2 * moment)

    def factor(self, covariance: Array) -> Array:
        return 1 / jnp.sqrt(covariance)

    def covariance(self, factor: Array) -> Array:
        return 1 / factor**2

    def assemble(self, moment: Any, d: int) -> Array:
        return moment

    def dense(self, factor: np.ndarray) -> np.ndarray:
        return 1 / factor**2


class Diag(Variances):
    """A variance of its own for every cluster and column."""

    group = "columns"

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d)

    def size(self, k: int, d: int) -> int:
        return k * d

    def width(self, d: int) -> int:
        return 2 * d

    def log_det(self, factor: Array, d: int) -> Array:
        return jnp.log(factor).sum(-1)

    def whiten(self, factor: Array, difference: Array) -> Array:
        return difference * factor[:, None, :]

    def product_scores(self, factor: Array, means: Array, x: Array) -> Array:
        precision = factor**2
        linear = precision * means
        cross = einsum("kd,td->kt", linear, x) - 0.5 * einsum("kd,td->kt", precision, x * x)
        return cross - 0.5 * jnp.sum(linear * means, 1)[:, None]

    def product_moment(self, x: Array, r: Array) -> Any:
        return einsum("kt,td->kd", r, x * x)

    def centred_moment(self, difference: Array, r: Array) -> Array:
        return einsum("kt,ktd->kd", r, difference * difference)

    def outer(self, a: Array, b: Array) -> Array:
        return a * b

    def degrees(self, weight: Array, d: int) -> Array:
        return weight[:, None]

    def reduced(self, covariance: np.ndarray) -> np.ndarray:
        return np.diag(covariance)

    def map_covariance(self, covariance: np.ndarray, a: np.ndarray) -> np.ndarray:
        return covariance * np.diag(a) ** 2

    def map_factor(self, factor: np.ndarray, a: np.ndarray) -> np.ndarray:
        return factor * np.diag(a)


class Spherical(Variances):
    """One variance for every cluster, the same in all columns."""

    group = "scale"

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k,)

    def size(self, k: int, d: int) -> int:
        return k

    def width(self, d: int) -> int:
        return 2 * d

    def log_det(self, factor: Array, d: int) -> Array:
        return d * jnp.log(factor)

    def whiten(self, factor: Array, difference: Array) -> Array:
        return difference * factor[:, None, None]

    def product_scores(self, factor: Array, means: Array, x: Array) -> Array:
        cross = einsum("kd,td->kt", means, x) - 0.5 * (jnp.sum(x * x, 1) + jnp.sum(means**2, 1)[:, None])
        return (factor**2)[:, None] * cross

    def product_moment(self, x: Array, r: Array) -> Any:
        return einsum("kt,t->k", r, jnp.sum(x * x, 1))

    def centred_moment(self, difference: Array, r: Array) -> Array:
        return einsum("kt,kt->k", r, jnp.sum(difference * difference, 2))

    def outer(self, a: Array, b: Array) -> Array:
        return jnp.sum(a * b, 1)

    def degrees(self, weight: Array, d: int) -> Array:
        return d * weight

    def reduced(self, covariance: np.ndarray) -> np.ndarray:
        return np.asarray(np.mean(np.diag(covariance)))

    def map_covariance(self, covariance: np.ndarray, a: np.ndarray) -> np.ndarray:
        return covariance * a[0, 0] ** 2

    def map_factor(self, factor: np.ndarray, a: np.ndarray) -> np.ndarray:
        return factor * a[0, 0]


STRUCTURES: dict[str, Covariance] = {"full": Full(), "tied": Tied(), "diag": Diag(), "spherical": Spherical()}
"""The structures by the name that scikit-learn gives them."""
