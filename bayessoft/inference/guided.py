"""Stochastic variational inference for any family: one of NumPyro's guides, moved by noisy gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jaxtyping import Float
from numpyro.handlers import seed, substitute, trace
from numpyro.infer import SVI, Trace_ELBO, autoguide, init_to_value
from numpyro.infer.util import log_density

from bayessoft.core.sweep import Tiles
from bayessoft.families.family import pytree, seeded
from bayessoft.inference.engine import Climber, Problem
from bayessoft.inference.refusals import unconstrained_only
from bayessoft.inference.start import begin_inside
from bayessoft.inference.unconstrained import log_joint, model
from bayessoft.mixture import Mixture
from bayessoft.numerics import all_finite
from bayessoft.posteriors import Guided
from bayessoft.status import Status

__all__ = ["GUIDES", "GuidedSVI", "GuidedState"]

GUIDES = ("AutoDiagonalNormal", "AutoMultivariateNormal", "AutoLowRankMultivariateNormal")
"""NumPyro's guides that take a place to begin at and a spread."""

RUNNING, CONVERGED, NON_FINITE = range(3)
UPDATES = 100  # least number of updates of a step: few batches alone would tell little of the bound
WINDOW = 5  # steps whose mean bound is compared with that of as many before
DRAWN = 1000  # draws of the guide that stand for it


@pytree()
@dataclass(frozen=True, eq=False)
class GuidedState:
    """What the next step needs.

    Attributes
    ----------
    svi
        What NumPyro keeps: the optimiser's state and its key.
    guide : dict of str to array
        Parameters of the guide, averaged over the updates of the last step.
    bounds : array of shape (2 w,)
        The mean bounds of the last steps, the latest one last; -inf before the first.
    key : array
        Data of the key of the order of batches.
    batches : int
        Number of batches with rows.
    code : int
        0 while running, else why it ended.
    tol : scalar
        Change of the bound below which it ends.
    """

    svi: Any
    guide: dict[str, Array]
    bounds: Float[Array, " 2w"]
    key: Array
    batches: Array
    code: Array
    tol: Array


