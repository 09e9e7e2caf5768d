"""A pass that draws the label of every row, and sums the statistics of the rows as labelled."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, UInt32

from bayessoft.core.assign import Beside, assign
from bayessoft.core.sweep import Tiles, either_form, over_tiles
from bayessoft.families.family import GibbsFamily

__all__ = ["allocate", "by_place", "places", "uniforms"]


def allocate(
    family: GibbsFamily,
    parameters: Any,
    log_weights: Float[Array, " k"],
    rows: Tiles,
    key: Array,
    inverse_temperature: Array | float = 1.0,
    repeated: bool = False,
) -> tuple[Array, Any]:
    """Draw labels from their probabilities given the parameters.

    Parameters
    ----------
    family, parameters, log_weights, rows
        As of `core.sweep.sweep`; the weights of the rows are whole numbers.
    key : key
        Each row has a random number of its own, folded in by its place in the table: tiling changes no label.
    inverse_temperature : scalar in (0, 1]
        What the log densities are multiplied by.
    repeated : bool
        Whether some weights are above 1: a row of weight 3 then draws three labels, not one.

    Returns
    -------
    log_normaliser : scalar
        The weighted sum over rows of their log-normalisers; at an inverse temperature of 1, the log-likelihood.
    statistics
        The family's statistics of the labelled rows, times the inverse temperature.
    """

    def pass_(fast: bool) -> tuple[Array, Any]:
        def tile(x: Array, w: Array, place: Array, beside: Beside | None) -> tuple[Array, Any]:
            features = family.tile_features(parameters, x, fast)
            scores = family.tile_log_density(parameters, features, fast) * inverse_temperature
            log_normaliser, r = assign(scores, log_weights, beside=beside)
            keys = by_place(key, place)
            drawn = _multinomial(keys, r, w) if repeated else _one_hot(uniforms(keys, r.dtype), r) * w
            return jnp.sum(w * log_normaliser), family.tile_labelled(
                parameters, features, drawn * inverse_temperature, keys, fast
            )

        value, total = over_tiles(tile, rows, places(rows.w.shape), rows.beside)
        return value, family.collect(parameters, total, fast)

    return either_form(family, parameters, rows, pass_)


def places(shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Give the places of rows in their table."""
    return jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)


def by_place(key: Array, place: UInt32[Array, " t"]) -> Array:
    """Give each row a key of its own, by its place in the table: tiling changes none."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(place)


def uniforms(keys: Array, dtype: Any) -> Float[Array, " t"]:
    """Give a uniform number inside (0, 1) for each key, made of the key's own bits: folding a place in has mixed them.

    In the place of 0 it is half of the smallest other number: of 0, any event would come true.
    """
    bits: UInt32[Array, "t 2"] = jax.random.key_data(keys)
    if dtype == jnp.float32:
        return jnp.maximum((bits[:, 0] >> 8).astype(dtype), 0.5) * 2.0**-24
    return jnp.maximum(bits[:, 0].astype(dtype) * 2.0**-32 + (bits[:, 1] >> 11).astype(dtype) * 2.0**-53, 2.0**-54)


def _one_hot(u: Float[Array, " t"], r: Float[Array, "k t"]) -> Float[Array, "k t"]:
    """Draw a label for each column by the inverse of its distribution function."""
    below = jnp.cumsum(r, axis=0)
    label = jnp.sum(u * below[-1] >= below[:-1], axis=0)
    return (jnp.arange(len(r))[:, None] == label).astype(r.dtype)


def _multinomial(keys: Array, r: Float[Array, "k t"], w: Float[Array, " t"]) -> Float[Array, "k t"]:
    """Draw w labels for each column: cluster by cluster, a binomial share of what is left."""

    def one(carry: tuple[Array, Array], at: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        left, rest = carry
        cluster, share = at
        chance = jnp.clip(share / jnp.maximum(rest, jnp.finfo(r.dtype).tiny), 0.0, 1.0)
        own = jax.vmap(lambda key: jax.random.fold_in(key, cluster))(keys)
        count = jax.vmap(jax.random.binomial)(own, left, chance)
        return (left - count, rest - share), count

    places = jnp.arange(len(r) - 1, dtype=jnp.uint32)
    (left, _), counts = lax.scan(one, (w, jnp.ones_like(w)), (places, r[:-1]))
    return jnp.concatenate([counts, left[None]])
