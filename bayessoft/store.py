"""Saved models: a folder with a JSON manifest and a safetensors file, from which nothing executes on load.

The manifest names classes, and only those in `ESTIMATORS` and `CLASSES` are ever built. It carries a format version
and checksums, so that a truncated or edited model is refused rather than half believed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save as bytes_of

from bayessoft.data.writers import digest, version, written_aside
from bayessoft.errors import StoreError, listed

__all__ = ["load", "notes", "save", "version"]

FORMAT = "bayessoft-model"
FORMAT_VERSION = 2
MANIFEST, TENSORS = "manifest.json", "arrays.safetensors"
INNER = "model"  # where the command line keeps the model inside its output folder

ESTIMATORS = {
    "GaussianMixture": "bayessoft.estimators.gaussian_mixture",
    "MixtureModel": "bayessoft.estimators.mixture_model",
    "SoftKMeans": "bayessoft.estimators.soft_k_means",
    "FuzzyCMeans": "bayessoft.estimators.fuzzy_c_means",
    "InformationBottleneck": "bayessoft.estimators.information_bottleneck",
}
CLASSES = {
    "Fit": "bayessoft.fit",
    "Point": "bayessoft.posteriors",
    "Draws": "bayessoft.posteriors",
    "Guided": "bayessoft.posteriors",
    "Checks": "bayessoft.posteriors",
    "Conjugate": "bayessoft.posteriors",
    "Status": "bayessoft.status",
    "Mixture": "bayessoft.mixture",
    "Fixed": "bayessoft.core.sizes",
    "Between": "bayessoft.core.sizes",
    "Near": "bayessoft.core.sizes",
    "Capacity": "bayessoft.core.capacity",
    "Several": "bayessoft.core.capacity",
    "SizeResult": "bayessoft.core.demand",
    "Affine": "bayessoft.numerics",
    "Affines": "bayessoft.numerics",
    "Gaussian": "bayessoft.families.gaussian",
    "GaussianParameters": "bayessoft.families.gaussian",
    "NormalInverseWishart": "bayessoft.families.normal_inverse_wishart",
    "IndependentNormalInverseWishart": "bayessoft.families.independent_normal_inverse_wishart",
    "Dirichlet": "bayessoft.families.weights",
    "Poisson": "bayessoft.families.poisson",
    "Gamma": "bayessoft.families.poisson",
    "Rates": "bayessoft.families.poisson",
    "Bernoulli": "bayessoft.families.bernoulli",
    "Beta": "bayessoft.families.bernoulli",
    "Probabilities": "bayessoft.families.bernoulli",
    "Categorical": "bayessoft.families.categorical",
    "AnswerProbabilities": "bayessoft.families.categorical",
    "Multinomial": "bayessoft.families.multinomial",
    "Shares": "bayessoft.families.multinomial",
    "Product": "bayessoft.families.product",
    "Block": "bayessoft.families.blocks",
    "StudentT": "bayessoft.families.student_t",
    "StudentTParameters": "bayessoft.families.student_t",
    "StudentTPrior": "bayessoft.families.degrees_of_freedom",
    "Radial": "bayessoft.families.radial",
    "Centres": "bayessoft.families.radial",
    "Equal": "bayessoft.families.weights",
    "Tempered": "bayessoft.families.tempered",
    "AnnealingPath": "bayessoft.posteriors",
    "FuzzyFit": "bayessoft.inference.fuzzy",
    "FuzzyModel": "bayessoft.core.fuzzy",
    "FuzzyCentres": "bayessoft.core.fuzzy",
    "EM": "bayessoft.inference.em",
    "CAVI": "bayessoft.inference.cavi",
    "Gibbs": "bayessoft.inference.gibbs",
    "NUTS": "bayessoft.inference.nuts",
    "SVI": "bayessoft.inference.svi",
    "GradientMAP": "bayessoft.inference.gradient_map",
}
ARRAYS = frozenset(f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)) | {"bool"}
TEXTS = {"object": np.dtype(object), "str": np.dtype(str)}


def save(estimator: Any, path: str | os.PathLike[str], *, notes: Mapping[str, str | None] | None = None) -> None:
    """Save a fitted estimator as a new folder.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of bayessoft: its parameters, and every attribute whose name ends in an underscore. A
        ``random_state`` that is a generator object is stored as None, since a generator's place in its stream belongs
        to the process: refitting the loaded model then draws afresh. An integer is kept.
    path : path-like
        The folder to write; refused where something exists. It appears whole or not at all.
    notes : mapping of str to str or None, optional
        Remarks to keep beside the model; the function `notes` gives them back.

    Raises
    ------
    StoreError
        The estimator is not fitted or none of bayessoft's, it holds what the format does not know, or the folder
        exists or cannot be written.
    """
    path = Path(path)
    if path.exists() or path.is_symlink():
        raise StoreError(f"{path} exists already: choose another folder, or remove it first")
    kind: Any = type(estimator)
    name = kind.__name__
    if name not in ESTIMATORS or _class(name, ESTIMATORS) is not kind:
        raise StoreError(f"cannot save a {name}: save an estimator of {listed(list(ESTIMATORS), str)}")
    fitted = {key: value for key, value in vars(estimator).items() if key.endswith("_") and key[0] != "_"}
    if not fitted:
        raise StoreError(f"this {name} is not fitted: call fit before save")
    writer = _Writer()
    model = {
        "class": name,
        "parameters": {
            key: writer.encode(_storable(value), key) for key, value in estimator.get_params(deep=False).items()
        },
        "fitted": {key: writer.encode(value, key) for key, value in fitted.items()},
    }
    tensors = bytes_of(writer.tensors)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "bayessoft": version(),
        "notes": dict(notes or {}),
        "tensors": {"file": TENSORS, "sha256": hashlib.sha256(tensors).hexdigest()},
        "model": model,
    }
    manifest["sha256"] = digest(manifest)
    with written_aside(path) as aside:
        aside.mkdir()
        (aside / TENSORS).write_bytes(tensors)
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False), encoding="utf-8")


def load(path: str | os.PathLike[str]) -> Any:
    """Load an estimator that `save`, or ``bayessoft fit``, wrote.

    Parameters
    ----------
    path : path-like
        The folder given to `save`, or the ``--out`` folder of ``bayessoft fit``.

    Returns
    -------
    estimator
        As it was when saved: same parameters, same fitted attributes, to the last bit.

    Raises
    ------
    StoreError
        There is no model, or it is truncated, edited, or of another format version.

    Notes
    -----
    Loading builds only the classes that `bayessoft.store` lists, from numbers and text; no code is read from the files.

    Examples
    --------
    >>> import bayessoft as bs
    >>> bs.load("nowhere")
    Traceback (most recent call last):
    bayessoft.errors.StoreError: nowhere holds no saved model: pass the folder that save, or bayessoft fit, wrote
    """
    folder = _folder(path)
    manifest = _manifest(folder)
    try:
        content = (folder / TENSORS).read_bytes()
    except OSError as problem:
        raise StoreError(f"{folder / TENSORS}: {problem.strerror}: save the model again") from None
    if hashlib.sha256(content).hexdigest() != manifest["tensors"]["sha256"]:
        raise _damaged(folder, f"{TENSORS} is not what was written")
    try:
        reader = _Reader(folder, tensors_of(content))
        estimator = _estimator(manifest["model"], reader)
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as problem:
        if isinstance(problem, StoreError):
            raise
        raise _damaged(folder, f"it makes no model ({' '.join(str(problem).split())})") from None
    if unused := sorted(reader.tensors.keys() - reader.used):
        raise _damaged(folder, f"no field uses the tensors {listed(unused)}")
    return estimator


def notes(path: str | os.PathLike[str]) -> dict[str, str | None]:
    """Give the remarks that were saved beside a model, without loading it."""
    return dict(_manifest(_folder(path))["notes"])


def _storable(parameter: Any) -> Any:
    """Replace a generator object by None, a path by its text, and a table by its numbers."""
    if isinstance(parameter, (np.random.RandomState, np.random.Generator)):
        return None
    if hasattr(parameter, "to_numpy"):
        return parameter.to_numpy()
    return os.fspath(parameter) if isinstance(parameter, os.PathLike) else parameter


def _class(name: str, table: Mapping[str, str]) -> Any:
    """Import a class of the table."""
    return getattr(import_module(table[name]), name)


def _damaged(folder: Path, what: str) -> StoreError:
    """Say that a model was truncated or edited."""
    return StoreError(f"{folder}: {what}: the model is truncated or was edited; save it again, or restore a copy")


def _folder(path: str | os.PathLike[str]) -> Path:
    """Find the folder of the model."""
    for folder in (Path(path), Path(path) / INNER):
        if (folder / MANIFEST).is_file():
            return folder
    raise StoreError(f"{path} holds no saved model: pass the folder that save, or bayessoft fit, wrote")


def _manifest(folder: Path) -> dict[str, Any]:
    """Read a manifest and check its format, version and checksum."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        written = digest(manifest) if isinstance(manifest, dict) else None
    except OSError as problem:
        raise StoreError(f"{folder / MANIFEST}: {problem.strerror}: pass a folder that can be read") from None
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise _damaged(folder, f"{MANIFEST} is no JSON text") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{folder}: {MANIFEST} is not of format {FORMAT!r}: pass a folder that save wrote")
    if (found := manifest.get("format_version")) != FORMAT_VERSION:
        raise StoreError(
            f"{folder}: format version {found!r}, written by bayessoft {manifest.get('bayessoft')!r}, and this is "
            f"bayessoft {version()}, which reads version {FORMAT_VERSION}: load it with the release that wrote it"
        )
    if manifest.get("sha256") != written:
        raise _damaged(folder, f"{MANIFEST} is not what was written")
    if {"notes", "tensors", "model"} - manifest.keys():
        raise _damaged(folder, f"{MANIFEST} lacks a part")
    return manifest


