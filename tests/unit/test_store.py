"""Saved models: what comes back is what was saved, and whatever was truncated or edited is refused."""

import hashlib
import json
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors
from sklearn.mixture import GaussianMixture as Other

from bayessoft import store
from bayessoft.errors import StoreError
from bayessoft.estimators.gaussian_mixture import GaussianMixture
from bayessoft.inference.em import EM

X = pd.DataFrame(
    np.vstack([np.random.default_rng(j).normal(6 * j, 1 + j, (20, 2)) for j in range(2)]), columns=["width", "height"]
)


@pytest.fixture(scope="module")
def fitted() -> GaussianMixture:
    return GaussianMixture(2, random_state=3, means_init=np.array([[0.0, 0.0], [6.0, 6.0]])).fit(X)


@pytest.fixture
def saved(fitted, tmp_path) -> Path:
    store.save(fitted, tmp_path / "model", notes={"id": "name"})
    return tmp_path / "model"


def refusal(path: object) -> str:
    with pytest.raises(StoreError) as caught:
        store.load(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def same(a: object, b: object) -> None:
    """Equal in type and to the last bit, all the way down."""
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, dict):
        same(list(a.items()), list(b.items()))
    elif is_dataclass(a):
        for f in fields(a):
            same(getattr(a, f.name), getattr(b, f.name))
    elif isinstance(a, float):
        assert a.hex() == b.hex()
    else:
        assert a is b if isinstance(a, Enum) else a == b


# --- what comes back


def test_everything_comes_back(fitted, saved):
    loaded = store.load(saved)
    assert type(loaded) is GaussianMixture
    same(loaded.get_params(), fitted.get_params())
    same(dict(sorted(vars(loaded).items())), dict(sorted(vars(fitted).items())))
    same(loaded.predict_proba(X), fitted.predict_proba(X))
    loaded.weights_[0] = 0.5  # writable, as after a fit
    assert store.notes(saved) == {"id": "name"}
    assert {path.name for path in saved.iterdir()} == {"manifest.json", "arrays.safetensors"}


@pytest.mark.statistical
def test_a_prior_an_engine_and_unnamed_columns_come_back(tmp_path):
    fitted = GaussianMixture(
        2, prior="weak", weight_concentration_prior=2.0, inference=EM(n_init=2), random_state=0
    ).fit(X.to_numpy(np.float32))
    store.save(fitted, tmp_path / "model")
    loaded = store.load(tmp_path / "model")
    same(dict(sorted(vars(loaded).items())), dict(sorted(vars(fitted).items())))
    assert not hasattr(loaded, "feature_names_in_")
    assert loaded.means_.dtype == np.float32


def test_the_output_folder_of_a_fit_serves_too(fitted, tmp_path):
    (tmp_path / "fit").mkdir()
    store.save(fitted, tmp_path / "fit" / "model")
    same(store.load(tmp_path / "fit").means_, fitted.means_)
    assert store.notes(tmp_path / "fit") == {}


@pytest.mark.parametrize("state", [np.random.RandomState(0), np.random.default_rng(0)], ids=["legacy", "generator"])
def test_a_generator_is_stored_as_none(fitted, tmp_path, state):
    params, fitted_state = fitted.get_params(), vars(fitted)
    other = GaussianMixture(**params)
    vars(other).update(fitted_state | {"random_state": state})
    store.save(other, tmp_path / "model")
    assert store.load(tmp_path / "model").random_state is None


VALUES = [
    None,
    True,
    -(10**30),
    "ä\n\0",
    0.1,
    -0.0,
    float("inf"),
    float("-inf"),
    float("nan"),
    5e-324,
    (1, (2.0, ("a", None)), []),
    [np.float32(0.1), np.int8(-3), np.bool_(True), np.float64("nan")],
    {"a": {1: (True,)}, 2.5: [float("inf")], (1, 2): "type"},
    np.arange(6.0).reshape(2, 3).T,
    np.arange(10)[::-3],
    np.array(3.5),
    np.empty((0, 4), dtype=np.float32),
    np.array([True, False]),
    np.array(["a", "β"], dtype=object),
    np.array([["a", "long text"]]),
    np.array([np.nan, -np.inf, -0.0]),
    np.arange(3, dtype=">f8").astype("<f8"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back(value):
    writer = store._Writer()
    item = json.loads(json.dumps(writer.encode(value, "value"), allow_nan=False))
    same(store._Reader(Path(), read_tensors(write_tensors(writer.tensors))).decode(item), value)


def test_the_byte_order_of_the_machine_is_kept_apart_from_the_values():
    writer = store._Writer()
    item = writer.encode(np.arange(3, dtype=">f8"), "value")
    decoded = store._Reader(Path(), read_tensors(write_tensors(writer.tensors))).decode(item)
    np.testing.assert_array_equal(decoded, [0, 1, 2])


def test_an_array_with_two_owners_is_written_once():
    writer = store._Writer()
    array = np.arange(3)
    writer.encode((array, array, array.copy()), "value")
    assert len(writer.tensors) == 2


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), lambda: 0, 1j, np.array([1j]), np.array([object()], dtype=object), np.array([b"a"]), Path()],
    ids=["set", "object", "function", "complex", "complex array", "object array", "bytes array", "path"],
)
def test_what_the_format_does_not_know_is_refused(value):
    with pytest.raises(StoreError, match="cannot save thing"):
        store._Writer().encode(value, "thing")


