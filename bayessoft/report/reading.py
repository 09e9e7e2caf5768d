"""The table of a run, read as its family needs it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bayessoft.data import readers
from bayessoft.data.readers import CsvTable
from bayessoft.errors import DataError, listed
from bayessoft.report.base import dtype_of

__all__ = ["read_for", "read_table"]

ANSWERS = ("bernoulli", "categorical")  # families whose columns are answers, in words or numbers


def read_table(
    path: Path,
    id: str | None,
    columns: Sequence[str] | None,
    drop_missing: bool,
    family: str | None,
    resources: Sequence[str] = (),
) -> CsvTable:
    """Read a table to be fitted: numbers, or answers and what they stand for; and what rows take of capacities."""
    given: Any = dict(id=id, columns=columns, drop_missing=drop_missing, resources=resources)
    if family in ANSWERS:
        return readers.read_answers(path, two=family == "bernoulli", **given)
    return readers.read_csv(path, **given)


def read_for(
    estimator: Any, notes: Mapping[str, str | None], path: Path, id: str | None, drop_missing: bool
) -> tuple[CsvTable, str | None]:
    """Read the columns that an estimator was fitted to, and the ids where there are any.

    Parameters
    ----------
    estimator : estimator
        A fitted one.
    notes : mapping
        `Outcome.notes` of the fit, as the store kept them.
    path : Path
        The table.
    id : str or None
        Column that names the rows. None is that of the fit, which may be absent.
    drop_missing : bool
        Whether to drop incomplete rows.
    """
    wanted = getattr(estimator, "feature_names_in_", None)
    header = _header(path)
    if wanted is not None and header and (missing := [name for name in wanted if name not in header]):
        raise DataError(f"{path} lacks {listed(missing, shown=20)} of the fit's columns: it has {listed(header)}")
    named = notes.get("id") if id is None else id
    if not named or (header and named not in header and id is None):
        named = None
    columns = None if wanted is None else list(wanted)
    if answers := notes.get("answers"):
        found = readers.read_answers(path, id=named, drop_missing=drop_missing, known=json.loads(answers))
    else:
        found = readers.read_csv(path, id=named, columns=columns, drop_missing=drop_missing)
    found = replace(found, frame=found.frame.astype(dtype_of(estimator)))
    if found.frame.shape[1] != estimator.n_features_in_:
        raise DataError(
            f"{path} has {found.frame.shape[1]} numeric columns but the fit had {estimator.n_features_in_}, without "
            "names: pass a table with as many"
        )
    return found, named


def _header(path: Path) -> list[str]:
    """Give the column names of a file; nothing where it is no regular file, which can be read only once."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return [name.strip() for name in next(csv.reader(file, skipinitialspace=True), [])]
