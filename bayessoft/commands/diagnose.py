"""``bayessoft diagnose``."""

from __future__ import annotations

import typer

from bayessoft.commands.base import Folder, Json, errors_in_one_line

__all__ = ["diagnose"]


def diagnose(model: Folder, json: Json = False) -> None:
    """Tell how a saved fit ended, and whether its draws can be trusted: R-hat, effective draws, modes, labels."""
    with errors_in_one_line():
        from bayessoft import store
        from bayessoft.report import console, document, files, tables

        result = document.diagnosis_document(model, store.load(model))
        if json:
            typer.echo(files.as_json(result))
        else:
            tables.print_diagnosis(result, console.standard_output())
