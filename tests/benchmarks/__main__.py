"""Run benchmarks, each in a process of its own, and write ``docs/benchmarks.json`` and ``docs/benchmarks.md``.

A run of some benchmarks keeps what is known of the others. ``--quick`` uses small shapes, whose numbers mean nothing,
and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys

from tests.benchmarks.page import page, section
from tests.benchmarks.protocol import ROOT, fresh

NAMES = (
    *("em", "likelihood", "gibbs", "counts", "nuts", "labels", "precision", "sizes", "dual"),
    *("constrained", "fuzzy", "bottleneck", "reduction", "startup"),
)
JSON, PAGE = ROOT / "docs" / "benchmarks.json", ROOT / "docs" / "benchmarks.md"


def write(name: str, found: dict) -> None:
    """Put a result among those known."""
    known = json.loads(JSON.read_text()) if JSON.exists() else {}
    known[name] = found
    ordered = {name: known[name] for name in NAMES if name in known}
    JSON.write_text(json.dumps(ordered, indent=1, allow_nan=False) + "\n")
    PAGE.write_text(page(ordered, [name for name in NAMES if name not in known]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"which of {', '.join(NAMES)}; by default all")
    parser.add_argument("--quick", action="store_true", help="small shapes; write nothing")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(NAMES)):
        parser.error(f"there is no benchmark {', '.join(unknown)}: choose from {', '.join(NAMES)}")
    failed = []
    for name in options.names or NAMES:
        try:
            found = fresh("protocol.measured", name, options.quick)
        except RuntimeError as problem:
            failed.append(name)
            print(problem, file=sys.stderr, flush=True)
            continue
        print(section(found), flush=True)
        if not options.quick:
            write(name, found)
    if failed:
        print(f"no new result of {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
