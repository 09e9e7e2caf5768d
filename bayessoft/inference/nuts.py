"""The no-U-turn sampler: draws from the posterior of all parameters, through NumPyro."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any

import jax
from jax import Array
from numpyro.infer.hmc import hmc
from numpyro.infer.util import ParamInfo

from bayessoft.core.sweep import Tiles
from bayessoft.errors import OptionError
from bayessoft.inference.engine import Draw, Problem, Sampler, whole
from bayessoft.inference.refusals import unconstrained_only
from bayessoft.inference.start import begin_chains
from bayessoft.inference.unconstrained import constrained, log_joint, potential, unconstrained
from bayessoft.mixture import Mixture

__all__ = ["NUTS"]


@dataclass(frozen=True)
class NUTS(Sampler):
    """The no-U-turn sampler, a Hamiltonian Monte Carlo that sets its own path lengths.

    Parameters
    ----------
    draws : int >= 1
        Draws that each chain keeps.
    warmup : int >= 1
        Steps before them that adapt step size and scales, and are dropped.
    chains : int >= 1
        Number of chains, run side by side from different starts.
    target_accept : float between 0 and 1
        Mean acceptance that the step size is adapted to; raise it where transitions diverge.
    max_tree_depth : int >= 1
        A path has at most 2 to this power steps.

    Notes
    -----
    Hoffman and Gelman, J. Machine Learning Research 15 (2014), in NumPyro's iterative form. The likelihood is one pass
    over the rows, its gradient the sufficient statistics of the same pass. Weights of the rows raise their densities
    to a power.

    Examples
    --------
    >>> NUTS(draws=500).chains
    4
    """

    draws: int = 1000
    warmup: int = 1000
    chains: int = 4
    target_accept: float = 0.8
    max_tree_depth: int = 10

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        for name in ("draws", "warmup", "chains", "max_tree_depth"):
            whole(name, getattr(self, name))
        if not (isinstance(self.target_accept, Real) and 0 < self.target_accept < 1):
            raise OptionError(f"target_accept is {self.target_accept!r}: pass a number between 0 and 1")

    @property
    def program(self) -> NUTS:
        return replace(self, draws=1, chains=1)  # shapes tell the chains, and draws need no compilation

    def check(self, mixture: Mixture) -> None:
        unconstrained_only(mixture, "nuts")

    def begin(self, problem: Problem) -> Any:
        """Give the state before the first step, for each chain."""
        return self.begin_at(problem, *begin_chains(problem, self.chains))

    def begin_at(self, problem: Problem, weights: Array, parameters: Any) -> Any:
        keys = jax.random.split(jax.random.key(problem.seed), self.chains)
        return _begin(self.program, problem.standard, problem.tiles, weights, parameters, keys)

    def at(self, mixture: Mixture, rows: Tiles, weights: Array, parameters: Any, key: Array) -> Any:
        return self._kernel(mixture, rows, unconstrained(mixture, weights, parameters), None, None, key)[0]

    def step(self, mixture: Mixture, rows: Tiles, state: Any) -> tuple[Any, Draw]:
        state = self._kernel(mixture, rows, state.z, state.potential_energy, state.z_grad, state.rng_key)[1](
            state, (mixture, rows)
        )
        weights, parameters = constrained(mixture, state.z)
        stats = {
            "log_density": log_joint(mixture, rows, weights, parameters),
            "potential": state.potential_energy,
            "energy": state.energy,
            "acceptance_rate": state.accept_prob,
            "diverging": state.diverging,
            "n_steps": state.num_steps,
            "step_size": state.adapt_state.step_size,
        }
        return state, Draw(weights, parameters, stats)

    def _kernel(self, mixture: Mixture, rows: Tiles, z: Any, energy: Any, gradient: Any, key: Array) -> Any:
        """Give NumPyro's state at a position, and its step, which reads what making a state leaves behind."""
        make, step = hmc(potential_fn_gen=potential, algo="NUTS")
        state = make(
            ParamInfo(z, energy, gradient),
            self.warmup,
            target_accept_prob=self.target_accept,
            max_tree_depth=self.max_tree_depth,
            model_args=(mixture, rows),
            rng_key=key,
        )
        return state, step


@partial(jax.jit, static_argnums=0)
def _begin(program: NUTS, mixture: Mixture, rows: Tiles, weights: Array, parameters: Any, keys: Array) -> Any:
    """Give the chains' first states."""

    def one(chain: Any) -> Any:
        return program.at(mixture, rows, *chain)

    return program.together(one, (weights, parameters, keys))