@dataclass(frozen=True)
class GuidedSVI(Climber):
    """What `SVI` is with a guide of NumPyro's; see there.

    Parameters
    ----------
    max_iter, tol, n_init, init, batch_size, guide, learning_rate
        As of `SVI`.
    """

    CODES = {RUNNING: Status.NOT_CONVERGED, CONVERGED: Status.CONVERGED, NON_FINITE: Status.NON_FINITE}

    batch_size: int = 512
    guide: str = GUIDES[0]
    learning_rate: float = 0.01

    @property
    def program(self) -> GuidedSVI:
        return GuidedSVI(guide=self.guide, learning_rate=self.learning_rate)  # what takes part in an update

    def check(self, mixture: Mixture) -> None:
        unconstrained_only(mixture, "svi")

    def begin(self, problem: Problem) -> GuidedState:
        """Give the state before the first step, for each start: the guide around it."""
        weights, parameters = begin_inside(problem, self.init, self.n_init)
        starts, dtype = len(weights), problem.tiles.x.dtype
        keys = jax.random.split(jax.random.key(problem.seed), starts)
        svi, guide = _around(self.program, problem.standard, problem.tiles, weights, parameters, keys)
        return GuidedState(
            svi,
            guide,
            jnp.full((starts, 2 * WINDOW), -jnp.inf, dtype),
            jax.random.key_data(jax.vmap(partial(jax.random.fold_in, data=1))(keys)),
            jnp.full(starts, -(-problem.data.n // problem.tiles.w.shape[1])),
            jnp.full(starts, RUNNING),
            jnp.full(starts, self.tol, dtype),
        )

    def step(  # type: ignore[override] # the guide, which the program holds, takes part
        self, mixture: Mixture, rows: Tiles, state: GuidedState
    ) -> tuple[GuidedState, Array]:
        """Pass over the batches in random order, often enough for some updates."""
        svi = self._somewhere(mixture, rows)
        key, own = jax.random.split(jax.random.wrap_key_data(state.key))
        passes = -(-UPDATES // len(rows.w))
        orders = jax.vmap(lambda key: _order(key, len(rows.w), state.batches))(jax.random.split(own, passes))
        updates = passes * state.batches

        def one(i: Array, now: Any) -> Any:
            inside, mean, bound = now
            batch = orders[i // state.batches, i % state.batches]
            weight = rows.w[batch] * state.batches  # each batch stands for all of them
            x, beside = jax.tree.map(lambda leaf: leaf[batch][None], (rows.x, rows.beside))
            inside, loss = svi.update(inside, mixture, Tiles(x, weight[None], rows.radius, beside))
            mean = jax.tree.map(lambda old, new: old + (new - old) / (i + 1), mean, svi.get_params(inside))
            return inside, mean, bound - loss

        inside, guide, bound = lax.fori_loop(0, updates, one, (state.svi, state.guide, jnp.zeros((), rows.x.dtype)))
        objective = bound / updates / rows.w.sum()
        bounds = jnp.append(state.bounds[1:], objective)
        settled = jnp.abs(bounds[WINDOW:].mean() - bounds[:WINDOW].mean()) < state.tol
        code = jnp.where(settled, jnp.full_like(state.code, CONVERGED), jnp.full_like(state.code, RUNNING))
        code = jnp.where(jnp.isfinite(objective) & all_finite(guide), code, jnp.full_like(code, NON_FINITE))
        key = jax.random.key_data(key)
        return replace(state, svi=inside, guide=guide, bounds=bounds, key=key, code=code), objective

    @staticmethod
    def finished(state: GuidedState) -> Array:
        """Tell whether the bound settled or an update failed."""
        return state.code != RUNNING

    def posterior(self, problem: Problem, state: GuidedState) -> Guided:
        """Give draws of the guide, with what they tell of it."""
        keys = jax.random.split(jax.random.key(problem.seed + 1), DRAWN)
        found = _drawn(self.program, problem.standard, problem.tiles, state.guide, keys)
        weights, parameters, density, ratios = jax.tree.map(lambda leaf: np.asarray(leaf)[None], found)
        elbo = float(ratios.mean()) + problem.data.total_weight * problem.frame.log_det
        return Guided(weights, parameters, {"log_density": density, "log_ratio": ratios}, elbo=elbo)

    def _ready(self, mixture: Mixture, rows: Tiles, weights: Array, parameters: Any, key: Array) -> tuple[SVI, Any]:
        """Give NumPyro's engine, which learns of the model by being begun, and its state around a place."""
        guide = getattr(autoguide, self.guide)(
            model, init_loc_fn=init_to_value(values=mixture.sites(weights, parameters))
        )
        svi = SVI(model, guide, optax.adam(self.learning_rate), Trace_ELBO())
        return svi, svi.init(jax.random.key_data(key), mixture, _first_tile(rows))

    def _somewhere(self, mixture: Mixture, rows: Tiles) -> SVI:
        """Give NumPyro's engine where a state, or its guide, says where it is: no number drawn here counts."""
        key = jax.random.key(0)
        return self._ready(mixture, rows, *mixture.draw(seeded(key)), key)[0]


def _first_tile(rows: Tiles) -> Tiles:
    x, w, beside = jax.tree.map(lambda leaf: leaf[:1], (rows.x, rows.w, rows.beside))
    return Tiles(x, w, rows.radius, beside)


def _order(key: Array, tiles: int, batches: Array) -> Array:
    """Give the batches in random order, tiles without rows last."""
    return jnp.argsort(jnp.where(jnp.arange(tiles) < batches, jax.random.uniform(key, (tiles,)), jnp.inf))


@partial(jax.jit, static_argnums=0)
def _around(
    program: GuidedSVI, mixture: Mixture, rows: Tiles, weights: Array, parameters: Any, keys: Array
) -> tuple[Any, dict[str, Array]]:
    """Give NumPyro's state and the guide around each start."""

    def one(start: tuple[Array, Any, Array]) -> tuple[Any, dict[str, Array]]:
        share = jnp.maximum(start[0], jnp.finfo(start[0].dtype).eps)  # a given share of 0 lies at infinity
        svi, state = program._ready(mixture, rows, share / share.sum(), start[1], start[2])
        return state, svi.get_params(state)

    return lax.map(one, (weights, parameters, keys))


@partial(jax.jit, static_argnums=0)
def _drawn(
    program: GuidedSVI, mixture: Mixture, rows: Tiles, guide: dict[str, Array], keys: Array
) -> tuple[Array, Any, Array, Array]:
    """Draw from the guide: proportions, parameters, their log density, and its log ratio to the guide's."""
    svi = program._somewhere(mixture, rows)

    def one(key: Array) -> tuple[Array, Any, Array, Array]:
        sites = trace(seed(substitute(svi.guide, guide), key)).get_trace(mixture, _first_tile(rows))
        drawn = {name: site["value"] for name, site in sites.items() if site["type"] == "sample"}
        own = sum(jnp.sum(site["fn"].log_prob(site["value"])) for site in sites.values() if site["type"] == "sample")
        its = log_density(model, (mixture, rows), {}, drawn)[0]
        weights, parameters = mixture.draw(lambda name, _: drawn[name])
        return weights, parameters, log_joint(mixture, rows, weights, parameters), its - own

    return lax.map(one, keys)
