"""The command line: ``bayessoft fit``, ``bayessoft predict`` and ``bayessoft diagnose``.

Nothing heavy is imported before a command has its options, so that ``--help`` is quick. Exit codes: 0 done (a fit that
did not converge says so), 1 an error in the data or the fit, 2 an option that is wrong or does not fit the data, 130
interrupted. Errors are one line on standard error.
"""

from __future__ import annotations

import sys

try:
    import os
    import signal
    from collections.abc import Iterator, Sequence
    from contextlib import contextmanager
    from dataclasses import replace
    from enum import StrEnum
    from pathlib import Path
    from typing import TYPE_CHECKING, Annotated, Any

    import typer

    from bayessoft.errors import FitError, OptionError
    from bayessoft.families import FAMILIES
    from bayessoft.inference import ENGINES
except KeyboardInterrupt:  # before `main` could catch it
    print("interrupted", file=sys.stderr)
    sys.exit(130)

if TYPE_CHECKING:
    from bayessoft.report.base import Outcome

__all__ = ["app", "main"]

app = typer.Typer(
    name="bayessoft",
    help="Bayesian soft clustering: to which groups the rows of a table belong, how sure that is, how big they are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


if TYPE_CHECKING:
    Family = str
    Inference = str
else:  # which type checkers cannot follow
    Family = StrEnum("Family", {name: name for name in FAMILIES})
    Inference = StrEnum("Inference", {name: name for name in ENGINES})
GAUSSIAN, EM = Family("gaussian"), Inference("em")


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


class Device(StrEnum):
    """Platforms of JAX."""

    cpu = "cpu"
    gpu = "gpu"
    tpu = "tpu"


Table = Annotated[Path, typer.Argument(help="CSV file with a header line.", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="FIT", help="The --out folder of a fit.", show_default=False)]
Id = Annotated[str | None, typer.Option("--id", help="Column that names the rows.", show_default=False)]
DropMissing = Annotated[bool, typer.Option("--drop-missing", help="Leave out rows in which a chosen column is empty.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is at --out.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Do not show what is going on.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON document instead of a table.")]


def main() -> None:
    """Run the command line; the entry point of the console script."""
    try:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _stop)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job ignores it
            signal.signal(signal.SIGINT, _stop)
        app()
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


def _stop(number: int, _: object) -> None:
    """Remove what is half-written and end at once.

    An exception instead would get lost in the callbacks of C extensions, or crash those that are just being imported.
    """
    abandon = getattr(sys.modules.get("bayessoft.data.writers"), "abandon", lambda: True)
    if abandon():
        show_cursor = b"\x1b[?25h" if os.isatty(2) else b""  # which a moving line hides
        os.write(2, show_cursor + b"interrupted\n")
        os._exit(128 + number)


