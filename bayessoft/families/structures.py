"""The four structures of a Gaussian's covariance: full, tied, diagonal, spherical."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from bayessoft.families.covariance import Covariance, Differences, einsum

__all__ = ["STRUCTURES"]

WIDE = 128  # columns beyond which the features of a tile would take more than 16 MB
BLOCK = 32  # coordinates at a time: those of the first columns of a triangle need the first rows only


def _upper(covariance: Array) -> Array:
    """Inverse transpose of the Cholesky factor, upper triangular."""
    lower = jnp.linalg.cholesky(covariance)
    eye = jnp.broadcast_to(jnp.eye(lower.shape[-1], dtype=lower.dtype), lower.shape)
    return jnp.swapaxes(solve_triangular(lower, eye, lower=True), -1, -2)


def _inverse_square(factor: Array) -> Array:
    """``inv(F F')``."""
    eye = jnp.eye(factor.shape[-1], dtype=factor.dtype)
    inverse = jnp.linalg.solve(factor, jnp.broadcast_to(eye, factor.shape))
    return einsum("...ji,...jl->...il", inverse, inverse)


def _log_diagonal(factor: Array) -> Array:
    return jnp.log(jnp.abs(jnp.diagonal(factor, axis1=-2, axis2=-1))).sum(-1)


def _with_ones(x: Float[Array, "d t"]) -> Float[Array, "e t"]:
    return jnp.concatenate([jnp.ones((1, x.shape[1]), x.dtype), x])


def _shifts(e: int) -> np.ndarray:
    """Second members of the pairs of e things that `_pairs` forms: one row per shift, one column per first member."""
    return (np.arange(e // 2 + 1)[:, None] + np.arange(e)) % e


def _pairs(z: Float[Array, "e t"]) -> Float[Array, "f t"]:
    """Products of all pairs of rows: of each row with itself, with the next one, with the next but one, and so on.

    Going round in circles covers every pair once, those half way round twice where e is even. Reading a repeated block
    with a longer stride turns it from shift to shift, so that all are formed in one operation.
    """
    e, t = z.shape
    shifts = e // 2 + 1
    repeated = jnp.broadcast_to(z, (shifts + 1, e, t)).reshape(-1, t)[: shifts * (e + 1)]
    turned = repeated.reshape(shifts, e + 1, t)[:, :e]
    return (z * turned).reshape(-1, t)


def _pair_coefficients(form: Float[Array, "k e e"]) -> Float[Array, "k f"]:
    """Coefficients of `_pairs` in the quadratic form of a symmetric matrix."""
    e = form.shape[-1]
    second = _shifts(e)
    times = np.full(second.shape, 2.0)
    times[0] = 1.0
    if e % 2 == 0:
        times[-1] = 1.0  # these pairs come twice
    return (form[:, np.arange(e), second] * times).reshape(len(form), -1)


def _pair_sums(sums: Float[Array, "f k"], e: int) -> Float[Array, "k e e"]:
    """Symmetric matrices of sums of products of pairs, from the sums of `_pairs`."""
    first, second = np.arange(e)[:, None], np.arange(e)
    ahead, behind = (second - first) % e, (first - second) % e
    found = np.where(ahead <= e // 2, ahead * e + first, behind * e + second)
    return jnp.moveaxis(sums[np.minimum(found, found.T)], -1, 0)  # of pairs that come twice, one


def _blocks(d: int) -> list[slice]:
    """Columns of a triangular factor in blocks: a block needs the rows up to its end only."""
    return [slice(start, min(start + BLOCK, d)) for start in range(0, d, BLOCK)]


def _middle(means: Float[Array, "k d"]) -> Float[Array, " d"]:
    """A point amid the components, held fixed: the results do not depend on it."""
    return lax.stop_gradient(means.mean(0))


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

    def width(self, k: int, d: int) -> int:
        return _shifts(d + 1).size if self.product_pays(k, d) else k * d

    def product_pays(self, k: int, d: int) -> bool:
        # It does half of the arithmetic, but moves d^2 / 2 numbers per row, whatever the number of components.
        return d <= min(4 * k, WIDE)

    def whiten(self, factor: Array, difference: Array) -> Array:
        return einsum("kde,kdt->ket", factor, difference)

    def sharpness(self, factor: Array) -> Array:
        return jnp.sum(factor**2, (-1, -2)).max()

    def product_features(self, x: Array) -> Array:
        return _pairs(_with_ones(x))

    def product_scores(self, factor: Array, means: Array, constant: Array, features: Array) -> Array:
        precision = einsum("kab,kcb->kac", factor, factor)
        linear = einsum("kab,kb->ka", precision, means)[:, :, None]
        corner = (2 * constant - jnp.sum(linear[:, :, 0] * means, 1))[:, None, None]
        # The quadratic form of a row with a 1 before it: constant, linear and quadratic terms in one matrix.
        form = 0.5 * jnp.block([[corner, jnp.swapaxes(linear, 1, 2)], [linear, -precision]])
        return einsum("kf,ft->kt", _pair_coefficients(form), features)

    def product_sums(self, features: Array, r: Array) -> Any:
        return einsum("ft,kt->fk", features, r)

    def product_moments(self, sums: Any, d: int) -> tuple[Array, Array, Array]:
        moments = _pair_sums(sums, d + 1)
        return moments[:, 0, 0], moments[:, 0, 1:], moments[:, 1:, 1:]

    def centred_features(self, factor: Array, means: Array, x: Array) -> tuple[Array, list[Array]]:
        """Give the rows about the middle, below a 1, and each component's own coordinates ``F'(x - m)`` in blocks.

        One product with the factors of all components side by side takes a fraction of the time of one product each.
        It loses digits in proportion to distance over width, where the product form loses them in proportion to the
        square; distances are from the middle of the components, so that it does not matter where all rows lie.
        """
        middle = _middle(means)
        z = _with_ones(x - middle[:, None])
        offset = einsum("kd,kde->ke", middle - means, factor)
        below = jnp.concatenate([offset[:, None], factor], 1)
        own = [einsum("kza,zt->kat", below[:, : b.stop + 1, b], z[: b.stop + 1]) for b in _blocks(len(x))]
        return z, lax.optimization_barrier(own)  # or XLA computes them twice: for scores and for sums

    def centred_scores(
        self, factor: Array, means: Array, constant: Array, features: tuple[Array, list[Array]]
    ) -> Array:
        squares = [jnp.sum(y * y, axis=1) for y in features[1]]
        return constant[:, None] - 0.5 * sum(squares[1:], squares[0])

    def centred_sums(self, features: tuple[Array, list[Array]], r: Array) -> Any:
        z, own = features
        blocks = zip(_blocks(len(z) - 1), own, strict=True)
        return r.sum(1), [einsum("kat,zt->kaz", y * r[:, None, :], z[: block.stop + 1]) for block, y in blocks]

    def centred_moments(self, factor: Array, means: Array, sums: Any) -> tuple[Array, Array, Array]:
        weight, crossed = sums
        d = means.shape[1]
        padded = [jnp.pad(part, ((0, 0), (0, 0), (0, d + 1 - part.shape[2]))) for part in crossed]
        every = jnp.concatenate(padded, axis=1)
        own, about_middle = every[:, :, 0], every[:, :, 1:]
        # From own coordinates times rows to own coordinates squared; what was not summed meets zeros of the factor.
        centres = (means - _middle(means))[:, None, :]
        square = einsum("kac,kcb->kab", about_middle - own[:, :, None] * centres, factor)
        square = jnp.tril(square) + jnp.swapaxes(jnp.tril(square, -1), 1, 2)
        half = solve_triangular(factor, square, trans="T")
        second = solve_triangular(factor, jnp.swapaxes(half, 1, 2), trans="T")
        return weight, solve_triangular(factor, own[:, :, None], trans="T")[:, :, 0], second

    def outer(self, a: Array, b: Array) -> Array:
        product = a[:, :, None] * b[:, None, :]
        return (product + jnp.swapaxes(product, 1, 2)) / 2

    def inner(self, factor: Array, moment: Array) -> Array:
        return jnp.sum(factor * einsum("kab,kbc->kac", moment, factor))

    def degrees(self, weight: Array, d: int) -> Array:
        return weight[:, None, None]


class Tied(Differences, Matrices):
    """One covariance matrix for all clusters."""

    tied = True

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (d, d)

    def size(self, k: int, d: int) -> int:
        return d * (d + 1) // 2

    def width(self, k: int, d: int) -> int:
        return 3 * d

    def whiten(self, factor: Array, difference: Array) -> Array:
        return einsum("de,kdt->ket", factor, difference)

    def sharpness(self, factor: Array) -> Array:
        return jnp.sum(factor**2)

    def product_features(self, x: Array) -> Array:
        return _with_ones(x)

    def product_scores(self, factor: Array, means: Array, constant: Array, features: Array) -> Array:
        y, m = einsum("de,dt->et", factor, features[1:]), einsum("kd,de->ke", means, factor)
        return einsum("ke,et->kt", m, y) - 0.5 * jnp.sum(y * y, 0) + (constant - 0.5 * jnp.sum(m * m, 1))[:, None]

    def product_sums(self, features: Array, r: Array) -> Any:
        x = features[1:]
        return einsum("ft,kt->fk", features, r), einsum("at,bt->ab", x * r.sum(0), x)

    def product_moments(self, sums: Any, d: int) -> tuple[Array, Array, Array]:
        linear, second = sums
        return linear[0], linear[1:].T, second

    def squares(self, difference: Array, r: Array) -> Array:
        return einsum("kat,kbt->ab", difference * r[:, None, :], difference)

    def outer(self, a: Array, b: Array) -> Array:
        product = einsum("ka,kb->ab", a, b)
        return (product + product.T) / 2

    def inner(self, factor: Array, moment: Array) -> Array:
        return jnp.sum(factor * einsum("ab,bc->ac", moment, factor))

    def degrees(self, weight: Array, d: int) -> Array:
        return weight.sum()


class Variances(Differences):
    """What diagonal and spherical covariances share."""

    matrix = False

    def product_sums(self, features: Array, r: Array) -> Any:
        return einsum("ft,kt->fk", features, r)

    def sharpness(self, factor: Array) -> Array:
        return jnp.max(factor**2)

    def inner(self, factor: Array, moment: Array) -> Array:
        return jnp.sum(factor**2 * moment)

    def factor(self, covariance: Array) -> Array:
        return 1 / jnp.sqrt(covariance)

    def covariance(self, factor: Array) -> Array:
        return 1 / factor**2

    def dense(self, factor: np.ndarray) -> np.ndarray:
        return 1 / factor**2


class Diag(Variances):
    """A variance of its own for every cluster and column."""

    group = "columns"
    columnwise = True

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d)

    def size(self, k: int, d: int) -> int:
        return k * d

    def width(self, k: int, d: int) -> int:
        return 2 * d + 1

    def log_det(self, factor: Array, d: int) -> Array:
        return jnp.log(factor).sum(-1)

    def whiten(self, factor: Array, difference: Array) -> Array:
        return difference * factor[:, :, None]

    def product_scores(self, factor: Array, means: Array, constant: Array, features: Array) -> Array:
        precision = factor**2
        linear = precision * means
        corner = constant - 0.5 * jnp.sum(linear * means, 1)
        coefficients = jnp.concatenate([corner[:, None], linear, -0.5 * precision], 1)
        return einsum("kf,ft->kt", coefficients, features)

    def product_moments(self, sums: Any, d: int) -> tuple[Array, Array, Array]:
        return sums[0], sums[1 : d + 1].T, sums[d + 1 :].T

    def product_features(self, x: Array) -> Array:
        return jnp.concatenate([_with_ones(x), x * x])

    def squares(self, difference: Array, r: Array) -> Array:
        return einsum("kt,kdt->kd", r, difference * difference)

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

    def width(self, k: int, d: int) -> int:
        return d + 2

    def log_det(self, factor: Array, d: int) -> Array:
        return d * jnp.log(factor)

    def whiten(self, factor: Array, difference: Array) -> Array:
        return difference * factor[:, None, None]

    def product_scores(self, factor: Array, means: Array, constant: Array, features: Array) -> Array:
        precision = (factor**2)[:, None]
        corner = constant[:, None] - 0.5 * precision * jnp.sum(means**2, 1, keepdims=True)
        coefficients = jnp.concatenate([corner, precision * means, -0.5 * precision], 1)
        return einsum("kf,ft->kt", coefficients, features)

    def product_moments(self, sums: Any, d: int) -> tuple[Array, Array, Array]:
        return sums[0], sums[1 : d + 1].T, sums[d + 1]

    def product_features(self, x: Array) -> Array:
        return jnp.concatenate([_with_ones(x), jnp.sum(x * x, 0, keepdims=True)])

    def squares(self, difference: Array, r: Array) -> Array:
        return einsum("kt,kt->k", r, jnp.sum(difference * difference, 1))

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
