"""Draws of labels whose counts stay inside bounds: swaps in pairs, and moves in blocks.

The labels have the density ``prod_n exp(score[z_n, n])`` over those whose counts are allowed. Swaps keep all counts,
blocks change them inside the bounds; together they reach all allowed labels from any of them, since the allowed counts
hang together by moves of single rows.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from bayessoft.core.allocate import by_place, places, uniforms
from bayessoft.core.assign import Beside, assign
from bayessoft.core.sweep import Tiles, either_form, over_tiles
from bayessoft.families.family import GibbsFamily

__all__ = ["counted", "filled", "rearrange", "settled"]

ROUNDS = 8  # of pairs, for each time that parameters are drawn
SETTLING = 32  # times that many, before the first
BLOCKS_OF_A_SIZE = 4  # about; sizes go down by halves


def rearrange(
    family: GibbsFamily,
    parameters: Any,
    log_weights: Float[Array, " k"],
    rows: Tiles,
    labels: Int[Array, " n"],
    low: Int[Array, " k"],
    high: Int[Array, " k"],
    key: Array,
    inverse_temperature: Array | float = 1.0,
) -> tuple[Array, Int[Array, " n"], Any]:
    """Draw labels whose counts are allowed, from labels that are.

    Parameters
    ----------
    family, parameters, log_weights, rows, key, inverse_temperature
        As of `core.allocate.allocate`; the weights of the rows are 0 or 1.
    labels : array of shape (n,), int
        For each place of a row; tiles may have more places than there are rows.
    low, high : array of shape (k,), int
        Smallest and largest number of rows with each label.

    Returns
    -------
    log_normaliser : scalar
        As of `core.allocate.allocate`: of labels without bounds.
    labels : array of shape (n,), int
        A step that leaves their density, restricted to allowed counts, what it is.
    statistics
        The family's statistics of the labelled rows, times the inverse temperature.
    """
    logits, log_normaliser = _logits(family, parameters, log_weights, rows, inverse_temperature)
    w = rows.w.reshape(-1)
    move_key, row_key = jax.random.split(key)
    labels = _moved(logits, labels, w, low, high, move_key)
    statistics = _labelled(family, parameters, rows, labels, len(log_weights), row_key, inverse_temperature)
    return log_normaliser, labels, statistics


def settled(
    family: GibbsFamily,
    parameters: Any,
    log_weights: Float[Array, " k"],
    rows: Tiles,
    labels: Int[Array, " n"],
    low: Int[Array, " k"],
    high: Int[Array, " k"],
    key: Array,
) -> Int[Array, " n"]:
    """Give labels some steps of `rearrange` on, parameters held."""
    logits, w = _logits(family, parameters, log_weights, rows, 1.0)[0], rows.w.reshape(-1)

    def step(i: Array, labels: Array) -> Array:
        return _moved(logits, labels, w, low, high, jax.random.fold_in(key, i))

    return lax.fori_loop(0, SETTLING, step, labels)


def _moved(logits: Array, labels: Array, w: Array, low: Array, high: Array, key: Array) -> Array:
    """Take the steps of both kinds."""
    block_key, pair_key = jax.random.split(key)

    def in_blocks() -> Array:
        return _in_blocks(logits, labels, w, low, high, block_key)

    labels = lax.cond((low < high).any(), in_blocks, lambda: labels)
    return _in_pairs(logits, labels, w, pair_key)


def _logits(
    family: GibbsFamily, parameters: Any, log_weights: Array, rows: Tiles, inverse_temperature: Array | float
) -> tuple[Float[Array, "k n"], Array]:
    """Give the log probability of every label of each row, not normalised, and the sum of the normalisers."""

    def pass_(fast: bool) -> tuple[Array, Array]:
        def tile(of: tuple[Array, Array, Beside | None]) -> tuple[Array, Array]:
            x, w, beside = of
            scores = family.tile_scores(parameters, x, fast) * inverse_temperature
            normaliser = jnp.sum(w * assign(scores, log_weights, beside=beside)[0])
            if beside is not None and beside.evidence is not None:
                scores = scores + beside.evidence
            return scores + log_weights[:, None], normaliser

        found, normalisers = lax.map(tile, (rows.x, rows.w, rows.beside))
        return jnp.moveaxis(found, 1, 0).reshape(found.shape[1], -1), normalisers.sum()

    return either_form(family, parameters, rows, pass_)


def counted(labels: Int[Array, " n"], w: Float[Array, " n"], k: int) -> Int[Array, " k"]:
    """Count the rows with each label; those of weight 0 do not count."""
    return jnp.zeros(k, jnp.int32).at[labels].add((w > 0).astype(jnp.int32))


def filled(low: Int[Array, " k"], high: Int[Array, " k"], w: Float[Array, " n"], dtype: Any) -> Int[Array, " n"]:
    """Give labels with allowed counts, cluster after cluster: a place to begin."""
    counting = jnp.cumsum(w > 0)
    room, left = high - low, counting[-1] - low.sum()
    counts = low + jnp.clip(left - (jnp.cumsum(room) - room), 0, room)
    return jnp.searchsorted(jnp.cumsum(counts), jnp.maximum(counting - 1, 0), side="right").astype(dtype)


def _in_pairs(
    logits: Float[Array, "k n"], labels: Int[Array, " n"], w: Float[Array, " n"], key: Array
) -> Int[Array, " n"]:
    """Swap the labels of pairs of rows, some rounds with other pairs.

    In each round two rows are a pair if their places sum to c, modulo n, for a random c, whatever their labels. Given
    everything else, each pair has its two labels one way or the other, independently of the other pairs: all pairs
    draw their way from its probability at once. Every pair of rows is a pair for some c.
    """
    size, counts = len(w), w > 0
    n = 1 + jnp.max(jnp.where(counts, jnp.arange(size, dtype=jnp.int32), 0))
    p = jnp.arange(size // 2, dtype=jnp.int32)
    middle_key, *own = jax.random.split(key, 1 + ROUNDS)
    middles = jax.random.randint(middle_key, (ROUNDS,), 0, 2 * n, dtype=jnp.int32)
    # a row of numbers for each round, whose first ones are the same for more places; 0 would let any event come true
    u = 1 - jax.vmap(lambda key: jax.random.uniform(key, p.shape, logits.dtype))(jnp.stack(own))

    def of(table: Array, *place: Array) -> Array:
        return table.at[place].get(mode="promise_in_bounds")

    def one(labels: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        start, gap = at[0] // 2, at[0] % 2  # pair p is p places on from the start, and gap + 1 + p back
        up, down = start + p, start - 1 - gap - p
        up, down = jnp.where(up < n, up, up - n), jnp.maximum(jnp.where(down < 0, down + n, down), 0)
        upper, lower = of(labels, up), of(labels, down)
        gain = of(logits, lower, up) - of(logits, upper, up) + of(logits, upper, down) - of(logits, lower, down)
        swap = (at[1] * (1 + jnp.exp(-gain)) < 1) & (p < (n - gap) // 2) & of(counts, up) & of(counts, down)
        for place, label in ((up, lower), (down, upper)):
            labels = labels.at[jnp.where(swap, place, size)].set(label, mode="drop")
        return labels, None

    return lax.scan(one, labels, (middles, u))[0]


def _in_blocks(
    logits: Float[Array, "k n"],
    labels: Int[Array, " n"],
    w: Float[Array, " n"],
    low: Int[Array, " k"],
    high: Int[Array, " k"],
    key: Array,
) -> Int[Array, " n"]:
    """Draw labels anew, block of rows by block, and keep those of a block where all counts stay inside the bounds.

    The blocks have random sizes, from a good part of the rows to single ones, whatever the labels. A block's proposal
    is a draw from its probability without bounds, so it is accepted with probability 1 or 0.
    """
    k, n = logits.shape
    number = BLOCKS_OF_A_SIZE * math.ceil(math.log2(n + 1)) + 1
    of_label, of_block = (uniforms(by_place(own, places((n,))), logits.dtype) for own in jax.random.split(key))
    below = jnp.cumsum(jnp.exp(logits - logits.max(0)), 0)
    new = jnp.sum(of_label * below[-1] >= below[:-1], 0).astype(labels.dtype)
    block = jnp.minimum(-BLOCKS_OF_A_SIZE * jnp.log2(1 - of_block), number - 1).astype(jnp.int32)
    one = (w > 0).astype(jnp.int32)
    change = jnp.zeros((number, k), jnp.int32).at[block, new].add(one).at[block, labels].add(-one)

    def step(counts: Array, change: Array) -> tuple[Array, Array]:
        after = counts + change
        fits = ((low <= after) & (after <= high)).all()
        return jnp.where(fits, after, counts), fits

    fits = lax.scan(step, counted(labels, w, k), change)[1]
    return jnp.where(fits[block], new, labels)


def _labelled(
    family: GibbsFamily,
    parameters: Any,
    rows: Tiles,
    labels: Int[Array, " n"],
    k: int,
    key: Array,
    inverse_temperature: Array | float = 1.0,
) -> Any:
    """Give the statistics of rows whose labels are known, times the inverse temperature."""

    def pass_(fast: bool) -> Any:
        def tile(x: Array, w: Array, own: Array, place: Array) -> Any:
            r = (jnp.arange(k)[:, None] == own) * (w * inverse_temperature)
            return family.tile_labelled(
                parameters, family.tile_features(parameters, x, fast), r, by_place(key, place), fast
            )

        more = labels.reshape(rows.w.shape), places(rows.w.shape)
        return family.collect(parameters, over_tiles(tile, rows, *more), fast)

    return either_form(family, parameters, rows, pass_)
