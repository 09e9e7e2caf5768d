"""Families whose score is linear in features of a row: counts, and answers out of a few.

What they share: the pass, the verbs of a conjugate prior that NumPyro's own distributions state, and the checks of
cells. What a family adds is its features, its natural parameters, and the posterior of its prior.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.lax import stop_gradient
from jax.scipy.special import gammaln
from jaxtyping import Bool, Float
from scipy import special

from bayessoft.data.rows import Rows
from bayessoft.data.tables import place_of
from bayessoft.errors import DataError, OptionError
from bayessoft.families.family import ConjugateFamily, Sample, pytree, rows_of_a_tile
from bayessoft.numerics import HIGHEST, Affine

__all__ = ["LinearFamily", "Sums", "counts_only", "log", "log_rising", "positive", "refuse", "stirling"]

SINGLE_ERROR = 1e-2  # nats that rounding to float32 may cost a row


@pytree()
@dataclass(frozen=True, eq=False)
class Sums:
    """Sufficient statistics.

    Attributes
    ----------
    weight : array of shape (k,)
    first : array of shape (k, f)
        Sums of the features.
    base : scalar
        Sum of the log base measure over rows and components.
    """

    weight: Float[Array, " k"]
    first: Float[Array, "k f"]
    base: Float[Array, ""]


@dataclass(frozen=True, eq=False)
class LinearFamily(ConjugateFamily):
    """A family with one form: natural parameters times features, plus a constant, plus the log base measure.

    Its parameters are a pytree of arrays with leading axis k, its prior a dataclass of arrays shaped as one component,
    or with a leading k.
    """

    PRIOR: ClassVar[type]
    """What a prior has to be."""
    PARAMETERS: ClassVar[type]
    """What holds the parameters: a dataclass of one array, by the name that `quantities` gives it."""
    COUNTED: ClassVar[tuple[str, ...]]
    """The fields of the prior that are one more than what its mode counts."""
    ALONG: ClassVar[str] = "feature"
    """The dimension of the parameters beside that of the clusters."""
    MOST: ClassVar[float] = np.inf
    """The largest number that a parameter can be."""
    BASED: ClassVar[bool] = False
    """Whether there is a base measure: its logs are found once, and laid out as a further column of the rows."""

    prior: Any = "weak"

    def features(self, x: Float[Array, "d t"]) -> Float[Array, "f t"]:
        """Give what the score is linear in: the columns themselves, where nothing else is said."""
        return x

    @abstractmethod
    def natural(self, parameters: Any) -> tuple[Float[Array, "k f"], Float[Array, " k"]]:
        """Give natural parameters, finite ones whatever dtype they were cast to, and minus the log-normalisers."""

    def log_base(self, x: Any, gammaln: Callable[[Any], Any]) -> Any:
        """Give the log base measure, shape (n,), of rows x of shape (n, d), where there is one."""
        raise NotImplementedError

    @abstractmethod
    def distributions(self, k: int) -> dict[str, dist.Distribution]:
        """Give the prior as independent distributions of what `gathered` takes, by the names of their sites."""

    @abstractmethod
    def gathered(self, sites: Mapping[str, Array]) -> Any:
        """Give the parameters that values of the sites make, pushed off the boundary of what they may be."""

    @abstractmethod
    def weak(self, rows: Rows) -> Any:
        """Give a prior that the rows outweigh soon."""

    def tile_rows(self, k: int, d: int) -> int:
        return rows_of_a_tile(self.entry(d) + k, 256)

    def encoded(self, x: Any) -> Any:
        if not self.BASED:
            return x
        if isinstance(x, np.ndarray):
            return np.column_stack([x, self.log_base(x, special.gammaln)])
        return jnp.column_stack([x, self.log_base(x, jax.scipy.special.gammaln)])

    def parted(self, x: Any) -> tuple[Any, Any]:
        """Give columns and log base measure of rows laid out, (d, t) and (t,)."""
        return (x[:-1], x[-1]) if self.BASED else (x, jnp.zeros(x.shape[1], x.dtype))

    def tile_features(self, parameters: Any, x: Array, fast: bool) -> tuple[Array, Array]:
        columns, base = self.parted(x)
        return self.features(columns), base

    def tile_log_density(self, parameters: Any, features: tuple[Array, Array], fast: bool) -> Array:
        eta, constant = self.natural(parameters)
        return jnp.dot(eta, features[0], precision=HIGHEST) + constant[:, None] + features[1]

    def tile_statistics(self, parameters: Any, features: tuple[Array, Array], r: Array, fast: bool) -> Sums:
        phi, base = stop_gradient(features)
        return Sums(r.sum(1), jnp.dot(r, phi.T, precision=HIGHEST), jnp.sum(r * base))

    def collect(self, parameters: Any, total: Sums, fast: bool) -> Sums:
        return total

    def statistics_log_density(self, parameters: Any, statistics: Sums) -> Array:
        eta, constant = self.natural(parameters)
        return jnp.sum(eta * statistics.first) + jnp.sum(constant * statistics.weight) + statistics.base

    def nearby(self, statistics: Sums) -> Any:
        return self.mode(statistics, 0.0)

    def draw(self, sample: Sample, k: int) -> Any:
        return self.gathered({name: sample(name, prior) for name, prior in self.distributions(k).items()})

    def log_prior(self, parameters: Any) -> Array:
        if self.prior is None:
            return jnp.zeros(())
        sites = self.sites(parameters)
        k = len(jax.tree.leaves(parameters)[0])
        every = [jnp.sum(prior.log_prob(sites[name])) for name, prior in self.distributions(k).items()]
        return jnp.stack(every).sum()

    def blend(self, other: Self, rate: Array) -> Self:
        mixed = jax.tree.map(lambda mine, its: (1 - rate) * mine + rate * its, self.prior, other.prior)
        return replace(self, prior=mixed)

    def divergence(self, other: Self, k: int) -> Array:
        theirs = other.distributions(k)
        every = [jnp.sum(dist.kl_divergence(mine, theirs[name])) for name, mine in self.distributions(k).items()]
        return jnp.stack(every).sum()

    def spread(self, k: int) -> tuple[Array, ...]:
        """Give the fields of the prior, each with axes over components and over what a component has of it."""
        values = [jnp.asarray(getattr(self.prior, field.name)) for field in fields(self.prior)]
        widths = [value.shape[-1] for value in values if value.ndim]
        if not widths:
            raise OptionError(
                f"{self.prior} has one number for all columns, and nothing says how many there are: pass arrays with "
                "one for each"
            )
        return tuple(jnp.broadcast_to(value, (k, max(widths))) for value in values)

    def sites(self, parameters: Any) -> dict[str, Array]:
        return {field.name: getattr(parameters, field.name) for field in fields(parameters)}

    def quantities(self, parameters: Any) -> dict[str, tuple[tuple[str, ...], Any]]:
        return {name: (("cluster", self.ALONG), value) for name, value in LinearFamily.sites(self, parameters).items()}

    def with_prior(self, prior: Any) -> Self:
        return replace(self, prior=prior)

    def same_prior(self, k: int) -> Any:
        same: Any = np.ones((k, k), bool)
        for field in fields(self.prior):
            value = getattr(self.prior, field.name)
            if np.ndim(value) > 1:  # one for each component
                same = same & (value[:, None] == value[None]).all(-1)
        return same

    @property
    def peaked(self) -> bool:
        if not isinstance(self.prior, self.PRIOR):
            return True
        return all(bool((np.asarray(getattr(self.prior, name)) >= 1).all()) for name in self.COUNTED)

    def raised(self) -> Self:
        if self.prior is None:
            return self
        more = {name: 1 + getattr(self.prior, name) for name in self.COUNTED}
        return replace(self, prior=replace(self.prior, **more))

    def resolved(self, k: int, rows: Rows) -> Self:
        self.check(rows)
        prior = self.prior
        if isinstance(prior, str) and prior == "weak":
            prior = self.weak(rows)
        if not (prior is None or isinstance(prior, self.PRIOR)):
            what = repr(prior) if isinstance(prior, str) else f"a {type(prior).__name__}"
            raise OptionError(f"prior is {what}: pass None, 'weak' or a {self.PRIOR.__name__}")
        checked = None if prior is None else positive(prior, k, self.entry(rows.d))
        return replace(self, prior=checked)

    def entry(self, d: int) -> int:
        """Give how many features d columns have, and so parameters a component, and numbers a field of its prior."""
        return d

    def shapes(self, k: int, d: int) -> dict[str, tuple[int, ...]]:
        return {field.name: (k, self.entry(d)) for field in fields(self.PARAMETERS)}

    def given_parameters(self, given: Mapping[str, np.ndarray], frame: Affine) -> Any:
        (field,) = fields(self.PARAMETERS)
        value = given.get(field.name)
        if value is not None and ((value < 0) | (value > self.MOST)).any():
            most = "" if np.isinf(self.MOST) else f" and <= {self.MOST:g}"
            raise OptionError(f"{field.name} to start from are {value}: pass numbers >= 0{most}")
        return self.PARAMETERS(None if value is None else np.maximum(value, np.finfo(np.float32).tiny))

    def n_parameters(self, k: int, d: int) -> int:
        return k * d


def log(value: Array) -> Array:
    """Give the log of numbers >= 0, of the smallest normal one in the place of those below it."""
    return jnp.log(jnp.maximum(value, jnp.finfo(value.dtype).tiny))


def log_rising(a: Array, x: Array) -> Array:
    """Give the log of Gamma(a + x) / Gamma(a) for x >= 0, of large a without the difference of large numbers.

    From Stirling's series, Abramowitz and Stegun (1964), 6.1.41: at 16 and above its rest is below 2e-14.
    """
    large = jnp.maximum(a, 16.0)
    series = x * jnp.log(large + x) + (large - 0.5) * jnp.log1p(x / large) - x
    series = series + stirling(large + x) - stirling(large)
    small = jnp.minimum(a, 16.0)
    return jnp.where(a < 16, gammaln(small + x) - gammaln(small), series)


def stirling(z: Array) -> Array:
    """Give what log Gamma(z) has beyond ``(z - 1/2) log z - z + log(2 pi) / 2``; z >= 16."""
    square = 1 / (z * z)
    return (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680))) / z


def positive(prior: Any, k: int, width: int) -> Any:
    """Check that the fields of a prior are finite and above 0, and give each the shape (width,) or (k, width)."""
    checked = {}
    for field in fields(prior):
        value = np.asarray(getattr(prior, field.name), np.float64)
        if value.shape not in ((), (width,), (k, width)):
            raise OptionError(
                f"prior.{field.name} has shape {value.shape}: pass one number, ({width},) for one of each, or "
                f"({k}, {width}) for each cluster"
            )
        if not (np.isfinite(value).all() and (value > 0).all()):
            raise OptionError(f"prior.{field.name} is {value}: pass finite numbers above 0")
        checked[field.name] = np.broadcast_to(value, value.shape or (width,)).copy()
    return replace(prior, **checked)


def refuse(rows: Rows, wrong: Bool[np.ndarray, "n d"], what: str) -> None:
    """Refuse rows with wrong cells, naming the first."""
    if not wrong.any():
        return
    row, column = map(int, np.argwhere(wrong)[0])
    place = place_of((row, column), rows.columns, rows.ids)
    raise DataError(f"X holds {rows.values[row, column]:g} at {place} (rows count from 0): {what}")


def counts_only(rows: Rows, family: str) -> None:
    """Refuse cells that are no counts, and counts too large for the dtype."""
    refuse(
        rows,
        (rows.values < 0) | (rows.values != np.floor(rows.values)),
        f"{family} components need counts, whole numbers >= 0; for measurements use Gaussian ones",
    )
    largest = float(rows.values.sum(1, dtype=np.float64).max())
    if rows.values.dtype == np.float32 and np.finfo(np.float32).eps * largest * np.log1p(largest) > SINGLE_ERROR:
        raise DataError(
            f"X counts up to {largest:g} in a row, and float32 rounds the log density of such a row by more than "
            f"{SINGLE_ERROR} nats: pass X.astype(numpy.float64)"
        )
