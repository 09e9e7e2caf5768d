"""Coordinate ascent variational inference: the posterior as a product of its parts, under a bound on the evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bayessoft.core.dual import Bounds, meeting_prices
from bayessoft.core.sweep import Tiles, sweep
from bayessoft.families.family import pytree
from bayessoft.inference.engine import Climber, Problem
from bayessoft.inference.priced import bounded, certified
from bayessoft.inference.refusals import conjugate_only
from bayessoft.inference.start import begin_inside
from bayessoft.mixture import Mixture
from bayessoft.numerics import all_finite
from bayessoft.posteriors import Conjugate
from bayessoft.status import Status

__all__ = ["CAVI", "CAVIState"]

RUNNING, CONVERGED, FELL, NON_FINITE = range(4)


@pytree()
@dataclass(frozen=True, eq=False)
class CAVIState:
    """What the next step needs.

    Attributes
    ----------
    posterior : Mixture
        The variational posterior of proportions and parameters: its priors.
    objective : scalar
        The bound of the step before, per unit weight; -inf before the first.
    code : int
        0 while running, else why it ended.
    tol : scalar
        Change of the bound that ends it.
    met : bool
        Whether the last memberships met the bounds: while none do, the objective is too high.
    bounds : Bounds or None
        Of the sizes.
    prices : array of shape (k,) or None
        Of the last memberships under them.
    """

    posterior: Mixture
    objective: Array
    code: Array
    tol: Array
    met: Array
    bounds: Bounds | None
    prices: Array | None


@dataclass(frozen=True)
class CAVI(Climber):
    r"""Coordinate ascent variational inference.

    The posterior of labels, proportions and parameters is approximated by the closest product of a distribution of
    each, in the sense of the Kullback-Leibler divergence, which makes the *evidence lower bound* largest.

    Parameters
    ----------
    max_iter : int >= 0
        Most iterations from one start.
    tol : float >= 0
        Ends when the bound per unit weight changes by less, in nats.
    n_init : int >= 1
        Number of starts; the one with the highest bound is kept.
    init : {"kmeans", "k-means++", "random", "random_from_data"}
        How a start is found.

    Notes
    -----
    Bishop, *Pattern Recognition and Machine Learning* (2006), section 10.2. With the memberships at their best the
    bound is the sum over rows of :math:`\log \sum_k \exp(E[\log \pi_k] + E[\log p(x_n \mid \theta_k)])`, a pass over
    the rows, less the divergences of the posteriors of proportions and parameters from their priors. No constant is
    left out, so it is below the log evidence, whatever family or engine found that.

    A size constraint holds for the expected sizes under the memberships, which are the best ones that keep it
    (posterior regularisation: Ganchev et al., Journal of Machine Learning Research 11 (2010)): the bound is lower, and
    climbs as it does without.

    Examples
    --------
    >>> CAVI(tol=1e-6).max_iter
    100
    """

    CODES: ClassVar[dict[int, Status]] = {
        RUNNING: Status.NOT_CONVERGED,
        CONVERGED: Status.CONVERGED,
        FELL: Status.FELL,
        NON_FINITE: Status.NON_FINITE,
    }

    def check(self, mixture: Mixture) -> None:
        conjugate_only(mixture, "cavi")

    def begin(self, problem: Problem) -> CAVIState:
        """Give the state before the first step, for each start: the posterior under its memberships."""
        dtype = problem.tiles.x.dtype
        weights, parameters = begin_inside(problem, self.init, self.n_init)
        weights, bounds, prices = bounded(problem, weights, parameters)
        posterior = _first(problem.standard, problem.tiles, weights, parameters, prices)
        starts = len(weights)
        return CAVIState(
            posterior,
            jnp.full(starts, -jnp.inf, dtype),
            jnp.full(starts, RUNNING),
            jnp.full(starts, self.tol, dtype),
            jnp.full(starts, True),
            bounds,
            prices,
        )

    @staticmethod
    def step(mixture: Mixture, rows: Tiles, state: CAVIState) -> tuple[CAVIState, Array]:
        """Update the memberships, in one pass, then proportions and parameters."""
        bound, statistics, prices, met = _bound(mixture, rows, state.posterior, state.bounds, state.prices)
        objective = bound / rows.w.sum()
        posterior = mixture.update(statistics)
        change = objective - state.objective
        slack = jnp.sqrt(jnp.finfo(objective.dtype).eps) * (1 + jnp.abs(objective))  # rounding: half of the digits
        finite = jnp.isfinite(objective) & all_finite(posterior)
        fell = state.met & met & (change < -slack)
        code = jnp.full_like(state.code, RUNNING)
        for happened, end in ((jnp.abs(change) < state.tol, CONVERGED), (fell, FELL), (~finite, NON_FINITE)):
            code = jnp.where(happened, jnp.full_like(code, end), code)
        return replace(state, posterior=posterior, objective=objective, code=code, prices=prices, met=met), objective

    @staticmethod
    def finished(state: CAVIState) -> Array:
        """Tell whether the bound settled or the step failed."""
        return state.code != RUNNING

    def posterior(self, problem: Problem, state: CAVIState) -> Conjugate:
        """Give the result, with its bound and the expected sizes by a last pass."""
        found = _last(problem.standard, problem.tiles, state.posterior, state.bounds, state.prices)
        bound, expected, weights, parameters = jax.tree.map(np.asarray, found)
        sizes = None
        if state.bounds is not None and state.prices is not None:
            log_weights, inside = _expected(state.posterior)
            sizes = certified(problem, inside, log_weights, state.bounds, state.prices)
            expected = sizes.sizes
        return Conjugate(
            weights,
            parameters,
            state.posterior,
            float(bound) + problem.data.total_weight * problem.frame.log_det,
            expected.astype(np.float64),
            problem.seed,
            sizes,
        )


def _bound(
    mixture: Mixture, rows: Tiles, posterior: Mixture, bounds: Bounds | None = None, prices: Array | None = None
) -> tuple[Array, Any, Array | None, Array]:
    """Give the evidence lower bound of a posterior with the best memberships, the statistics under those, and prices.

    Under bounds, the best ones that keep them, from prices to begin with; and whether they do.
    """
    log_weights, parameters = posterior.expected()
    linear: Array | float = 0.0
    met = jnp.asarray(True)
    if bounds is not None and prices is not None:
        prices, met, _ = meeting_prices(mixture.family, parameters, log_weights, rows, bounds, prices)
        linear = bounds.linear(prices)
    value, statistics = sweep(mixture.family, parameters, log_weights, rows, prices)
    return value - linear - posterior.divergence(mixture), statistics, prices, met


@jax.jit
def _first(mixture: Mixture, rows: Tiles, weights: Array, parameters: Any, prices: Array | None) -> Mixture:
    """Give the posterior of each start."""

    def one(start: tuple[Array, Any, Array | None]) -> Mixture:
        return mixture.update(sweep(mixture.family, start[1], jnp.log(start[0]), rows, start[2])[1])

    return lax.map(one, (weights, parameters, prices))


@jax.jit
def _expected(posterior: Mixture) -> tuple[Array, Any]:
    return posterior.expected()


@jax.jit
def _last(
    mixture: Mixture, rows: Tiles, posterior: Mixture, bounds: Bounds | None, prices: Array | None
) -> tuple[Array, Array, Array, Any]:
    """Give the bound, the expected sizes, and the centre of a posterior."""
    bound, statistics, _, _ = _bound(mixture, rows, posterior, bounds, prices)
    return bound, statistics.weight, *posterior.centre()
