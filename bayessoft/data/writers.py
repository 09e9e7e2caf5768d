"""Files and folders that appear whole or not at all, and what they say of themselves."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from bayessoft.errors import StoreError

__all__ = ["abandon", "digest", "put", "version", "written_aside"]

_workshops: dict[Path, bool] = {}  # places of `written_aside`, and whether their result is just taking its name


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a place to write a file or folder that takes the name `path` once it is whole.

    The place is a hidden sibling, on the same file system. Whatever stops the writing, an interrupt too, leaves what
    was at `path` before and nothing else.

    Parameters
    ----------
    path : Path
        The final name. What is there at the end is replaced.

    Yields
    ------
    Path
        Where to create the file or folder.

    Raises
    ------
    StoreError
        The folder above cannot be written.
    """
    path = Path(os.path.abspath(path))
    workshop = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    new, old = workshop / path.name, workshop / "replaced"
    _workshops[workshop] = False
    try:
        try:
            workshop.mkdir()
        except OSError as problem:
            raise StoreError(f"cannot write {path}: {problem.strerror}: choose a folder that can be written") from None
        yield new
        _workshops[workshop] = True
        try:
            if path.is_dir() or (path.exists() and new.is_dir()):  # only a file replaces a file by itself
                os.replace(path, old)
            os.replace(new, path)
        except BaseException:
            if old.exists() and not path.exists():
                os.replace(old, path)
            raise
        finally:
            _workshops[workshop] = False
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
        del _workshops[workshop]


def put(path: Path, content: bytes) -> None:
    """Write a file that replaces the old one as a whole, and outlasts a crash of the machine once this returns."""
    aside = path.with_name(f".{path.name}.new")
    with open(aside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def digest(manifest: Mapping[str, Any]) -> str:
    """Give the checksum of everything in a manifest but the checksum itself, its ``sha256``."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def version() -> str:
    """Give the version of bayessoft that is installed."""
    try:
        return metadata.version("bayessoft")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "not installed"


def abandon() -> bool:
    """Remove whatever `written_aside` has in hand, for a process that must end at once.

    Returns
    -------
    bool
        Whether that was possible: not while a finished result is taking its name, which is a matter of microseconds.
    """
    if any(_workshops.values()):
        return False
    for workshop in list(_workshops):
        shutil.rmtree(workshop, ignore_errors=True)
    return True
