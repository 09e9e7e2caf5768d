"""The contract of an engine, and the problem that it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bayessoft.core.demand import Demand
from bayessoft.core.feasible import refuse_clash
from bayessoft.core.sweep import Tiles
from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError
from bayessoft.families.family import pytree
from bayessoft.mixture import Mixture
from bayessoft.numerics import Affine, platform
from bayessoft.posteriors import Conjugate, Draws, Guided, Point
from bayessoft.status import Status

__all__ = [
    "METHODS",
    "Climber",
    "Draw",
    "Engine",
    "Given",
    "Problem",
    "Sampler",
    "whole",
]

METHODS = ("kmeans", "k-means++", "random", "random_from_data")
"""The names of the ways to start, those of scikit-learn; `inference.start` knows them."""


@dataclass(frozen=True, eq=False)
class Given:
    """What is given of a start, in original units; None is left to the engine.

    Attributes
    ----------
    weights : array of shape (k,) or None
    parameters : mapping of str to array
        By the names that the family's `quantities` have; "means" tell clusters apart, spreads do not.
    """

    weights: Float[np.ndarray, " k"] | None = None
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse parameters that the family does not have, or of other shapes than it has."""
        for name, value in self.parameters.items():
            if name not in shapes:
                raise OptionError(f"there is no {name!r} to start from: pass {' and '.join(map(repr, shapes))}")
            if value.shape != shapes[name] or not np.isfinite(value).all():
                raise OptionError(
                    f"{name} to start from have shape {value.shape}: pass finite numbers of shape {shapes[name]}"
                )

    @property
    def numbered(self) -> bool:
        """Whether it tells which cluster is which."""
        return any(not name.endswith(("covariances", "scales", "degrees_of_freedom")) for name in self.parameters)


@dataclass(frozen=True, eq=False)
class Problem:
    """A mixture and the rows it is fitted to, ready for an engine.

    Attributes
    ----------
    mixture, standard : Mixture
        What is fitted, in original units and in those of the standardised rows; every setting is a number.
    data : Rows
        The rows in original units.
    frame : Affine, or Affines of a product
        The map from those to the standardised ones.
    tiles : Tiles
        The standardised rows on the device.
    seed : int
        Seed of all random numbers.
    reg_covar : float
        Added to the diagonal of covariances, in original squared units.
    given : Given
        What is given of the start.
    demand : Demand or None
        What a size constraint comes to.
    """

    mixture: Mixture
    standard: Mixture
    data: Rows
    frame: Affine
    tiles: Tiles
    seed: int
    reg_covar: float
    given: Given
    demand: Demand | None = None

    @classmethod
    def pose(
        cls, mixture: Mixture, data: Rows, seed: int, reg_covar: float, given: Given, batch_size: int | None = None
    ) -> Problem:
        """Resolve the mixture's automatic settings and standardise the rows, inside `numerics.scoped`.

        With a `batch_size`, the rows are shuffled, and a tile has so many of them.
        """
        mixture, demand = mixture.build(data), None
        if mixture.sizes is not None:
            demand = mixture.sizes.demand(mixture.k, data.weights)
            data = replace(data, resources=demand.resources)
            if mixture.sizes.order == "given":  # else once it is known which bounds are whose
                refuse_clash(demand, data.weights, data.evidence)
        if batch_size is not None:
            data = data.reordered(np.random.default_rng(seed).permutation(data.n))
        numbered = given.numbered or data.evidence is not None
        if mixture.sizes is not None and mixture.sizes.order == "given" and not numbered:
            raise OptionError(
                "order='given' needs clusters in a known order: pass means_init, evidence, or order='any'"
            )
        given.check(mixture.family.shapes(mixture.k, data.d))
        frame = mixture.family.frame(data)
        tiles = mixture.lay_out(data.values, data.weights, frame, batch_size, data.resources, data.evidence)
        mixture.family.given_parameters(given.parameters, frame)  # refused here, or not at all
        return cls(mixture, mixture.standardised(frame), data, frame, tiles, seed, reg_covar, given, demand)

    @property
    def start(self) -> tuple[Any, Any]:
        """What is given of the start, in the units of the standardised rows; None where nothing is."""
        return self.given.weights, self.mixture.family.given_parameters(self.given.parameters, self.frame)

    @property
    def started(self) -> bool:
        """Whether nothing of the start is left to find."""
        return all(leaf is not None for leaf in jax.tree.leaves(self.start, is_leaf=lambda leaf: leaf is None))

    @property
    def device(self) -> str:
        """The kind of device that the rows lie on."""
        return next(iter(self.tiles.x.devices())).device_kind

    @property
    def standard_values(self) -> Float[np.ndarray, "n e"]:
        """The standardised rows as they are laid out, as a NumPy array."""
        x = np.asarray(self.tiles.x)
        return x.swapaxes(1, 2).reshape(-1, x.shape[1])[: self.data.n]


