"""Fuzzy c-means: memberships that fall off with powers of the distance, or exponentially, by alternating steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.fuzzy import (
    FuzzyCentres,
    FuzzyModel,
    best_centres,
    fuzzy_pass,
    largest_change,
    least_difference,
    memberships,
)
from bayessoft.core.sweep import Tiles, either, tiles
from bayessoft.data.rows import Rows
from bayessoft.errors import DataError, OptionError
from bayessoft.families.family import pytree, rows_of_a_tile
from bayessoft.inference.engine import Climber, whole
from bayessoft.inference.seeding import known_init, seeded_centres
from bayessoft.numerics import Affine, all_finite, scoped, standardising
from bayessoft.posteriors import on_device
from bayessoft.status import Status

__all__ = ["STRENGTHS", "FuzzyFit", "FuzzyMeans", "FuzzyProblem", "FuzzyState"]

RUNNING, SETTLED, EXHAUSTED, ROSE, NON_FINITE, SINGULAR, COINCIDENT = range(7)
SAFE = 4e6  # squared distance of the furthest row over the mean one of a row from its centre: else no products
EVALUATED = 1 << 19  # numbers of rows and memberships evaluated at a time
LOOKED = 100.0  # times tol: a shift of the centres, in standardised units, above which nobody looks at memberships
STRENGTHS = {"entropy": "entropy_weight", "noise": "noise_distance"}  # options of the strength
TOGETHER = 1e-3  # share by which memberships in two clusters differ below which their centres coincide


@pytree()
@dataclass(frozen=True, eq=False)
class FuzzyState:
    """What the next step needs.

    Attributes
    ----------
    centres, before : FuzzyCentres
        The present ones, and those of the step before.
    scale : scalar
        Objective per unit weight of the step before, about the mean squared distance; of the start the mean one.
    loss : scalar
        Objective per unit weight of the step before; infinite before the first.
    code : int
        0 while running, else why it ended.
    tol : scalar
        Change of the memberships that ends it.
    steps, most : int
        Made, and at most.
    """

    centres: FuzzyCentres
    before: FuzzyCentres
    scale: Array
    loss: Array
    code: Array
    tol: Array
    steps: Array
    most: Array


@dataclass(frozen=True, eq=False)
class FuzzyProblem:
    """The rows, and what is minimised over them.

    Attributes
    ----------
    standard : FuzzyModel
        For the standardised rows.
    tiles : Tiles
    data : Rows
    frame : Affine
        The map to the standardised rows.
    k, seed : int
    given : array of shape (k, d) or None
        FuzzyCentres to start from, in original units.
    """

    standard: FuzzyModel
    tiles: Tiles
    data: Rows
    frame: Affine
    k: int
    seed: int
    given: Float[np.ndarray, "k d"] | None

    @classmethod
    def pose(cls, model: FuzzyModel, data: Rows, k: int, seed: int, given: Any = None) -> FuzzyProblem:
        """Standardise the rows, inside `numerics.scoped`; a strength of None is the mean square about the mean.

        Rows and options that do not go together are refused.
        """
        _check_power(model, k, data.values.dtype)
        frame = standardising(data.values, data.weights, "affine" if model.structure.matrix else "scale")
        _check_frame(model, data, frame)
        laid = _laid(model, k, data.values, data.weights, frame)
        strength = float(_spread(laid)) if model.strength is None else model.strength / _unit(frame)
        limits = np.finfo(data.values.dtype)
        if model.variant in STRENGTHS and not limits.tiny <= strength <= limits.max:
            raise OptionError(
                f"{STRENGTHS[model.variant]} is so far from the spread of the rows that {limits.dtype} cannot hold "
                f"{strength:g}, the ratio of their squares: pass one nearer to it"
            )
        return cls(replace(model, strength=strength), laid, data, frame, k, seed, given)


@dataclass(frozen=True, eq=False)
class FuzzyFit:
    """Clusters that were found.

    Attributes
    ----------
    model : FuzzyModel
    centres : FuzzyCentres
        Both for rows mapped by the frame.
    frame : Affine
    status : Status
    trace : array of shape (n_iter,)
        The objective after each step, in original units.
    """

    model: FuzzyModel
    centres: FuzzyCentres
    frame: Affine
    status: Status
    trace: Float[np.ndarray, " steps"]

    @classmethod
    def of(cls, problem: FuzzyProblem, state: Any, status: Status, objectives: np.ndarray) -> FuzzyFit:
        """Give what the last state of the best start comes to."""
        trace = -objectives.astype(np.float64) * _unit(problem.frame) * problem.data.total_weight
        return cls(problem.standard, state.centres, problem.frame, status, trace)

    @property
    def strength(self) -> float:
        """The weight of the entropy, or the squared distance of noise, in original units."""
        return float(self.model.strength) * _unit(self.frame)

    def outside(self) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k d d"] | None]:
        """Give centres, and shapes of determinant 1 where clusters have them, in original units."""
        means = self.frame.invert(np.asarray(self.centres.means, np.float64))
        if not self.model.structure.matrix:
            return means, None
        factors = self.model.structure.map_factor(np.asarray(self.centres.factors, float), self.frame.inverse_matrix())
        shapes = self.model.structure.dense(factors)
        return means, shapes / np.linalg.det(shapes)[:, None, None] ** (1 / means.shape[1])

    def evaluate(self, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """Give the memberships of rows in original units, in their dtype."""
        k = len(self.centres.means)
        found = np.empty((len(values), k), values.dtype)
        parts = max(1, -(-len(values) * (k + values.shape[1]) // EVALUATED))
        size = -(-len(values) // parts)  # of one size: one compilation
        with scoped(values.dtype):
            model, centres = on_device((self.model, self.centres), values.dtype)
            for first in range(0, len(values), size):
                part = values[first : first + size]
                laid = _laid(self.model, k, part, np.ones(len(part)), self.frame)
                shares = np.asarray(_every_membership(model, centres, laid.x))
                found[first : first + size] = np.moveaxis(shares, 1, 2).reshape(-1, k)[: len(part)]
        return found


@dataclass(frozen=True)
class FuzzyMeans(Climber):
    """Alternating steps of fuzzy c-means; its objective, minus the loss, rises.

    Parameters
    ----------
    max_iter, n_init : int
    tol : float >= 0
        Ends when the largest change of any membership is below.
    init : {"k-means++", "kmeans", "random_from_data"}

    Notes
    -----
    Bezdek, *Pattern Recognition with Fuzzy Objective Function Algorithms* (1981); Gustafson and Kessel (1979) for
    clusters with shapes of volume 1; Dave (1991) for noise at a constant distance; Miyamoto and Mukaidono (1997) for
    the entropy in place of the power.
    """

    BAYESIAN = False
    CODES: ClassVar[dict[int, Status]] = {
        RUNNING: Status.NOT_CONVERGED,
        SETTLED: Status.CONVERGED,
        EXHAUSTED: Status.NOT_CONVERGED,
        ROSE: Status.FELL,
        NON_FINITE: Status.NON_FINITE,
        SINGULAR: Status.ILL_CONDITIONED,
        COINCIDENT: Status.COINCIDENT,
    }

    max_iter: int = 300
    tol: float = 1e-5
    init: str = "k-means++"

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        super().__post_init__()
        whole("max_iter", self.max_iter)
        known_init(self.init)

    @property
    def steps(self) -> int:
        return 1 << 20  # the state knows its own

    def check(self, mixture: Any) -> None:
        """Refuse nothing: there is no mixture."""

    def posterior(self, problem: Any, state: Any) -> Any:
        """Give nothing: there is no posterior."""
        raise NotImplementedError

    def begin(self, problem: Any) -> FuzzyState:
        """Give the state before the first step, for each start."""
        tiles, data = problem.tiles, problem.data
        dtype, k, d = tiles.x.dtype, problem.k, data.d
        if problem.given is not None:
            found = problem.frame.apply(problem.given)[None]
        else:
            x = np.asarray(tiles.x).swapaxes(1, 2).reshape(-1, d)[: data.n]
            found = seeded_centres(x, data.weights, k, self.init, problem.seed, self.n_init)
        starts = len(found)
        means = jnp.asarray(found, dtype)
        factors = jnp.ones((starts, *problem.standard.structure.shape(k, d)), dtype)
        if problem.standard.structure.matrix:
            factors = factors * jnp.eye(d, dtype=dtype)

        def repeated(value: Any, kind: Any) -> Array:
            return jnp.full(starts, value, kind)

        return FuzzyState(
            FuzzyCentres(means, factors),
            FuzzyCentres(jnp.full_like(means, jnp.inf), factors),
            repeated(_spread(tiles), dtype),
            repeated(jnp.inf, dtype),
            repeated(RUNNING, int),
            repeated(self.tol, dtype),
            repeated(0, int),
            repeated(self.max_iter, int),
        )

    @staticmethod
    def step(mixture: FuzzyModel, rows: Tiles, state: FuzzyState) -> tuple[FuzzyState, Array]:
        """Memberships at the present centres, and the best centres for them."""
        model, now, total = mixture, state.centres, rows.w.sum()
        safe = False if now.means.dtype != jnp.float64 else rows.radius**2 < SAFE * state.scale
        loss, moments = either(safe, lambda fast: fuzzy_pass(model, now, rows, fast))
        loss = loss / total
        after = best_centres(model, moments)
        shift = jnp.abs(now.means - state.before.means).max()
        change = lax.cond(
            shift <= LOOKED * state.tol,
            lambda: largest_change(model, state.before, now, rows),
            lambda: jnp.ones_like(shift),
        )
        steps = state.steps + 1
        slack = jnp.sqrt(jnp.finfo(loss.dtype).eps) * (1 + jnp.abs(loss))
        code = jnp.where(steps >= state.most, EXHAUSTED, RUNNING)
        settled = change <= state.tol
        coincide = lax.cond(
            settled, lambda: least_difference(model, now, rows) < TOGETHER, lambda: jnp.zeros_like(settled)
        )
        for happened, end in (
            (settled, SETTLED),
            (coincide, COINCIDENT),
            (loss > state.loss + slack, ROSE),
            (~jnp.isfinite(loss), NON_FINITE),
            (~all_finite(after), SINGULAR),
        ):
            code = jnp.where(happened, end, code)
        scale = loss if model.variant != "entropy" else state.scale
        moved = replace(state, centres=after, before=now, scale=scale, loss=loss, steps=steps)
        kept = replace(moved, centres=now)  # at the end, centres that the memberships and the loss are of
        over = code != RUNNING
        chosen = jnp.where(over, kept.centres.means, after.means), jnp.where(over, now.factors, after.factors)
        return replace(moved, centres=FuzzyCentres(*chosen), code=code.astype(state.code.dtype)), -loss

    @staticmethod
    def finished(state: FuzzyState) -> Array:
        """Tell whether the memberships settled or the step failed."""
        return state.code != RUNNING


def _spread(rows: Tiles) -> Array:
    """Give the mean squared distance of the rows from the origin, where their mean is."""
    return jnp.einsum("ndt,nt->", rows.x**2, rows.w) / rows.w.sum()


def _laid(model: FuzzyModel, k: int, values: np.ndarray, weights: np.ndarray, frame: Affine) -> Tiles:
    """Lay rows in original units out in tiles, standardised."""
    d = values.shape[1]
    width = max(model.structure.width(k, d) + k, 2 * (d + k))
    return tiles(values, weights, values.dtype, rows_of_a_tile(width, 256), frame.apply)


def _unit(frame: Affine) -> float:
    """Give the squared distance in original units that is one in standardised ones."""
    return float(np.exp(-2 * frame.log_det / len(frame.shift)))


def _check_power(model: FuzzyModel, k: int, dtype: np.dtype[Any]) -> None:
    """Refuse powers that rounding makes something else of."""
    eps = float(np.finfo(dtype).eps)
    if model.variant != "entropy" and model.m - 1 < eps**0.5:
        raise OptionError(
            f"m is {model.m!r}, so near 1 that {dtype} cannot tell distances apart: pass at least 1 + {eps**0.5:.1e}, "
            "or use KMeans of scikit-learn"
        )
    if k > 1 and (1 - model.m) * np.log(k) < np.log(eps):  # then a row on a centre outweighs all others, to rounding
        most = 1 - np.log(eps) / np.log(k)
        raise OptionError(
            f"m is {model.m!r}: memberships of 1 / {k} to that power are lost in the rounding of {dtype}, and centres "
            f"would stay where they start: pass at most {np.floor(10 * most) / 10:g}, or fewer clusters"
        )


def _check_frame(model: FuzzyModel, data: Rows, frame: Affine) -> None:
    """Refuse rows that lie in too few dimensions for what is asked, or whose squared distances overflow."""
    with np.errstate(over="ignore", under="ignore"):
        unit = _unit(frame)
    if not np.finfo(np.float64).tiny <= unit < np.inf:
        raise DataError(f"squared distances of the rows, of about {unit:g}, leave the range of float64: rescale X")
    if model.structure.matrix and not frame.varies.all():
        first = int(np.argmin(frame.varies))
        name = repr(data.columns[first]) if data.columns else first
        raise DataError(f"column {name} is constant, and clusters of variant='gustafson-kessel' have volume: drop it")
    if model.structure.matrix and frame.factor is None:
        raise DataError(
            f"the rows span fewer dimensions than the {data.d} columns, and clusters of variant='gustafson-kessel' "
            "have volume: drop columns that are combinations of others, or reduce them (PCA)"
        )
    if model.variant == "noise" and model.strength is None and not frame.varies.any():
        raise DataError("all rows are equal, so their spread gives no noise_distance: pass one")


@jax.jit
def _every_membership(model: FuzzyModel, centres: FuzzyCentres, x: Float[Array, "T d t"]) -> Float[Array, "T k t"]:
    return lax.map(lambda tile: memberships(model, centres, tile, False), x)
