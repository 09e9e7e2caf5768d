"""The exceptions that bayessoft raises on purpose, and words their messages share.

Every message says what was wrong, what was got, what is allowed and what to try.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["DataError", "FitError", "OptionError", "StoreError", "counted", "listed"]

T = TypeVar("T")


class DataError(ValueError):
    """The data, or the sample weights, cannot be used as they are."""


class OptionError(ValueError):
    """An option is unknown, out of range, or contradicts another one."""


class StoreError(ValueError):
    """A saved model or a checkpoint is missing, truncated, edited, of another format version, or cannot be written."""


class FitError(RuntimeError):
    """A fit failed numerically; no result was kept.

    Parameters
    ----------
    problem : str
        What failed, and at which step.
    status : object, optional
        The status in which the fit stopped.
    advice : str, optional
        What to try next; it ends the message.

    Attributes
    ----------
    status : object
        As given.
    advice : str
        As given.

    Examples
    --------
    >>> str(FitError("the objective is not finite at step 3", advice="scale the columns"))
    'the objective is not finite at step 3: scale the columns'
    """

    def __init__(self, problem: str, *, status: object = None, advice: str = "") -> None:
        super().__init__(f"{problem}: {advice}" if advice else problem)
        self.status = status
        self.advice = advice


def counted(number: int, what: str) -> str:
    """Write a number with its noun; a remark in brackets stays behind the plural.

    Examples
    --------
    >>> counted(1, "row"), counted(2, "missing cell (NaN)")
    ('1 row', '2 missing cells (NaN)')
    """
    noun, space, remark = what.partition(" (")
    return f"{number} {noun}{'' if number == 1 else 's'}{space}{remark}"


def listed(items: Sequence[T], text: Callable[[T], str] = repr, shown: int = 5) -> str:
    """List the first few items.

    Examples
    --------
    >>> listed(["a", "b", "c"], shown=2)
    "'a', 'b', ..."
    """
    return ", ".join(text(item) for item in items[:shown]) + (", ..." if len(items) > shown else "")
