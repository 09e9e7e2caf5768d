"""Checkpoints: a folder from which a run of a sampler that was stopped goes on, with the same draws to the last bit.

``checkpoint.json`` names the files that count, each with its checksum: the state of all chains, and the draws in order.
It is written last and replaced as a whole, so a kill leaves the checkpoint before, and a file that it left half-written
is never read. Draws are written once. Nothing in the files executes on load.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save as bytes_of

from bayessoft.data.rows import fresh
from bayessoft.data.writers import digest, put, version
from bayessoft.errors import OptionError, StoreError
from bayessoft.families.family import seeded
from bayessoft.inference.engine import Problem, Sampler

__all__ = ["Checkpoint", "determinants"]

FORMAT, FORMAT_VERSION, MANIFEST = "bayessoft-checkpoint", 1, "checkpoint.json"
EVERY = 30.0  # seconds between two writings
SETTINGS = ("jax_default_prng_impl", "jax_threefry_partitionable")  # of JAX, on which random numbers depend
UNSEEN = "sha256:"  # how a value begins that says nothing to a person


class Checkpoint:
    """The folder of one run.

    Parameters
    ----------
    path : path-like
        Where nothing is yet, an empty folder, or a checkpoint of the same run.
    engine : Sampler
        The algorithm; a run may go on to more draws than it was begun for.
    problem : Problem
        The mixture and the rows.

    Attributes
    ----------
    path : Path
    steps : int or None
        Steps of each chain that it holds; None where nothing is kept yet.

    Raises
    ------
    OptionError
        The path holds something else, or another run; names what differs.
    StoreError
        It is truncated, edited, of another format version, or the folder cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], engine: Sampler, problem: Problem) -> None:
        self.path, self._engine, self._problem = Path(path), engine, problem
        self._run = determinants(engine, problem)
        self._manifest: dict[str, Any] = {}
        self._read: list[dict[str, np.ndarray]] = []  # the state, then the draws, until they are loaded
        self._blocks = 0  # how many of the walk's are written
        self._tried = time.monotonic()
        if (self.path / MANIFEST).is_file():
            self._manifest = self._opened()
            self._read = [self._tensors(entry) for entry in (self._manifest["state"], *self._manifest["draws"])]
        else:
            self._make_folder()

    @property
    def steps(self) -> int | None:
        """Steps of each chain that it holds; None where nothing is kept yet."""
        return self._manifest.get("steps")

    @property
    def due(self) -> bool:
        """Whether it was not written for a while."""
        return time.monotonic() - self._tried >= EVERY

    def load(self) -> tuple[Any, list[list[Any]]]:
        """Give the states of all chains, and blocks of the records of each chain, inside `numerics.scoped`."""
        states, record = _likenesses(self._engine, self._problem)
        (state, *files), self._read = self._read, []
        named, structure = _named(states)
        leaves = [self._leaf(state, name, like) for name, like in named.items()]
        named, inner = _named(record)
        chains, blocks = self._engine.chains, []
        for file in files:
            s = next(iter(file.values())).shape[1]
            likes = {name: jax.ShapeDtypeStruct((chains, s, *like.shape), like.dtype) for name, like in named.items()}
            arrays = [self._checked(file, name, like) for name, like in likes.items()]
            blocks.append([jax.tree.unflatten(inner, [array[chain] for array in arrays]) for chain in range(chains)])
        self._blocks = len(blocks)
        return jax.tree.unflatten(structure, leaves), blocks

    def save(self, states: Any, steps: int, blocks: Sequence[list[Any]]) -> None:
        """Keep where the chains are after so many steps, and those of the blocks of records that are not kept yet.

        A first writing that fails is an error; a later one a warning, since the draws so far are still in memory.
        """
        if steps == self.steps:
            return
        try:
            self._save(states, steps, blocks)
        except OSError as problem:
            told = f"cannot write the checkpoint {self.path}: {problem.strerror}"
            if self.steps is None:
                raise StoreError(f"{told}: choose a folder that can be written") from None
            warnings.warn(
                f"{told}; the run goes on, and the checkpoint stays at step {self.steps}: make room there",
                RuntimeWarning,
                stacklevel=2,
            )
        finally:
            self._tried = time.monotonic()

    def _save(self, states: Any, steps: int, blocks: Sequence[list[Any]]) -> None:
        """Write the new draws and the state under names that no older state of the folder means, then the manifest."""
        draws, before = list(self._manifest.get("draws", [])), self._manifest.get("state")
        if new := blocks[self._blocks :]:
            chains = [jax.tree.map(lambda *parts: np.concatenate(parts), *own) for own in zip(*new, strict=True)]
            together = _named(jax.tree.map(lambda *leaves: np.stack(leaves), *chains))[0]
            draws.append(self._put(f"draws-{self.steps or 0:09d}-{steps:09d}.safetensors", together))
        named = _named(states)[0]
        keys = {name: str(jax.random.key_impl(leaf)) for name, leaf in named.items() if _is_key(leaf)}
        arrays = {name: np.asarray(jax.random.key_data(leaf) if name in keys else leaf) for name, leaf in named.items()}
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "run": self._run,
            "steps": steps,
            "keys": keys,
            "state": self._put(f"state-{steps:09d}.safetensors", arrays),
            "draws": draws,
        }
        manifest["sha256"] = digest(manifest)
        put(self.path / MANIFEST, json.dumps(manifest, indent=1).encode())
        self._manifest, self._blocks = manifest, len(blocks)
        if before is not None:
            (self.path / before["file"]).unlink(missing_ok=True)

    def _put(self, name: str, arrays: dict[str, np.ndarray]) -> dict[str, str]:
        """Write arrays as a file, and give what the manifest says of it."""
        content = bytes_of({key: np.array(array, order="C") for key, array in arrays.items()})
        put(self.path / name, content)
        return {"file": name, "sha256": hashlib.sha256(content).hexdigest()}

    def _make_folder(self) -> None:
        """Make the folder, or see that it holds nothing but what a run left that was killed at its very start."""
        try:
            self.path.mkdir(exist_ok=True)
            inside = sorted(path.name for path in self.path.iterdir())
        except FileExistsError:
            raise OptionError(f"checkpoint={str(self.path)!r} is a file: pass the path of a folder") from None
        except OSError as problem:
            raise StoreError(
                f"cannot make the checkpoint {self.path}: {problem.strerror}: choose a folder that can be written"
            ) from None
        if other := [name for name in inside if not name.lstrip(".").startswith(("state-", MANIFEST))]:
            raise OptionError(
                f"checkpoint={str(self.path)!r} holds {other[0]!r} and no checkpoint: pass a path where nothing is yet"
            )

    def _opened(self) -> dict[str, Any]:
        """Read the manifest, and refuse that of another run."""
        try:
            manifest = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            whole = isinstance(manifest, dict) and manifest.get("sha256") == digest(manifest)
        except OSError as problem:
            raise StoreError(f"{self.path / MANIFEST}: {problem.strerror}: pass a folder that can be read") from None
        except (ValueError, RecursionError):
            whole = False
        if not whole or manifest.get("format") != FORMAT:
            raise self._damaged(f"{MANIFEST} is not what was written")
        if (found := manifest.get("format_version")) != FORMAT_VERSION:
            raise StoreError(
                f"{self.path}: format version {found!r}, and this is bayessoft {version()}, which reads version "
                f"{FORMAT_VERSION}: go on with the release that began it, or pass another path to begin anew"
            )
        if differ := _differences(manifest["run"], self._run):
            raise OptionError(
                f"checkpoint={str(self.path)!r} holds another run, since {differ}: fit as it was begun to go on with "
                "it, or pass another path to begin anew"
            )
        return manifest

    def _tensors(self, entry: dict[str, str]) -> dict[str, np.ndarray]:
        """Read a file that the manifest names."""
        try:
            content = (self.path / entry["file"]).read_bytes()
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise self._damaged(f"{entry['file']} is not what was written")
            return tensors_of(content)
        except OSError as problem:
            raise self._damaged(f"{entry['file']}: {problem.strerror}") from None
        except SafetensorError:
            raise self._damaged(f"{entry['file']} holds no arrays") from None

    def _leaf(self, tensors: dict[str, np.ndarray], name: str, like: Any) -> Any:
        """Give a leaf of the state on the device."""
        if not _is_key(like):
            return jnp.asarray(fresh(self._checked(tensors, name, like)))
        bits = self._checked(tensors, name, jax.eval_shape(jax.random.key_data, like))
        key = jax.random.wrap_key_data(jnp.asarray(fresh(bits)), impl=self._manifest["keys"].get(name))
        if key.dtype != like.dtype:
            raise self._damaged(f"{name} is a {key.dtype}, not a {like.dtype}")
        return key

    def _checked(self, tensors: dict[str, np.ndarray], name: str, like: Any) -> np.ndarray:
        """Take an array, checked against what it has to be."""
        array = tensors.get(name)
        if array is None or array.shape != like.shape or array.dtype != like.dtype:
            found = "missing" if array is None else f"{array.dtype} {array.shape}"
            raise self._damaged(f"{name} is {found}, not {like.dtype} {like.shape}")
        return array

    def _damaged(self, what: str) -> StoreError:
        return StoreError(
            f"{self.path}: {what}: the checkpoint is truncated or was edited; restore a copy, or remove the folder to "
            "begin anew"
        )


