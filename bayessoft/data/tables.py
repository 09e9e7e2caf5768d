"""Tables of any kind, made ready for scikit-learn's ``validate_data`` with their column names."""

from __future__ import annotations

import datetime
import numbers
import os
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np
from narwhals.exceptions import DuplicateError
from scipy.sparse import issparse

from bayessoft.errors import DataError, counted, listed

__all__ = ["TableLike", "floats", "odd_cell", "place_of", "row_ids", "table"]

TableLike: TypeAlias = Any
"""A NumPy array, a nested list, or a pandas, polars, Arrow or other table that narwhals reads without delay."""

TEXT_OR_DATE = (str, bytes, datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


def table(X: TableLike) -> TableLike:
    """Give a table that scikit-learn's ``validate_data`` takes, with its column names.

    Arrays and what else NumPy reads pass through; frames come back as a pandas DataFrame of one float dtype: float32
    where every column is, float64 otherwise (booleans are 0 and 1, missing cells NaN). A pandas frame of one float
    dtype comes back itself, not copied.

    Parameters
    ----------
    X : TableLike
        Table with n rows and d columns.

    Returns
    -------
    TableLike
        The same numbers.

    Raises
    ------
    DataError
        Text, dates, categories, complex numbers, masked cells, ragged lists, duplicate column names, lazy tables, and
        what is no table at all.
    """
    if issparse(X):  # some formats are dicts; scikit-learn has the message
        return X
    if X is None or isinstance(X, (str, bytes, os.PathLike, dict)):
        raise DataError(
            f"X is {'None' if X is None else f'a {type(X).__name__}'}, not a table of numbers: pass a 2-d array or a "
            "DataFrame (pandas.read_csv(path) reads a file, pandas.DataFrame(X) takes a dict)"
        )
    try:
        frame: Any = nw.from_native(X, pass_through=True)
    except DuplicateError:
        raise _duplicate_names(X) from None
    if isinstance(frame, nw.LazyFrame):
        raise DataError(f"X is a lazy table ({type(X).__name__}): collect it first, for example X.collect()")
    if isinstance(frame, nw.DataFrame):
        return _from_frame(frame)
    if isinstance(X, (list, tuple)):
        X = _from_list(X)
    return _from_array(X) if isinstance(X, np.ndarray) else X


def row_ids(X: TableLike) -> tuple[str, ...] | None:
    """Give the row names of a pandas frame, as text; None for the default index and for every other table."""
    X = nw.to_native(X, pass_through=True)
    if not nw.dependencies.is_pandas_dataframe(X):
        return None
    import pandas as pd

    if isinstance(X.index, pd.RangeIndex) and X.index.start == 0 and X.index.step == 1:
        return None
    return tuple(map(str, X.index))


def odd_cell(cells: np.ndarray) -> tuple[tuple[int, ...], object] | None:
    """Find the first cell that is neither a real number nor missing: its place and itself."""
    for place, cell in np.ndenumerate(cells):
        number = isinstance(cell, (numbers.Real, Decimal, np.bool_)) and not isinstance(cell, np.timedelta64)
        if not (number or _missing(cell)):
            return place, cell
    return None


def floats(cells: np.ndarray) -> np.ndarray:
    """Turn objects that are numbers or missing into float64."""
    flat = np.fromiter((np.nan if _missing(c) else _float(c) for c in cells.flat), np.float64, cells.size)
    return flat.reshape(cells.shape)


def place_of(place: tuple[int, ...], columns: tuple[str, ...] | None = None, ids: tuple[str, ...] | None = None) -> str:
    """Name a cell by row, id and column."""
    row, *column = place
    text = f"row {row}" + (f" (id {ids[row]!r})" if ids else "")
    return text + "".join(f" column {repr(columns[j]) if columns else j}" for j in column)


def _shown(cell: object) -> str:
    """Write a cell as a person would type it."""
    return str.__repr__(cell) if isinstance(cell, str) else repr(cell)


def _missing(cell: object) -> bool:
    """Tell whether a cell of an object column is None or pandas' NA."""
    return cell is None or type(cell).__name__ == "NAType"


def _float(cell: Any) -> float:
    """Turn a number into a float; an integer too large for one becomes inf, which `rows` refuses."""
    try:
        return float(cell)
    except OverflowError:
        return float(np.inf)


def _duplicate_names(X: TableLike) -> DataError:
    """Name the columns that share a name."""
    counts = Counter(map(str, getattr(X, "column_names", None) or X.columns))
    twice = [name for name, count in counts.items() if count > 1]
    return DataError(f"X has more than one column named {listed(twice)}: rename or drop all but one of them")


def _from_frame(frame: nw.DataFrame[Any]) -> Any:
    """Give a pandas DataFrame of one float dtype, or refuse the columns that are not numbers."""
    import pandas as pd

    native = frame.to_native()
    pandas_native = isinstance(native, pd.DataFrame)
    dtypes = set(native.dtypes) if pandas_native else set()
    if dtypes == {np.dtype(np.float64)} or dtypes == {np.dtype(np.float32)}:
        return native
    columns = [_numbers(series) for series in frame.iter_columns()]
    if any(cells is None for cells in columns):
        wrong = [series for series, cells in zip(frame.iter_columns(), columns, strict=True) if cells is None]
        raise DataError(
            f"X has {counted(len(wrong), 'column')} that {'is' if len(wrong) == 1 else 'are'} not numeric: "
            f"{listed(wrong, _described)}: select the numeric columns, or encode these as numbers"
        )
    single = bool(columns) and all(cells is not None and cells.dtype == np.float32 for cells in columns)
    block = np.empty(frame.shape, dtype=np.float32 if single else np.float64)
    with np.errstate(over="ignore"):  # a long double too large for float64 becomes inf, which `rows` refuses
        for j, cells in enumerate(columns):
            block[:, j] = cells
    return pd.DataFrame(block, columns=native.columns if pandas_native else frame.columns, copy=False)


def _numbers(series: nw.Series[Any]) -> np.ndarray | None:
    """Give the cells of a column as real numbers, NaN where missing; None if they are something else."""
    if isinstance(series.dtype, (nw.Categorical, nw.Enum)):
        return None
    cells = series.to_numpy()
    if cells.ndim == 1 and cells.dtype.kind == "O":
        return None if odd_cell(cells) else floats(cells)
    return cells if cells.ndim == 1 and cells.dtype.kind in "fiub" else None


def _described(series: nw.Series[Any]) -> str:
    """Name a column, its type, and a cell that is not a number."""
    found = odd_cell(series.drop_nulls().to_numpy())
    return f"{series.name!r} ({series.dtype}{f', such as {_shown(found[1])}' if found else ''})"


def _from_list(X: Sequence[Any]) -> np.ndarray:
    """Turn a nested list into an array, refusing rows of different lengths."""
    try:
        array = np.asarray(X)
    except ValueError as problem:
        raise DataError(f"X is a list that makes no table ({problem}): give every row the same columns") from None
    # one text among numbers turns all of them into text: keep them apart, to name the right cell
    return np.asarray(X, dtype=object) if array.dtype.kind in "US" else array


def _from_array(X: np.ndarray) -> np.ndarray:
    """Refuse arrays that NumPy would convert to numbers in silence; leave the rest to scikit-learn."""
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        raise DataError(
            f"X has {counted(int(X.mask.sum()), 'masked cell')}: drop those rows, or fill them: X.filled(0)"
        )
    if X.dtype.names is not None:
        raise DataError("X is a structured array: pass pandas.DataFrame(X), or a plain 2-d array")
    if X.dtype.kind in "USTMmcO":
        found = odd_cell(X)
        if found is None:
            return floats(X)
        _refuse_cell(*found)
    return X


def _refuse_cell(place: tuple[int, ...], cell: object) -> None:
    """Refuse text, dates and complex numbers, naming the place; what else is odd scikit-learn refuses by its type."""
    if isinstance(cell, (complex, np.complexfloating)):
        raise DataError(f"Complex data not supported: {place_of(place)} of X is {_shown(cell)}: pass real numbers")
    if isinstance(cell, TEXT_OR_DATE):
        raise DataError(
            f"X holds text or dates where numbers are needed: {place_of(place)} is {_shown(cell)} "
            f"({type(cell).__name__}): select the numeric columns, or encode these as numbers"
        )
