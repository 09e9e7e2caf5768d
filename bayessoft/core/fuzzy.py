"""The assignment of fuzzy c-means: memberships by distances, and the best centres for them.

It is a softmax over clusters whose scores are ``-log(d^2) / (m - 1)``, with sums under memberships to the power m.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.sweep import Tiles, over_tiles
from bayessoft.families.covariance import Covariance, Moments
from bayessoft.families.family import pytree
from bayessoft.families.structures import STRUCTURES

__all__ = [
    "VARIANTS",
    "FuzzyCentres",
    "FuzzyModel",
    "best_centres",
    "fuzzy_pass",
    "largest_change",
    "least_difference",
    "memberships",
]

VARIANTS = ("standard", "gustafson-kessel", "entropy", "noise")
LEAST = 1e-9  # variance in standardised units that is added to those of clusters with shapes


@pytree()
@dataclass(frozen=True, eq=False)
class FuzzyCentres:
    """Clusters.

    Attributes
    ----------
    means : array of shape (k, d)
    factors : array of shape (k,) or (k, d, d)
        Squared distances are those of rows times the factor; ones, but where clusters have shapes, of volume 1.
    """

    means: Float[Array, "k d"]
    factors: Array


@pytree(static=("variant",))
@dataclass(frozen=True, eq=False)
class FuzzyModel:
    """What is minimised, for standardised rows.

    Attributes
    ----------
    variant : str
        One of `VARIANTS`.
    m : float > 1
        Fuzzifier, the power of memberships; of "entropy" 1.
    strength : float
        Of "entropy" the weight of the entropy, in squared units; of "noise" the squared distance of noise.
    """

    variant: str
    m: Any
    strength: Any

    @property
    def structure(self) -> Covariance:
        """The shapes of clusters."""
        return STRUCTURES["full" if self.variant == "gustafson-kessel" else "spherical"]

    def assign(self, square: Float[Array, "k t"]) -> tuple[Array, Array, Array]:
        """Give memberships and their powers m, (k, t), and what each row adds to the objective, (t,).

        Memberships r sum to 1 over the clusters, and noise. Powers of the distances are taken relative to the nearest
        centre's, and ``r^m = r d^-2 / (sum of d^(-2 / (m - 1)))^(m - 1)`` needs no further one.
        """
        if self.variant == "entropy":
            logits = -square / self.strength
            peak = logits.max(0)
            unnormalised = jnp.exp(logits - peak)
            total = unnormalised.sum(0)
            shares = unnormalised / total
            return shares, shares, -self.strength * (peak + jnp.log(total))
        square = jnp.maximum(square, jnp.finfo(square.dtype).tiny)
        least = square.min(0)
        if self.variant == "noise":
            least = jnp.minimum(least, self.strength)
        near = least / square
        unnormalised = self._root(near)
        total = unnormalised.sum(0)
        if self.variant == "noise":
            total = total + self._root(least / self.strength)
        shrunk = jnp.exp((1 - self.m) * jnp.log(total))
        shares = unnormalised / total
        return shares, shares * near * shrunk, least * shrunk

    def _root(self, near: Float[Array, "..."]) -> Float[Array, "..."]:
        """Give the power ``1 / (m - 1)``; for the usual m = 2, which takes no logarithm, at once."""
        return lax.cond(self.m == 2, lambda: near, lambda: jnp.exp(jnp.log(near) / (self.m - 1)))


def _squares(model: FuzzyModel, centres: FuzzyCentres, features: Any, fast: bool) -> Float[Array, "k t"]:
    """Squared distances, from features of the rows of a tile."""
    scores = model.structure.product_scores if fast else model.structure.centred_scores
    none = jnp.zeros(len(centres.means), centres.means.dtype)
    return jnp.maximum(-2 * scores(centres.factors, centres.means, none, features), 0)


def _features(model: FuzzyModel, centres: FuzzyCentres, x: Array, fast: bool) -> Any:
    if fast:
        return model.structure.product_features(x)
    return model.structure.centred_features(centres.factors, centres.means, x)


def memberships(model: FuzzyModel, centres: FuzzyCentres, x: Float[Array, "d t"], fast: bool) -> Float[Array, "k t"]:
    """Give the memberships of the rows of a tile; under noise they sum to less than 1."""
    return model.assign(_squares(model, centres, _features(model, centres, x, fast), fast))[0]


def fuzzy_pass(model: FuzzyModel, centres: FuzzyCentres, rows: Tiles, fast: bool) -> tuple[Array, Moments]:
    """Give the objective, and the moments of the rows about the centres, under memberships to the power m."""
    structure = model.structure

    def tile(x: Array, w: Array) -> tuple[Array, Any]:
        features = _features(model, centres, x, fast)
        _, powers, loss = model.assign(_squares(model, centres, features, fast))
        sums = structure.product_sums if fast else structure.centred_sums
        return jnp.sum(w * loss), sums(features, powers * w)

    loss, sums = over_tiles(tile, rows)
    if not fast:
        return loss, Moments(*structure.centred_moments(centres.factors, centres.means, sums), centres.means)
    weight, first, second = structure.product_moments(sums, centres.means.shape[1])
    return loss, Moments(weight, first, second, jnp.zeros_like(first)).about(structure, centres.means)


def best_centres(model: FuzzyModel, moments: Moments) -> FuzzyCentres:
    """Give the best centres for memberships, and the best shapes of volume 1."""
    k, d = moments.first.shape
    weight = moments.weight + 10 * jnp.finfo(moments.weight.dtype).tiny
    means = moments.reference + moments.first / weight[:, None]
    if not model.structure.matrix:
        return FuzzyCentres(means, jnp.ones(k, means.dtype))
    second = moments.about(model.structure, means).second / weight[:, None, None]
    factors = model.structure.factor(second + LEAST * jnp.eye(d, dtype=means.dtype))
    volume = model.structure.log_det(factors, d)
    return FuzzyCentres(means, factors * jnp.exp(-volume / d)[:, None, None])


def largest_change(model: FuzzyModel, before: FuzzyCentres, now: FuzzyCentres, rows: Tiles) -> Array:
    """Give the largest change of any row's membership."""

    def tile(x: Array, w: Array) -> Array:
        old, new = (memberships(model, centres, x, False) for centres in (before, now))
        return jnp.max(jnp.abs(new - old) * (w > 0))

    return over_tiles(tile, rows, unrolled=False, joined=jnp.maximum)


def least_difference(model: FuzzyModel, centres: FuzzyCentres, rows: Tiles) -> Array:
    """Tell how much memberships in two clusters differ, of those next to each other that differ least.

    It is the largest difference of any row, as a share of the largest membership of any row.
    """
    k = len(centres.means)
    if k == 1:
        return jnp.full((), jnp.inf, centres.means.dtype)
    between = jnp.sum((centres.means[:, None] - centres.means) ** 2, -1)
    nearest = jnp.where(jnp.eye(k, dtype=bool), jnp.inf, between).argmin(1)

    def tile(x: Array, w: Array) -> tuple[Array, Array]:
        shares = memberships(model, centres, x, False) * (w > 0)
        return jnp.abs(shares - shares[nearest]).max(1), shares.max(1)

    apart, most = over_tiles(tile, rows, unrolled=False, joined=jnp.maximum)
    return (apart / most).min()
