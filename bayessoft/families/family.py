"""The contracts of a component family, in three tiers.

(a) `Family.draw` and `Family.likelihood` state a model once: enough for samplers and gradient fits.
(b) `SweptFamily` adds densities and sufficient statistics of a tile and the mode: EM, and the fast likelihood;
    `GibbsFamily` adds a draw of the parameters under known labels to that: Gibbs.
(c) `ConjugateFamily` adds the posterior under known labels, a family of the same class: CAVI and SVI.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Key

from bayessoft.data.rows import Rows
from bayessoft.numerics import Affine, standardising

__all__ = [
    "ConjugateFamily",
    "Family",
    "GibbsFamily",
    "Sample",
    "SweptFamily",
    "lacking",
    "moved",
    "pytree",
    "rows_of_a_tile",
    "seeded",
]

TILE_NUMBERS = 1 << 17  # numbers a tile works on, if it has rows enough: half of a core's cache of 2 MB, measured

C = TypeVar("C", bound=type)
Sample = Callable[[str, Any], Array]
"""``sample(name, distribution)``: ``numpyro.sample``, or anything that gives a value of the distribution."""


def seeded(key: Array) -> Sample:
    """Give a `Sample` that draws from each distribution, with a key of its own in the order of the calls."""
    calls = itertools.count()
    return lambda _, distribution: distribution.sample(jax.random.fold_in(key, next(calls)))


def pytree(*, static: tuple[str, ...] = ()) -> Callable[[C], C]:
    """Register a frozen dataclass as a JAX pytree; the `static` fields take part in compilation."""

    def register(cls: C) -> C:
        names = [field.name for field in fields(cls) if field.name not in static]
        return jax.tree_util.register_dataclass(cls, names, list(static))

    return register


def rows_of_a_tile(width: int, least: int) -> int:
    """Tell how many rows make a tile that fits half of a core's cache, at some numbers each: a power of two."""
    return int(np.clip(2 ** round(np.log2(TILE_NUMBERS / width)), least, 4096))


def moved(leaf: Any, order: Any) -> Any:
    """Reorder an array with axes (..., k, more) by orders of shape (..., k)."""
    take: Any = np.take_along_axis if isinstance(leaf, np.ndarray) else jnp.take_along_axis
    return take(leaf, order.reshape(order.shape + (1,) * (leaf.ndim - order.ndim)), order.ndim - 1)