def determinants(engine: Sampler, problem: Problem) -> dict[str, str]:
    """Give everything that determines the draws by its name; rows and the like by their checksums.

    How many draws there are to be does not: each is made from the one before.
    """
    options: Any = fields(engine)  # type: ignore[arg-type] # samplers are dataclasses
    leaves, structure = jax.tree.flatten(problem.mixture)
    given = problem.given
    return {
        "the engine": type(engine).__name__,
        **{option.name: repr(getattr(engine, option.name)) for option in options if option.name != "draws"},
        "n_components": str(problem.mixture.k),
        "the mixture": _checksum(str(structure), *leaves),
        "the rows": _checksum(problem.data.values),
        "sample_weight": _checksum(problem.data.weights),
        "the evidence": _checksum(problem.data.evidence),
        "the starting values": _checksum(given.weights, *itertools.chain(*sorted(given.parameters.items()))),
        "the seed (random_state)": _checksum(np.array(problem.seed)),
        "the dtype": str(problem.data.values.dtype),
        "the device": problem.device,
        **{f"jax.config.{name}": str(getattr(jax.config, name)) for name in SETTINGS},
        **{name: metadata.version(name) for name in ("jax", "jaxlib", "numpyro")},
        "bayessoft": version(),
    }


def _checksum(*parts: Any) -> str:
    """Give the checksum of arrays, with their shapes and dtypes, and texts."""
    found = hashlib.sha256()
    for part in parts:
        if part is None or isinstance(part, str):
            found.update(repr(part).encode())
        else:
            array = np.asarray(part)
            found.update(f"{array.dtype.str}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return UNSEEN + found.hexdigest()


def _differences(kept: dict[str, str], asked: dict[str, str]) -> str:
    """Say what differs between the run of a checkpoint and the one that is asked for."""
    changed = [name for name in {**kept, **asked} if kept.get(name) != asked.get(name)]
    if "the engine" in changed:
        changed = ["the engine"]  # whose options have other names
    unseen = [name for name in changed if asked.get(name, "").startswith(UNSEEN)]
    texts = [f"{name}: {kept.get(name)} -> {asked.get(name)}" for name in changed if name not in unseen]
    told = [f"{' and '.join(unseen)} changed"] if unseen else []
    return "; ".join([*told, *texts])


def _likenesses(engine: Sampler, problem: Problem) -> tuple[Any, Any]:
    """Give the shapes of the states of all chains, and of a record, without seeking starts."""

    def begin(key: Any) -> Any:
        keys = jax.random.split(key, engine.chains)
        return engine.begin_at(problem, *jax.vmap(lambda key: problem.standard.draw(seeded(key)))(keys))

    states = jax.eval_shape(begin, jax.random.key(0))
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), states)
    return states, jax.eval_shape(lambda state: engine.program.step(problem.standard, problem.tiles, state)[1], one)


def _named(tree: Any) -> tuple[dict[str, Any], Any]:
    """Give the leaves of a tree by their places, and its structure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}, structure


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
