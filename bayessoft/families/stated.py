"""A family of somebody's own, stated by its prior and its likelihood alone: what samplers and gradients need."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from numpyro import distributions as dist
from numpyro.infer.util import log_density

from bayessoft.data.rows import Rows, fresh
from bayessoft.errors import DataError, OptionError
from bayessoft.families.family import Sample, SweptFamily, moved, pytree, rows_of_a_tile
from bayessoft.numerics import Affine

__all__ = ["Stated"]

TAKEN = ("weights", "log_density", "sorted_weights", "entropy", "chain", "draw", "cluster", "x")


def any_value(_: str, distribution: Any) -> Any:
    """Give some value of a distribution, where shapes and supports alone are asked for."""
    return distribution.sample(jax.random.key(0))


class _Held:
    """An object as it was when it was handed over: equal to those of the same class with the same attributes.

    It takes part in compilation, so an object whose attributes change makes another program.
    """

    def __init__(self, family: Any) -> None:
        self.family = copy.copy(family)
        kind = type(family)
        self.key = (kind, _content(vars(family)) if hasattr(family, "__dict__") else ("object", id(self.family)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        """Name the class and sum its attributes up, the same in another process where they are numbers and text."""
        kind, content = self.key
        return f"{kind.__module__}.{kind.__qualname__}({hashlib.sha256(repr(content).encode()).hexdigest()})"


def _content(value: Any) -> Any:
    """Give what makes a value equal to another, hashable; of what is no number, text or array, which object it is."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        return str(array.dtype), array.shape, array.tobytes()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return type(value).__name__, repr(value)
    if isinstance(value, Mapping):
        return tuple(sorted((repr(key), _content(item)) for key, item in value.items()))
    if isinstance(value, tuple | list):
        return type(value).__name__, tuple(map(_content, value))
    return "object", id(value)


