"""Benchmarks by one protocol: ``python -m tests.benchmarks`` runs them, writes ``docs/benchmarks.md`` and ``.json``."""