class Family(ABC):
    """Tier (a): a component distribution with its prior."""

    TIER: ClassVar[str] = "a"

    @property
    def name(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @abstractmethod
    def draw(self, sample: Sample, k: int) -> Any:
        """Draw the parameters of k components from the prior, through `sample`."""

    @abstractmethod
    def likelihood(self, parameters: Any) -> Any:
        """Give the NumPyro distribution of a row, with batch shape (k,)."""


class SweptFamily(Family):
    """Tier (b): a family whose score is linear in sufficient statistics that a pass over the rows can sum.

    `parameters` are a pytree of arrays with k components, `statistics` a pytree that the family defines, with
    ``statistics.weight`` of shape (k,).
    """

    TIER = "b"

    prior: Any
    """Prior on the parameters; None where there is none."""

    @property
    def parts(self) -> tuple[SweptFamily, ...]:
        """The families that it is made of, where it is made of others."""
        return ()

    @property
    def plain(self) -> SweptFamily:
        """The family at temperature 1."""
        return self

    @property
    def power(self) -> Any:
        """How often its log densities count: the inverse temperature."""
        return 1.0

    def members(self, statistics: Any) -> Float[Array, " k"]:
        """Give the weight of the rows of each component."""
        return statistics.weight

    @abstractmethod
    def sites(self, parameters: Any) -> dict[str, Array]:
        """Give what the sites of `draw` have to be for `draw` to give the parameters."""

    @abstractmethod
    def with_prior(self, prior: Any) -> SweptFamily:
        """Give the same family with another prior, "weak" or None among them."""

    def proper(self) -> SweptFamily:
        """Give the same family under its weak prior where it has none."""
        return self if self.prior is not None else self.with_prior("weak")

    def arranged(self, parameters: Any, order: Any) -> Any:
        """Reorder the components of parameters with leading axes (...): component j is the old ``order[..., j]``.

        What the components share stays as it is.
        """
        return jax.tree.map(lambda leaf: moved(leaf, order), parameters)

    @abstractmethod
    def tile_rows(self, k: int, d: int) -> int:
        """How many rows a tile should have."""

    def safe(self, parameters: Any, radius: Array) -> Array | bool:
        """Tell whether to take the fast form: it is right for rows no further than `radius` from the origin, and pays.

        A plain False where shapes and dtype already tell, or there is one form alone: then no other is compiled.
        """
        return False

    def tile_features(self, parameters: Any, x: Float[Array, "d t"], fast: bool) -> Any:
        """Give what log densities and statistics of a tile's rows, the columns of `x`, are both computed from."""
        return x

    @abstractmethod
    def tile_log_density(self, parameters: Any, features: Any, fast: bool) -> Float[Array, "k t"]:
        """Log densities of the rows of a tile under each component, with all constants."""

    def tile_scores(self, parameters: Any, x: Float[Array, "d t"], fast: bool) -> Float[Array, "k t"]:
        """Give `tile_log_density` of rows whose statistics nobody wants."""
        return self.tile_log_density(parameters, self.tile_features(parameters, x, fast), fast)

    @abstractmethod
    def tile_statistics(self, parameters: Any, features: Any, r: Float[Array, "k t"], fast: bool) -> Any:
        """Sufficient statistics of a tile with responsibilities `r` (times weights), in a layout that adds up.

        The features are held fixed (`stop_gradient`), as `collect` holds the reference points.
        """

    @abstractmethod
    def collect(self, parameters: Any, total: Any, fast: bool) -> Any:
        """Turn summed tile statistics into `statistics`, about reference points held fixed at the parameters."""

    @abstractmethod
    def statistics_log_density(self, parameters: Any, statistics: Any) -> Array:
        """Sum over rows and components of responsibility times log density, from the statistics alone.

        Where a row has more than its label that nobody sees, a lower bound of that sum, which touches it at the
        parameters that the statistics were taken at.
        """

    @abstractmethod
    def mode(self, statistics: Any, floor: Array | float) -> Any:
        """Give the parameters that maximise prior times likelihood of the statistics.

        Without a prior, the maximum likelihood, with `floor` added to the covariances as scikit-learn does.
        """

    @abstractmethod
    def log_prior(self, parameters: Any) -> Array:
        """Log prior density of the parameters; 0 without a prior."""

    @abstractmethod
    def centres(self, means: Float[Array, "k d"]) -> Any:
        """Give parameters located at encoded rows, with unit spread, from which statistics can be taken."""

    @abstractmethod
    def nearby(self, statistics: Any) -> Any:
        """Give parameters near to rows with these statistics, taken at `centres` of 0."""

    def encoded(self, x: Any) -> Any:
        """Give rows of shape (n, d), of NumPy or JAX, as they are laid out in tiles: with what is found of them once.

        What the methods for tiles take are columns of these.
        """
        return x

    def embedded(self, x: Float[np.ndarray, "n e"]) -> np.ndarray:
        """Give encoded rows as points whose Euclidean distances mean something, for k-means."""
        return x

    def split(self, values: np.ndarray, x: np.ndarray) -> list[tuple[SweptFamily, np.ndarray, np.ndarray]]:
        """Give each family that it is made of, with its columns of rows in original units, and of encoded ones."""
        return [(self, values, x)]

    @property
    def peaked(self) -> bool:
        """Whether the density of the prior has a mode whatever the rows."""
        return True

    @property
    def conjugate(self) -> bool:
        """Whether the posterior under known labels has the form of the prior: a `ConjugateFamily` under its own."""
        return False

    def raised(self) -> SweptFamily:
        """Give the family with a prior, all of whose modes lie inside: where they may not, one count more of each."""
        return self

    @property
    def group(self) -> str:
        """The maps of rows under which the model stays what it is, see `numerics.standardising`."""
        return "none"

    def discrete(self, d: int) -> Bool[np.ndarray, " d"]:
        """Tell which of d columns have units that are their meaning, as counts and answers have."""
        return np.full(d, self.group == "none")

    def frame(self, rows: Rows) -> Any:
        """Give the map that standardises rows, an `Affine`, within the symmetries of the model."""
        return standardising(rows.values, rows.weights, self.group)

    @abstractmethod
    def n_parameters(self, k: int, d: int) -> int:
        """Number of free parameters of k components."""

    @abstractmethod
    def resolved(self, k: int, rows: Rows) -> SweptFamily:
        """Replace every automatic setting by numbers taken from the rows, and check it.

        Raises
        ------
        OptionError
            A prior that does not fit.
        DataError
            Rows that the family has no density for, see `check`.
        """

    def check(self, rows: Rows) -> None:
        """Refuse rows that the family has no density for; it is resolved.

        Raises
        ------
        DataError
            Names the first such cell.
        """
        return

    def standardised(self, frame: Affine) -> SweptFamily:
        """Give the same family for mapped rows: the prior is transformed exactly."""
        return self

    def floor(self, reg_covar: float, frame: Affine) -> np.ndarray:
        """Give what is added to the covariances of mapped rows for `reg_covar` in original units."""
        return np.zeros(())

    @abstractmethod
    def shapes(self, k: int, d: int) -> dict[str, tuple[int, ...]]:
        """Give the shapes of what `given_parameters` takes and `quantities` has, by their names; it is resolved."""

    @abstractmethod
    def given_parameters(self, given: Mapping[str, np.ndarray], frame: Affine) -> Any:
        """Give parameters for mapped rows from those in original units, by their names; what is not given is None."""

    def map_parameters(self, parameters: Any, frame: Affine) -> Any:
        """Bring parameters of mapped rows back to original units."""
        return parameters

    @abstractmethod
    def quantities(self, parameters: Any) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Give the parameters as people know them: by name, their dimensions after leading axes, and their values.

        Dimensions are "cluster" and those of `coordinates`. The first one is what a table of clusters shows.
        """

    SHOWN: ClassVar[str]
    """The word that a table of clusters puts before the coordinate of a number: "mean" for example."""

    def shown(self, parameters: Any) -> dict[str, str]:
        """Give the words for what a table of clusters shows, by the names of the quantities."""
        name = next(iter(self.quantities(parameters)))
        return {name: self.SHOWN or name}

    def coordinates(self, columns: Sequence[str]) -> dict[str, list[str]]:
        """Give the names along each dimension but "cluster", for columns with these names."""
        return {"feature": list(columns)}

    def doubt(self, parameters: Any, frame: Affine, dtype: np.dtype[Any], reg_covar: float) -> str:
        """Tell what is wrong with a result in original units: "ill-conditioned", "reg_covar", or nothing ("")."""
        return ""

    @abstractmethod
    def simulate(self, parameters: Any, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw a row for each label, in the units of the parameters."""


class GibbsFamily(SweptFamily):
    """Tier (b) with a step of Gibbs sampling: the parameters given labels, and given what else it draws of each row."""

    @property
    def labels_alone(self) -> bool:
        """Whether `tile_labelled` draws nothing: else rows weigh 0 or 1, and there are no tempered copies."""
        return True

    def tile_labelled(
        self, parameters: Any, features: Any, r: Float[Array, "k t"], keys: Key[Array, " t"], fast: bool
    ) -> Any:
        """Give `tile_statistics` of rows whose labels were drawn, `r`, with what else the model does not see of a row.

        That is drawn with the row's key folded with another number: the key's own bits drew the label.
        """
        return self.tile_statistics(parameters, features, r, fast)

    @abstractmethod
    def redraw(self, parameters: Any, statistics: Any, sample: Sample) -> Any:
        """Give parameters after a step, through `sample`, that leaves their density given the statistics what it is."""

    @abstractmethod
    def same_prior(self, k: int) -> Any:
        """Tell which pairs of components, (k, k), have the same prior."""


class ConjugateFamily(GibbsFamily):
    """Tier (c): a family whose posterior under known labels has the form of its prior.

    A posterior is a family again, with the posterior in the place of the prior, so updates chain, and `draw` draws from
    it.
    """

    TIER = "c"

    @property
    def conjugate(self) -> bool:
        """Whether the prior is such a one: under another, the family is a `GibbsFamily`, and nothing below holds."""
        return True

    @abstractmethod
    def update(self, statistics: Any) -> ConjugateFamily:
        """Give the family after rows with these statistics, its prior one for each component."""

    @abstractmethod
    def blend(self, other: Any, rate: Array) -> ConjugateFamily:
        """Give the family whose prior has natural parameters ``(1 - rate) * own + rate * those of other``.

        Both have a prior for each component, as `update` gives it.
        """

    @abstractmethod
    def expected(self, k: int) -> tuple[Any, Float[Array, " k"]]:
        """Give parameters, and a constant per component that is 0 at most.

        The log density of any row at the parameters, plus the constant, is its expected log density under the prior.
        """

    @abstractmethod
    def centre(self, k: int) -> Any:
        """Give parameters at the centre of the prior, to be shown."""

    @abstractmethod
    def divergence(self, other: Any, k: int) -> Array:
        """Kullback-Leibler divergence of this prior from that of `other`, summed over k components, in nats."""

    @abstractmethod
    def tile_predictive(self, k: int, x: Float[Array, "d t"]) -> Float[Array, "k t"]:
        """Log densities of the rows of a tile under each component, its parameters integrated out under the prior."""

    def redraw(self, parameters: Any, statistics: Any, sample: Sample) -> Any:
        return self.update(statistics).draw(sample, len(statistics.weight))


def lacking(family: SweptFamily, kind: Any) -> SweptFamily | None:
    """Give the family, or the first one that it is made of, not of a kind under its prior; None where all are."""

    def lacks(one: SweptFamily) -> bool:
        return not isinstance(one, kind) or (kind is ConjugateFamily and not one.conjugate)

    return next((one for one in (family, *family.parts) if lacks(one)), None)
