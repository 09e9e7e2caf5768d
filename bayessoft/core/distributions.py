"""NumPyro distributions of mixtures: of one row, point by point, and of a whole table, in one pass."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float
from numpyro.distributions import constraints

from bayessoft.core import sweep
from bayessoft.families.family import SweptFamily

__all__ = ["RowDistribution", "TableDistribution", "laid_out"]


def laid_out(family: SweptFamily, x: Float[Array, "n d"], k: int, w: Float[Array, " n"] | None = None) -> sweep.Tiles:
    """Lay rows out in tiles where they are traced, or on the device already; their number is no bucket's."""
    x = jnp.asarray(x)
    x = family.encoded(x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float))
    n, d = x.shape
    t = min(family.tile_rows(k, d), n)
    count = -(-n // t)
    w = jnp.ones(n, x.dtype) if w is None else jnp.asarray(w, x.dtype)
    filling = count * t - n
    radius = jnp.sqrt(jnp.sum(x * x, 1).max())
    x, w = jnp.pad(x, ((0, filling), (0, 0)), mode="edge"), jnp.pad(w, (0, filling))
    return sweep.Tiles(jnp.swapaxes(x.reshape(count, t, d), 1, 2), w.reshape(count, t), radius)


class RowDistribution(dist.Distribution):
    """The density of a row, for a plate over rows, with derivatives in the row as well.

    Parameters
    ----------
    family : SweptFamily
        The components' family; its prior plays no part.
    weights : array of shape (k,)
        Proportions.
    parameters
        Of the k components, as the family's `draw` gives them.

    Examples
    --------
    >>> from bayessoft.families.gaussian import Gaussian
    >>> family = Gaussian()
    >>> row = RowDistribution(family, jnp.array([0.5, 0.5]), family.centres(jnp.array([[0.0], [4.0]])))
    >>> row.log_prob(jnp.array([[0.0], [2.0]])).shape
    (2,)
    """

    arg_constraints = {"weights": constraints.simplex}
    pytree_data_fields = ("family", "parameters")

    def __init__(
        self, family: SweptFamily, weights: Float[Array, " k"], parameters: Any, *, validate_args: bool | None = None
    ) -> None:
        self.family, self.weights, self.parameters = family.with_prior(None), weights, parameters
        components = jax.eval_shape(family.likelihood, parameters)
        super().__init__((), components.event_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> Any:
        """Where the density is above 0."""
        return self.family.likelihood(self.parameters).support

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw rows."""
        which, rows = jax.random.split(key)
        labels = jax.random.categorical(which, jnp.log(self.weights), shape=sample_shape)
        every = self.family.likelihood(self.parameters).sample(rows, sample_shape)
        return jnp.take_along_axis(every, labels[..., None, None], axis=-2)[..., 0, :]

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log density of rows."""
        rows = laid_out(self.family, value.reshape(-1, value.shape[-1]), len(self.weights))
        found = sweep.rowwise(self.family, self.parameters, jnp.log(self.weights), rows)[0]
        shape = value.shape[:-1]
        return found.ravel()[: value.size // value.shape[-1]].reshape(shape)


class TableDistribution(dist.Distribution):
    """The density of a whole table, one pass over it, with the derivative at the price of one more.

    Rows have no derivative here: they are data.

    Parameters
    ----------
    family, weights, parameters
        As of `RowDistribution`.
    n : int
        Number of rows.
    row_weights : array of shape (n,), optional
        Powers to which the rows' densities are raised; draws do not heed them.
    """

    arg_constraints = {"weights": constraints.simplex}
    pytree_data_fields = ("family", "parameters", "row_weights")
    pytree_aux_fields = ("n",)

    def __init__(
        self,
        family: SweptFamily,
        weights: Float[Array, " k"],
        parameters: Any,
        n: int,
        row_weights: Float[Array, " n"] | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.family, self.weights, self.parameters = family.with_prior(None), weights, parameters
        self.n, self.row_weights = n, row_weights
        components = jax.eval_shape(family.likelihood, parameters)
        super().__init__((), (n, *components.event_shape), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=2)
    def support(self) -> Any:
        """Where the density is above 0."""
        return constraints.independent(self.family.likelihood(self.parameters).support, 1)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw tables."""
        row = RowDistribution(self.family, self.weights, self.parameters, validate_args=False)
        return row.sample(key, (*sample_shape, self.n))

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log density of tables."""
        if value.ndim > 2:
            return jax.lax.map(self.log_prob, value)
        rows = laid_out(self.family, value, len(self.weights), self.row_weights)
        return sweep.log_likelihood(self.family, self.parameters, jnp.log(self.weights), rows)