def _estimator(model: Mapping[str, Any], reader: _Reader) -> Any:
    """Build the estimator and set its fitted attributes."""
    if (name := model["class"]) not in ESTIMATORS:
        raise _damaged(reader.folder, f"{name!r} is no estimator, known are {listed(list(ESTIMATORS), str)}")
    parameters = {key: reader.decode(value) for key, value in model["parameters"].items()}
    estimator = _class(name, ESTIMATORS)(**parameters)
    for key, value in model["fitted"].items():
        if key[0] == "_" or key[-1] != "_" or isinstance(getattr(type(estimator), key, None), property):
            raise _damaged(reader.folder, f"{key!r} is no fitted attribute")
        setattr(estimator, key, reader.decode(value))
    k, d = getattr(estimator, getattr(estimator, "COUNTED", "n_clusters")), estimator.n_features_in_
    by_column = ("means_", "cluster_centers_", "cluster_distributions_")
    for key, shape in (("weights_", (k,)), *((key, (k, d)) for key in by_column)):
        if hasattr(estimator, key) and getattr(estimator, key).shape != shape:
            raise _damaged(reader.folder, f"{key} has shape {getattr(estimator, key).shape}, not {shape}")
    if hasattr(estimator, "fit_") and len(estimator.fit_.frame.shift) != d:
        raise _damaged(reader.folder, f"its frame has {len(estimator.fit_.frame.shift)} columns, not {d}")
    return estimator


