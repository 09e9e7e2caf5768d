"""Components whose density falls with the distance from a centre alone, at one rate for all: those of soft k-means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.lax import stop_gradient
from jax.scipy.special import gammaln
from jaxtyping import Float
from scipy.linalg import eigh
from sklearn.metrics import pairwise_distances_argmin_min

from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError, listed
from bayessoft.families.covariance import einsum
from bayessoft.families.family import Sample, SweptFamily, moved, pytree, rows_of_a_tile
from bayessoft.families.structures import STRUCTURES
from bayessoft.numerics import Affine

__all__ = ["METRICS", "UPDATES", "Centres", "Radial", "RadialSums"]

METRICS = ("sqeuclidean", "euclidean")
UPDATES = ("weiszfeld", "mean")
SPHERICAL = STRUCTURES["spherical"]
SAFE = 4e6  # squared distance from the origin over a squared length that matters, up to which products keep 9 digits
NEAR = 1e-7  # share of the rows' spread within which a row lies on a centre
ROUNDED = 64  # times rounding, of rows with a spread of 1: how far from centres rows are that lie there but for it


def _squares_safe(length: Array, radius: Array) -> Array | bool:
    """Tell whether squared distances by products are right enough where squares of a length matter."""
    return False if length.dtype != jnp.float64 else radius**2 < SAFE * length**2


def _squares(means: Float[Array, "k d"], x: Float[Array, "d t"], fast: bool) -> Float[Array, "k t"]:
    """Squared distances of the rows of a tile from each centre; by products where `fast`, see `_squares_safe`."""
    if not fast:
        return jnp.sum((x - means[:, :, None]) ** 2, axis=1)
    ones, none = jnp.ones(len(means), x.dtype), jnp.zeros(len(means), x.dtype)
    return jnp.maximum(-2 * SPHERICAL.product_scores(ones, means, none, SPHERICAL.product_features(x)), 0)


@pytree()
@dataclass(frozen=True, eq=False)
class Centres:
    """Centres of k components, and the rate that all share.

    Attributes
    ----------
    means : array of shape (k, d)
    beta : scalar
        Nats that the density loses per unit of (squared) distance.
    """

    means: Any
    beta: Any


@pytree()
@dataclass(frozen=True, eq=False)
class RadialSums:
    """Sufficient statistics about the centres that they were taken at.

    Attributes
    ----------
    weight : array of shape (k,)
        Sum of the responsibilities.
    pull : array of shape (k,)
        Sum of the responsibilities, over the distance where a Weiszfeld step is made of them.
    held : array of shape (k,)
        Sum of those of rows that lie on the centre, which that step leaves out of `pull`.
    first : array of shape (k, d)
        The terms of `pull` times the difference from the centre.
    distance : array of shape (k,)
        Sum of responsibilities times (squared) distance.
    reference : array of shape (k, d)
        The centres.
    """

    weight: Array
    pull: Array
    held: Array
    first: Array
    distance: Array
    reference: Array


@pytree(static=("metric", "update"))
@dataclass(frozen=True, eq=False)
class Radial(SweptFamily):
    """Components with density proportional to ``exp(-beta * d(x, centre))``, d a distance or its square.

    Under equal proportions, a mixture of them is soft k-means at inverse temperature beta. With the square, a component
    is a normal distribution with variance ``1 / (2 beta)`` in every direction.

    Parameters
    ----------
    beta : float > 0 or None
        In nats per unit of (squared) distance. None is the most likely one.
    metric : {"sqeuclidean", "euclidean"}
        The square of the distance, or the distance.
    update : {"weiszfeld", "mean"}
        How centres of distances move: a step of Weiszfeld (1937), after which the objective is no lower; or to the
        weighted mean, of which nobody can say that.

    Notes
    -----
    The normaliser of the distance is ``Gamma(d / 2) beta^d / (2 pi^(d / 2) Gamma(d))``. A step of Weiszfeld weighs rows
    by responsibility over distance, and maximises a bound from below that touches the objective. Rows that lie on the
    centre are left out, and hold it with a force of their responsibility (Vardi and Zhang, *PNAS* 97, 2000).
    """

    SHOWN: ClassVar[str] = "centre"

    beta: Any = None
    metric: str = "sqeuclidean"
    update: str = "weiszfeld"
    prior: Any = None

    def __post_init__(self) -> None:
        """Refuse a metric and an update that are none."""
        for name, known in (("metric", METRICS), ("update", UPDATES)):
            if getattr(self, name) not in known:
                raise OptionError(f"{name} is {getattr(self, name)!r}: pass {listed(list(known))}")

    @property
    def squared(self) -> bool:
        """Whether the score is linear in the squared distance."""
        return self.metric == "sqeuclidean"

    @property
    def stepwise(self) -> bool:
        """Whether centres move by steps of Weiszfeld."""
        return not self.squared and self.update == "weiszfeld"

    @property
    def group(self) -> str:
        return "scale"

    def tile_rows(self, k: int, d: int) -> int:
        return rows_of_a_tile(2 * (d + k), 256)

    def safe(self, parameters: Centres, radius: Array) -> Array | bool:
        beta = stop_gradient(parameters.beta)
        return _squares_safe(1 / jnp.sqrt(2 * beta) if self.squared else 1 / beta, radius)

    def tile_features(self, parameters: Centres, x: Array, fast: bool) -> Any:
        """Give the rows, and their (squared) distances from centres; from the origin, where products tell the rest."""
        if fast and self.squared:
            return x, jnp.sum(x * x, 0)
        found = _squares(parameters.means, x, fast)
        return x, found if self.squared else jnp.sqrt(found)

    def tile_log_density(self, parameters: Centres, features: Any, fast: bool) -> Array:
        means, beta = parameters.means, parameters.beta
        constant = self._log_normaliser(beta, means.shape[1])
        if fast and self.squared:
            corner = constant - beta * jnp.sum(means**2, 1, keepdims=True)
            return einsum("kd,dt->kt", 2 * beta * means, features[0]) + corner - beta * features[1]
        return constant - beta * features[1]

    def _log_normaliser(self, beta: Any, d: int) -> Any:
        """Give minus the log of the integral of ``exp(-beta d)``."""
        if self.squared:
            return 0.5 * d * jnp.log(beta / jnp.pi)
        return d * jnp.log(beta) + gammaln(d / 2) - gammaln(1.0 * d) - jnp.log(2.0) - 0.5 * d * jnp.log(jnp.pi)

    def tile_statistics(self, parameters: Centres, features: Any, r: Array, fast: bool) -> Any:
        if fast and self.squared:
            x, square = features
            return r.sum(1), einsum("kt,dt->kd", r, x), einsum("kt,t->k", r, square)
        x, distance = stop_gradient(features)
        means = stop_gradient(parameters.means)
        on = (distance <= NEAR) & self.stepwise
        pulls = jnp.where(on, 0, r / jnp.maximum(distance, NEAR)) if self.stepwise else r
        if fast:
            first = einsum("kt,dt->kd", pulls, x)
        else:
            first = einsum("kt,kdt->kd", pulls, x - means[:, :, None])
        return r.sum(1), pulls.sum(1), jnp.sum(r * on, 1), first, jnp.sum(r * distance, 1)

    def collect(self, parameters: Centres, total: Any, fast: bool) -> RadialSums:
        means = stop_gradient(parameters.means)
        if fast and self.squared:
            weight, first, second = total
            first = first - weight[:, None] * means
            distance = second - jnp.sum(means * (2 * first + weight[:, None] * means), 1)
            return RadialSums(weight, weight, jnp.zeros_like(weight), first, jnp.maximum(distance, 0), means)
        weight, pull, held, first, distance = total
        return RadialSums(weight, pull, held, first - pull[:, None] * means if fast else first, distance, means)

    def statistics_log_density(self, parameters: Centres, statistics: RadialSums) -> Array:
        """Give, of distances, a bound from below, which touches at the centres that the statistics are about."""
        distance = statistics.distance + self._grown(statistics, parameters.means - statistics.reference)
        constant = self._log_normaliser(parameters.beta, parameters.means.shape[1])
        return jnp.sum(statistics.weight * constant - parameters.beta * distance)

    def _grown(self, statistics: RadialSums, step: Float[Array, "k d"]) -> Float[Array, " k"]:
        """Give what (squared) distances grow by when centres move, at most."""
        square = jnp.sum(step**2, 1)
        squared = statistics.pull * square - 2 * jnp.sum(step * statistics.first, 1)
        return squared if self.squared else squared / 2 + statistics.held * jnp.sqrt(square)

    def mode(self, statistics: RadialSums, floor: Array | float) -> Centres:
        """Give the centres of the next step, and the rate that is the most likely one there."""
        least = 10 * jnp.finfo(statistics.weight.dtype).eps
        step = statistics.first / (statistics.pull + least)[:, None]
        if self.stepwise:
            force = jnp.sqrt(jnp.sum(statistics.first**2, 1))
            step = step * jnp.maximum(1 - statistics.held / jnp.maximum(force, least), 0)[:, None]
        means = statistics.reference + step
        if self.beta is not None:
            return Centres(means, jnp.asarray(self.beta, statistics.weight.dtype))
        grown = self._grown(statistics, step) if self.squared or self.stepwise else 0.0
        d = step.shape[1]
        rounding = jnp.maximum(least * statistics.distance.sum(), jnp.finfo(least.dtype).tiny ** 0.5)
        distance = jnp.maximum(jnp.sum(statistics.distance + grown), rounding)
        return Centres(means, (d / 2 if self.squared else d) * statistics.weight.sum() / distance)

    def collapsed(self, parameters: Centres) -> Array | bool:
        """Tell whether all rows lie on centres but for rounding, so that the most likely rate has no bound."""
        if self.beta is not None:
            return False
        rate, d = jnp.asarray(parameters.beta), parameters.means.shape[1]
        length = jnp.sqrt(d / (2 * rate)) if self.squared else d / rate
        return length < ROUNDED * jnp.finfo(rate.dtype).eps

    def placed(self, means: Array, beta: Array) -> Centres:
        """Give components with these centres, and this rate."""
        return Centres(means, beta)

    def most_change(self, old: Centres, new: Centres, radius: Array) -> Float[Array, " k"]:
        """Bound the change of the log densities of any row no further than `radius` from the origin."""
        step = jnp.sqrt(jnp.sum((new.means - old.means) ** 2, 1))
        far = radius + jnp.sqrt(jnp.sum(new.means**2, 1))
        moved = step * (2 * far + step) if self.squared else step
        return new.beta * moved + jnp.abs(new.beta - old.beta) * (far**2 if self.squared else far)

    def likely(self, x: Float[np.ndarray, "n d"], w: Float[np.ndarray, " n"], means: np.ndarray) -> float:
        """Give the most likely rate where every row belongs to the nearest centre."""
        nearest = pairwise_distances_argmin_min(x, means)[1]
        total = w @ (nearest**2 if self.squared else nearest)
        return float((0.5 if self.squared else 1.0) * x.shape[1] * w.sum() / max(total, 1e-6 * w.sum()))

    def critical(self, x: Float[np.ndarray, "n d"], w: Float[np.ndarray, " n"]) -> float:
        """Give the rate where centres that all lie at the mean part.

        There the log-likelihood gains by moving two of them apart: where ``beta Var(g) - E[H]``, of gradient g and
        Hessian H of the (squared) distance, is no longer negative in some direction. Of squares that is ``1 / (2 l)``
        with the largest eigenvalue l of the covariance: Rose, *Proceedings of the IEEE* 86 (1998), section II.
        """
        share = w / w.sum()
        z = x - share @ x
        if self.squared:
            return float(1 / (2 * np.linalg.eigvalsh((z * share[:, None]).T @ z)[-1]))
        length = np.linalg.norm(z, axis=1)
        length = np.maximum(length, 1e-6 * length.max())
        unit = z / length[:, None]
        second = np.eye(x.shape[1]) * (share / length).sum() - (unit * (share / length)[:, None]).T @ unit
        mean = share @ unit
        return float(1 / eigh((unit * share[:, None]).T @ unit - np.outer(mean, mean), second, eigvals_only=True)[-1])

    def centres(self, means: Array) -> Centres:
        return Centres(means, jnp.asarray(1.0 if self.beta is None else self.beta, means.dtype))

    def nearby(self, statistics: RadialSums) -> Centres:
        return self.mode(statistics, 0.0)

    def log_prior(self, parameters: Centres) -> Array:
        return jnp.zeros(())

    def with_prior(self, prior: Any) -> Radial:
        if prior not in (None, "weak"):
            raise OptionError(f"prior is {prior!r}, and {self.name} components have none: leave it out")
        return self

    def draw(self, sample: Sample, k: int) -> Centres:
        raise OptionError(f"{self.name} components have no prior to draw from: use Gaussian('spherical')")

    def sites(self, parameters: Centres) -> dict[str, Array]:
        return {"means": parameters.means, "beta": parameters.beta}

    def arranged(self, parameters: Centres, order: np.ndarray) -> Centres:
        return replace(parameters, means=moved(parameters.means, order))

    def likelihood(self, parameters: Centres) -> Any:
        if not self.squared:
            raise OptionError("NumPyro has no distribution whose density falls with the distance: use 'sqeuclidean'")
        spread = jnp.sqrt(0.5 / jnp.asarray(parameters.beta))
        return dist.Normal(parameters.means, spread).to_event(1)

    def n_parameters(self, k: int, d: int) -> int:
        return k * d + (self.beta is None)

    def resolved(self, k: int, rows: Rows) -> Radial:
        if self.beta is None:
            return self
        beta = np.asarray(self.beta, np.float64)
        if beta.ndim or not (np.isfinite(beta) and beta > 0):
            raise OptionError(f"beta is {self.beta!r}: pass a finite number above 0, or 'auto'")
        return replace(self, beta=float(beta))

    def _power(self, frame: Affine) -> float:
        """Give how many (squared) standardised units of distance one in original units has."""
        return float(frame.scale[0]) ** (-2 if self.squared else -1)

    def standardised(self, frame: Affine) -> Radial:
        return self if self.beta is None else replace(self, beta=self.beta / self._power(frame))

    def shapes(self, k: int, d: int) -> dict[str, tuple[int, ...]]:
        return {"means": (k, d), "beta": ()}

    def given_parameters(self, given: Mapping[str, np.ndarray], frame: Affine) -> Centres:
        means, beta = given.get("means"), given.get("beta")
        inside = None if means is None else frame.apply(np.asarray(means))
        return Centres(inside, None if beta is None else np.asarray(beta) / self._power(frame))

    def map_parameters(self, parameters: Centres, frame: Affine) -> Centres:
        means = frame.invert(np.asarray(parameters.means, np.float64))
        return Centres(means, np.asarray(parameters.beta, np.float64) * self._power(frame))

    def quantities(self, parameters: Centres) -> dict[str, tuple[tuple[str, ...], Any]]:
        return {"means": (("cluster", "feature"), parameters.means), "beta": ((), parameters.beta)}

    def shown(self, parameters: Any) -> dict[str, str]:
        return {"means": self.SHOWN}

    def simulate(self, parameters: Centres, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        means, beta = np.asarray(parameters.means), float(np.asarray(parameters.beta))
        noise = rng.standard_normal((len(labels), means.shape[1]))
        if self.squared:
            return means[labels] + noise * np.sqrt(0.5 / beta)
        length = rng.gamma(means.shape[1], 1 / beta, size=(len(labels), 1))
        return means[labels] + noise / np.linalg.norm(noise, axis=1, keepdims=True) * length
