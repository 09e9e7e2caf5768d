"""A sweep of Gibbs sampling as a kernel of NumPyro, for its `MCMC`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.infer.mcmc import MCMCKernel
from numpyro.util import is_prng_key

from bayessoft.core.distributions import laid_out
from bayessoft.errors import OptionError
from bayessoft.mixture import Mixture, handed

__all__ = ["GibbsKernel"]


class KernelState(NamedTuple):
    """What NumPyro carries: `z`, the sites of `Mixture.numpyro_model`, its own key, and the state of the sweep."""

    z: dict[str, Array]
    rng_key: Array
    inner: Any


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
    >>> from bayessoft import Gaussian, Gibbs, NormalInverseWishart
    >>> prior = NormalInverseWishart(np.zeros(2), 0.1, 4.0, np.eye(2))
    >>> kernel = Gibbs().kernel(Mixture(2, Gaussian(prior=prior)))
    >>> mcmc = MCMC(kernel, num_warmup=10, num_samples=20, num_chains=2, chain_method="vectorized", progress_bar=False)
    >>> mcmc.run(jax.random.key(0), np.random.default_rng(0).normal(size=(30, 2)))
    >>> mcmc.get_samples()["means"].shape
    (40, 2, 2)
    """

    sample_field = "z"

    def __init__(self, mixture: Mixture, engine: Any) -> None:
        engine.check(mixture)
        if mixture.sizes is not None:
            raise OptionError(
                f"the kernel leaves sizes free, and the mixture has {mixture.sizes!r}: fit an estimator with "
                "inference='gibbs', or leave sizes out"
            )
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

        def one(key: Array, inner: Any) -> KernelState:
            key, own = jax.random.split(key)
            return self._with_sites(key, self.engine.step(mixture, rows, replace(inner, key=_threefry(own)))[0])

        alone = state.inner.sweeps.ndim == 0
        return (one if alone else jax.vmap(one))(state.rng_key, state.inner)

    def _with_sites(self, key: Array, state: Any) -> KernelState:
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
