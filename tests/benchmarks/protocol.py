"""The protocol of every benchmark: alternating pairs, equal threads, results compared in the same run, fresh processes.

A benchmark is a module with a function ``run(quick) -> Report``. `quick` means small shapes, to see that it works.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PAIRS = 5
PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "scikit-learn", "numpyro", "optax", "arviz")


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one number: median and range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(float(np.median(values)), float(np.min(values)), float(np.max(values)))


@dataclass(frozen=True)
class Check:
    """A measured number beside its bar; the median of repeated ones is judged. Not a number meets no bar."""

    what: str
    value: float | Spread
    bar: str
    passed: bool

    @classmethod
    def at_least(cls, what: str, value: float | Spread, bar: float) -> Check:
        return cls(what, value, f"at least {bar:g}", bool(_middle(value) >= bar))

    @classmethod
    def at_most(cls, what: str, value: float | Spread, bar: float) -> Check:
        return cls(what, value, f"at most {bar:g}", bool(_middle(value) <= bar))


def _middle(value: float | Spread) -> float:
    return value.median if isinstance(value, Spread) else float(value)


@dataclass
class Report:
    """What a benchmark found: tables of rows, numbers with their bars, and remarks."""

    title: str
    method: str
    tables: list[list[dict[str, Any]]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return finite(json.loads(json.dumps(asdict(self), default=float)))


def finite(value: Any) -> Any:
    """Infinities and NaN as words, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def seconds(call: Callable[[], Any]) -> float:
    """Wall-clock time of a call that returns when it is done."""
    gc.collect()
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def cost(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock seconds of a call, and seconds of all its threads on a core, which a busy machine stretches less."""
    began = time.process_time()
    wall = seconds(call)
    return wall, time.process_time() - began


def per_call(call: Callable[[], Any], least: float = 0.3) -> Callable[[], float]:
    """A measurement of a short call: as many repetitions as `least` seconds hold."""
    once = min(seconds(call) for _ in range(3))
    count = max(1, int(least / once))

    def measure() -> float:
        def repeated() -> None:
            for _ in range(count):
                call()

        return seconds(repeated) / count

    return measure


def alternating(ours: Callable[[], Any], peer: Callable[[], Any], pairs: int = PAIRS) -> tuple[list[Any], list[Any]]:
    """Measure in turn, so that a drift of the machine's speed meets both; every other pair begins with the peer."""
    found: tuple[list[Any], list[Any]] = ([], [])
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            found[which].append((ours, peer)[which]())
    return found


def ratios(ours: Sequence[float], peer: Sequence[float]) -> Spread:
    """Peer's time over ours, pair by pair."""
    return Spread.of(np.divide(peer, ours).tolist())


def relative(a: Any, b: Any) -> float:
    """The largest difference over the largest value of the second."""
    a, b = np.asarray(a), np.asarray(b)
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


def memory(kind: str) -> float:
    """MB of this process: kind is VmRSS (now) or VmHWM (the peak)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"this system does not tell {kind}: run the benchmark on Linux")


def peak_beyond(call: Callable[[], Any]) -> float:
    """MB that a call needs at its peak beyond what the process holds before it."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = memory("VmRSS")
    call()
    return memory("VmHWM") - before


def fresh(function: str, *arguments: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Call ``tests.benchmarks.<module>.<function>`` in a fresh process and give the result, which JSON can hold."""
    module, name = function.rsplit(".", 1)
    code = (
        f"import json, sys; from tests.benchmarks.{module} import {name} as f; "
        "print(json.dumps(f(*json.loads(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        words = ", ".join(map(str, arguments))
        raise RuntimeError(f"{function}({words}) failed in its own process ({done.returncode}):\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _git(*words: str) -> str:
    command = ["git", "-c", f"safe.directory={ROOT}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def environment() -> dict[str, Any]:
    """Versions, cores, threads, commit of what is measured."""
    import jax
    from threadpoolctl import threadpool_info

    jax.devices()
    pools = {f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpool_info()}
    changed = _git("status", "--porcelain", "--", "bayessoft", "tests/benchmarks", "README.md")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+changes" if changed else ""),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": f"XLA {len(os.sched_getaffinity(0))}, " + ", ".join(sorted(pools)),
        "device": f"{jax.devices()[0].platform} ({jax.devices()[0].device_kind})",
        "python": platform.python_version(),
        "versions": versions(PACKAGES),
    }


def versions(names: Sequence[str]) -> dict[str, str]:
    """The versions of packages that are there; where one is not, an error tells how to get it."""
    try:
        return {name: version(name) for name in names}
    except PackageNotFoundError as problem:
        raise RuntimeError(f"{problem.name} is not installed: pip install -e '.[benchmarks]' (the peers)") from None


def measured(name: str, quick: bool) -> dict[str, Any]:
    """Run the benchmark ``tests.benchmarks.<name>``: its report, and under what conditions; JSON can hold both."""
    load, began = list(os.getloadavg()), time.perf_counter()
    module = import_module(f"tests.benchmarks.{name}")
    peers = versions(getattr(module, "PEERS", ()))
    report = module.run(quick).plain()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    took = {
        "load average at start": load,
        "wall seconds": time.perf_counter() - began,
        "cpu seconds": sum(part.ru_utime + part.ru_stime for part in used),
    }
    known = environment()
    return {"report": report, "environment": known | {"versions": known["versions"] | peers} | took}
