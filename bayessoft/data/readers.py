"""CSV files read into numeric columns, or into numbered answers, with every complaint naming its line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayessoft.data.records import Layout, content_of, layout_of
from bayessoft.errors import DataError, counted, listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CsvTable", "read_answers", "read_csv"]

SHOWN = 3  # places that a message names
MANY = 20  # answers: a column with more is not taken unasked


@dataclass(frozen=True, eq=False)
class CsvTable:
    """What a CSV file gave.

    Attributes
    ----------
    frame : pandas.DataFrame of shape (n, d), float64
        Numbers, or numbers of answers, without missing cells. The index holds the ids as text, or, without an id
        column, the position of each row in the file, counted from 0.
    left_out : tuple of str
        Columns left out because they are not `kind`; empty where the columns were chosen by name.
    dropped : int
        Number of incomplete rows that were dropped.
    path : Path
        The file.
    answers : mapping of str to tuple of str
        What the numbers 0, 1, 2, ... of a column stand for; empty where cells are numbers.
    kind : str
        What the columns had to be.
    resources : pandas.DataFrame of shape (n, c), float64, or None
        Numbers of the same rows that are no features by themselves, where any were asked for.
    """

    frame: pd.DataFrame
    left_out: tuple[str, ...]
    dropped: int
    path: Path
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kind: str = "numeric"
    resources: pd.DataFrame | None = None


def read_csv(
    path: str | os.PathLike[str],
    *,
    id: str | None = None,
    columns: Sequence[str] | None = None,
    drop_missing: bool = False,
    resources: Sequence[str] = (),
) -> CsvTable:
    """Read the numeric columns of a CSV file.

    Columns are chosen first, incomplete rows dropped afterwards. Empty cells and the usual words (NA, NaN, null, ...)
    are missing; True and False are 1 and 0.

    Parameters
    ----------
    path : path-like
        UTF-8 text, comma-separated, with one header line and unique column names.
    id : str, optional
        Column with a unique name for each row, kept as text.
    columns : sequence of str, optional
        Columns to read, in this order; by default every numeric column but the id.
    drop_missing : bool, default=False
        Drop rows in which a chosen column has no value, instead of refusing them.
    resources : sequence of str, optional
        Numeric columns to read aside, with the same rows; they are among the others only where `columns` names them.

    Returns
    -------
    CsvTable
        The numbers, and what was left out.

    Raises
    ------
    DataError
        The file cannot be read or is no regular CSV table, a name is unknown, ids are missing or repeated, a chosen
        column is not numeric, cells are missing or infinite, or nothing is left.
    """
    path = Path(path)
    content = content_of(path)
    layout = layout_of(path, content, id)
    wanted, aside = _wanted(layout, id, columns, resources), _aside(layout, content, id, resources)
    raw = _parse(layout, content, wanted)
    numbers = raw.apply(_to_float)
    kept = [name for name in wanted if columns is not None or _is_numeric(raw[name], numbers[name])]
    if not kept:
        raise DataError(f"{path}: no column is numeric among {listed(wanted)}: encode some as numbers")
    for name in kept:
        _check_numeric(raw[name], numbers[name], layout)
    frame, beside, dropped = _complete(numbers[kept], aside, layout, drop_missing)
    return CsvTable(frame, tuple(name for name in wanted if name not in kept), dropped, path, resources=beside)


def read_answers(
    path: str | os.PathLike[str],
    *,
    id: str | None = None,
    columns: Sequence[str] | None = None,
    drop_missing: bool = False,
    resources: Sequence[str] = (),
    two: bool = False,
    known: Mapping[str, Sequence[str]] | None = None,
) -> CsvTable:
    """Read columns of a CSV file as answers, in words or numbers, and number them 0, 1, 2, ...

    Numbers come first, by size, then words by the alphabet. Where a column holds numbers alone, 1, 1.0 and 01 are one
    answer. Parameters are those of `read_csv`, but that by default columns of 2 to 20 answers are read, and

    Parameters
    ----------
    two : bool, default=False
        Whether columns need two answers, no more.
    known : mapping of str to sequence of str, optional
        Columns to read, and the answers that 0, 1, 2, ... of each stand for.

    Raises
    ------
    DataError
        As of `read_csv`, or a column has one answer alone, too many, or one that is not known.
    """
    path = Path(path)
    content = content_of(path)
    layout = layout_of(path, content, id)
    wanted = _wanted(layout, id, columns if known is None else list(known), resources)
    aside = _aside(layout, content, id, resources)
    cells = _parse(layout, content, wanted, dtype=str).apply(lambda column: column.str.strip())
    kind = "of two answers" if two else f"of 2 to {MANY} answers"
    if known is not None:
        answers = {name: tuple(known[name]) for name in wanted}
        frame, beside, dropped = _complete(_numbered(cells, answers, layout), aside, layout, drop_missing)
        return CsvTable(frame, (), dropped, path, answers, kind, beside)
    cells = cells.apply(_written_alike)
    kept = [name for name in wanted if columns is not None or 2 <= cells[name].nunique() <= (2 if two else MANY)]
    if not kept:
        raise DataError(f"{path}: no column is {kind} among {listed(wanted)}: choose some with --columns")
    frame, beside, dropped = _complete(cells[kept], aside, layout, drop_missing)
    answers = {name: tuple(sorted(frame[name].unique(), key=_rank)) for name in kept}
    for name, found in answers.items():
        if len(found) < 2 or len(found) > 2 and two:
            raise DataError(
                f"{path}: column {name!r} has {counted(len(found), 'answer')}, {listed(found)}: leave it out, "
                f"since {'two' if two else 'two or more'} are needed"
            )
    left_out = tuple(name for name in wanted if name not in kept)
    return CsvTable(_numbered(frame, answers, layout), left_out, dropped, path, answers, kind, beside)


def _written_alike(column: pd.Series) -> pd.Series:
    """Write the numbers of a column in one way, where it holds numbers alone."""
    numbers = np.isfinite(column.dropna().map(_number).to_numpy(np.float64)).all()
    return column.map(_shortest, na_action="ignore") if numbers else column


def _shortest(cell: str) -> str:
    """Write a finite number as short as it reads back, anything else as it is."""
    number = _number(cell)
    if not np.isfinite(number):
        return cell
    return str(int(number)) if number.is_integer() else repr(number)


def _rank(answer: str) -> tuple[bool, float, str]:
    """Order answers: numbers by size, then words."""
    number = _number(answer)
    word = not np.isfinite(number)
    return word, 0.0 if word else number, answer


def _numbered(cells: pd.DataFrame, answers: Mapping[str, Sequence[str]], layout: Layout) -> pd.DataFrame:
    """Replace answers by their numbers, NaN where missing, refusing those that are not among the answers."""
    numbered = {}
    for name, known in answers.items():
        numbers = {answer: float(number) for number, answer in enumerate(known)}
        for cell in cells[name].dropna().unique():
            alike = _shortest(cell)
            if cell not in numbers and alike not in numbers:
                place = layout.place(int(np.argmax(cells[name] == cell)))
                raise DataError(
                    f"{layout.path}: {place} column {name!r} holds {cell!r}, which is none of the answers "
                    f"{listed(known, shown=20)}: correct the cell, or leave the row out"
                )
            numbers[cell] = numbers[cell if cell in numbers else alike]
        numbered[name] = cells[name].map(numbers).astype(np.float64)
    return cells.assign(**numbered)


def _wanted(layout: Layout, id: str | None, columns: Sequence[str] | None, resources: Sequence[str]) -> list[str]:
    """Give the names of the columns to look at."""
    if columns is None and (found := [name for name in layout.header if name not in (id, *resources)]):
        return found
    if not columns or isinstance(columns, str):
        raise DataError(f"{layout.path}: no column chosen: list some of {listed(layout.header, shown=20)}, not the id")
    for name in columns:
        layout.position(name)
        if name == id or list(columns).count(name) > 1:
            raise DataError(f"column {name!r} is {'the id' if name == id else 'chosen twice'}: choose each column once")
    return list(columns)


def _aside(layout: Layout, content: bytes, id: str | None, resources: Sequence[str]) -> pd.DataFrame | None:
    """Read the columns that are no features by themselves."""
    if not resources:
        return None
    raw = _parse(layout, content, _wanted(layout, id, resources, ()))
    numbers = raw.apply(_to_float)
    for name in numbers:
        _check_numeric(raw[name], numbers[name], layout)
    return numbers


def _parse(layout: Layout, content: bytes, wanted: list[str], **options: Any) -> pd.DataFrame:
    """Let pandas read the wanted columns, in their order."""
    import pandas as pd

    # until 3.1 the default parser of pandas lost digits; from then on the option is deprecated
    exact = {"float_precision": "round_trip"} if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1) else {}
    try:
        frame = pd.read_csv(
            BytesIO(content),
            header=0,
            names=layout.header,
            usecols=wanted,
            index_col=False,
            skipinitialspace=True,
            low_memory=False,  # one type for the whole column, whatever its length
            encoding="utf-8-sig",
            **exact,
            **options,
        )[wanted]
    except ValueError as problem:  # ParserError is one
        raise DataError(f"{layout.path}: pandas cannot read it ({' '.join(str(problem).split())})") from None
    if len(frame) != len(layout.lines):
        found = f"{len(layout.lines)} rows, of which pandas reads {len(frame)}"
        raise DataError(f"{layout.path}: {found}: check quotes and blank lines")
    return frame


def _to_float(column: pd.Series) -> pd.Series:
    """Give a column as float64, NaN where a cell is missing or no number."""
    if column.dtype.kind in "fiub":
        return column.astype(np.float64)
    # pandas leaves True beside a missing cell, and what is beyond its range, as objects or text
    return column.map(_number).astype(np.float64)


def _number(cell: Any) -> float:
    """Read a cell as Python does, but for its underscores; NaN where it is no number."""
    try:
        return np.nan if isinstance(cell, str) and "_" in cell else float(cell)
    except (TypeError, ValueError):
        return np.nan


def _is_numeric(raw: pd.Series, numbers: pd.Series) -> bool:
    """Tell whether a column has numbers and nothing else but missing cells."""
    return bool(numbers.notna().any()) and not (numbers.isna() & raw.notna()).any()


def _check_numeric(raw: pd.Series, numbers: pd.Series, layout: Layout) -> None:
    """Refuse a chosen column that is not numeric, with an example."""
    if not raw.notna().any():
        raise DataError(f"{layout.path}: column {raw.name!r} has no value at all: leave it out")
    wrong = np.flatnonzero(numbers.isna() & raw.notna())
    if len(wrong):
        found = f"{layout.place(wrong[0])} holds {raw.iloc[wrong[0]]!r}"
        raise DataError(
            f"{layout.path}: column {raw.name!r} is not numeric: {found}: leave it out, or correct the cell"
        )


def _complete(
    frame: pd.DataFrame, aside: pd.DataFrame | None, layout: Layout, drop_missing: bool
) -> tuple[pd.DataFrame, pd.DataFrame | None, int]:
    """Drop or refuse incomplete rows, refuse infinite cells, and give the rows their ids."""
    import pandas as pd

    every = frame if aside is None else frame.join(aside[[name for name in aside if name not in frame]])
    missing = every.isna().to_numpy()
    if missing.any() and not drop_missing:
        found = _places(missing, every, layout, "missing cell")
        raise DataError(f"{layout.path}: {found}: leave such rows out with --drop-missing, or choose --columns")
    whole = ~missing.any(axis=1)
    if not whole.any():
        most = every.columns[missing.sum(axis=0).argmax()]
        lacking = f"column {most!r} alone lacks {int(missing.sum(axis=0).max())} of {counted(len(frame), 'cell')}"
        raise DataError(f"{layout.path}: no row is complete, {lacking}: choose fuller columns with --columns")
    cells = [np.isinf(cells) if cells.dtype.kind == "f" else np.zeros(len(cells), bool) for _, cells in every.items()]
    infinite = np.column_stack(cells) & whole[:, None]
    if infinite.any():
        found = _places(infinite, every, layout, "infinite cell (inf)")
        raise DataError(f"{layout.path}: {found}: correct them, or leave the column out with --columns")
    if layout.ids is not None:
        frame = frame.set_axis(pd.Index(layout.ids, dtype="str"), axis=0)
    if aside is not None:
        aside = aside.set_axis(frame.index, axis=0)[whole]
    return (frame if whole.all() else frame[whole]), aside, int((~whole).sum())


def _places(mask: np.ndarray, frame: pd.DataFrame, layout: Layout, what: str) -> str:
    """Count the cells of a mask and name the first by line, id and column."""
    hits = np.argwhere(mask)
    shown = [f"{layout.place(row)} column {frame.columns[j]!r}" for row, j in hits[:SHOWN].tolist()]
    rows = f"{int(mask.any(axis=1).sum())} of {counted(len(mask), 'row')}"
    return f"{counted(len(hits), what)} in {rows}: {', '.join(shown)}{', ...' if len(hits) > SHOWN else ''}"