@pytree(static=("held",))
@dataclass(frozen=True, eq=False)
class Stated(SweptFamily):
    """Makes of an object with `draw` and `likelihood`, see `families.family.Family`, what a mixture works with.

    Its parameters are the values of the sites that `draw` samples, by their names. A site whose first axis grows with
    the number of components has one entry for each; components share the others.

    Attributes
    ----------
    held : _Held
        The object.
    """

    TIER: ClassVar[str] = "a"
    SHOWN: ClassVar[str] = ""

    held: _Held

    @classmethod
    def of(cls, family: Any) -> Stated:
        """Wrap an object, refusing what is none."""
        for name in ("draw", "likelihood"):
            if not callable(getattr(family, name, None)):
                raise OptionError(
                    f"a family of your own needs a method {name}: draw(sample, k) gives the parameters of k components "
                    "through sample(name, distribution), likelihood(parameters) the NumPyro distribution of a row with "
                    "batch shape (k,)"
                )
        return cls(_Held(family))

    @property
    def name(self) -> str:
        return type(self.held.family).__name__

    @property
    def prior(self) -> Any:
        """The object itself: its prior is a part of it."""
        return self.held.family

    def sites_of(self, k: int) -> dict[str, Any]:
        """Give the distributions that k components are drawn from, by the names of their sites."""
        found: dict[str, Any] = {}

        def noting(name: str, distribution: Any) -> Any:
            if name in found or name in TAKEN:
                raise OptionError(f"draw samples {name!r} twice, or it means something else already: rename it")
            found[name] = distribution
            return any_value(name, distribution)

        self.held.family.draw(noting, k)
        if not found:
            raise OptionError("draw samples nothing: call sample(name, distribution) for each parameter")
        return found

    def draw(self, sample: Sample, k: int) -> dict[str, Array]:
        found: dict[str, Array] = {}

        def noting(name: str, distribution: Any) -> Any:
            found[name] = sample(name, distribution)
            return found[name]

        self.held.family.draw(noting, k)
        return found

    def stated(self, parameters: Mapping[str, Array], k: int) -> Any:
        """Give what the object's own `draw` makes of the sites."""
        return self.held.family.draw(lambda name, _: parameters[name], k)

    def likelihood(self, parameters: Mapping[str, Array]) -> Any:
        return self.held.family.likelihood(self.stated(parameters, self._k(parameters)))

    def _k(self, parameters: Mapping[str, Array]) -> int:
        """Tell how many components the sites are of."""
        sizes = {jnp.shape(value)[0] for value in parameters.values() if jnp.ndim(value)}
        for k in sorted(sizes):
            if self.shapes(k) == {name: jnp.shape(value) for name, value in parameters.items()}:
                return k
        raise OptionError(f"sites of shapes { ({n: jnp.shape(v) for n, v in parameters.items()}) } are no components'")

    def shapes(self, k: int, d: int = 0) -> dict[str, tuple[int, ...]]:
        return {name: tuple(one.shape()) for name, one in self.sites_of(k).items()}

    def of_each(self, k: int) -> dict[str, bool]:
        """Tell which sites have one entry for each component."""
        one, more = self.shapes(k), self.shapes(k + 1)
        return {name: shape[:1] == (k,) and more[name][:1] == (k + 1,) for name, shape in one.items()}

    def sites(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        return dict(parameters)

    def with_prior(self, prior: Any) -> Stated:
        return self

    def log_prior(self, parameters: Mapping[str, Array]) -> Array:
        k = self._k(parameters)
        return log_density(lambda: self.held.family.draw(numpyro.sample, k), (), {}, dict(parameters))[0]

    def arranged(self, parameters: Mapping[str, Any], order: Any) -> dict[str, Any]:
        each = self.of_each(2)
        return {name: moved(value, order) if each[name] else value for name, value in parameters.items()}

    def tile_rows(self, k: int, d: int) -> int:
        return rows_of_a_tile(k * (d + 1), 64)

    def tile_scores(self, parameters: Mapping[str, Array], x: Array, fast: bool) -> Array:
        return self.likelihood(parameters).log_prob(x.T[:, None, :]).T

    def tile_log_density(self, parameters: Any, features: Any, fast: bool) -> Any:
        return self.tile_scores(parameters, features, fast)

    def embedded(self, x: np.ndarray) -> np.ndarray:
        spread = x.std(0)
        return x / np.where(spread > 0, spread, 1)

    def tile_statistics(self, parameters: Any, features: Any, r: Any, fast: bool) -> Any:
        raise self._lacking("statistics")

    def collect(self, parameters: Any, total: Any, fast: bool) -> Any:
        raise self._lacking("statistics")

    def statistics_log_density(self, parameters: Any, statistics: Any) -> Any:
        raise self._lacking("statistics")

    def mode(self, statistics: Any, floor: Any) -> Any:
        raise self._lacking("mode in closed form")

    def centres(self, means: Any) -> Any:
        raise self._lacking("centres")

    def nearby(self, statistics: Any) -> Any:
        raise self._lacking("centres")

    def _lacking(self, what: str) -> OptionError:
        return OptionError(
            f"{self.name} states draw and likelihood alone, so it has no {what}: use 'nuts', 'svi' or 'map'"
        )

    def n_parameters(self, k: int, d: int) -> int:
        return sum(int(np.prod(_unconstrained(one))) for one in self.sites_of(k).values())

    def resolved(self, k: int, rows: Rows) -> Stated:
        one, more, each = self.shapes(k), self.shapes(k + 1), self.of_each(k)
        if odd := [name for name in one if one[name][each[name] :] != more[name][each[name] :]]:
            raise OptionError(
                f"{odd[0]!r} has shape {one[odd[0]]} for {k} components and {more[odd[0]]} for {k + 1}: components are "
                "told apart by the first axis alone"
            )
        if not any(each.values()):
            raise OptionError(
                "draw samples nothing of each component: give the distribution of a parameter a first axis of length "
                "k, for example by .expand([k])"
            )
        components = self.held.family.likelihood(self.held.family.draw(any_value, k))
        if components.batch_shape != (k,) or components.event_shape != (rows.d,):
            raise OptionError(
                f"likelihood has batch shape {components.batch_shape} and event shape {components.event_shape} for {k} "
                f"clusters of rows with {rows.d} columns: they must be ({k},) and ({rows.d},); .to_event(1) makes the "
                "last batch axis the columns"
            )
        self.check(rows)
        return self

    def check(self, rows: Rows) -> None:
        """Refuse rows outside of the support that two components drawn from the prior have."""
        try:
            components = self.held.family.likelihood(self.held.family.draw(any_value, 2))
            inside = np.asarray(components.support(jnp.asarray(fresh(rows.values))[:, None, :])).reshape(rows.n, -1)
        except NotImplementedError:  # it depends on the parameters
            return
        if not inside.all():
            row = int(np.argmin(inside.all(1)))
            name = repr(rows.ids[row]) if rows.ids else row
            raise DataError(
                f"row {name} of X, {rows.values[row]}, has no density: {self.name} is on {components.support}"
            )

    def given_parameters(self, given: Mapping[str, np.ndarray], frame: Affine) -> dict[str, Any]:
        return {name: given.get(name) for name in self.sites_of(2)}

    def quantities(self, parameters: Mapping[str, Any]) -> dict[str, tuple[tuple[str, ...], Any]]:
        each, every = self.of_each(2), {}
        for name, shape in self.shapes(2).items():  # in the order of `draw`, which JAX does not keep
            first = ("cluster",) if each[name] else ()
            rest = (f"{name}_dim_{i}" for i in range(len(shape) - len(first)))
            every[name] = ((*first, *rest), np.asarray(parameters[name]))
        return dict(sorted(every.items(), key=lambda item: not each[item[0]]))

    def simulate(self, parameters: Mapping[str, Any], labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        every = self.likelihood(jax.tree.map(jnp.asarray, dict(parameters)))
        drawn = np.asarray(every.sample(jax.random.key(int(rng.integers(1 << 31))), (len(labels),)))
        return drawn[np.arange(len(labels)), labels].astype(np.float64)


def _unconstrained(distribution: Any) -> tuple[int, ...]:
    """Give the shape that a value has once nothing constrains it."""
    return dist.biject_to(distribution.support).inverse_shape(distribution.shape())
