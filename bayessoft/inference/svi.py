"""Stochastic variational inference: CAVI by batches of rows, for tables too long to pass over often."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bayessoft.core.dual import curvature, price_step
from bayessoft.core.sweep import Tiles, sweep
from bayessoft.errors import OptionError, listed
from bayessoft.families.family import ConjugateFamily, SweptFamily, lacking, pytree
from bayessoft.inference.cavi import CAVI, CONVERGED, NON_FINITE, RUNNING, CAVIState
from bayessoft.inference.engine import Problem, whole
from bayessoft.inference.guided import GUIDES, GuidedSVI
from bayessoft.inference.refusals import conjugate_only
from bayessoft.mixture import Mixture
from bayessoft.numerics import all_finite

__all__ = ["SVI", "SVIState"]


@pytree()
@dataclass(frozen=True, eq=False)
class SVIState(CAVIState):
    """What the next step needs; `objective` is the mean bound over the batches of the step before.

    Attributes
    ----------
    key : array
        Data of the key of the order of batches.
    batches : int
        Number of batches with rows.
    done : scalar
        Batches seen.
    delay, forgetting : scalar
        Of the step sizes.
    curvature : array or None
        Of the dual of a size constraint, averaged over batches.
    """

    key: Array
    batches: Array
    done: Array
    delay: Array
    forgetting: Array
    curvature: Array | None


@dataclass(frozen=True)
class SVI(CAVI):
    r"""Stochastic variational inference.

    With the conjugate guide, as `CAVI`, but the posterior moves after each batch of rows, by a natural gradient of the
    evidence lower bound as that batch estimates it: its natural parameters become
    :math:`(1 - \rho_t) \lambda + \rho_t \hat\lambda`, where :math:`\hat\lambda` is what CAVI would make of the batch
    if all rows were like it, and
    :math:`\rho_t = (t + \tau)^{-\kappa}`. A batch that weighs less than others moves it by less.

    With a guide of NumPyro, the posterior of proportions and parameters, where nothing constrains them, is approximated
    by the closest normal distribution, by gradients of the bound as a draw of the guide and a batch estimate it. That
    takes any family, and any prior that can be stated.

    Parameters
    ----------
    max_iter : int >= 0
        Most passes over the rows from one start; with a guide of NumPyro, most rounds of as many passes as make 100
        updates.
    tol : float >= 0
        Ends when the mean bound over the batches of a pass changes by less from pass to pass, in nats per unit weight;
        with a guide of NumPyro, when the mean over five rounds differs by less from that over the five before.
    n_init : int >= 1
        Number of starts; the one with the highest bound over its last pass is kept.
    init : {"kmeans", "k-means++", "random", "random_from_data"}
        How a start is found.
    batch_size : int >= 1
        Rows of a batch. The rows are shuffled once, and the batches at every pass.
    delay : float > 0
        :math:`\tau`: larger values give the first batches less weight.
    forgetting : float, above 0.5, 1 at most
        :math:`\kappa`: larger values make for smaller steps later.
    guide : {"auto", "conjugate", "AutoDiagonalNormal", "AutoMultivariateNormal", "AutoLowRankMultivariateNormal"}
        The form of the posterior. "auto" is "conjugate" for a family with a conjugate prior, "AutoDiagonalNormal" for
        others: all parameters independent.
    learning_rate : float > 0
        Of Adam, which moves a guide of NumPyro.

    Notes
    -----
    Hoffman, Blei, Wang and Paisley, Journal of Machine Learning Research 14 (2013). The bound that a fit reports is
    that of all rows, by a last pass.

    Under a size constraint each batch moves the prices, too, by a step of the same length, so that they follow what
    brings the sizes of all rows into their bounds. After the last batch the prices are those of all rows, and so are
    the sizes and the duality gap that a fit reports. Guides of NumPyro take no size constraint.

    Guides of NumPyro: Kucukelbir, Tran, Ranganath, Gelman and Blei, Journal of Machine Learning Research 18 (2017);
    their parameters are averaged over the last round (Dhaka et al., Advances in Neural Information Processing Systems
    33 (2020)). The fit holds 1000 independent draws of the guide, its bound is estimated by them. How heavy the tail of
    their importance ratios is, the Pareto k of Yao et al., International Conference on Machine Learning 35 (2018),
    tells whether the guide comes near to the posterior; above 0.7 the status says that it does not.

    Examples
    --------
    >>> SVI(batch_size=1024).batch_size
    1024
    """

    batch_size: int = 512
    delay: float = 1.0
    forgetting: float = 0.7
    guide: str = "auto"
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        super().__post_init__()
        whole("batch_size", self.batch_size)
        if not (isinstance(self.delay, Real) and 0 < float(self.delay) < np.inf):
            raise OptionError(f"delay is {self.delay!r}: pass a number above 0")
        if not (isinstance(self.forgetting, Real) and 0.5 < float(self.forgetting) <= 1):
            raise OptionError(
                f"forgetting is {self.forgetting!r}: pass a number above 0.5, 1 at most; outside of these the "
                "steps do not end at the top of the bound"
            )
        if self.guide not in ("auto", "conjugate", *GUIDES):
            raise OptionError(f"guide is {self.guide!r}: pass {listed(['auto', 'conjugate', *GUIDES])}")
        if not (isinstance(self.learning_rate, Real) and 0 < float(self.learning_rate) < np.inf):
            raise OptionError(f"learning_rate is {self.learning_rate!r}: pass a number above 0")

    def suited(self, mixture: Mixture) -> CAVI | GuidedSVI:
        """Give the engine itself where the guide is conjugate, else the one for guides of NumPyro."""
        conjugate = self.guide == "conjugate" or (self.guide == "auto" and not lacking(mixture.family, ConjugateFamily))
        kind, others = ("the conjugate guide", ["learning_rate"])
        if not conjugate:
            kind, others = ("a guide of NumPyro", ["delay", "forgetting"])
        if odd := [name for name in others if getattr(self, name) != getattr(type(self), name)]:
            raise OptionError(f"{' and '.join(odd)} set, which {kind} does not use: leave out, or pass another guide")
        if conjugate:
            return self
        guide = GUIDES[0] if self.guide == "auto" else self.guide
        shared = {name: getattr(self, name) for name in ("max_iter", "tol", "n_init", "init", "batch_size")}
        return GuidedSVI(**shared, guide=guide, learning_rate=float(self.learning_rate))

    def check(self, mixture: Mixture) -> None:
        conjugate_only(mixture, "svi")

    def begin(self, problem: Problem) -> SVIState:
        """Give the state before the first step, for each start: CAVI's, and the batches to come."""
        state = super().begin(problem)
        starts, dtype = len(state.code), problem.tiles.x.dtype
        size = problem.tiles.w.shape[1]
        return SVIState(
            **{each.name: getattr(state, each.name) for each in fields(CAVIState)},
            key=jax.random.key_data(jax.random.split(jax.random.key(problem.seed), starts)),
            batches=jnp.full(starts, -(-problem.data.n // size)),
            done=jnp.zeros(starts, dtype),
            delay=jnp.full(starts, self.delay, dtype),
            forgetting=jnp.full(starts, self.forgetting, dtype),
            curvature=None if state.prices is None else _curvatures(problem.standard.family, problem.tiles, state),
        )

    @staticmethod
    def step(mixture: Mixture, rows: Tiles, state: Any) -> tuple[Any, Array]:
        """Pass once over the batches, in random order."""
        key, own = jax.random.split(jax.random.wrap_key_data(state.key))
        number, total = state.batches.astype(rows.x.dtype), rows.w.sum()
        last = jnp.arange(len(rows.w)) >= state.batches  # tiles without rows
        order = jnp.argsort(jnp.where(last, jnp.inf, jax.random.uniform(own, last.shape)))

        def one(i: Array, now: tuple[Any, ...]) -> tuple[Any, ...]:
            posterior, bound, prices, metric = now
            batch, weight = _batch(rows, order[i], total)
            rate = (state.done + i + 1 + state.delay) ** -state.forgetting
            rate = 1 - (1 - rate) ** (weight * number / total)  # of batches that weigh the same, the rate
            log_weights, parameters = posterior.expected()
            given, linear = (mixture.family, parameters, log_weights, batch), jnp.zeros_like(bound)
            value, statistics = sweep(*given, prices)
            if state.bounds is not None and prices is not None:
                linear = state.bounds.linear(prices)
                prices, metric = price_step(*given, state.bounds, prices, metric, rate)
            bound = bound + (value - linear - posterior.divergence(mixture)) * weight / total
            return posterior.blend(mixture.update(statistics), rate), bound, prices, metric

        none = jnp.zeros((), rows.x.dtype)
        start = state.posterior, none, state.prices, state.curvature
        posterior, bound, prices, metric = lax.fori_loop(0, state.batches, one, start)
        objective = bound / total
        finite = jnp.isfinite(objective) & all_finite(posterior)
        code = jnp.full_like(state.code, RUNNING)
        for happened, end in ((jnp.abs(objective - state.objective) < state.tol, CONVERGED), (~finite, NON_FINITE)):
            code = jnp.where(happened, jnp.full_like(code, end), code)
        after = replace(state, posterior=posterior, objective=objective, code=code, prices=prices, curvature=metric)
        return replace(after, key=jax.random.key_data(key), done=state.done + number), objective


@jax.jit
def _curvatures(family: SweptFamily, rows: Tiles, state: CAVIState) -> Array:
    """Give each start the curvature of its dual at its first prices."""

    def one(start: tuple[Mixture, Array]) -> Array:
        log_weights, parameters = start[0].expected()
        return curvature(family, parameters, log_weights, rows, start[1])

    return lax.map(one, (state.posterior, state.prices))


def _batch(rows: Tiles, at: Array, total: Array) -> tuple[Tiles, Array]:
    """Give a tile as if all rows were like it, and its own weight."""
    x, w, beside = jax.tree.map(lambda leaf: leaf[at][None], (rows.x, rows.w, rows.beside))
    weight = w.sum()
    return Tiles(x, w * jnp.where(weight > 0, total / weight, 0.0), rows.radius, beside), weight
