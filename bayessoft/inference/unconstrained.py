"""A mixture's proportions and parameters as vectors that nothing constrains: where gradients lead."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpyro
from jax import Array
from jaxtyping import Float
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from bayessoft.core import sweep
from bayessoft.core.sweep import Tiles
from bayessoft.mixture import Mixture

__all__ = ["constrained", "log_joint", "model", "potential", "unconstrained"]


def unconstrained(mixture: Mixture, weights: Float[Array, " k"], parameters: Any) -> dict[str, Array]:
    """Give the position of proportions and parameters: one array for each site of the prior."""
    tiny = jnp.finfo(weights.dtype).eps
    weights = jnp.maximum(weights, tiny) / jnp.maximum(weights, tiny).sum()  # a given share of 0 lies at infinity
    return unconstrain_fn(_prior, (mixture,), {}, mixture.sites(weights, parameters))


def constrained(mixture: Mixture, z: dict[str, Array]) -> tuple[Float[Array, " k"], Any]:
    """Give the proportions and parameters at a position."""
    sites = constrain_fn(_prior, (mixture,), {}, z)
    return mixture.draw(lambda name, _: sites[name])


def log_joint(mixture: Mixture, rows: Tiles, weights: Float[Array, " k"], parameters: Any) -> Array:
    """Give log-likelihood plus log prior density."""
    value = sweep.log_likelihood(mixture.family, parameters, jnp.log(weights), rows)
    return value + mixture.log_prior(weights, parameters)


def potential(mixture: Mixture, rows: Tiles) -> Any:
    """Give minus the log density of a position, with the volume that its coordinates take."""
    return partial(potential_energy, model, (mixture, rows), {})


def _prior(mixture: Mixture) -> tuple[Array, Any]:
    """State the prior as a NumPyro model."""
    return mixture.draw(numpyro.sample)


def model(mixture: Mixture, rows: Tiles) -> None:
    """State the mixture of rows that are laid out already as a NumPyro model."""
    weights, parameters = _prior(mixture)
    numpyro.factor("x", sweep.log_likelihood(mixture.family, parameters, jnp.log(weights), rows))
