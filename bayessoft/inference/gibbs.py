"""Gibbs sampling: labels given parameters in one pass over the rows, then parameters given labels, in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int
from numpyro.infer.mcmc import MCMCKernel
from numpyro.util import is_prng_key

from bayessoft.core.allocate import allocate
from bayessoft.core.distributions import laid_out
from bayessoft.core.sweep import Tiles
from bayessoft.errors import OptionError
from bayessoft.families.family import pytree, seeded
from bayessoft.inference.engine import Draw, Problem, Sampler, drawable_only, whole
from bayessoft.inference.start import begin_chains
from bayessoft.mixture import Mixture, handed

__all__ = ["Gibbs", "GibbsKernel", "GibbsState"]


@pytree(static=("repeated",))
@dataclass(frozen=True, eq=False)
class GibbsState:
    """What the next sweep of a chain needs; b inverse temperatures.

    Attributes
    ----------
    key : key
    sweeps : int
        How many were made.
    weights : array of shape (b, k)
    parameters
        Of the components, with a leading axis over the temperatures.
    groups : array of shape (k,), int
        Clusters with the same number may change places.
    ancestry : array of shape (k,), int
        The clusters of the start that the components were.
    repeated : bool
        Whether some rows have weights above 1.
    """

    key: Array
    sweeps: Array
    weights: Float[Array, "b k"]
    parameters: Any
    groups: Int[Array, " k"]
    ancestry: Int[Array, " k"]
    repeated: bool


@dataclass(frozen=True)
class Gibbs(Sampler):
    """Gibbs sampling of labels and parameters in turn.

    Parameters
    ----------
    draws : int >= 1
        Draws that each chain keeps, one after each sweep over the rows.
    warmup : int >= 1
        Sweeps before them, which are dropped.
    chains : int >= 1
        Number of chains, run from different starts.
    inverse_temperatures : tuple of float
        1 first, then falling numbers above 0: copies of each chain in which the rows' densities are raised to these
        powers, and which change places with their neighbours. Hot copies cross between modes that a chain alone would
        not leave. The default is no copy.
    permute : bool
        Whether clusters with the same priors change places at random after each sweep, so that draws come from all the
        labellings that the posterior has.

    Notes
    -----
    Diebolt and Robert, J. Royal Statistical Society B 56 (1994); random permutations after Frühwirth-Schnatter, J.
    American Statistical Association 96 (2001). Copies at inverse temperature b have the density p(parameters, labels)
    p(rows given both)^b, and neighbours change places in turn, even pairs after odd ones (Syed et al., J. Royal
    Statistical Society B 84 (2022)). Weights of the rows are whole numbers: a row of weight 3 counts as three, each
    with a label of its own.

    Examples
    --------
    >>> Gibbs(draws=500).chains
    4
    """

    WHOLE_WEIGHTS: ClassVar[bool] = True
    SIDE_BY_SIDE: ClassVar[int] = 256

    draws: int = 1000
    warmup: int = 1000
    chains: int = 4
    inverse_temperatures: tuple[float, ...] = (1.0,)
    permute: bool = True

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        for name in ("draws", "warmup", "chains"):
            whole(name, getattr(self, name))
        given = self.inverse_temperatures
        if not (isinstance(given, tuple) and given and all(isinstance(b, Real) and 0 < b <= 1 for b in given)):
            raise OptionError(
                f"inverse_temperatures is {given!r}: pass a tuple of numbers in (0, 1], such as (1.0, 0.5)"
            )
        if given[0] != 1 or any(b >= a for a, b in zip(given, given[1:], strict=False)):
            raise OptionError(f"inverse_temperatures is {given!r}: start with 1.0, and let the others fall")

    @property
    def program(self) -> Gibbs:
        return replace(self, draws=1, warmup=1, chains=1)  # none of which takes part in a sweep

    def check(self, mixture: Mixture) -> None:
        drawable_only(mixture, "gibbs")
        family: Any = mixture.family
        if len(self.inverse_temperatures) > 1 and not family.labels_alone:
            raise OptionError(
                f"inverse_temperatures is {self.inverse_temperatures!r}, but {family.name} draws more of a row than "
                "its label, which copies at other temperatures cannot: leave it out, or use inference='nuts'"
            )

    def begin(self, problem: Problem) -> GibbsState:
        """Give the state before the first sweep, for each chain."""
        return self.begin_at(problem, *begin_chains(problem, self.chains))

    def begin_at(self, problem: Problem, weights: Array, parameters: Any) -> GibbsState:
        keys = jax.random.split(jax.random.key(problem.seed, impl="threefry2x32"), self.chains)
        every = jax.vmap(lambda *start: self.at(problem.standard, problem.tiles, *start))(weights, parameters, keys)
        return replace(every, repeated=bool((problem.data.weights > 1).any()))

    def at(self, mixture: Mixture, rows: Tiles, weights: Array, parameters: Any, key: Array) -> GibbsState:
        copies = len(self.inverse_temperatures)
        weights, parameters = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (copies, *leaf.shape)), (weights, parameters)
        )
        groups, ancestry = jnp.asarray(mixture.exchangeable()), jnp.arange(mixture.k)
        return GibbsState(key, jnp.zeros((), jnp.int32), weights, parameters, groups, ancestry, False)

    def step(self, mixture: Mixture, rows: Tiles, state: GibbsState) -> tuple[GibbsState, Draw]:
        """Give the state after a sweep, and the draw before it, whose log-likelihood the sweep has found."""
        key, sweep_key, swap_key, permute_key = jax.random.split(state.key, 4)
        betas = jnp.asarray(self.inverse_temperatures, rows.x.dtype)
        keys = jax.random.split(sweep_key, len(betas))

        def sweep(copy: Any) -> tuple[Array, Any, Array]:
            return _sweep(mixture, rows, state.repeated, *copy)

        every = (state.weights, state.parameters, betas, keys)
        values, after, complete = lax.map(sweep, every)
        weights, parameters = jax.tree.map(lambda leaf: leaf[0], (state.weights, state.parameters))
        stats = {"log_density": values[0] + mixture.log_prior(weights, parameters)}
        if len(betas) > 1:
            order, stats["swap_rate"] = _swaps(betas, complete, state.sweeps % 2, swap_key)
            after = jax.tree.map(lambda leaf: leaf[order], after)
        draw = Draw(weights, parameters, stats, state.ancestry)
        if self.permute:
            order = _permutation(state.groups, permute_key)
            state = replace(state, ancestry=state.ancestry[order])
            order = jnp.broadcast_to(order, after[0].shape)
            after = jnp.take_along_axis(after[0], order, -1), mixture.family.arranged(after[1], order)
        return replace(state, key=key, sweeps=state.sweeps + 1, weights=after[0], parameters=after[1]), draw

    def kernel(self, mixture: Mixture) -> GibbsKernel:
        """Give the sweep as a kernel for ``numpyro.infer.MCMC``, which says how many chains and draws there are."""
        return GibbsKernel(mixture, self)


def _sweep(
    mixture: Mixture, rows: Tiles, repeated: bool, weights: Array, parameters: Any, beta: Array, key: Array
) -> tuple[Array, tuple[Array, Any], Array]:
    """Draw labels, then proportions and parameters.

    Gives the rows' log-normaliser before, the draws, and the log density of the rows under the drawn parameters and
    labels.
    """
    family = mixture.drawable()[0]
    labels_key, draw_key = jax.random.split(key)
    value, statistics = allocate(family, parameters, jnp.log(weights), rows, labels_key, beta, repeated)
    weights, parameters = mixture.redraw(parameters, statistics, statistics.weight / beta, seeded(draw_key))
    weights = jnp.maximum(weights, jnp.finfo(weights.dtype).tiny)  # small concentrations draw less than is held
    return value, (weights, parameters), family.statistics_log_density(parameters, statistics) / beta


def _swaps(betas: Array, complete: Array, parity: Array, key: Array) -> tuple[Array, Array]:
    """Give the order of the copies after neighbours changed places or not, and the share of the tried that did."""
    pairs = len(betas) - 1
    gain = (betas[:-1] - betas[1:]) * (complete[1:] - complete[:-1])
    tried = jnp.arange(pairs) % 2 == (parity if pairs > 1 else 0)
    accepted = tried & (jnp.log(jax.random.uniform(key, (pairs,), gain.dtype)) < gain)
    none = jnp.zeros(1, bool)
    up, down = jnp.concatenate([accepted, none]), jnp.concatenate([none, accepted])
    order = jnp.arange(len(betas)) + up - down
    return order, accepted.sum() / tried.sum().astype(gain.dtype)


def _permutation(groups: Int[Array, " k"], key: Array) -> Int[Array, " k"]:
    """Draw an order of clusters that moves them within their groups alone."""
    places = jnp.argsort(groups, stable=True)
    shuffled = jnp.lexsort((jax.random.uniform(key, groups.shape), groups))
    return jnp.zeros_like(groups).at[places].set(shuffled.astype(groups.dtype))


class KernelState(NamedTuple):
    """What NumPyro carries: `z`, the sites of `Mixture.numpyro_model`, its own key, and the state of the sweep."""

    z: dict[str, Array]
    rng_key: Array
    inner: GibbsState


class GibbsKernel(MCMCKernel):
    """A sweep of `Gibbs` as a kernel of NumPyro.

    Parameters
    ----------
    mixture : Mixture
        The model; what its priors take from the rows, they take from those of each run.
    engine : Gibbs
        Its temperatures and permutations; how many draws and chains there are is up to ``MCMC``.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from numpyro.infer import MCMC
    >>> from bayessoft import Gaussian, NormalInverseWishart
    >>> prior = NormalInverseWishart(np.zeros(2), 0.1, 4.0, np.eye(2))
    >>> kernel = Gibbs().kernel(Mixture(2, Gaussian(prior=prior)))
    >>> mcmc = MCMC(kernel, num_warmup=10, num_samples=20, num_chains=2, chain_method="vectorized", progress_bar=False)
    >>> mcmc.run(jax.random.key(0), np.random.default_rng(0).normal(size=(30, 2)))
    >>> mcmc.get_samples()["means"].shape
    (40, 2, 2)
    """

    sample_field = "z"

    def __init__(self, mixture: Mixture, engine: Gibbs) -> None:
        engine.check(mixture)
        self.mixture, self.engine = mixture, engine
        self._resolved = mixture
        self._sample_fn = self.sample  # NumPyro begins anew without it

    def init(self, rng_key: Array, num_warmup: int, init_params: Any, model_args: Any, model_kwargs: Any) -> Any:
        """Give the state before the first sweep: at `init_params`, sites of the model, or centred at random rows."""
        x = _rows_of(model_args, model_kwargs)
        self._resolved = mixture = self.mixture.in_numbers(x)
        k, x = mixture.k, _cast(x)
        rows = laid_out(mixture.family, x, k)

        def one(key: Array, sites: Any) -> KernelState:
            key, choice = jax.random.split(key)
            if sites is None:
                chosen = jax.random.choice(choice, x, (k,), replace=False)
                weights, parameters = jnp.full(k, 1 / k), mixture.family.centres(mixture.family.encoded(chosen))
            else:
                sites = jax.tree.map(_cast, sites)
                weights, parameters = mixture.draw(lambda name, _: sites[name])
            return self._with_sites(key, self.engine.at(mixture, rows, weights, parameters, _threefry(key)))

        if is_prng_key(rng_key):
            return one(rng_key, init_params)
        return jax.vmap(one, in_axes=(0, None if init_params is None else 0))(rng_key, init_params)

    def sample(self, state: KernelState, model_args: Any, model_kwargs: Any) -> KernelState:
        """Give the state after a sweep, of one chain or of several side by side."""
        mixture = self._resolved
        rows = laid_out(mixture.family, _cast(_rows_of(model_args, model_kwargs)), mixture.k)

        def one(key: Array, inner: GibbsState) -> KernelState:
            key, own = jax.random.split(key)
            return self._with_sites(key, self.engine.step(mixture, rows, replace(inner, key=_threefry(own)))[0])

        alone = state.inner.sweeps.ndim == 0
        return (one if alone else jax.vmap(one))(state.rng_key, state.inner)

    def _with_sites(self, key: Array, state: GibbsState) -> KernelState:
        weights, parameters = jax.tree.map(lambda leaf: leaf[0], (state.weights, state.parameters))
        return KernelState(self._resolved.sites(weights, parameters), key, state)


def _threefry(key: Array) -> Array:
    """Give a key whose folded bits are uniform numbers, whatever the kind of the given one."""
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl="threefry2x32")


def _cast(array: Any) -> Array:
    """Give an array in JAX's own precision."""
    return jnp.asarray(handed(array), jnp.result_type(float))


def _rows_of(model_args: Any, model_kwargs: Any) -> Any:
    """Give the rows among what a driver passes on to the model."""
    given = dict(zip(("X",), model_args, strict=False)) | (model_kwargs or {})
    if set(given) != {"X"} or len(model_args) > 1:
        raise OptionError("the kernel takes the rows and nothing else: call mcmc.run(key, X)")
    return given["X"]
