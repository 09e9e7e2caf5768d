"""The page of all benchmarks, written from their JSON."""

from __future__ import annotations

from typing import Any

HEAD = """# Benchmarks

Written by `python -m tests.benchmarks` from `benchmarks.json` (`pip install -e '.[benchmarks]'` gets the peers), by the
protocol of the [design page](design.md): alternating pairs, everything compiled and warm unless it says otherwise,
compile time apart, equal threads, results compared in the same run. Repeated measurements are given as median (lowest
to highest); the median is judged. A missed bar is shown as a miss. CPU seconds are those of all threads: on a machine
that others use too they tell more than wall-clock seconds.
"""


def number(value: Any) -> str:
    """A cell: a number to three digits, a spread as median and range, words as they are."""
    if isinstance(value, dict):
        return f"{number(value['median'])} ({number(value['low'])} to {number(value['high'])})"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value).replace("|", "\\|")
    if value == 0 or float(value).is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    size = abs(value)
    return f"{value:.2e}" if size < 1e-3 or size >= 1e6 else f"{value:,.0f}" if size >= 1000 else f"{value:.3g}"


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a table, whose columns are those of the first row."""
    columns = list(rows[0])
    lines = [[number(name) for name in columns], ["---"] * len(columns)]
    lines += [[number(row[name]) for name in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def verdicts(checks: list[dict[str, Any]]) -> str:
    return table(
        [
            {
                "figure": check["what"],
                "measured": check["value"],
                "bar": check["bar"],
                "verdict": "met" if check["passed"] else "**missed**",
            }
            for check in checks
        ]
    )


def conditions(of: dict[str, Any]) -> str:
    """Where, when and on what a benchmark ran."""
    versions = ", ".join(f"{name} {version}" for name, version in of["versions"].items())
    load = ", ".join(f"{value:.1f}" for value in of["load average at start"])
    return (
        f"Commit `{of['commit']}`, {of['date']}; {of['device']}, {of['processor']}, {of['cores']} cores, threads: "
        f"{of['threads']}; load average at start {load}; the whole benchmark took {of['wall seconds']:.0f} s "
        f"({of['cpu seconds']:.0f} CPU s). Python {of['python']}, {versions}."
    )


def section(found: dict[str, Any]) -> str:
    """One benchmark: method, verdicts, tables, remarks, conditions."""
    report = found["report"]
    parts = [f"## {report['title']}", report["method"], verdicts(report["checks"])]
    parts += [table(rows) for rows in report["tables"]] + report["notes"] + [conditions(found["environment"])]
    return "\n\n".join(parts) + "\n"


def page(results: dict[str, dict[str, Any]], missing: list[str]) -> str:
    """The whole page, with the names of the benchmarks that have no result."""
    checks = [check for found in results.values() for check in found["report"]["checks"]]
    missed = [check["what"] for check in checks if not check["passed"]]
    summary = f"{len(checks) - len(missed)} of {len(checks)} bars are met" + (
        f"; missed: {'; '.join(missed)}.\n" if missed else ".\n"
    )
    if missing:
        summary += f"\nNot run, or without a result: {', '.join(missing)}.\n"
    return "\n".join([HEAD, summary, *map(section, results.values())])