@dataclass
class _Writer:
    """Turns values into JSON, and puts their arrays aside."""

    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # by identity: an array with two owners is written once

    def encode(self, value: Any, place: str) -> Any:
        """Give the JSON form of a value; everything but plain text and numbers carries its type."""
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if isinstance(value, np.ndarray):
            return self._array(value, place)
        if isinstance(value, np.generic) and kind.__name__ in ARRAYS | {"bool_"}:
            return {"type": "scalar", "dtype": value.dtype.name, "value": self.encode(value.item(), place)}
        if kind is float:
            return value if np.isfinite(value) else {"type": "float", "text": repr(value)}
        if kind in (tuple, list):
            return {"type": kind.__name__, "items": [self.encode(v, f"{place}[{i}]") for i, v in enumerate(value)]}
        if kind is dict:
            pairs = [[self.encode(k, place), self.encode(v, f"{place}[{k!r}]")] for k, v in value.items()]
            return {"type": "dict", "items": pairs}
        if kind.__name__ in CLASSES and _class(kind.__name__, CLASSES) is kind:
            if isinstance(value, Enum):
                return {"type": "member", "class": kind.__name__, "name": value.name}
            if is_dataclass(value):
                parts = {f.name: self.encode(getattr(value, f.name), f"{place}.{f.name}") for f in fields(value)}
                return {"type": "object", "class": kind.__name__, "fields": parts}
        raise StoreError(f"cannot save {place}, a {kind.__name__}: the format holds numbers, text, arrays and tuples")

    def _array(self, array: np.ndarray, place: str) -> dict[str, Any]:
        """Put an array of numbers aside; write one of text in place."""
        shape = list(array.shape)
        if array.dtype.kind in "OU":
            texts = array.ravel().tolist()
            if not all(isinstance(text, str) for text in texts):
                raise StoreError(f"cannot save {place}: an array of objects must hold text alone")
            kept = "object" if array.dtype.kind == "O" else "str"
            return {"type": "texts", "dtype": kept, "shape": shape, "items": [str(text) for text in texts]}
        if array.dtype.name not in ARRAYS:
            raise StoreError(f"cannot save {place}, an array of {array.dtype}: convert it to float64")
        name = self.names.setdefault(id(array), f"{len(self.tensors)}:{place}")
        if name not in self.tensors:  # copied, since safetensors takes the memory as it lies
            self.tensors[name] = np.array(array, dtype=array.dtype.newbyteorder("="), order="C", subok=False)
        return {"type": "array", "tensor": name, "dtype": array.dtype.name, "shape": shape}


