"""The one heavy operation: a pass over the rows in tiles, and the likelihood that it differentiates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.assign import Beside, assign
from bayessoft.families.family import SweptFamily, pytree
from bayessoft.numerics import CHUNK, bucket

__all__ = [
    "LONG",
    "Tiles",
    "either",
    "either_form",
    "log_likelihood",
    "logits",
    "over_tiles",
    "rowwise",
    "sweep",
    "tiles",
    "with_beside",
]


LONG = 512  # rows of a tile from which four of them unrolled are a tenth to a quarter faster, measured


@pytree()
@dataclass(frozen=True, eq=False)
class Tiles:
    """Rows in tiles, the last ones filled with a row again, at weight 0: it has a density, as 0 may not.

    Attributes
    ----------
    x : array of shape (T, d, t)
        Rows, as the columns of their tile.
    w : array of shape (T, t)
        Weights; 0 for filling.
    radius : float
        The largest distance of a row from the origin.
    beside : Beside or None
        What else is known of the rows.
    """

    x: Float[Array, "T d t"]
    w: Float[Array, "T t"]
    radius: Float[Array, ""]
    beside: Beside | None = None


def tiles(
    values: Float[np.ndarray, "n d"],
    weights: Float[np.ndarray, " n"],
    dtype: np.dtype[Any],
    tile_rows: int,
    mapped: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Tiles:
    """Lay rows out in tiles on the device, inside `numerics.scoped`.

    Parameters
    ----------
    values : array of shape (n, d)
        Rows.
    weights : array of shape (n,)
        Weights of the rows.
    dtype : dtype
        float32 or float64.
    tile_rows : int
        Rows of a tile, unless all rows together are fewer.
    mapped : callable
        Maps rows of shape (m, d). It gets some tiles at a time, so that no second copy of all rows is made.
    """
    filling = mapped(values[[int(np.argmax(weights > 0))]])
    n, d = len(values), filling.shape[1]
    t = min(tile_rows, bucket(n))
    count = 1 if n <= t else bucket(-(-n // t))
    x, w = np.empty((count, d, t), dtype), np.zeros(count * t, dtype)
    x[n // t :] = filling.T
    together = min(count, max(1, CHUNK // t))
    for first in range(0, n, together * t):
        part = np.empty((together * t, d), dtype)
        some = values[first : first + len(part)]
        part[: len(some)], part[len(some) :] = mapped(some), filling
        here = x[first // t : first // t + together]
        here[:] = part.reshape(together, t, d).swapaxes(1, 2)[: len(here)]
    w[:n] = weights
    furthest = np.einsum("cdt,cdt->ct", x, x).max()
    return Tiles(jnp.asarray(x), jnp.asarray(w.reshape(count, t)), jnp.sqrt(furthest))


def with_beside(
    rows: Tiles, evidence: Float[np.ndarray, "n k"] | None = None, resources: Float[np.ndarray, "n c"] | None = None
) -> Tiles:
    """Give tiles with what else is known of their rows, inside `numerics.scoped`."""
    if evidence is None and resources is None:
        return rows
    count, t = rows.w.shape

    def laid(values: np.ndarray | None) -> Array | None:
        if values is None:
            return None
        padded = np.zeros((count * t, values.shape[1]), rows.x.dtype)
        padded[: len(values)] = values
        return jnp.asarray(padded.reshape(count, t, -1).swapaxes(1, 2))

    return replace(rows, beside=Beside(laid(evidence), laid(resources)))


@jax.custom_batching.custom_vmap
def _all_safe(safe: Array) -> Array:
    """Let several chains in one program decide together: a choice per chain would compute both forms for all."""
    return safe


@_all_safe.def_vmap
def _(size: int, batched: list[bool], safe: Array) -> tuple[Array, bool]:
    return jnp.all(safe), False


def over_tiles(
    tile: Callable[..., Any],
    rows: Tiles,
    *more: Any,
    unrolled: bool = True,
    joined: Callable[[Array, Array], Array] = jnp.add,
) -> Any:
    """Sum what `tile(x, w, *more)` gives over all tiles; `more` are trees of arrays of shape (T, ...).

    Long tiles are `unrolled`, which takes the memory of four of them, and longer to compile. What tiles give may be
    `joined` otherwise than by sums, from 0.
    """
    xs = (rows.x, rows.w, *more)
    first = jax.eval_shape(tile, *jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), xs))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first)
    count, t = rows.w.shape
    unroll = 4 if unrolled and count > 4 and t >= LONG else 1
    return lax.scan(lambda total, x: (jax.tree.map(joined, total, tile(*x)), None), zero, xs, unroll=unroll)[0]


def either_form(family: SweptFamily, parameters: Any, rows: Tiles, pass_: Callable[[bool], Any]) -> Any:
    """Run ``pass_(fast)`` in the form that the family wants."""
    return either(family.safe(parameters, rows.radius), pass_)


def either(safe: Array | bool, pass_: Callable[[bool], Any]) -> Any:
    """Run ``pass_(fast)``, in the fast form where that is safe."""
    if safe is False:
        return pass_(False)
    return lax.cond(_all_safe(lax.stop_gradient(safe)), lambda: pass_(True), lambda: pass_(False))


def sweep(
    family: SweptFamily,
    parameters: Any,
    log_weights: Float[Array, " k"],
    rows: Tiles,
    prices: Float[Array, "*c k"] | None = None,
    plain: bool = False,
) -> tuple[Array, Any]:
    """Pass once over the rows; `plain` leaves the fast form out, which takes half of the time to compile.

    Returns
    -------
    log_normaliser : scalar
        The weighted sum over rows of their log-normalisers; without prices, the log-likelihood.
    statistics
        The family's sufficient statistics under the responsibilities.
    """

    def pass_(fast: bool) -> tuple[Array, Any]:
        def tile(x: Array, w: Array, beside: Beside | None) -> tuple[Array, Any]:
            features = family.tile_features(parameters, x, fast)
            scores = family.tile_log_density(parameters, features, fast)
            log_normaliser, r = assign(scores, log_weights, prices, beside)
            return jnp.sum(w * log_normaliser), family.tile_statistics(parameters, features, r * w, fast)

        value, total = over_tiles(tile, rows, rows.beside)
        return value, family.collect(parameters, total, fast)

    return pass_(False) if plain else either_form(family, parameters, rows, pass_)


def rowwise(
    family: SweptFamily,
    parameters: Any,
    log_weights: Float[Array, " k"],
    rows: Tiles,
    prices: Float[Array, "*c k"] | None = None,
) -> tuple[Float[Array, "T t"], Float[Array, "T k t"]]:
    """Give log-normalisers and responsibilities of every row, for when the rows themselves are asked for."""

    def pass_(fast: bool) -> tuple[Array, Array]:
        def tile(each: tuple[Array, Beside | None]) -> tuple[Array, Array]:
            return assign(family.tile_scores(parameters, each[0], fast), log_weights, prices, each[1])

        return lax.map(tile, (rows.x, rows.beside))

    return either_form(family, parameters, rows, pass_)


def logits(family: SweptFamily, parameters: Any, log_weights: Float[Array, " k"], rows: Tiles) -> Float[Array, "T k t"]:
    """Give the log of the proportion times the density of each component for every row, with its evidence."""

    def pass_(fast: bool) -> Array:
        found = lax.map(lambda x: family.tile_scores(parameters, x, fast), rows.x) + log_weights[:, None]
        return found if rows.beside is None or rows.beside.evidence is None else found + rows.beside.evidence

    return either_form(family, parameters, rows, pass_)


def log_likelihood(family: SweptFamily, parameters: Any, log_weights: Float[Array, " k"], rows: Tiles) -> Array:
    """Give the weighted log-likelihood of the rows, differentiable at the price of one pass.

    Families without statistics are differentiated through the tiles, each of which is computed again for that.
    """
    if family.TIER != "a":
        return _by_statistics(family, parameters, log_weights, rows)

    @jax.checkpoint
    def tile(x: Array, w: Array, beside: Beside | None) -> Array:
        return jnp.sum(w * assign(family.tile_scores(parameters, x, False), log_weights, beside=beside)[0])

    return over_tiles(tile, rows, rows.beside)


@jax.custom_jvp
def _by_statistics(family: SweptFamily, parameters: Any, log_weights: Float[Array, " k"], rows: Tiles) -> Array:
    """Give the log-likelihood with a derivative of its own.

    Notes
    -----
    The tangent is the log density of the *statistics*, differentiated with the statistics held: by Fisher's identity
    the responsibilities' own change cancels. The statistics keep their reference points fixed, and so does the log
    density that is differentiated; both or neither, or the Hessian is wrong.
    """
    return sweep(family, parameters, log_weights, rows)[0]


@partial(_by_statistics.defjvp, symbolic_zeros=True)
def _by_statistics_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    family, parameters, log_weights, rows = primals
    zero = jax.custom_derivatives.SymbolicZero
    if any(not isinstance(leaf, zero) for leaf in jax.tree.leaves(tangents[3], is_leaf=lambda t: isinstance(t, zero))):
        raise TypeError("the likelihood has no derivative in the rows or their weights: differentiate the parameters")
    moving = jax.tree.map(
        lambda t: jnp.zeros(t.shape, t.dtype) if isinstance(t, zero) else t,
        (tangents[1], tangents[2]),
        is_leaf=lambda t: isinstance(t, zero),
    )
    value, statistics = sweep(family, parameters, log_weights, rows)

    def of_statistics(parameters: Any, log_weights: Array) -> Array:
        return family.statistics_log_density(parameters, statistics) + jnp.dot(family.members(statistics), log_weights)

    return value, jax.jvp(of_statistics, (parameters, log_weights), moving)[1]
