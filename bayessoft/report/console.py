"""What a person sees while the command line works: phases, and warnings of one line each, on standard error."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

__all__ = ["Phases", "one_line", "standard_output", "tidy_warnings"]

QUIET_KINDS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)  # for programmers, not for this person
TRACED, COMPILED = "jaxpr_trace_duration", "backend_compile_duration"  # how JAX's events end


class Phases:
    """Shows what is going on and times it.

    Parameters
    ----------
    quiet : bool
        Show nothing.

    Attributes
    ----------
    seconds : dict of str to float
        Time by phase; compiling is part of no other phase.
    """

    def __init__(self, quiet: bool) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.seconds: dict[str, float] = {}
        self._note: Any = None

    @contextmanager
    def phase(self, name: str, what: str) -> Iterator[None]:
        """Show a phase while it lasts: a moving line on a terminal, a plain one elsewhere."""
        start = time.perf_counter()
        if self.console.is_terminal:
            with self.console.status(Text(f"{name} {what}")) as status:
                self._note = lambda current: status.update(Text(f"{current} {what}"))
                try:
                    yield
                finally:
                    self._note = None
        else:
            self.say(f"{name} {what}")
            yield
        self.seconds[name] = time.perf_counter() - start
        if self.console.is_terminal:
            self.say(f"{name} {what}: {self.seconds[name]:.1f} s")

    @contextmanager
    def fitting(self, what: str) -> Iterator[None]:
        """Show a fit, and tell compiling from computing by what JAX reports."""
        import jax.monitoring

        compiling = 0.0
        listening = True

        def heard(event: str, duration_secs: float, **kwargs: str | int) -> None:
            nonlocal compiling
            if listening and event.endswith((TRACED, COMPILED)):
                compiling += duration_secs
                if self._note is not None:
                    self._note("compiling" if event.endswith(TRACED) else "fitting")

        jax.monitoring.register_event_duration_secs_listener(heard)
        try:
            with self.phase("fitting", what):
                yield
        finally:
            listening = False  # JAX has no public way to take a listener back
        compiling = min(compiling, self.seconds["fitting"])
        self.seconds |= {"compiling": compiling, "fitting": self.seconds["fitting"] - compiling}

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(Text(text), soft_wrap=True)


@contextmanager
def tidy_warnings() -> Iterator[None]:
    """Show each warning once, in one line on standard error."""
    seen: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        text = one_line(message)
        if text not in seen and not issubclass(category, QUIET_KINDS):
            seen.add(text)
            print(f"warning: {text}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def one_line(message: object) -> str:
    """Give a message without line breaks."""
    return " ".join(str(message).split())


def standard_output() -> Console:
    """Give the console for results."""
    return Console(highlight=False)