@dataclass
class _Reader:
    """Turns JSON back into values."""

    folder: Path
    tensors: dict[str, np.ndarray]
    used: set[str] = field(default_factory=set)

    def decode(self, item: Any) -> Any:
        """Give the value of a JSON form."""
        if item is None or isinstance(item, (bool, int, float, str)):
            return item
        match item["type"]:
            case "array":
                return self._array(item)
            case "texts":
                return np.array(item["items"], dtype=TEXTS[item["dtype"]]).reshape(item["shape"])
            case "scalar" if item["dtype"] in ARRAYS:
                return np.dtype(item["dtype"]).type(self.decode(item["value"]))
            case "float":
                return float(item["text"])
            case "tuple":
                return tuple(map(self.decode, item["items"]))
            case "list":
                return list(map(self.decode, item["items"]))
            case "dict":
                return {self.decode(key): self.decode(value) for key, value in item["items"]}
            case "member":
                return self._known(item["class"], Enum)[item["name"]]
            case "object":
                return self._object(item)
        raise _damaged(self.folder, f"{MANIFEST} holds the unknown type {item['type']!r}")

    def _array(self, item: Mapping[str, Any]) -> np.ndarray:
        """Take an array, checked against what the manifest says of it."""
        if item["tensor"] not in self.tensors:
            raise _damaged(self.folder, f"the tensor {item['tensor']!r} is missing")
        array = self.tensors[item["tensor"]]
        self.used.add(item["tensor"])
        if array.dtype.name != item["dtype"] or list(array.shape) != item["shape"]:
            raise _damaged(
                self.folder,
                f"the tensor {item['tensor']!r} is {array.dtype} {array.shape}, not {item['dtype']} {item['shape']}",
            )
        return array.copy()  # what safetensors gives is read-only

    def _known(self, name: str, base: type) -> Any:
        """Give a class of the table."""
        if name not in CLASSES:
            raise _damaged(self.folder, f"it names the class {name!r}, which the format does not know")
        found = _class(name, CLASSES)
        if base is Enum and not issubclass(found, Enum):
            raise _damaged(self.folder, f"{name} is no enumeration")
        return found

    def _object(self, item: Mapping[str, Any]) -> Any:
        """Build a dataclass from exactly its fields."""
        kind = self._known(item["class"], object)
        names = [f.name for f in fields(kind)]
        if set(item["fields"]) != set(names):
            odd = sorted(set(names) ^ set(item["fields"]))
            raise _damaged(self.folder, f"{item['class']} and its saved fields differ in {listed(odd)}")
        return kind(**{name: self.decode(item["fields"][name]) for name in names})
