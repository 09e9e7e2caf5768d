"""Blocks of the columns of a table: how they are stated, where they lie, and independent distributions side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from operator import add, and_
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError, listed
from bayessoft.families import FAMILIES, of_name
from bayessoft.families.family import SweptFamily, pytree

__all__ = ["Block", "SideBySide", "placed", "stated"]

Places = tuple[tuple[int, ...], ...]


@pytree(static=("columns", "at"))
@dataclass(frozen=True, eq=False)
class Block:
    """Columns of a table, and their family.

    Attributes
    ----------
    family : SweptFamily
        What the columns hold, within a cluster.
    columns : tuple of str or int
        Names or positions, as they were given; parameters and priors of the family have them in this order.
    at : tuple of int or None
        Their positions; None until a table says where names are.
    """

    family: Any
    columns: tuple[str | int, ...]
    at: tuple[int, ...] | None = None


def stated(given: Any) -> tuple[Block, ...]:
    """Give the blocks of pairs of a family and columns.

    Raises
    ------
    OptionError
        What is none, or a column in two places.
    """
    pairs = list(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(pairs, list | tuple) or not pairs:
        raise OptionError(
            f'blocks is {given!r}: pass pairs of a family and columns, such as [("gaussian", ["a", "b"]), ...]'
        )
    found: list[Block] = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise OptionError(f'{pair!r} is no block: pass a family and its columns, such as ("gaussian", ["a", "b"])')
        family, columns = _family(pair[0]), _columns(pair[1])
        known = all(isinstance(column, int) for column in columns)
        found.append(Block(family, columns, columns if known else None))  # type: ignore[arg-type] # which are int
    column, times = Counter(chain(*(block.columns for block in found))).most_common(1)[0]
    if times > 1:
        raise OptionError(f"column {column!r} is in {times} places: put it into one block, once")
    return tuple(found)


def _family(given: Any) -> SweptFamily:
    """Give the family of a block, of a name that under its weak prior."""
    if isinstance(given, str) and given in FAMILIES:
        return of_name(given)
    if isinstance(given, SweptFamily) and given.parts:
        raise OptionError(f"a block is a {given.name} itself: list its blocks beside the others")
    if isinstance(given, SweptFamily) and given.TIER != "a":
        return given
    raise OptionError(
        f"{given!r} is no family of a block: pass one of {listed(list(FAMILIES))}, or a family object with statistics, "
        "before the columns; a family of your own, stated by draw and likelihood alone, takes a table of its own"
    )


def _columns(given: Any) -> tuple[str | int, ...]:
    """Give the columns of a block, one or several."""
    several = [given] if isinstance(given, str | int | np.integer) else getattr(given, "tolist", lambda: given)()
    columns = list(several) if isinstance(several, list | tuple | range) else []
    if not columns or not all(_is_column(column) for column in columns):
        raise OptionError(f"columns of a block are {given!r}: pass one or more names, or positions counted from 0")
    return tuple(str(column) if isinstance(column, str) else int(column) for column in columns)


def _is_column(column: Any) -> bool:
    if isinstance(column, str):
        return True
    return isinstance(column, int | np.integer) and not isinstance(column, bool) and int(column) >= 0


def placed(blocks: tuple[Block, ...], rows: Rows) -> tuple[Block, ...]:
    """Give the blocks with the positions of their columns in a table.

    Raises
    ------
    OptionError
        A column that the table lacks, or one that is not in exactly one block.
    """
    found = tuple(replace(block, at=tuple(_place(column, rows) for column in block.columns)) for block in blocks)
    times = Counter(chain(*(block.at or () for block in found)))
    for j in range(rows.d):
        name = repr(rows.columns[j]) if rows.columns else j
        if times[j] == 0:
            raise OptionError(f"column {name} is in no block: put it into one, or leave it out of X")
        if times[j] > 1:
            raise OptionError(f"column {name} is in {times[j]} places, by name and by position: put it into one block")
    return found


def _place(column: str | int, rows: Rows) -> int:
    """Give the position of a column in a table."""
    if isinstance(column, int):
        if column >= rows.d:
            raise OptionError(f"there is no column {column}: X has {rows.d}, counted from 0")
        return column
    if rows.columns is None:
        raise OptionError(f"X has no names of columns, and a block has {column!r}: pass a DataFrame, or positions")
    if column not in rows.columns:
        raise OptionError(f"there is no column {column!r}: X has {listed(rows.columns, shown=20)}")
    return rows.columns.index(column)


class _Inside(constraints.Constraint):
    """Rows whose blocks all are where their distributions are."""

    event_dim = 1

    def __init__(self, parts: tuple[Any, ...], at: Places) -> None:
        self.parts, self.at = parts, at

    def __call__(self, x: Any) -> Any:
        return reduce(and_, (part(x[..., np.array(at)]) for part, at in zip(self.parts, self.at, strict=True)))

    def tree_flatten(self) -> Any:
        return (self.parts,), (("parts",), {"at": self.at})


class SideBySide(dist.Distribution):
    """Independent distributions, each of some columns of a row.

    Parameters
    ----------
    parts : tuple of Distribution
        With the same batch shape, and one axis of events.
    at : tuple of tuple of int
        The positions of the columns of each.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    pytree_data_fields = ("parts",)
    pytree_aux_fields = ("at",)

    def __init__(self, parts: tuple[Any, ...], at: Places, *, validate_args: bool | None = None) -> None:
        self.parts, self.at = parts, at
        super().__init__(parts[0].batch_shape, (sum(map(len, at)),), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> Any:
        """Where every part has a density."""
        return _Inside(tuple(part.support for part in self.parts), self.at)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw rows."""
        keys = jax.random.split(key, len(self.parts))
        drawn = [part.sample(own, sample_shape) for own, part in zip(keys, self.parts, strict=True)]
        return jnp.concatenate(drawn, -1)[..., np.argsort(np.concatenate(self.at))]

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """Log density of rows."""
        own = zip(self.parts, self.at, strict=True)
        return reduce(add, (part.log_prob(value[..., np.array(at)]) for part, at in own))
