"""What every engine returns: a fit, which holds a posterior with its status and trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.special import entr, gammaln

from bayessoft.core.sweep import Tiles, logits, rowwise
from bayessoft.families.family import SweptFamily
from bayessoft.families.weights import Equal
from bayessoft.mixture import Mixture
from bayessoft.numerics import Affine, scoped
from bayessoft.posteriors import Conjugate, Draws, Point, on_device
from bayessoft.status import Status

EVALUATED = 1 << 19  # numbers of rows and memberships evaluated at a time: 4 MB, and some copies of them
DRAWN = 1000  # draws that stand for a posterior in closed form
NUMBERS = 1 << 21  # numbers of all draws together that are looked at at a time: 16 MB, and some copies of them

__all__ = ["Fit"]


@dataclass(frozen=True, eq=False)
class Fit:
    """A mixture fitted to rows.

    Attributes
    ----------
    mixture : Mixture
        What was fitted, with every automatic setting resolved, in original units.
    frame : Affine, or Affines of a product
        The map to the standardised rows in which the fit was computed.
    posterior : Point, Conjugate or Draws
        The result.
    status : Status
        How the fit ended.
    trace : array of shape (n_iter,)
        The objective after each step, per unit weight, in original units: log-likelihood plus log prior, of draws the
        mean over chains; of a posterior in closed form the bound.
    n : int
        Number of rows.
    total_weight : float
        Sum of their weights.
    dtype, device : str
        What it was computed in and on.
    named : bool
        Whether evidence on the rows told the clusters apart.
    """

    mixture: Mixture
    frame: Affine
    posterior: Point | Conjugate | Draws
    status: Status
    trace: Float[np.ndarray, " steps"]
    n: int
    total_weight: float
    dtype: str
    device: str
    named: bool = False

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        found = self.mixture.family.n_parameters(self.mixture.k, len(self.frame.shift))
        sizes = self.mixture.sizes
        known = isinstance(self.mixture.weights, Equal)
        if not known and (sizes is None or not sizes.pinned or not isinstance(self.posterior, Point)):
            found += self.mixture.k - 1  # proportions, which fixed sizes are where the fit is a point
        return found

    @property
    def plain(self) -> Fit:
        """The fit as one of a mixture at temperature 1, which has a density."""
        return replace(self, mixture=replace(self.mixture, family=self.mixture.family.plain))

    @property
    def log_relabellings(self) -> float:
        """The log of how many labellings the priors do not tell apart: log k! where they are the same for all."""
        if self.named:
            return 0.0
        counts = np.unique(self.mixture.exchangeable(), return_counts=True)[1]
        return float(gammaln(counts + 1.0).sum())

    def aligned(self) -> tuple[np.ndarray, Any]:
        """Give proportions and parameters in standardised units, draws with their labels aligned.

        Of a posterior in closed form, draws from it, as of a single chain.
        """
        posterior = self.posterior
        if isinstance(posterior, Conjugate):
            return jax.tree.map(lambda leaf: leaf[None], posterior.draw(DRAWN, np.dtype(self.dtype)))
        if isinstance(posterior, Point) or posterior.order is None:
            return posterior.weights, posterior.parameters
        weights = np.take_along_axis(posterior.weights, posterior.order, -1)
        return weights, self.mixture.family.arranged(posterior.parameters, posterior.order)

    def flat(self) -> tuple[np.ndarray, Any]:
        """Give `aligned` with one leading axis over the draws of all chains; a point is one draw."""
        found = self.aligned()
        lead = found[0].ndim - 1
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[lead:]), found)

    def simulate(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw n rows in original units, and their labels, ordered by label; of draws, each row from one of them."""
        weights, inside = self.flat()
        chosen, counts = np.unique(rng.integers(len(weights), size=n), return_counts=True)
        parts = []
        for draw, count in zip(chosen, counts, strict=True):
            parameters = self.mixture.family.map_parameters(jax.tree.map(lambda leaf: leaf[draw], inside), self.frame)  # noqa: B023
            parts.append(self.mixture.simulate(weights[draw].astype(np.float64), parameters, int(count), rng))
        values, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.argsort(labels, kind="stable")
        return values[order], labels[order]

    def evaluate(
        self,
        values: np.ndarray,
        fitted: bool = False,
        resources: np.ndarray | None = None,
        evidence: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give the log density (n,) and the memberships (n, k) of rows in original units, in the rows' dtype.

        Of draws, the log of the mean density, and the mean memberships, over all of them; of a posterior in closed
        form, both with the parameters integrated out. With `fitted`, the memberships are those that the fit gave its
        rows, and the first part is no density: under the prices of a size constraint, of `resources` as those rows take
        them in their own units, or the variational ones. With evidence, the first part is no density either.
        """
        log_density = np.empty(len(values), values.dtype)
        memberships = np.empty((len(values), self.mixture.k), values.dtype)
        for part, found, shares in self._looked(values, fitted, resources, evidence):
            log_density[part] = np.asarray(found).ravel()[: part.stop - part.start] + self.frame.log_det
            memberships[part] = _by_row(np.asarray(shares))[: part.stop - part.start]
        return log_density, memberships

    def log_density(self, values: np.ndarray, evidence: np.ndarray | None = None) -> Float[np.ndarray, " n"]:
        """Give the first part of what `evaluate` gives, without room for memberships of all rows."""
        log_density = np.empty(len(values), values.dtype)
        for part, found, _ in self._looked(values, False, None, evidence):
            log_density[part] = np.asarray(found).ravel()[: part.stop - part.start] + self.frame.log_det
        return log_density

    def _looked(
        self, values: np.ndarray, fitted: bool, resources: np.ndarray | None, evidence: np.ndarray | None
    ) -> Iterator[tuple[slice, Array, Array]]:
        """Give log densities and memberships of the rows in parts, with their place."""
        most = max(16, EVALUATED // (self.mixture.k + values.shape[1]))
        parts = max(1, -(-len(values) // most))
        with scoped(values.dtype):
            look = self._look(values.dtype, fitted)
            size = -(-len(values) // parts)  # of one size: one compilation
            for part, rows in self._parts(values, size, resources, evidence):
                yield part, *look(rows)

    def own_memberships(
        self, values: np.ndarray, weights: np.ndarray, evidence: np.ndarray | None = None
    ) -> Float[np.ndarray, "n k"]:
        """Give the memberships that the fit gave its rows, which had these weights and this evidence.

        Where labels were kept, how often a row had each, aligned; rows of weight 0 have no label that means anything.
        """
        posterior = self.posterior
        if not isinstance(posterior, Draws) or posterior.labels is None or posterior.order is None:
            demand = None if self.mixture.sizes is None else self.mixture.sizes.demand(self.mixture.k, weights)
            return self.evaluate(values, True, None if demand is None else demand.raw_resources, evidence)[1]
        found = np.zeros((len(values), self.mixture.k), values.dtype)
        clusters = np.argsort(posterior.order, -1)[:, posterior.labelled]
        for labels, cluster in zip(posterior.labels, clusters, strict=True):
            for own, place in zip(labels, cluster, strict=True):
                found[np.arange(len(values)), place[own]] += 1
        if (without := weights == 0).any():
            known = None if evidence is None else evidence[without]
            found[without] = self.evaluate(values[without], evidence=known)[1]
        return found / found.sum(1, keepdims=True)

    def log_memberships(self, values: np.ndarray, evidence: np.ndarray | None = None) -> Float[np.ndarray, "n k"]:
        """Give the logs of the memberships of rows in original units: numbers, even where these round to 0.

        Where evidence keeps a row out of a cluster, -inf.
        """
        found = np.empty((len(values), self.mixture.k), values.dtype)
        with scoped(values.dtype):
            if isinstance(self.posterior, Conjugate):
                look = partial(_log_predicted, on_device(self.posterior.mixture, values.dtype))
            else:
                look = partial(_log_averaged, self.mixture.family, self._draws(values.dtype))
            size = max(16, EVALUATED // (self.mixture.k + values.shape[1]))
            for part, rows in self._parts(values, size, evidence=evidence):
                found[part] = _by_row(np.asarray(look(rows)))[: part.stop - part.start]
        return found

    def _look(self, dtype: np.dtype[Any], fitted: bool) -> Callable[[Tiles], tuple[Array, Array]]:
        """Give what tells log densities and memberships of laid out rows, as `evaluate` has them."""
        posterior, family = self.posterior, self.mixture.family
        if isinstance(posterior, Conjugate):
            if not fitted:
                return partial(_predicted, on_device(posterior.mixture, dtype))
            return partial(_expected, on_device(posterior.mixture, dtype), self._prices(dtype))
        prices = self._prices(dtype) if fitted else None
        return partial(_averaged, family, self._draws(dtype), prices)

    def _prices(self, dtype: np.dtype[Any]) -> Array | None:
        """Give the prices of a size constraint on the device; None where there are none."""
        if isinstance(self.posterior, Draws) or self.posterior.sizes is None:
            return None
        return on_device(self.posterior.sizes.prices, dtype)

    def _draws(self, dtype: np.dtype[Any]) -> tuple[Array, Any]:
        """Give log proportions and parameters of all draws on the device."""
        weights, parameters = on_device(self.flat(), dtype)
        return jnp.log(weights), parameters

    def membership_interval(self, values: np.ndarray, interval: float) -> Float[np.ndarray, "n k 2"]:
        """Give equal-tailed posterior intervals of the memberships of rows in original units."""
        return self._interval(values, interval, lambda shares: shares)

    def entropy_interval(self, values: np.ndarray, interval: float) -> Float[np.ndarray, "n 2"]:
        """Give equal-tailed posterior intervals of the entropies of the memberships, in nats: no labels enter."""
        return self._interval(values, interval, lambda shares: entr(shares).sum(1))

    def _interval(self, values: np.ndarray, interval: float, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Give intervals of what is made of memberships (n, k, draws), one number for each draw at the end."""
        ends = [(1 - interval) / 2, (1 + interval) / 2]
        result = []
        with scoped(values.dtype):
            draws = self._draws(values.dtype)
            for part, rows in self._parts(values, _rows_of(self.mixture.k, draws)):
                shares = _by_row(np.asarray(_every_membership(self.mixture.family, draws, rows)))
                found = np.quantile(of(shares[: part.stop - part.start]), ends, axis=-1)
                result.append(np.moveaxis(found, 0, -1).astype(values.dtype))
        return np.concatenate(result)

    def drawn_memberships(self, values: np.ndarray, part: slice) -> Float[np.ndarray, "draws n k"]:
        """Give the memberships of rows in original units under some of the draws, labels as the sampler had them."""
        raw = self.posterior.weights, self.posterior.parameters
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[part], raw)
        with scoped(values.dtype):
            weights, parameters = on_device(flat, values.dtype)
            rows = self.mixture.lay_out(values, np.ones(len(values)), self.frame)
            found = np.asarray(_every_membership(self.mixture.family, (jnp.log(weights), parameters), rows))
        return np.moveaxis(_by_row(found)[: len(values)], -1, 0)

    def log_likelihood(self, values: np.ndarray) -> Float[np.ndarray, "draws n"]:
        """Give the log density of rows in original units under each draw, chains one after the other."""
        with scoped(values.dtype):
            draws = self._draws(values.dtype)
            number = len(draws[0])
            result = np.empty((number, len(values)), values.dtype)
            for part, rows in self._parts(values, _rows_of(1, draws)):
                found = np.asarray(_every_log_density(self.mixture.family, draws, rows)).reshape(number, -1)
                result[:, part] = found[:, : part.stop - part.start] + self.frame.log_det
        return result

    def _parts(
        self,
        values: np.ndarray,
        size: int,
        resources: np.ndarray | None = None,
        evidence: np.ndarray | None = None,
    ) -> Iterator[tuple[slice, Tiles]]:
        """Give the rows in parts laid out on the device, with their place, inside `numerics.scoped`."""
        for first in range(0, len(values), size):
            part = values[first : first + size]
            taken, known = (None if each is None else each[first : first + size] for each in (resources, evidence))
            rows = self.mixture.lay_out(part, np.ones(len(part)), self.frame, None, taken, known)
            yield slice(first, first + len(part)), rows


