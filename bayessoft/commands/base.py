"""What the commands share: choices and arguments as a person types them, and errors of one line.

Nothing heavy is imported here, nor by a command before it has its options.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayessoft.errors import FitError, OptionError
from bayessoft.families import FAMILIES
from bayessoft.inference import ENGINES
from bayessoft.report.methods import METHODS

__all__ = [
    "Covariance",
    "Device",
    "DropMissing",
    "Family",
    "Folder",
    "Force",
    "Id",
    "Inference",
    "Json",
    "Method",
    "Metric",
    "Prior",
    "Quiet",
    "Seed",
    "Table",
    "Variant",
    "cells",
    "errors_in_one_line",
    "refuse_existing",
]

if TYPE_CHECKING:
    Family = str
    Inference = str
    Method = str
else:  # which type checkers cannot follow
    Family = StrEnum("Family", {name: name for name in FAMILIES})
    Inference = StrEnum("Inference", {name: name for name in ENGINES})
    Method = StrEnum("Method", {name: name for name in METHODS})


class Covariance(StrEnum):
    """Shapes of the components."""

    full = "full"
    tied = "tied"
    diag = "diag"
    spherical = "spherical"


class Prior(StrEnum):
    """Priors on the components."""

    weak = "weak"
    independent = "independent"
    none = "none"


class Metric(StrEnum):
    """Distances of soft k-means."""

    sqeuclidean = "sqeuclidean"
    euclidean = "euclidean"


class Variant(StrEnum):
    """Variants of fuzzy c-means."""

    standard = "standard"
    gustafson_kessel = "gustafson-kessel"
    entropy = "entropy"
    noise = "noise"


class Device(StrEnum):
    """Platforms of JAX."""

    cpu = "cpu"
    gpu = "gpu"
    tpu = "tpu"


Table = Annotated[Path, typer.Argument(metavar="TABLE", help="CSV file with a header line.", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="FIT", help="The --out folder of a fit.", show_default=False)]
Id = Annotated[str | None, typer.Option("--id", help="Column that names the rows.", show_default=False)]
DropMissing = Annotated[bool, typer.Option("--drop-missing", help="Leave out rows in which a chosen column is empty.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is at --out.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Do not show what is going on.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON document instead of a table.")]


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn errors on purpose into one line and an exit code."""
    try:
        yield
        return
    except (KeyboardInterrupt, Exception) as problem:
        if isinstance(problem, KeyboardInterrupt):
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        if isinstance(problem, BrokenPipeError):  # who reads our output stopped reading: typer ends quietly
            raise
        if isinstance(problem, OptionError):
            code, message = 2, str(problem)
        elif isinstance(problem, ValueError | FitError):  # scikit-learn refuses data by plain ValueErrors
            code, message = 1, str(problem)
        elif isinstance(problem, OSError):
            code, message = 1, f"{problem.filename or 'writing'}: {problem.strerror or problem}"
        elif isinstance(problem, MemoryError):
            code, message = 1, "there is not enough memory: use fewer rows, columns, clusters or draws"
        else:  # a mistake of ours, to be reported with its traceback
            raise
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


def refuse_existing(out: Path, force: bool, folder: bool) -> None:
    """Refuse to replace what exists, unless asked to, and a folder by a file, or a file by a folder, even then."""
    if out.exists() and out.is_dir() != folder:
        is_, wanted = ("file", "a folder") if folder else ("folder", "a CSV file")
        raise OptionError(f"{out} is a {is_}, and --out is {wanted} to write: choose another name")
    if (out.exists() or out.is_symlink()) and not force:
        raise OptionError(f"{out} exists already: choose another --out, or replace it with --force")


def cells(line: str) -> list[str]:
    """Split at commas that are not quoted."""
    import csv

    return [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True), [])]
