"""Mixed columns: blocks of columns that are independent given the cluster, each of a family of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from operator import add, and_
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Key

from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError, listed
from bayessoft.families.blocks import Block, Places, SideBySide, placed, stated
from bayessoft.families.family import ConjugateFamily, Sample, SweptFamily, pytree
from bayessoft.numerics import Affines, balanced

__all__ = ["Product", "Together"]

FOLDED = 1 << 20  # beyond what else the keys of rows are folded with


@pytree()
@dataclass(frozen=True, eq=False)
class Together:
    """Sufficient statistics.

    Attributes
    ----------
    weight : array of shape (k,)
    parts : tuple
        Statistics of the blocks.
    """

    weight: Float[Array, " k"]
    parts: tuple[Any, ...]


@pytree()
@dataclass(frozen=True, eq=False)
class Product(ConjugateFamily):
    """Components of mixed columns: given the cluster, blocks of columns are independent, each of a family of its own.

    Parameters
    ----------
    blocks : sequence of (family, columns), or mapping of family to columns
        A family is an object, which carries its prior and options, or a name such as "gaussian", "poisson" or
        "categorical", which stands for the family under its weak prior. Columns are names or positions. Every column
        of the table has to be in exactly one block.

    Raises
    ------
    OptionError
        A block that is none, or a column in two places; once there is a table, a column that it lacks, or that is in no
        block.

    Notes
    -----
    Log densities of the blocks add up, and so do log priors, divergences and bounds; a posterior is one for each block.
    Rows are standardised block by block. Engines take a product that take each of its blocks. Hunt and Jorgensen,
    Australian & New Zealand J. Statistics 41 (1999).

    Parameters are called as in their block, "means" for example; where two blocks have the same name, it begins with
    the block: "gaussian_1_means". So do sites of the prior, always, and the dimensions of `to_arviz`.

    Examples
    --------
    >>> family = Product({"gaussian": ["height", "weight"], "categorical": ["country"]})
    >>> [(block.family.name, block.columns) for block in family.blocks]
    [('Gaussian', ('height', 'weight')), ('Categorical', ('country',))]
    """

    SHOWN: ClassVar[str] = ""

    blocks: Any

    def __post_init__(self) -> None:
        """Turn pairs of a family and columns into blocks."""
        known = isinstance(self.blocks, tuple) and all(isinstance(block, Block) for block in self.blocks)
        if not (known and self.blocks):
            object.__setattr__(self, "blocks", stated(self.blocks))

    @property
    def name(self) -> str:
        return f"Product of {' and '.join(family.name for family in self.parts)}"

    @property
    def parts(self) -> tuple[Any, ...]:
        return tuple(block.family for block in self.blocks)

    @property
    def labels_alone(self) -> bool:
        return all(family.labels_alone for family in self.parts)

    @property
    def labels(self) -> list[str]:
        """Give each block a name: that of its family, numbered from 1 where there are several."""
        kinds = [type(family).__name__.lower() for family in self.parts]
        return [
            f"{kind}_{kinds[:i].count(kind) + 1}" if kinds.count(kind) > 1 else kind for i, kind in enumerate(kinds)
        ]

    @property
    def at(self) -> Places:
        """The positions of the columns of each block."""
        for block in self.blocks:
            if block.at is None:
                raise OptionError(f"nothing says where the columns {listed(block.columns)} are: pass positions")
        return tuple(block.at for block in self.blocks)

    def _each(self, verb: str, *own: Any, common: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        """Give what a method of each block gives for its own arguments, and those that all share."""
        every = zip(self.parts, *own, strict=True)
        return tuple(getattr(family, verb)(*arguments, *common) for family, *arguments in every)

    def _with(self, families: tuple[Any, ...]) -> Product:
        """Give the same blocks with other families."""
        every = zip(self.blocks, families, strict=True)
        return replace(self, blocks=tuple(replace(block, family=family) for block, family in every))

    def _divided(self, x: Any, axis: int = 0) -> list[Any]:
        """Give each block its columns of rows laid out, which lie along an axis."""
        widths = [block.family.encoded(np.zeros((1, len(block.columns)))).shape[1] for block in self.blocks]
        numbers: Any = np if isinstance(x, np.ndarray) else jnp
        return list(numbers.split(x, np.cumsum(widths)[:-1], axis))

    def _fast(self, parameters: Any, fast: bool) -> list[bool]:
        """Tell which blocks take their fast form: those that have one, where all of them may."""
        safe = self._each("safe", parameters, common=(jnp.ones(()),)) if fast else ()  # at whatever radius
        return [one is not False for one in safe] or [False] * len(self.blocks)

    def tile_rows(self, k: int, d: int) -> int:
        numbers = sum(1 / block.family.tile_rows(k, len(block.columns)) for block in self.blocks)  # of a row, in tiles
        return int(max(256, 2 ** round(np.log2(1 / numbers))))

    def safe(self, parameters: Any, radius: Array) -> Array | bool:
        found = [safe for safe in self._each("safe", parameters, common=(radius,)) if safe is not False]
        return jnp.stack([jnp.asarray(safe) for safe in found]).all() if found else False

    def tile_features(self, parameters: Any, x: Float[Array, "e t"], fast: bool) -> tuple[Any, ...]:
        return self._each("tile_features", parameters, self._divided(x), self._fast(parameters, fast))

    def tile_log_density(self, parameters: Any, features: Any, fast: bool) -> Array:
        return reduce(add, self._each("tile_log_density", parameters, features, self._fast(parameters, fast)))

    def tile_scores(self, parameters: Any, x: Float[Array, "e t"], fast: bool) -> Array:
        return reduce(add, self._each("tile_scores", parameters, self._divided(x), self._fast(parameters, fast)))

    def tile_statistics(self, parameters: Any, features: Any, r: Array, fast: bool) -> tuple[Any, ...]:
        shared = [r] * len(self.blocks)
        return self._each("tile_statistics", parameters, features, shared, self._fast(parameters, fast))

    def tile_labelled(
        self, parameters: Any, features: Any, r: Array, keys: Key[Array, " t"], fast: bool
    ) -> tuple[Any, ...]:
        folded = [jax.vmap(jax.random.fold_in, (0, None))(keys, FOLDED + i) for i in range(len(self.blocks))]
        shared = [r] * len(self.blocks)
        return self._each("tile_labelled", parameters, features, shared, folded, self._fast(parameters, fast))

    def collect(self, parameters: Any, total: Any, fast: bool) -> Together:
        parts = self._each("collect", parameters, total, self._fast(parameters, fast))
        return Together(parts[0].weight, parts)

    def statistics_log_density(self, parameters: Any, statistics: Together) -> Array:
        return reduce(add, self._each("statistics_log_density", parameters, statistics.parts))

    def mode(self, statistics: Together, floor: Array | float) -> tuple[Any, ...]:
        return self._each("mode", statistics.parts, common=(floor,))

    def log_prior(self, parameters: Any) -> Array:
        return reduce(add, self._each("log_prior", parameters))

    def draw(self, sample: Sample, k: int) -> tuple[Any, ...]:
        return self._each("draw", self._samples(sample), common=(k,))

    def redraw(self, parameters: Any, statistics: Together, sample: Sample) -> tuple[Any, ...]:
        return self._each("redraw", parameters, statistics.parts, self._samples(sample))

    def _samples(self, sample: Sample) -> list[Sample]:
        """Give each block what samples under names of its own."""
        return [lambda name, one, label=label: sample(f"{label}_{name}", one) for label in self.labels]  # type: ignore[misc]

    def sites(self, parameters: Any) -> dict[str, Array]:
        every = zip(self.labels, self._each("sites", parameters), strict=True)
        return {f"{label}_{name}": site for label, sites in every for name, site in sites.items()}

    @property
    def prior(self) -> Any:
        """The priors of the blocks; None where one has none, "weak" where one waits for a table."""
        priors = tuple(family.prior for family in self.parts)
        if any(prior is None for prior in priors):
            return None
        return "weak" if any(isinstance(prior, str) for prior in priors) else priors

    def with_prior(self, prior: Any) -> Product:
        """Give the same family with other priors: one for each block, or "weak" or None for all."""
        return self._with(self._each("with_prior", prior if isinstance(prior, tuple) else [prior] * len(self.blocks)))

    def proper(self) -> Product:
        return self._with(self._each("proper"))

    def arranged(self, parameters: Any, order: Any) -> tuple[Any, ...]:
        return self._each("arranged", parameters, common=(order,))

    def update(self, statistics: Together) -> Product:
        return self._with(self._each("update", statistics.parts))

    def blend(self, other: Product, rate: Array) -> Product:
        return self._with(self._each("blend", other.parts, common=(rate,)))

    def expected(self, k: int) -> tuple[tuple[Any, ...], Array]:
        parameters, constants = zip(*self._each("expected", common=(k,)), strict=True)
        return parameters, reduce(add, constants)

    def centre(self, k: int) -> tuple[Any, ...]:
        return self._each("centre", common=(k,))

    def divergence(self, other: Product, k: int) -> Array:
        return reduce(add, self._each("divergence", other.parts, common=(k,)))

    def tile_predictive(self, k: int, x: Float[Array, "e t"]) -> Array:
        return reduce(add, self._each("tile_predictive", [k] * len(self.blocks), self._divided(x)))

    def same_prior(self, k: int) -> Any:
        return reduce(and_, self._each("same_prior", common=(k,)))

    def likelihood(self, parameters: Any) -> SideBySide:
        return SideBySide(self._each("likelihood", parameters), self.at)

    def centres(self, means: Float[Array, "k e"]) -> tuple[Any, ...]:
        return self._each("centres", self._divided(means, 1))

    def nearby(self, statistics: Together) -> tuple[Any, ...]:
        return self._each("nearby", statistics.parts)

    def encoded(self, x: Any) -> Any:
        numbers: Any = np if isinstance(x, np.ndarray) else jnp
        return numbers.concatenate(self._each("encoded", [x[:, np.array(at)] for at in self.at]), 1)

    def split(self, values: np.ndarray, x: np.ndarray) -> list[tuple[SweptFamily, np.ndarray, np.ndarray]]:
        every = zip(self.parts, self.at, self._divided(x, 1), strict=True)
        return [(family, values[:, np.array(at)], part) for family, at, part in every]

    def embedded(self, x: np.ndarray) -> np.ndarray:
        return balanced([(own, own) for own in self._each("embedded", self._divided(x, 1))])[0]

    @property
    def peaked(self) -> bool:
        return all(family.peaked for family in self.parts)

    def raised(self) -> Product:
        return self._with(self._each("raised"))

    @property
    def group(self) -> str:
        return "product"

    def discrete(self, d: int) -> Bool[np.ndarray, " d"]:
        found = np.zeros(d, bool)
        for family, at in zip(self.parts, self.at, strict=True):
            found[np.array(at)] = family.discrete(len(at))
        return found

    def frame(self, rows: Rows) -> Affines:
        return Affines(self._each("frame", [rows.among(at) for at in self.at]), self.at)

    def n_parameters(self, k: int, d: int) -> int:
        return sum(block.family.n_parameters(k, len(block.columns)) for block in self.blocks)

    def resolved(self, k: int, rows: Rows) -> Product:
        here = replace(self, blocks=placed(self.blocks, rows))
        return here._with(here._each("resolved", [k] * len(here.blocks), [rows.among(at) for at in here.at]))

    def check(self, rows: Rows) -> None:
        self._each("check", [rows.among(at) for at in self.at])

    def standardised(self, frame: Any) -> Product:
        return self._with(self._each("standardised", frame.maps))

    def _names(self, own: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        """Give what quantities of each block are called in the product, by what they are called in the block."""
        times = Counter(chain(*own))
        every = zip(self.labels, own, strict=True)
        return [{name: f"{label}_{name}" if times[name] > 1 else name for name in names} for label, names in every]

    def _shapes(self, k: int) -> list[dict[str, tuple[int, ...]]]:
        """Give the shapes of the quantities of each block, by their names there."""
        return [block.family.shapes(k, len(block.columns)) for block in self.blocks]

    def shapes(self, k: int, d: int) -> dict[str, tuple[int, ...]]:
        own = self._shapes(k)
        every = zip(own, self._names(own), strict=True)
        return {called[name]: shape for shapes, called in every for name, shape in shapes.items()}

    def given_parameters(self, given: Mapping[str, np.ndarray], frame: Any) -> tuple[Any, ...]:
        own = [
            {name: given[called] for name, called in names.items() if called in given}
            for names in self._names(self._shapes(2))
        ]
        return self._each("given_parameters", own, frame.maps)

    def map_parameters(self, parameters: Any, frame: Any) -> tuple[Any, ...]:
        return self._each("map_parameters", parameters, frame.maps)

    def quantities(self, parameters: Any) -> dict[str, tuple[tuple[str, ...], Any]]:
        own = self._each("quantities", parameters)
        every = zip(own, self._names(own), self.labels, strict=True)
        return {
            called[name]: (tuple(dim if dim == "cluster" else f"{label}_{dim}" for dim in dims), value)
            for found, called, label in every
            for name, (dims, value) in found.items()
        }

    def shown(self, parameters: Any) -> dict[str, str]:
        own = self._each("quantities", parameters)
        every = zip(self._each("shown", parameters), own, self._names(own), self.labels, strict=True)
        return {
            called[name]: word if called[name] == name or len(found[name][0]) > 1 else f"{word} {label}"
            for words, found, called, label in every
            for name, word in words.items()
        }

    def coordinates(self, columns: Sequence[str]) -> dict[str, list[str]]:
        own = self._each("coordinates", [[columns[j] for j in at] for at in self.at])
        every = zip(self.labels, own, strict=True)
        return {f"{label}_{dim}": names for label, found in every for dim, names in found.items()}

    def doubt(self, parameters: Any, frame: Any, dtype: np.dtype[Any], reg_covar: float) -> str:
        return next(filter(None, self._each("doubt", parameters, frame.maps, common=(dtype, reg_covar))), "")

    def simulate(self, parameters: Any, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        drawn = self._each("simulate", parameters, common=(labels, rng))
        return np.concatenate(drawn, 1)[:, np.argsort(np.concatenate(self.at))]