def _rows_of(numbers: int, draws: tuple[Array, Any]) -> int:
    """Tell how many rows to look at in all draws at once, at some numbers each: it bounds the memory."""
    return max(16, NUMBERS // (numbers * len(draws[0])))


@jax.jit
def _predicted(posterior: Mixture, rows: Tiles) -> tuple[Array, Array]:
    """Give log densities and memberships of rows with the parameters integrated out."""
    return posterior.predictive(rows)


@jax.jit
def _expected(posterior: Mixture, prices: Array | None, rows: Tiles) -> tuple[Array, Array]:
    """Give log-normalisers and memberships of rows under expected log densities."""
    log_weights, parameters = posterior.expected()
    return rowwise(posterior.family, parameters, log_weights, rows, prices)


def _by_row(shares: np.ndarray) -> np.ndarray:
    """Bring memberships of shape (T, k, t, ...) into the order of the rows."""
    return np.moveaxis(shares, 1, 2).reshape(-1, shares.shape[1], *shares.shape[3:])


@jax.jit
def _averaged(family: SweptFamily, draws: Any, prices: Array | None, rows: Tiles) -> tuple[Array, Array]:
    """Give the log of the mean density, and the mean memberships, over draws."""

    def add(total: tuple[Array, Array], draw: Any) -> tuple[tuple[Array, Array], None]:
        log_density, shares = rowwise(family, draw[1], draw[0], rows, prices)
        return (jnp.logaddexp(total[0], log_density), total[1] + shares), None

    number, k = draws[0].shape
    tiles, t = rows.w.shape
    none = (jnp.full((tiles, t), -jnp.inf, rows.x.dtype), jnp.zeros((tiles, k, t), rows.x.dtype))
    log_density, shares = jax.lax.scan(add, none, draws)[0]
    return log_density - jnp.log(number), shares / number


@jax.jit
def _log_predicted(posterior: Mixture, rows: Tiles) -> Float[Array, "T k t"]:
    """Give the logs of memberships with the parameters integrated out."""
    return jax.nn.log_softmax(posterior.predictive_logits(rows), axis=1)


@jax.jit
def _log_averaged(family: SweptFamily, draws: Any, rows: Tiles) -> Float[Array, "T k t"]:
    """Give the logs of the mean memberships over draws."""

    def add(total: Array, draw: Any) -> tuple[Array, None]:
        return jnp.logaddexp(total, jax.nn.log_softmax(logits(family, draw[1], draw[0], rows), axis=1)), None

    number, k = draws[0].shape
    tiles, t = rows.w.shape
    none = jnp.full((tiles, k, t), -jnp.inf, rows.x.dtype)
    return jax.lax.scan(add, none, draws)[0] - jnp.log(number)


@jax.jit
def _every_membership(family: SweptFamily, draws: Any, rows: Tiles) -> Float[Array, "T k t draws"]:
    """Give the memberships of rows under each draw."""
    every = jax.lax.map(lambda draw: rowwise(family, draw[1], draw[0], rows)[1], draws)
    return jnp.moveaxis(every, 0, -1)


@jax.jit
def _every_log_density(family: SweptFamily, draws: Any, rows: Tiles) -> Float[Array, "draws T t"]:
    """Give the log densities of rows under each draw."""
    return jax.lax.map(lambda draw: rowwise(family, draw[1], draw[0], rows)[0], draws)
