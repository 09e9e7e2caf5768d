"""The command line: ``bayessoft fit`` and ``bayessoft predict``.

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

    from bayessoft.errors import DataError, FitError, OptionError, listed
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


class Covariance(StrEnum):
    """Shapes of the components."""

    full = "full"
    tied = "tied"
    diag = "diag"
    spherical = "spherical"


class Inference(StrEnum):
    """Engines."""

    em = "em"
    cavi = "cavi"
    gibbs = "gibbs"
    nuts = "nuts"


class Prior(StrEnum):
    """Priors on the components."""

    weak = "weak"
    none = "none"


class Device(StrEnum):
    """Platforms of JAX."""

    cpu = "cpu"
    gpu = "gpu"
    tpu = "tpu"


Table = Annotated[Path, typer.Argument(help="CSV file with a header line.", show_default=False)]
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
        str | None, typer.Option(help="Columns to use, separated by commas; by default all that are numeric.")
    ] = None,
    drop_missing: DropMissing = False,
    covariance: Annotated[Covariance, typer.Option(help="Shape of the components.")] = Covariance.full,
    inference: Annotated[
        Inference,
        typer.Option(help="em: the best fit; cavi: a posterior in closed form; gibbs, nuts: draws from the posterior."),
    ] = Inference.em,
    n_init: Annotated[int | None, typer.Option(min=1, help="em, cavi: number of starts.", show_default="1")] = None,
    max_iter: Annotated[int | None, typer.Option(min=1, help="em, cavi: most iterations.", show_default="100")] = None,
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
        typer.Option(help="Prior on the components.", show_default="none for em, else weak"),
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Sizes of the clusters, as rows (151,123,68) or shares (40%,40%,20%).")
    ] = None,
    min_size: Annotated[
        str | None, typer.Option(help="Smallest size of a cluster, as rows or %: one for all, or a list.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(help="Largest size of a cluster, as rows or %: one for all, or a list.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")] = 0,
    device: Annotated[Device | None, typer.Option(help="Where to compute.", show_default="JAX's choice")] = None,
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fit a mixture to a table: memberships row by row, sizes, a model, a plot.

    In the folder --out: memberships.csv (with sizes also memberships_constrained.csv), summary.csv, plot.png, model/,
    fit.json and, but from em, posterior.nc. Columns that are not numeric are left out and named.
    """
    options: dict[str, Any] = {
        "components": components,
        "covariance": str(covariance),
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
        "seed": seed,
    }
    with _errors_in_one_line():
        from bayessoft.data.writers import written_aside
        from bayessoft.report import console, document, files, settings, tables

        settings.check(options)
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
    model: Annotated[Path, typer.Argument(metavar="FIT", help="The --out folder of a fit.", show_default=False)],
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
        from bayessoft.report import base, console, document, files, runtime, tables

        phases = console.Phases(quiet)
        _refuse_existing(out, force)
        with console.tidy_warnings(), written_aside(out) as aside:
            named = store.notes(model).get("id") if id is None else id
            with phases.phase("loading", str(model)):
                runtime.turn_on_compilation_cache()
                estimator = store.load(model)
            with phases.phase("reading", str(table)):
                found, named = _read_for(estimator, table, named, id is not None, drop_missing)
            with phases.phase("computing", f"the memberships of {len(found.frame)} rows"):
                memberships = estimator.predict_proba(found.frame)
                intervals = base.membership_intervals(estimator, found.frame)
            files.write_table(base.memberships_table(memberships, found.frame.index, named, intervals), aside)
        result = document.predict_document(model, out, found, named, memberships)
        if json:
            typer.echo(files.as_json(result))
        else:
            tables.print_prediction(result, console.standard_output())


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
    from bayessoft.data.readers import read_csv
    from bayessoft.report import base, runtime, settings

    with phases.phase("reading", str(table)):
        found = read_csv(table, id=id, columns=columns, drop_missing=drop_missing)
    with phases.phase("loading", "JAX"):
        runtime.turn_on_compilation_cache()
        with settings.spelled_out():
            estimator = settings.estimator(options)
    with runtime.on_device(device) as where:
        if where.startswith("tpu"):  # which has no float64
            found = replace(found, frame=found.frame.astype("float32"))
        what = f"{options['components']} clusters to {len(found.frame)} rows"
        with phases.fitting(what), settings.spelled_out():
            estimator.fit(found.frame)
    return base.Outcome(estimator, found, out, id, options, where, phases.seconds)


def _read_for(estimator: Any, path: Path, id: str | None, asked: bool, drop_missing: bool) -> tuple[Any, str | None]:
    """Read the columns that an estimator was fitted to, and the ids where there are any."""
    from bayessoft.data.readers import read_csv

    wanted = getattr(estimator, "feature_names_in_", None)
    header = _header(path)
    if wanted is not None and header and (missing := [name for name in wanted if name not in header]):
        raise DataError(f"{path} lacks {listed(missing, shown=20)} of the fit's columns: it has {listed(header)}")
    if not id or (header and id not in header and not asked):
        id = None  # an id column that is only remembered from the fit may be absent
    found = read_csv(path, id=id, columns=None if wanted is None else list(wanted), drop_missing=drop_missing)
    found = replace(found, frame=found.frame.astype(estimator.means_.dtype))
    if found.frame.shape[1] != estimator.n_features_in_:
        raise DataError(
            f"{path} has {found.frame.shape[1]} numeric columns but the fit had {estimator.n_features_in_}, without "
            "names: pass a table with as many"
        )
    return found, id


def _header(path: Path) -> list[str]:
    """Give the column names of a file; nothing where it is no regular file, which can be read only once."""
    import csv

    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return [name.strip() for name in next(csv.reader(file, skipinitialspace=True), [])]


def _cells(line: str) -> list[str]:
    """Split at commas that are not quoted."""
    import csv

    return [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True), [])]