def test_the_table_of_classes_holds():
    for table in (store.ESTIMATORS, store.CLASSES):
        for name, home in table.items():
            found = getattr(import_module(home), name)
            assert found.__name__ == name
            assert found.__module__ == home
            assert table is store.ESTIMATORS or is_dataclass(found) or issubclass(found, Enum)


# --- refusals on saving


def test_unfitted_and_foreign_estimators_are_refused(tmp_path):
    for estimator, words in ((GaussianMixture(), "call fit"), (Other().fit(X), "cannot save a GaussianMixture")):
        with pytest.raises(StoreError, match=words):
            store.save(estimator, tmp_path / "model")
    with pytest.raises(StoreError, match="cannot save a DataFrame: save an estimator of GaussianMixture"):
        store.save(X, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_an_existing_path_is_refused(fitted, saved):
    before = (saved / "manifest.json").read_bytes()
    with pytest.raises(StoreError, match="exists already"):
        store.save(fitted, saved)
    assert (saved / "manifest.json").read_bytes() == before


def test_a_missing_folder_above_is_refused(fitted, tmp_path):
    with pytest.raises(StoreError, match="cannot write .*No such file or directory: choose a folder"):
        store.save(fitted, tmp_path / "nowhere" / "model")


# --- refusals on loading


def rewrite(folder: Path, change) -> None:
    """Edit a manifest as someone would who knows the checksum."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    manifest["sha256"] = store.digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_no_model_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        assert "holds no saved model: pass the folder" in refusal(path)


@pytest.mark.parametrize("name", ["manifest.json", "arrays.safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 0.5, -1])
def test_truncated_files_are_refused(saved, name, kept):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
    assert "truncated or was edited" in refusal(saved)


@pytest.mark.parametrize("name", ["manifest.json", "arrays.safetensors"])
def test_an_edited_digit_is_refused(saved, name):
    content = bytearray((saved / name).read_bytes())
    place = content.index(b'"n_iter_"') + 11 if name == "manifest.json" else len(content) - 5
    content[place] ^= 1
    (saved / name).write_bytes(content)
    assert "truncated or was edited" in refusal(saved)


def test_a_missing_tensor_file_is_refused(saved):
    (saved / "arrays.safetensors").unlink()
    assert "No such file" in refusal(saved)


def test_another_version_is_refused_by_number(saved):
    rewrite(saved, lambda manifest: manifest.update(format_version=99, bayessoft="9.9"))
    message = refusal(saved)
    assert "format version 99, written by bayessoft '9.9'" in message
    assert "reads version 2" in message


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"format": "other"}', "\xff", "[" * 100_000, '{"a": NaN}'])
def test_what_is_no_manifest_is_refused(saved, text):
    (saved / "manifest.json").write_bytes(text.encode("latin-1"))
    assert "manifest.json is" in refusal(saved)


EDITS = {
    "an unknown estimator": lambda m: m["model"].update({"class": "os.system"}),
    "an unknown class": lambda m: m["model"]["fitted"]["fit_"].update({"class": "Popen"}),
    "a class that is no enumeration": lambda m: m["model"]["fitted"]["status_"].update({"class": "Fit"}),
    "an enumeration for a class": lambda m: m["model"]["fitted"]["fit_"].update({"class": "Status"}),
    "an unknown member": lambda m: m["model"]["fitted"]["status_"].update({"name": "__class__"}),
    "an unknown type": lambda m: m["model"]["fitted"].update(n_iter_={"type": "pickle", "data": "cos"}),
    "an unknown field": lambda m: m["model"]["fitted"]["fit_"]["fields"].update(extra=1),
    "a missing field": lambda m: m["model"]["fitted"]["fit_"]["fields"].popitem(),
    "an unknown parameter": lambda m: m["model"]["parameters"].update(colour="red"),
    "no fitted attribute": lambda m: m["model"]["fitted"].update(fit=1),
    "a private attribute": lambda m: m["model"]["fitted"].update(__class__=1),
    "a missing tensor": lambda m: m["model"]["fitted"]["means_"].update(tensor="nowhere"),
    "another shape": lambda m: m["model"]["fitted"]["means_"].update(shape=[4, 1]),
    "another dtype": lambda m: m["model"]["fitted"]["means_"].update(dtype="int64"),
    "a dtype that is no number": lambda m: m["model"]["fitted"].update(
        n_iter_={"type": "scalar", "dtype": "object", "value": 1}
    ),
    "an unused tensor": lambda m: m["model"]["fitted"].pop("lower_bounds_") and m["model"]["fitted"].pop("means_"),
    "another number of clusters": lambda m: m["model"]["parameters"].update(n_components=3),
    "a missing attribute": lambda m: m["model"]["fitted"].pop("n_features_in_"),
    "no parameters": lambda m: m["model"].pop("parameters"),
    "no model": lambda m: m.pop("model"),
    "nonsense": lambda m: m.update(model=[1]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_manifest_is_refused_even_with_its_checksum(saved, edit):
    rewrite(saved, edit)
    assert "truncated or was edited" in refusal(saved)


def test_a_tensor_file_that_is_none_is_refused_even_with_its_checksum(saved):
    content = b"\x08\0\0\0\0\0\0\0{broken}"
    (saved / "arrays.safetensors").write_bytes(content)
    rewrite(saved, lambda m: m["tensors"].update(sha256=hashlib.sha256(content).hexdigest()))
    assert "it makes no model" in refusal(saved)
