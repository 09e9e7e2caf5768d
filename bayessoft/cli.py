"""The command line: ``bayessoft fit``, ``predict``, ``diagnose``, ``ambiguity`` and ``compare``.

Nothing heavy is imported before a command has its options, so that ``--help`` is quick. Exit codes: 0 done (a fit that
did not converge says so), 1 an error in the data or the fit, 2 an option that is wrong or does not fit the data, 130
interrupted. Errors are one line on standard error.
"""

from __future__ import annotations

import sys

try:
    import os
    import signal
    from typing import Annotated

    import typer

    from bayessoft.commands.ambiguity import ambiguity
    from bayessoft.commands.compare import compare
    from bayessoft.commands.diagnose import diagnose
    from bayessoft.commands.fit import fit
    from bayessoft.commands.predict import predict
except KeyboardInterrupt:  # before `main` could catch it
    print("interrupted", file=sys.stderr)
    sys.exit(130)

__all__ = ["app", "main"]

app = typer.Typer(
    name="bayessoft",
    help="Bayesian soft clustering: to which groups the rows of a table belong, how sure that is, how big they are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (fit, predict, ambiguity, compare, diagnose):
    app.command()(command)


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
