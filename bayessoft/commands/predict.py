"""``bayessoft predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayessoft.commands.base import DropMissing, Folder, Force, Json, Quiet, Table, errors_in_one_line, refuse_existing

__all__ = ["predict"]


def predict(
    model: Folder,
    table: Table,
    out: Annotated[Path, typer.Option(help="CSV file to write the memberships into.", show_default=False)],
    id: Annotated[
        str | None, typer.Option("--id", help="Column that names the rows.", show_default="that of the fit")
    ] = None,
    drop_missing: DropMissing = False,
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Give the memberships of the rows of a table under a saved fit.

    The columns of the fit are picked from the table by name. Sizes that were fixed or bounded in the fit do not bind
    here: a membership depends on its own row alone.
    """
    with errors_in_one_line():
        from bayessoft import store
        from bayessoft.data.writers import written_aside
        from bayessoft.report import base, console, document, files, reading, runtime, tables

        phases = console.Phases(quiet)
        refuse_existing(out, force, folder=False)
        with console.tidy_warnings(), written_aside(out) as aside:
            notes = store.notes(model)
            with phases.phase("loading", str(model)):
                runtime.turn_on_compilation_cache()
                estimator = store.load(model)
            with phases.phase("reading", str(table)):
                found, named = reading.read_for(estimator, notes, table, id, drop_missing)
            with phases.phase("computing", f"the memberships of {len(found.frame)} rows"):
                memberships = base.placed(estimator, estimator.predict_proba(found.frame))
                intervals = base.membership_intervals(estimator, found.frame)
            noise = base.noisy(estimator)
            files.write_table(base.memberships_table(memberships, found.frame.index, named, intervals, noise), aside)
        result = document.predict_document(model, out, found, named, memberships, noise)
        if json:
            typer.echo(files.as_json(result))
        else:
            tables.print_prediction(result, console.standard_output())
