"""The inverse Wishart distribution of covariances in the shape of each structure: what the priors on them share.

Full covariances are drawn one by one, tied ones once. Variances are inverse Wishart of a single row: an inverse gamma
with half the degrees of freedom as its shape, and half the scale as its scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import multigammaln

from bayessoft.errors import OptionError
from bayessoft.families.covariance import Covariance, einsum
from bayessoft.families.family import Sample

__all__ = [
    "above",
    "checked_arrays",
    "draw",
    "log_density",
    "order_of",
    "positive_definite",
    "reversed_both",
    "same_fields",
    "site",
]


def order_of(structure: Covariance, d: int) -> int:
    """Rows of a Wishart matrix for d columns; 1 for variances."""
    return d if structure.matrix else 1


def reversed_both(matrix: Array) -> Array:
    """Reverse the rows and the columns of matrices: upper triangles become lower ones."""
    return matrix[..., ::-1, ::-1]


def log_density(structure: Covariance, factors: Array, d: int, nu: Array, scale: Array) -> Array:
    """Log density of the covariances that the factors give, summed, with respect to Lebesgue measure on them.

    Parameters
    ----------
    structure : Covariance
    factors : array
        Of the covariances, see `families.covariance`.
    d : int
        Number of columns.
    nu : array of shape () or (k,)
        Degrees of freedom.
    scale : array
        Of one cluster for all, or of each.
    """
    order = order_of(structure, d)
    if structure.matrix:
        log_scale, logs = jnp.linalg.slogdet(scale)[1], structure.log_det(factors, d)
        trace = einsum("...ab,...ac,...bc->...", jnp.broadcast_to(scale, factors.shape), factors, factors)
    else:
        nu = nu[:, None] if nu.ndim and factors.ndim == 2 else nu
        log_scale, logs, trace = jnp.log(scale), jnp.log(factors), scale * factors**2
    constant = 0.5 * nu * log_scale - 0.5 * nu * order * jnp.log(2.0) - multigammaln(nu / 2, order)
    return jnp.sum(constant + (nu + order + 1) * logs - 0.5 * trace)


def draw(structure: Covariance, sample: Sample, k: int, d: int, nu: Array, scale: Array) -> Array:
    """Draw factors through `sample`, at the site that `site` gives."""
    shape = structure.shape(k, d)
    if structure.matrix:
        wishart = dist.WishartCholesky(nu, rate_matrix=reversed_both(scale)).expand(shape[:-2])
        return reversed_both(sample("precisions_cholesky", wishart))
    nu = nu[:, None] if nu.ndim and len(shape) == 2 else nu
    gamma = dist.Gamma(jnp.broadcast_to(nu / 2, shape), jnp.broadcast_to(scale / 2, shape))
    return jnp.sqrt(sample("precisions", gamma.to_event(len(shape))))


def site(structure: Covariance, factors: Array) -> dict[str, Array]:
    """Give the site of `draw` that makes the factors, upper triangular ones with a positive diagonal."""
    return {"precisions_cholesky": reversed_both(factors)} if structure.matrix else {"precisions": factors**2}


def checked_arrays(prior: Any, allowed: Mapping[str, tuple[tuple[int, ...], ...]], k: int, d: int) -> dict[str, Any]:
    """Give fields of a prior as finite float64 arrays of an allowed shape.

    Raises
    ------
    OptionError
        Names the first field that is not.
    """
    values = {}
    for name, shapes in allowed.items():
        value = np.asarray(getattr(prior, name), dtype=np.float64)
        if value.shape not in shapes:
            raise OptionError(
                f"prior.{name} has shape {value.shape}; allowed for {k} clusters of {d} columns with this "
                f"covariance_type: {' or '.join(map(str, shapes))}"
            )
        if not np.isfinite(value).all():
            raise OptionError(f"prior.{name} holds NaN or infinity: pass finite numbers")
        values[name] = value
    return values


def above(name: str, value: np.ndarray, least: float) -> None:
    """Refuse numbers of a prior that are not above the least one at which it is proper."""
    if (value <= least).any():
        raise OptionError(f"prior.{name} is {value}: pass numbers above {least}")


def positive_definite(name: str, value: np.ndarray, structure: Covariance) -> None:
    """Refuse what is no covariance."""
    if structure.matrix:
        positive = np.allclose(value, np.swapaxes(value, -1, -2)) and (np.linalg.eigvalsh(value) > 0).all()
    else:
        positive = (value > 0).all()
    if not positive:
        raise OptionError(f"prior.{name} must be symmetric positive definite (positive, for variances)")


def same_fields(fields: list[tuple[Any, int]], k: int) -> Any:
    """Tell which pairs of components, (k, k), are the same in fields, each with its rank where it is one for all."""
    same: Any = np.ones((k, k), bool)
    for value, rank in fields:
        if np.ndim(value) > rank:  # one for each component
            every = value.reshape(k, -1)
            same = same & (every[:, None] == every[None]).all(-1)
    return same
