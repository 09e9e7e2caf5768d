"""``bayessoft ambiguity``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayessoft.commands.base import DropMissing, Folder, Force, Json, Quiet, errors_in_one_line, refuse_existing
from bayessoft.errors import OptionError

if TYPE_CHECKING:
    from bayessoft.report.doubt import Doubt

__all__ = ["ambiguity"]


def ambiguity(
    model: Folder,
    table: Annotated[
        Path | None,
        typer.Argument(
            metavar="TABLE", help="CSV file of rows; by default those of the fit, from its memberships.csv."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write all rows into.", show_default=False)] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of rows to print.")] = 10,
    id: Annotated[
        str | None, typer.Option("--id", help="Column that names the rows of TABLE.", show_default="that of the fit")
    ] = None,
    drop_missing: DropMissing = False,
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Tell which rows are in doubt: the entropy of their memberships, and between which clusters they are.

    The entropy is 0 where the cluster is certain, and log k where any would do. Where the fit is a posterior, TABLE
    gives it an interval. Sizes that were fixed or bounded in the fit do not bind here, as in predict.
    """
    with errors_in_one_line():
        from bayessoft.data.writers import written_aside
        from bayessoft.report import console, doubt, files

        if table is None and (id is not None or drop_missing):
            raise OptionError("--id and --drop-missing are about TABLE: pass it, or leave them out")
        phases = console.Phases(quiet)
        if out is not None:
            refuse_existing(out, force, folder=False)
        with console.tidy_warnings(), nullcontext() if out is None else written_aside(out) as aside:
            found, about, remarks = _known(model) if table is None else _looked(model, table, id, drop_missing, phases)
            every = doubt.doubt_table(found)
            about |= {"model": str(model), "id": found.id, "out": out and str(out)}
            result = doubt.doubt_document(found, every, top, about, remarks)
            if aside is not None:
                files.write_table(every, aside)
        if json:
            typer.echo(files.as_json(result))
        else:
            doubt.print_doubt(result, console.standard_output())


def _known(model: Path) -> tuple[Doubt, dict[str, Any], list[str]]:
    """Take the memberships that the fit wrote."""
    from bayessoft.report import doubt, files

    found = doubt.read_memberships(model)
    remarks = []
    if files.has_posterior(model):
        remarks.append("the fit is a posterior: pass the TABLE of the rows for intervals of the entropy")
    return found, {"table": str(model / doubt.FILE)}, remarks


def _looked(
    model: Path, table: Path, id: str | None, drop_missing: bool, phases: Any
) -> tuple[Doubt, dict[str, Any], list[str]]:
    """Find the memberships of a table, and intervals where the fit is a posterior."""
    from bayessoft import store
    from bayessoft.report import base, doubt, reading, record, runtime

    notes = store.notes(model)
    with phases.phase("loading", str(model)):
        runtime.turn_on_compilation_cache()
        estimator = store.load(model)
    with phases.phase("reading", str(table)):
        found, named = reading.read_for(estimator, notes, table, id, drop_missing)
    with phases.phase("computing", f"the memberships of {len(found.frame)} rows"):
        shares = base.placed(estimator, estimator.predict_proba(found.frame))
        intervals = None
        if base.distributed(estimator):
            intervals = estimator.entropy_interval(found.frame, interval=base.INTERVAL)
    taken = doubt.Doubt(shares, found.frame.index, named, base.noisy(estimator), intervals)
    return taken, record.source(found, named), []
