"""What JSON documents share: plain values, the table that they are of, the versions that numbers depend on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from bayessoft.data.readers import CsvTable
from bayessoft.data.writers import version

__all__ = ["plain", "source", "versions"]

PACKAGES = ("jax", "numpyro", "numpy", "scikit-learn", "arviz")


def plain(value: Any) -> Any:
    """Give a value as JSON can hold it.

    Examples
    --------
    >>> plain({"a": np.array([1.0, np.inf]), "b": (np.int64(2), None)})
    {'a': [1.0, None], 'b': [2, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def source(table: CsvTable, id: str | None) -> dict[str, Any]:
    """Describe the table."""
    return {
        "table": str(table.path),
        "n": len(table.frame),
        "columns": list(table.frame),
        "id": id,
        "answers": table.answers or None,
        "left_out": table.left_out,
        "left_out_as": f"not {table.kind}",
        "dropped": table.dropped,
    }


def versions() -> dict[str, str]:
    """Give the versions of what the numbers depend on."""
    return {"bayessoft": version(), **{package: metadata.version(package) for package in PACKAGES}}
