"""JAX as the command line sets it up. The library itself changes no setting of JAX."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bayessoft.errors import OptionError

__all__ = ["on_device", "turn_on_compilation_cache"]


def turn_on_compilation_cache() -> None:
    """Let JAX keep compiled programs on disk, so that only the first run of a kind compiles.

    What the user set by ``JAX_COMPILATION_CACHE_DIR`` or ``JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS`` stays. Where
    the folder cannot be made, nothing is kept.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        try:
            folder = _cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):  # RuntimeError: there is no home folder
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _cache_folder() -> Path:
    """Give the folder where the platform keeps caches."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bayessoft" / "jax"


@contextmanager
def on_device(platform: str | None) -> Iterator[str]:
    """Compute on the first device of a platform.

    Parameters
    ----------
    platform : {"cpu", "gpu", "tpu"} or None
        None is JAX's own choice.

    Yields
    ------
    str
        The device, in words.

    Raises
    ------
    OptionError
        There is no such device.
    """
    import jax

    try:
        device = jax.devices(platform)[0]
    except RuntimeError:
        there = ", ".join(sorted({device.platform for device in jax.devices()}))
        remedy = {"gpu": ": pip install 'bayessoft[cuda12]'", "tpu": ": pip install 'bayessoft[tpu]'"}
        raise OptionError(
            f"JAX finds no {platform} here, but {there}: leave --device out, or install JAX for it"
            + remedy.get(str(platform), "")
        ) from None
    with jax.default_device(device):
        kind = device.device_kind
        yield device.platform if kind == device.platform else f"{device.platform} ({kind})"
