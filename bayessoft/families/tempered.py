"""A family at another temperature: its log densities, and what the rows say, times an inverse temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float

from bayessoft.data.rows import Rows
from bayessoft.families.family import Sample, SweptFamily, pytree

__all__ = ["Tempered"]


@pytree()
@dataclass(frozen=True, eq=False)
class Tempered(SweptFamily):
    """Components whose log densities count `beta` times: memberships are softer below 1, and harder above.

    What it gives as log densities are none: they do not integrate to 1. Statistics are those of rows that weigh `beta`
    times what they do, as the mode under a prior needs them.

    Attributes
    ----------
    family : SweptFamily
        The components at temperature 1.
    beta : float > 0
        The inverse temperature.
    """

    family: Any
    beta: Any

    @property
    def name(self) -> str:
        return self.family.name

    @property
    def prior(self) -> Any:
        """Prior on the parameters."""
        return self.family.prior

    @property
    def plain(self) -> SweptFamily:
        return self.family

    @property
    def power(self) -> Any:
        return self.beta

    def _with(self, family: SweptFamily) -> Tempered:
        return replace(self, family=family)

    def tile_log_density(self, parameters: Any, features: Any, fast: bool) -> Array:
        return self.beta * self.family.tile_log_density(parameters, features, fast)

    def tile_scores(self, parameters: Any, x: Array, fast: bool) -> Array:
        return self.beta * self.family.tile_scores(parameters, x, fast)

    def tile_statistics(self, parameters: Any, features: Any, r: Array, fast: bool) -> Any:
        return self.family.tile_statistics(parameters, features, self.beta * r, fast)

    def members(self, statistics: Any) -> Float[Array, " k"]:
        return statistics.weight / self.beta

    # Everything else is the family's own.

    @property
    def parts(self) -> tuple[SweptFamily, ...]:
        return (self.family, *self.family.parts)

    @property
    def peaked(self) -> bool:
        return self.family.peaked

    @property
    def group(self) -> str:
        return self.family.group

    def proper(self) -> Tempered:
        return self._with(self.family.proper())

    def raised(self) -> Tempered:
        return self._with(self.family.raised())

    def with_prior(self, prior: Any) -> Tempered:
        return self._with(self.family.with_prior(prior))

    def resolved(self, k: int, rows: Rows) -> Tempered:
        return self._with(self.family.resolved(k, rows))

    def standardised(self, frame: Any) -> Tempered:
        return self._with(self.family.standardised(frame))

    def draw(self, sample: Sample, k: int) -> Any:
        return self.family.draw(sample, k)

    def likelihood(self, parameters: Any) -> Any:
        return self.family.likelihood(parameters)

    def sites(self, parameters: Any) -> dict[str, Array]:
        return self.family.sites(parameters)

    def arranged(self, parameters: Any, order: Any) -> Any:
        return self.family.arranged(parameters, order)

    def tile_rows(self, k: int, d: int) -> int:
        return self.family.tile_rows(k, d)

    def safe(self, parameters: Any, radius: Array) -> Array | bool:
        return self.family.safe(parameters, radius)

    def tile_features(self, parameters: Any, x: Array, fast: bool) -> Any:
        return self.family.tile_features(parameters, x, fast)

    def collect(self, parameters: Any, total: Any, fast: bool) -> Any:
        return self.family.collect(parameters, total, fast)

    def statistics_log_density(self, parameters: Any, statistics: Any) -> Array:
        return self.family.statistics_log_density(parameters, statistics)

    def mode(self, statistics: Any, floor: Array | float) -> Any:
        return self.family.mode(statistics, floor)

    def log_prior(self, parameters: Any) -> Array:
        return self.family.log_prior(parameters)

    def centres(self, means: Array) -> Any:
        return self.family.centres(means)

    def nearby(self, statistics: Any) -> Any:
        return self.family.nearby(statistics)

    def encoded(self, x: Any) -> Any:
        return self.family.encoded(x)

    def embedded(self, x: np.ndarray) -> np.ndarray:
        return self.family.embedded(x)

    def split(self, values: np.ndarray, x: np.ndarray) -> list[tuple[SweptFamily, np.ndarray, np.ndarray]]:
        return self.family.split(values, x)

    def discrete(self, d: int) -> np.ndarray:
        return self.family.discrete(d)

    def frame(self, rows: Rows) -> Any:
        return self.family.frame(rows)

    def n_parameters(self, k: int, d: int) -> int:
        return self.family.n_parameters(k, d)

    def check(self, rows: Rows) -> None:
        self.family.check(rows)

    def floor(self, reg_covar: float, frame: Any) -> np.ndarray:
        return self.family.floor(reg_covar, frame)

    def shapes(self, k: int, d: int) -> dict[str, tuple[int, ...]]:
        return self.family.shapes(k, d)

    def given_parameters(self, given: Mapping[str, np.ndarray], frame: Any) -> Any:
        return self.family.given_parameters(given, frame)

    def map_parameters(self, parameters: Any, frame: Any) -> Any:
        return self.family.map_parameters(parameters, frame)

    def quantities(self, parameters: Any) -> dict[str, tuple[tuple[str, ...], Any]]:
        return self.family.quantities(parameters)

    def shown(self, parameters: Any) -> dict[str, str]:
        return self.family.shown(parameters)

    def coordinates(self, columns: Sequence[str]) -> dict[str, list[str]]:
        return self.family.coordinates(columns)

    def doubt(self, parameters: Any, frame: Any, dtype: np.dtype[Any], reg_covar: float) -> str:
        return self.family.doubt(parameters, frame, dtype, reg_covar)

    def simulate(self, parameters: Any, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.family.simulate(parameters, labels, rng)
