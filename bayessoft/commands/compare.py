"""``bayessoft compare``."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayessoft.commands.base import (
    DropMissing,
    Force,
    Id,
    Json,
    Quiet,
    Seed,
    Table,
    cells,
    errors_in_one_line,
    refuse_existing,
)
from bayessoft.errors import DataError, FitError, OptionError, listed
from bayessoft.report.methods import METHODS

if TYPE_CHECKING:
    import pandas as pd

    from bayessoft.report.comparison import Entry

__all__ = ["compare"]

FILES = {"comparison": "comparison.csv", "memberships": "memberships.csv", "compare": "compare.json"}


def compare(
    table: Table,
    components: Annotated[int, typer.Option(min=1, help="Number of clusters.", show_default=False)],
    methods: Annotated[
        str, typer.Option(help=f"Methods, separated by commas, of {', '.join(METHODS)}.")
    ] = "gmm,soft-kmeans,fuzzy",
    id: Id = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns to use, separated by commas; by default all numeric ones.")
    ] = None,
    drop_missing: DropMissing = False,
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise/--no-standardise", help="Divide columns by their standard deviations, about their means."
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write the results into.", show_default=False)] = None,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fit the same rows by several methods, each with its defaults, and measure the clusters of each.

    Distances, silhouette, Xie and Beni's index and Fisher's ratio count columns by their units, as they are unless
    --standardise is given. In the folder --out: comparison.csv, memberships.csv, compare.json.
    """
    with errors_in_one_line():
        from bayessoft.data.writers import written_aside
        from bayessoft.report import comparison, console, files, reading, record, runtime, units

        names = _chosen(methods, standardise)
        phases = console.Phases(quiet)
        if out is not None:
            refuse_existing(out, force, folder=True)
        with console.tidy_warnings(), nullcontext() if out is None else written_aside(out) as aside:
            with phases.phase("reading", str(table)):
                chosen = None if columns is None else cells(columns)
                found = reading.read_table(table, id, chosen, drop_missing, None)
            runtime.turn_on_compilation_cache()
            apart = None if standardise else units.units_apart(found.frame)
            frame = units.standardised(found.frame) if standardise else found.frame
            entries = [_entry(name, components, frame, seed, phases) for name in names]
            if all(entry.memberships is None for entry in entries):
                raise DataError("; ".join(f"{entry.method}: {entry.text}" for entry in entries))
            with phases.phase("measuring", f"{len(frame)} rows"):
                measured, remarks = comparison.comparison_table(entries, frame, seed)
            if apart is not None:
                remarks.insert(0, f"{apart}: add --standardise")
            about = {**record.source(found, id), "components": components, "seed": seed, "standardised": standardise}
            about |= {"out": out and str(out), "files": {} if out is None else FILES}
            result = comparison.comparison_document(entries, measured, about, remarks)
            if aside is not None:
                aside.mkdir()
                files.write_table(measured, aside / FILES["comparison"])
                every = comparison.memberships_side_by_side(entries, frame.index, id)
                files.write_table(every, aside / FILES["memberships"])
                (aside / FILES["compare"]).write_text(files.as_json(result) + "\n", encoding="utf-8")
        if json:
            typer.echo(files.as_json(result))
        else:
            comparison.print_comparison(result, console.standard_output())


def _chosen(methods: str, standardise: bool) -> list[str]:
    """Read the names of methods, and refuse those that cannot take what is made of the columns."""
    names = cells(methods)
    if unknown := [name for name in names if name not in METHODS]:
        raise OptionError(f"--methods has {listed(unknown)}: choose from {', '.join(METHODS)}")
    if not names or len(set(names)) < len(names):
        raise OptionError(f"--methods is {methods!r}: name each method once, such as {','.join(METHODS)}")
    if standardise and "bottleneck" in names:
        raise OptionError("--standardise leaves negative numbers, and bottleneck takes counts: leave one of them out")
    return names


def _entry(method: str, components: int, frame: pd.DataFrame, seed: int, phases: Any) -> Entry:
    """Fit a method, or say why it could not be fitted."""
    from bayessoft.report import console, settings
    from bayessoft.report.comparison import Entry

    options = settings.understood({"method": method, "components": components, "seed": seed})
    start = time.perf_counter()
    try:
        with phases.phase("fitting", f"{method}, {components} clusters to {len(frame)} rows"):
            estimator = settings.estimator(options).fit(frame)
            memberships = estimator.predict_proba(frame)
    except (ValueError, FitError) as problem:
        return Entry(method, None, "failed", console.one_line(problem), time.perf_counter() - start)
    status = estimator.status_
    return Entry(method, memberships, status.name.lower(), status.text, time.perf_counter() - start)
