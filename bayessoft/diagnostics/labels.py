"""Labels of clusters: which component of a draw is which cluster.

A mixture's posterior does not know the names of its clusters, so they may differ between chains and change within one.
A fit's own draws are matched to one of them, the *pivot*, by the rows that they claim (`aligned`); nothing is ordered.
`diagnostics.relabelling` has the methods that people compare, for any draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from bayessoft.core.assign import Beside, assign
from bayessoft.core.sizes import RowConstraint
from bayessoft.core.sweep import Tiles, either_form, over_tiles, rowwise
from bayessoft.data.rows import fresh
from bayessoft.diagnostics.base import best_orders, no_permutation
from bayessoft.families.family import SweptFamily
from bayessoft.fit import Fit
from bayessoft.numerics import HIGHEST
from bayessoft.posteriors import Draws

__all__ = ["Alignment", "align", "aligned"]


@dataclass(frozen=True, eq=False)
class Alignment:
    """How the components of draws match the clusters of the pivot.

    Attributes
    ----------
    order : array of shape (..., k), int
        Cluster j is component ``order[..., j]`` of a draw.
    overlap : array of shape (..., k, k)
        Weight of the rows that a cluster of the pivot (first) and an aligned cluster of the draw (second) both claim,
        as a share of the total.
    sizes : array of shape (..., k)
        Expected sizes of the aligned clusters: the sums of their memberships times the rows' weights.
    unclear : array of shape (...), bool
        Draws whose components, each with the cluster of the pivot most like it, make no permutation.
    """

    order: Int[np.ndarray, "... k"]
    overlap: Float[np.ndarray, "... k k"]
    sizes: Float[np.ndarray, "... k"]
    unclear: Bool[np.ndarray, "..."]


def align(
    overlap: Float[np.ndarray, "... k k"],
    squares: Float[np.ndarray, "... k"],
    pivot_squares: Float[np.ndarray, " k"],
    same: Bool[np.ndarray, "k k"] | None = None,
) -> Alignment:
    """Match components to the pivot's clusters by their memberships.

    Parameters
    ----------
    overlap : array of shape (..., k, k)
        Sum over rows of weight times the pivot's membership (first) times the draw's (second).
    squares, pivot_squares : array of shape (..., k), (k,)
        Sums over rows of weight times squared membership, of the draws and of the pivot.
    same : array of shape (k, k), bool, optional
        Which component (second) may be which cluster (first); by default any may.

    Notes
    -----
    The order maximises the sum of the overlaps, and so minimises the squared differences of the memberships (Stephens,
    J. Royal Statistical Society B 62 (2000), with squares; ECR of Papastamoulis and Iliopoulos, J. Computational and
    Graphical Statistics 19 (2010), is the same with hard labels). "Most like" is by the cosine between memberships, so
    that a small cluster beside a large one counts as itself; draws without a permutation are those of
    Frühwirth-Schnatter, *Finite Mixture and Markov Switching Models* (2006), section 3.7.7.

    Examples
    --------
    >>> align(np.array([[[0.0, 3.0], [5.0, 0.0]]]), np.array([[5.0, 3.0]]), np.array([3.0, 5.0])).order
    array([[1, 0]])
    """
    k = overlap.shape[-1]
    flat = overlap.reshape(-1, k, k)
    allowed = flat if same is None else np.where(same, flat, -1.0 - k * flat.max(initial=0.0))
    order = best_orders(allowed)
    unclear = no_permutation(flat, squares.reshape(-1, k), pivot_squares)
    moved = np.take_along_axis(flat, order[:, None, :], 2)
    sizes = moved.sum(1)  # the pivot's memberships of a row sum to 1
    shares = moved / np.maximum(sizes.sum(1), np.finfo(np.float64).tiny)[:, None, None]
    lead = overlap.shape[:-2]
    return Alignment(
        order.reshape(*lead, k), shares.reshape(*lead, k, k), sizes.reshape(*lead, k), unclear.reshape(lead)
    )


def aligned(fit: Fit, rows: Tiles) -> Alignment:
    """Align the draws of a fit to the one with the highest log density, inside `numerics.scoped`.

    Its clusters keep the numbers that they had when its chain started, unless it came from a hot copy.

    Parameters
    ----------
    fit : Fit
        Its posterior is `Draws`.
    rows : Tiles
        The rows that it was fitted to.
    """
    posterior = fit.posterior
    if not isinstance(posterior, Draws):
        raise TypeError("a point has nothing to align")
    c, s, k = posterior.weights.shape
    flat = jax.tree.map(lambda a: jnp.asarray(fresh(a.reshape(c * s, *a.shape[2:]))), _raw(posterior))
    best = int(np.argmax(posterior.log_density))
    pivot = jax.tree.map(lambda a: a[best], flat)
    if posterior.ancestry is not None:
        order = np.argsort(posterior.ancestry.reshape(c * s, k)[best])
        pivot = pivot[0][order], fit.mixture.family.arranged(pivot[1], order)
    overlap, squares, pivot_squares = (
        np.asarray(part, np.float64) for part in _overlaps(fit.mixture.family.with_prior(None), flat, pivot, rows)
    )
    return align(overlap.reshape(c, s, k, k), squares.reshape(c, s, k), pivot_squares, _same_bounds(fit))


def _same_bounds(fit: Fit) -> Bool[np.ndarray, "k k"] | None:
    """Tell which clusters may be each other's where a user told them apart, by evidence or by bounds of sizes."""
    if fit.named:
        return np.eye(fit.mixture.k, dtype=bool)
    sizes = fit.mixture.sizes
    if not isinstance(sizes, RowConstraint) or sizes.order != "given":
        return None
    low, high = sizes.bounds(fit.mixture.k, fit.total_weight)
    return (low[:, None] == low) & (high[:, None] == high)


def _raw(posterior: Draws) -> tuple[np.ndarray, Any]:
    return posterior.weights, posterior.parameters


@jax.jit
def _overlaps(family: SweptFamily, draws: Any, pivot: Any, rows: Tiles) -> tuple[Array, Array, Array]:
    """Sum, over rows, products of the memberships of the pivot and of each draw, and the squares of both."""
    target = rowwise(family, pivot[1], jnp.log(pivot[0]), rows)[1]

    def one(draw: tuple[Array, Any]) -> tuple[Array, Array]:
        log_weights, parameters = jnp.log(draw[0]), draw[1]

        def pass_(fast: bool) -> tuple[Array, Array]:
            def tile(x: Array, w: Array, known: Array, beside: Beside | None) -> tuple[Array, Array]:
                shares = assign(family.tile_scores(parameters, x, fast), log_weights, beside=beside)[1]
                return jnp.einsum("jt,kt->jk", known * w, shares, precision=HIGHEST), jnp.sum(w * shares**2, 1)

            return over_tiles(tile, rows, target, rows.beside)

        return either_form(family, parameters, rows, pass_)

    overlap, squares = jax.lax.map(one, draws)
    return overlap, squares, jnp.sum(rows.w[:, None] * target**2, (0, 2))