class Engine(ABC):
    """What `run` needs of an engine: options are its fields, its steps functions of a state.

    Engines do not loop over their steps, `run` does. It steps from several starts (of a sampler: chains) at once, and
    keeps a *record* of every step.
    """

    OPTIONS: ClassVar[dict[str, str]] = {}
    """Fields that estimators fill by arguments of their own, by the names of the arguments."""
    BAYESIAN: ClassVar[bool] = True
    """Whether it needs a prior on everything."""
    WHOLE_WEIGHTS: ClassVar[bool] = False
    """Whether weights of rows have to be whole numbers."""

    batch_size: int | None = None
    """Rows that a step looks at together, where not all."""

    @property
    @abstractmethod
    def program(self) -> Any:
        """What takes part in compilation, with the methods `step`, `finished` and `together`: hashable."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Most steps from one start."""

    def suited(self, mixture: Mixture) -> Any:
        """Give the engine that fits a mixture: itself, unless there is one for such families."""
        return self

    @abstractmethod
    def check(self, mixture: Mixture) -> None:
        """Refuse a mixture that the engine cannot fit, before the rows are touched."""

    @abstractmethod
    def begin(self, problem: Problem) -> Any:
        """Give the states before the first step, with a leading axis over starts."""

    @staticmethod
    @abstractmethod
    def objective(records: list[Any], total_weight: float) -> float:
        """Give the number that tells of progress, per unit weight, from the latest records of each start."""


@dataclass(frozen=True)
class Climber(Engine):
    """An engine that climbs to the top of an objective, which is its record, by options that all climbers share.

    `step` and `finished` see the options only through the state, so that fits with other options share a compilation.
    A state has a field `code`, 0 while running.
    """

    OPTIONS = {"max_iter": "max_iter", "tol": "tol", "n_init": "n_init", "init_params": "init"}
    CODES: ClassVar[dict[int, Status]]
    """What a code means."""

    max_iter: int = 100
    tol: float = 1e-3
    n_init: int = 1
    init: str = "kmeans"

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        whole("max_iter", self.max_iter, least=0)
        whole("n_init", self.n_init)
        if not (isinstance(self.tol, Real) and float(self.tol) >= 0):
            raise OptionError(f"tol is {self.tol!r}: pass a number >= 0, in nats per row")
        if self.init not in METHODS:
            raise OptionError(f"init is {self.init!r}: pass one of {', '.join(map(repr, METHODS))}")

    @property
    def program(self) -> Any:
        return type(self)

    @property
    def steps(self) -> int:
        return self.max_iter

    @abstractmethod
    def posterior(self, problem: Problem, state: Any) -> Point | Conjugate | Guided:
        """Give the result that the last state holds."""

    @staticmethod
    @abstractmethod
    def step(mixture: Any, rows: Tiles, state: Any) -> tuple[Any, Array]:
        """Give the next state and the objective of the present one."""

    @staticmethod
    @abstractmethod
    def finished(state: Any) -> Array:
        """Tell whether no further step is wanted."""

    @staticmethod
    def objective(records: list[Any], total_weight: float) -> float:
        return max((float(own[-1]) for own in records if len(own)), default=-np.inf)

    @staticmethod
    def together(one: Callable[[Any], Any], states: Any) -> Any:
        """Take one start after the other: each may end at a step of its own."""
        return lax.map(one, states)


@pytree()
@dataclass(frozen=True, eq=False)
class Draw:
    """A draw, and how it was made.

    Attributes
    ----------
    weights : array of shape (k,)
        Proportions.
    parameters
        Of the components, for standardised rows.
    stats : dict of str to scalar
        ``log_density``, log-likelihood plus log prior density of proportions and parameters, and what else the engine
        tells of the step.
    ancestry : array of shape (k,) or None
        The clusters of the start that the components were, where the engine changes their places.
    counts : array of shape (k,) or None
        Rows of each component by their drawn labels, where sizes are constrained.
    """

    weights: Float[Array, " k"]
    parameters: Any
    stats: dict[str, Array]
    ancestry: Array | None = None
    counts: Array | None = None


class Sampler(Engine):
    """An engine that draws from the posterior; its record is a `Draw`."""

    SIDE_BY_SIDE: ClassVar[int] = 1
    """How many chains on small tables are best run side by side: 1 where their steps differ in length."""

    draws: int
    warmup: int
    chains: int

    @property
    def steps(self) -> int:
        return self.warmup + self.draws

    def posterior(self, problem: Problem, records: Any, states: Any) -> Draws:
        """Give the result: from the records of all steps, NumPy arrays with leading axes (c, steps), and the states."""
        kept = jax.tree.map(lambda leaf: leaf[:, self.warmup :], records)
        return Draws(kept.weights, kept.parameters, kept.stats, kept.ancestry, counts=kept.counts)

    @abstractmethod
    def begin_at(self, problem: Problem, weights: Float[Array, "c k"], parameters: Any) -> Any:
        """Give the states of all chains before the first step, which begin at proportions and parameters."""

    @abstractmethod
    def at(self, mixture: Mixture, rows: Tiles, weights: Array, parameters: Any, key: Array) -> Any:
        """Give the state of a chain that begins at proportions and parameters."""

    @abstractmethod
    def step(self, mixture: Mixture, rows: Tiles, state: Any) -> tuple[Any, Draw]:
        """Give the next state and its draw."""

    @staticmethod
    def finished(state: Any) -> Array:
        """Tell that there is always a next draw."""
        return jnp.asarray(False)

    @staticmethod
    def objective(records: list[Any], total_weight: float) -> float:
        return float(np.mean([own.stats["log_density"][-1] for own in records])) / total_weight

    @staticmethod
    def together(one: Callable[[Any], Any], states: Any) -> Any:
        """Take all chains in one program: side by side, but on a CPU one after the other.

        Side by side, chains wait for the longest path of them all. On 2 cores that took as long or up to 1.4 times as
        long, and 1.6 times as long to compile.
        """
        return lax.map(one, states) if platform() == "cpu" else jax.vmap(one)(states)


def whole(name: str, value: object, least: int = 1) -> None:
    """Refuse an option that is not a whole number, or too small."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise OptionError(f"{name} is {value!r}: pass a whole number >= {least}")