def _show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from bayessoft.store import version

        typer.echo(f"bayessoft {version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def fit(
    table: Table,
    components: Annotated[int, typer.Option(min=1, help="Number of clusters.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write the results into.", show_default=False)],
    id: Id = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns to use, separated by commas; by default all that the family can use.")
    ] = None,
    drop_missing: DropMissing = False,
    family: Annotated[
        Family,
        typer.Option(
            help="What the columns hold. gaussian: measurements, student-t: the same with outliers; poisson: counts; "
            "multinomial: counts that share a total out; bernoulli, categorical: answers, two or more of them, in "
            "words or numbers."
        ),
    ] = GAUSSIAN,
    covariance: Annotated[
        Covariance | None, typer.Option(help="gaussian, student-t: shape of the components.", show_default="full")
    ] = None,
    inference: Annotated[
        Inference,
        typer.Option(
            help="em: the best fit, map: by gradients; cavi: a posterior in closed form, svi: the same by batches "
            "of rows; gibbs, nuts: draws from the posterior."
        ),
    ] = EM,
    n_init: Annotated[
        int | None, typer.Option(min=1, help="em, cavi, map, svi: number of starts.", show_default="1")
    ] = None,
    max_iter: Annotated[
        int | None, typer.Option(min=1, help="em, cavi, map, svi: most iterations.", show_default="100")
    ] = None,
    chains: Annotated[
        int | None, typer.Option(min=1, help="gibbs, nuts: number of chains.", show_default=False)
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="gibbs, nuts: draws of each chain.", show_default=False)
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(min=1, help="gibbs, nuts: steps before the draws.", show_default=False)
    ] = None,
    target_accept: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="nuts: acceptance to adapt to.", show_default=False)
    ] = None,
    prior: Annotated[
        Prior | None,
        typer.Option(
            help="Prior on the components; independent: gaussian only.",
            show_default="none for gaussian by em, else weak",
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(help="em, cavi, svi, gibbs: sizes of the clusters, as rows (151,123,68) or %."),
    ] = None,
    min_size: Annotated[
        str | None,
        typer.Option(help="em, cavi, svi, gibbs: smallest size, as rows or %: one for all, or a list."),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(help="em, cavi, svi, gibbs: largest size, as rows or %: one for all, or a list."),
    ] = None,
    capacity: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=LOW:HIGH",
            help="em, cavi, svi: bounds on the sum of a column in each cluster, as amounts or %: load=:120, "
            "hours=10%:40%, cost=:100,200,200. It is no feature unless in --columns. May be repeated.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="gibbs, nuts: folder that keeps the run, written every 30 s.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that --checkpoint keeps.")] = False,
    time_limit: Annotated[
        float | None,
        typer.Option(min=0.0, help="gibbs, nuts: seconds after which the draws so far count.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")] = 0,
    device: Annotated[Device | None, typer.Option(help="Where to compute.", show_default="JAX's choice")] = None,
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fit a mixture to a table: memberships row by row, sizes, a model, a plot.

    In the folder --out: memberships.csv, summary.csv, plot.png, model/, fit.json; where the fit is a posterior,
    posterior.nc; with sizes or capacities, memberships_constrained.csv and size_bounds.csv. Columns that are not
    numeric, of answers those without 2 to 20 of them, are left out and named. Answers are numbered from 0 in order:
    fit.json has the numbers that posterior.nc holds.
    """
    options: dict[str, Any] = {
        "components": components,
        "family": str(family),
        "covariance": covariance and str(covariance),
        "inference": str(inference),
        "n_init": n_init,
        "max_iter": max_iter,
        "chains": chains,
        "draws": draws,
        "warmup": warmup,
        "target_accept": target_accept,
        "prior": prior and str(prior),
        "sizes": sizes,
        "min_size": min_size,
        "max_size": max_size,
        "capacity": capacity or None,
        "checkpoint": checkpoint and str(checkpoint),
        "resume": resume,
        "time_limit": time_limit,
        "seed": seed,
    }
    with _errors_in_one_line():
        from bayessoft.data.writers import written_aside
        from bayessoft.report import console, document, files, settings, tables

        settings.check(options)
        if family in settings.SHAPED:
            options["covariance"] = str(covariance or Covariance.full)
        phases = console.Phases(quiet)
        _refuse_existing(out, force)
        with console.tidy_warnings(), written_aside(out) as aside:
            chosen = None if columns is None else _cells(columns)
            outcome = _fit(table, id, chosen, drop_missing, options, device, out, phases)
            found = document.fit_document(outcome, files.file_names(outcome))
            with phases.phase("writing", f"{out}/"):
                files.write_fit(outcome, found, aside)
        if json:
            typer.echo(files.as_json(found))
        else:
            tables.print_fit(found, console.standard_output())


@app.command()
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
    with _errors_in_one_line():
        from bayessoft import store
        from bayessoft.data.writers import written_aside
        from bayessoft.report import base, console, document, files, reading, runtime, tables

        phases = console.Phases(quiet)
        _refuse_existing(out, force)
        with console.tidy_warnings(), written_aside(out) as aside:
            notes = store.notes(model)
            with phases.phase("loading", str(model)):
                runtime.turn_on_compilation_cache()
                estimator = store.load(model)
            with phases.phase("reading", str(table)):
                found, named = reading.read_for(estimator, notes, table, id, drop_missing)
            with phases.phase("computing", f"the memberships of {len(found.frame)} rows"):
                memberships = estimator.predict_proba(found.frame)
                intervals = base.membership_intervals(estimator, found.frame)
            files.write_table(base.memberships_table(memberships, found.frame.index, named, intervals), aside)
        result = document.predict_document(model, out, found, named, memberships)
        if json:
            typer.echo(files.as_json(result))
        else:
            tables.print_prediction(result, console.standard_output())


@app.command()
def diagnose(model: Folder, json: Json = False) -> None:
    """Tell how a saved fit ended, and whether its draws can be trusted: R-hat, effective draws, modes, labels."""
    with _errors_in_one_line():
        from bayessoft import store
        from bayessoft.report import console, document, files, tables

        result = document.diagnosis_document(model, store.load(model))
        if json:
            typer.echo(files.as_json(result))
        else:
            tables.print_diagnosis(result, console.standard_output())


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
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


def _refuse_existing(out: Path, force: bool) -> None:
    """Refuse to replace what exists, unless asked to."""
    if (out.exists() or out.is_symlink()) and not force:
        raise OptionError(f"{out} exists already: choose another --out, or replace it with --force")


def _fit(
    table: Path,
    id: str | None,
    columns: Sequence[str] | None,
    drop_missing: bool,
    options: dict[str, Any],
    device: str | None,
    out: Path,
    phases: Any,
) -> Outcome:
    """Read the table, build the estimator and fit it."""
    from bayessoft.report import base, bounds, reading, runtime, settings

    with phases.phase("reading", str(table)):
        resources = [each.column for each in bounds.capacities(options)]
        found = reading.read_table(table, id, columns, drop_missing, options["family"], resources)
    with phases.phase("loading", "JAX"):
        runtime.turn_on_compilation_cache()
        with bounds.spelled_out():
            estimator = settings.estimator(options, found.resources)
    with runtime.on_device(device) as where:
        if where.startswith("tpu"):  # which has no float64
            found = replace(found, frame=found.frame.astype("float32"))
        what = f"{options['components']} clusters to {len(found.frame)} rows"
        with phases.fitting(what), bounds.spelled_out():
            estimator.fit(found.frame)
    return base.Outcome(estimator, found, out, id, options, where, phases.seconds)


def _cells(line: str) -> list[str]:
    """Split at commas that are not quoted."""
    import csv

    return [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True), [])]
