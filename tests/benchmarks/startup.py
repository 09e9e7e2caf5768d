"""The README's command in a fresh process, and what an import costs and loads."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.protocol import ROOT, Check, Report, Spread, fresh

HEAVY = ("arviz", "jax", "matplotlib", "numpyro", "sklearn")
COMMAND = "from bayessoft.cli import main; main()"  # what the console script runs


def arguments() -> list[str]:
    """What the README's first fit is given."""
    for line in (ROOT / "README.md").read_text().splitlines():
        if "bin/bayessoft fit " in line:
            return shlex.split(line.split("bin/bayessoft ", 1)[1])
    raise RuntimeError("README.md has no line with bin/bayessoft fit")


def process(*words: str, environment: dict[str, str] | None = None) -> float:
    """Wall-clock seconds of a fresh interpreter."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(words)} failed:\n{done.stderr}")
    return time.perf_counter() - began


def loaded(*words: str) -> list[str]:
    """Which heavy packages are there after the import or, given arguments, the command; run in a fresh process."""
    import bayessoft  # noqa: F401 - what is measured

    if words:
        from bayessoft.cli import main

        sys.argv, keep = ["bayessoft", *words], os.dup(1)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            try:
                main()
            except SystemExit:
                sys.stdout.flush()
        os.dup2(keep, 1)
    return [name for name in HEAVY if name in sys.modules]


def run(quick: bool) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        words = arguments()
        words[words.index("--out") + 1] = str(Path(folder) / "fit")
        own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
        own["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        cold, *warm = (process("-c", COMMAND, *words, environment=own) for _ in range(2 if quick else 5))
    measured = warm if quick else warm[1:]
    pairs = [(process("-c", "import bayessoft"), process("-c", "pass")) for _ in range(3 if quick else 5)]
    heavy = {"import": fresh("startup.loaded"), "help": fresh("startup.loaded", "--help")}
    report = Report(
        "Start",
        "`bayessoft " + " ".join(arguments()) + "`, the README's, each time in a fresh process, with JAX's compilation "
        "cache in a folder that is empty at first: the cold run compiles, one more is not counted, the others are. "
        "The time of the import is that of a fresh interpreter that imports bayessoft less that of an idle one.",
    )
    imported = Spread.of([with_ - without for with_, without in pairs])
    report.tables = [
        [
            {"what": "fit, cold cache (s)", "measured": cold},
            {"what": "fit, warm cache (s)", "measured": Spread.of(measured)},
            {"what": "import bayessoft (s)", "measured": imported},
            {"what": "heavy modules after import bayessoft", "measured": ", ".join(heavy["import"]) or "none"},
            {"what": "heavy modules after bayessoft --help", "measured": ", ".join(heavy["help"]) or "none"},
        ]
    ]
    report.checks = [
        Check.at_most("README's fit, warm cache (s)", Spread.of(measured), 8),
        Check.at_most(f"of {', '.join(HEAVY)}, loaded by the import", len(heavy["import"]), 0),
        Check.at_most(f"of {', '.join(HEAVY)}, loaded by --help", len(heavy["help"]), 0),
    ]
    return report
