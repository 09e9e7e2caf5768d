"""Runs that are stopped, killed, cut short and resumed: their draws are those of a run that was never stopped."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from bayessoft import EM, NUTS, GaussianMixture, Gibbs, MixtureModel, load
from bayessoft.data.rows import rows
from bayessoft.diagnostics import convergence
from bayessoft.errors import FitError, OptionError, StoreError
from bayessoft.estimators import mixture_estimator
from bayessoft.families.gaussian import Gaussian
from bayessoft.inference import checkpoint as checkpoints
from bayessoft.inference import run as runs
from bayessoft.inference.checkpoint import MANIFEST, Checkpoint
from bayessoft.inference.engine import Given, Problem
from bayessoft.inference.run import run
from bayessoft.mixture import Mixture
from bayessoft.status import Status

ENGINES = {
    "gibbs": Gibbs(draws=40, warmup=20, chains=2, inverse_temperatures=(1.0, 0.5)),
    "nuts": NUTS(draws=40, warmup=40, chains=2),
}
BLOCKS = (8, 24, 56, 60)  # the steps after each block of an uninterrupted run by Gibbs


def clusters(n: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 3.0 * (np.arange(n) % 2)[:, None] + rng.normal(size=(n, 2))


def posed(dtype: str = "float64", k: int = 2) -> Problem:
    return Problem.pose(Mixture(k, Gaussian()).proper(), rows(clusters().astype(dtype)), 0, 0.0, Given())


def estimator(engine=ENGINES["gibbs"], k: int = 2, **options) -> GaussianMixture:
    return GaussianMixture(k, inference=engine, **({"random_state": 0} | options))


def quietly(model, X=None, **options):
    """Fit, whatever the status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(clusters() if X is None else X, **options)


class Stop(Exception):
    """What stops a run in these tests."""


def stopping(at: int, what: type[BaseException] = Stop):
    """Give a progress callback that ends a run after a number of steps."""

    def progress(step: int, objective: float, effective: float | None) -> None:
        if step >= at:
            raise what

    return progress


def drawn(posterior) -> list[np.ndarray]:
    """All that a sampler told."""
    return jax.tree.leaves((posterior.weights, posterior.parameters, posterior.stats, posterior.ancestry))


def same(one, other) -> bool:
    """Whether two posteriors have the same draws and statistics, to the last bit."""
    pairs = zip(drawn(one), drawn(other), strict=True)
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def steps(path: Path) -> int:
    return json.loads((path / MANIFEST).read_text())["steps"]


@pytest.fixture(autouse=True)
def same_blocks(monkeypatch):
    """Let the blocks of steps have the same lengths however slow the machine is."""
    monkeypatch.setattr(runs, "PATIENCE", 1e6)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("gibbs", "float64"),
        pytest.param("nuts", "float64", marks=pytest.mark.statistical),
        pytest.param("nuts", "float32", marks=pytest.mark.statistical),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_draws(tmp_path, name, dtype, monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    engine, path = ENGINES[name], tmp_path / "run"
    with jax.enable_x64(dtype == "float64"):
        problem = posed(dtype)
        whole = run(engine, problem).posterior
        reached = []
        for at in (1, engine.warmup, engine.warmup + 5):  # in warm-up, about its end, after it
            with pytest.raises(Stop):
                run(engine, problem, stopping(at), checkpoint=Checkpoint(path, engine, problem))
            reached.append(steps(path))
        resumed = run(engine, problem, checkpoint=Checkpoint(path, engine, problem)).posterior
    assert reached[0] < engine.warmup < reached[-1] < engine.steps == steps(path)
    assert same(whole, resumed)
    assert str(whole.weights.dtype) == dtype


@pytest.mark.statistical
def test_a_state_comes_back_as_it_was(tmp_path):
    with jax.enable_x64(True):
        for name, engine in ENGINES.items():
            problem = posed()
            states = engine.begin(problem)
            Checkpoint(tmp_path / name, engine, problem).save(states, 0, [])
            found, blocks = Checkpoint(tmp_path / name, engine, problem).load()
            assert blocks == []
            assert jax.tree.structure(found) == jax.tree.structure(states)
            for a, b in zip(jax.tree.leaves(states), jax.tree.leaves(found), strict=True):
                assert a.aval == b.aval  # shape, dtype, weak type, kind of key
                if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
                    a, b = jax.random.key_data(a), jax.random.key_data(b)
                assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_draws_are_written_once(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    written = []
    put = checkpoints.put
    monkeypatch.setattr(checkpoints, "put", lambda path, content: (written.append(path.name), put(path, content)))
    quietly(estimator(checkpoint=tmp_path / "run"))
    draws = [name for name in written if name.startswith("draws")]
    ends = [0, *BLOCKS]
    assert draws == [f"draws-{a:09d}-{b:09d}.safetensors" for a, b in zip(ends, ends[1:], strict=False)]
    states = [f"state-{BLOCKS[-1]:09d}.safetensors"]  # older ones are gone
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [MANIFEST, *draws, *states]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A finished run: its folder and its fit."""
    path = tmp_path_factory.mktemp("kept") / "run"
    return path, quietly(estimator(checkpoint=path))


@pytest.fixture
def copied(kept, tmp_path):
    return Path(shutil.copytree(kept[0], tmp_path / "run"))


def test_a_finished_run_is_given_again_without_sampling(kept, monkeypatch):
    monkeypatch.setattr(runs, "_stepped", stopping(0))
    monkeypatch.setattr(Gibbs, "begin", stopping(0))
    again = quietly(estimator(checkpoint=str(kept[0])))
    assert same(again.fit_.posterior, kept[1].fit_.posterior)
    np.testing.assert_array_equal(again.lower_bounds_, kept[1].lower_bounds_)
    assert again.status_ is kept[1].status_


def test_a_finished_run_can_be_made_longer_or_read_in_part(copied, kept):
    few, all_ = kept[1].fit_.posterior.weights, ENGINES["gibbs"].warmup
    longer = quietly(estimator(Gibbs(60, all_, 2, (1.0, 0.5)), checkpoint=copied)).fit_.posterior.weights
    shorter = quietly(estimator(Gibbs(30, all_, 2, (1.0, 0.5)), checkpoint=copied))
    whole = quietly(estimator(Gibbs(60, all_, 2, (1.0, 0.5)))).fit_.posterior.weights
    np.testing.assert_array_equal(longer, whole)
    np.testing.assert_array_equal(few, whole[:, :40])
    np.testing.assert_array_equal(shorter.fit_.posterior.weights, whole[:, :30])
    assert shorter.n_iter_ == 30


@pytest.mark.parametrize(
    ("model", "X", "weights", "words"),
    [
        (estimator(random_state=1), clusters(), None, r"the seed \(random_state\) changed:"),
        (estimator(), clusters() + 1e-9, None, "the mixture and the rows changed:"),
        (estimator(), clusters()[::-1], None, "the rows changed"),
        (estimator(), clusters(), np.r_[2.0, np.ones(59)], "sample_weight changed"),
        (estimator(means_init=[[0, 0], [3, 3]]), clusters(), None, "the starting values changed"),
        (estimator(k=3), clusters(), None, "the mixture changed; n_components: 2 -> 3"),
        (estimator(weight_concentration_prior=2), clusters(), None, "since the mixture changed:"),
        (estimator(covariance_type="diag"), clusters(), None, "since the mixture changed:"),
        (estimator(), clusters().astype("float32"), None, "the dtype: float64 -> float32"),
        (estimator(ENGINES["nuts"]), clusters(), None, "the engine: Gibbs -> NUTS:"),
        (estimator(Gibbs(40, 30, 2, (1.0, 0.5))), clusters(), None, "warmup: 20 -> 30:"),
        (estimator(Gibbs(40, 20, 3, (1.0, 0.5))), clusters(), None, "chains: 2 -> 3:"),
        (estimator(Gibbs(40, 20, 2)), clusters(), None, r"inverse_temperatures: \(1.0, 0.5\) -> \(1.0,\):"),
    ],
)
def test_another_run_is_refused_by_what_differs(kept, model, X, weights, words):
    model = clone(model).set_params(checkpoint=kept[0])
    with pytest.raises(OptionError, match=words) as refused:
        model.fit(X, sample_weight=weights)
    assert str(refused.value).endswith("to go on with it, or pass another path to begin anew")
    assert not hasattr(model, "fit_")


def test_other_versions_and_random_numbers_are_refused(kept, monkeypatch):
    version = checkpoints.metadata.version
    monkeypatch.setattr(checkpoints.metadata, "version", lambda name: "99" if name == "jax" else version(name))
    with pytest.raises(OptionError, match=rf"since jax: {jax.__version__} -> 99: fit as it was begun"):
        estimator(checkpoint=kept[0]).fit(clusters())
    monkeypatch.undo()
    with jax.threefry_partitionable(not jax.config.jax_threefry_partitionable):
        with pytest.raises(OptionError, match="jax_threefry_partitionable"):
            estimator(checkpoint=kept[0]).fit(clusters())


def test_a_refusal_leaves_an_earlier_fit_alone(kept):
    model = quietly(estimator())
    before = model.fit_
    with pytest.raises(OptionError, match="another run"):
        model.set_params(checkpoint=kept[0], random_state=5).fit(clusters())
    assert model.fit_ is before


@pytest.mark.parametrize("kind", ["draws-*", "state-*", MANIFEST])
@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_refused(copied, kind, how):
    file = next(copied.glob(kind))
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        middle = len(content) // 2
        file.write_bytes(
            content[:middle] + (b"" if how == "cut" else bytes([content[middle] ^ 1]) + content[middle + 1 :])
        )
    gone = kind == MANIFEST and how == "gone"
    with pytest.raises(
        OptionError if gone else StoreError, match="no checkpoint" if gone else "truncated or was edited"
    ):
        estimator(checkpoint=copied).fit(clusters())


def test_a_later_format_is_refused(copied):
    manifest = json.loads((copied / MANIFEST).read_text()) | {"format_version": 99}
    manifest["sha256"] = checkpoints.digest(manifest)
    (copied / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="format version 99"):
        estimator(checkpoint=copied).fit(clusters())


def test_files_that_a_kill_left_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    engine, path = ENGINES["gibbs"], tmp_path / "run"
    path.mkdir()
    (path / f".{MANIFEST}.new").write_text("{")
    (path / "state-000000000.safetensors").write_bytes(b"half")
    with jax.enable_x64(True):
        problem = posed()
        with pytest.raises(Stop):
            run(engine, problem, stopping(1), checkpoint=Checkpoint(path, engine, problem))
        for name in ("draws-000000008-000000016", "state-000000016", ".draws-000000008-000000016"):
            (path / f"{name}.safetensors").write_bytes(b"half")
        resumed = run(engine, problem, checkpoint=Checkpoint(path, engine, problem)).posterior
        assert same(resumed, run(engine, problem).posterior)


@pytest.mark.parametrize("after", range(0, 12, 2))
def test_a_writing_that_fails_leaves_the_checkpoint_before(tmp_path, after, monkeypatch):
    """A process that dies in the middle of a checkpoint, at each of the files in turn."""
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    engine, path, put, written = ENGINES["gibbs"], tmp_path / "run", checkpoints.put, []

    def dying(file: Path, content: bytes) -> None:
        if len(written) >= after:
            (file.parent / file.name if file.name != MANIFEST else file.with_name(".new")).write_bytes(b"half")
            raise Stop
        written.append(file)
        put(file, content)

    with jax.enable_x64(True):
        problem = posed()
        monkeypatch.setattr(checkpoints, "put", dying)
        with pytest.raises(Stop):
            run(engine, problem, checkpoint=Checkpoint(path, engine, problem))
        monkeypatch.setattr(checkpoints, "put", put)
        (path / ".new").unlink(missing_ok=True)
        resumed = run(engine, problem, checkpoint=Checkpoint(path, engine, problem)).posterior
        assert same(resumed, run(engine, problem).posterior)


def test_a_full_disk_is_told_and_the_run_goes_on(tmp_path, monkeypatch):
    put = checkpoints.put

    def full(path: Path, content: bytes) -> None:
        if path.name.startswith("draws"):
            raise OSError(28, "No space left on device")
        put(path, content)

    monkeypatch.setattr(checkpoints, "put", full)
    with pytest.warns(
        RuntimeWarning, match="No space left on device; the run goes on, and the checkpoint stays at step 0"
    ):
        model = quietly(estimator(checkpoint=tmp_path / "run"))
    assert model.n_iter_ == 40
    monkeypatch.setattr(checkpoints, "put", put)
    assert same(quietly(estimator(checkpoint=tmp_path / "run")).fit_.posterior, model.fit_.posterior)


def test_paths_that_hold_something_else_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("")
    for name, kind, words in (
        ("file", OptionError, "is a file"),
        ("folder", OptionError, "holds 'thesis.tex' and no checkpoint"),
        ("nowhere/run", StoreError, "No such file"),
    ):
        with pytest.raises(kind, match=words):
            estimator(checkpoint=tmp_path / name).fit(clusters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "em", "checkpoint": "run"}, "checkpoint set, which EM does not take"),
        ({"engine": "cavi", "time_limit": 5}, "time_limit set, which CAVI does not take"),
        ({"engine": EM(), "checkpoint": "run", "time_limit": 5}, "checkpoint and time_limit set"),
        ({"checkpoint": 3}, "checkpoint is 3: pass the path of a folder"),
        ({"checkpoint": "run", "random_state": None}, "checkpoint needs random_state"),
        ({"time_limit": 0}, "time_limit is 0: pass a number of seconds > 0"),
        ({"time_limit": "1 h"}, "time_limit is '1 h'"),
        ({"time_limit": np.nan}, "time_limit is nan"),
        ({"time_limit": True}, "time_limit is True"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        estimator(**options).fit(clusters())


def clocked(monkeypatch) -> None:
    """Let every look at the clock of the run take a second; a block takes two."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))


def test_a_time_limit_keeps_the_draws_so_far(tmp_path, kept, monkeypatch):
    clocked(monkeypatch)
    model = estimator(checkpoint=tmp_path / "run", time_limit=5.5)
    with pytest.warns(ConvergenceWarning, match="stopped at time_limit, .* lower draws"):
        model.fit(clusters())
    assert model.status_ is Status.TIME_LIMIT
    assert not model.converged_
    drawn = BLOCKS[2] - ENGINES["gibbs"].warmup
    assert model.n_iter_ == len(model.lower_bounds_) == drawn
    whole = kept[1].fit_.posterior.weights
    np.testing.assert_array_equal(model.fit_.posterior.weights, whole[:, :drawn])
    monkeypatch.undo()
    np.testing.assert_array_equal(quietly(model.set_params(time_limit=None)).fit_.posterior.weights, whole)


@pytest.mark.parametrize("checkpoint", ["run", None])
def test_a_time_limit_before_any_draw_is_an_error(tmp_path, checkpoint, monkeypatch):
    clocked(monkeypatch)
    path = checkpoint and tmp_path / checkpoint
    with pytest.raises(FitError, match="ended the run at step 8 of 20 of the warmup") as told:
        estimator(checkpoint=path, time_limit=1.5).fit(clusters())
    assert told.value.status is Status.TIME_LIMIT
    assert (f"checkpoint={str(path)!r}" if path else "pass checkpoint=") in str(told.value)
    assert path is None or steps(path) == 8


@pytest.mark.parametrize(
    "judged", [Status.SAMPLED, Status.NOT_MIXED, Status.MODES, Status.LABELS_UNCLEAR, Status.DIVERGENT]
)
def test_an_early_end_yields_to_what_is_graver(judged, monkeypatch):
    clocked(monkeypatch)
    monkeypatch.setattr(convergence, "_judged", lambda checks: judged)
    model = estimator(time_limit=5.5)
    with pytest.warns(ConvergenceWarning) as told:
        model.fit(clusters())
    graver = judged not in (Status.SAMPLED, Status.NOT_MIXED)
    assert model.status_ is (judged if graver else Status.TIME_LIMIT)
    text = str(told[0].message)
    assert Status.TIME_LIMIT.text in text
    assert judged.text in text or not graver


def test_an_interrupt_keeps_the_draws_so_far(tmp_path, kept, monkeypatch):
    at = ENGINES["gibbs"].warmup + 5
    monkeypatch.setattr(mixture_estimator, "progress_printer", lambda *_: stopping(at, KeyboardInterrupt))
    model = estimator(checkpoint=tmp_path / "run")
    with pytest.warns(ConvergenceWarning, match="GaussianMixture interrupted, .* goes on where it was interrupted"):
        model.fit(clusters())
    drawn = steps(tmp_path / "run") - ENGINES["gibbs"].warmup
    assert model.status_ is Status.INTERRUPTED
    assert model.n_iter_ == drawn < 40
    whole = kept[1].fit_.posterior
    np.testing.assert_array_equal(model.fit_.posterior.weights, whole.weights[:, :drawn])
    monkeypatch.undo()
    assert same(quietly(model).fit_.posterior, whole)


def test_an_interrupt_before_any_draw_goes_through(tmp_path, monkeypatch):
    monkeypatch.setattr(mixture_estimator, "progress_printer", lambda *_: stopping(1, KeyboardInterrupt))
    model = estimator(checkpoint=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        model.fit(clusters())
    assert not hasattr(model, "fit_")
    assert steps(tmp_path / "run") == BLOCKS[0]


def test_an_interrupt_after_the_last_step_changes_nothing():
    with jax.enable_x64(True):
        fit = run(ENGINES["gibbs"], posed(), stopping(60, KeyboardInterrupt))
    assert fit.status is Status.SAMPLED


def test_an_interrupt_of_a_climber_goes_through():
    with jax.enable_x64(True), pytest.raises(KeyboardInterrupt):
        run(EM(), posed(), stopping(1, KeyboardInterrupt))


def test_progress_tells_effective_draws_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(runs, "COUNTED", 0.0)
    quietly(estimator(verbose=1, verbose_interval=1))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [f"{done}:" for done in BLOCKS]
    assert ["effective draws so far" in line for line in lines] == [False, True, True, True]  # none in warm-up


def test_a_model_with_a_checkpoint_is_cloned_saved_and_loaded(kept, tmp_path):
    path, model = kept
    assert clone(model).get_params() == model.get_params()
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.checkpoint == str(path)
    assert loaded.status_ is model.status_


@pytest.mark.statistical
def test_models_of_counts_resume_too(tmp_path, monkeypatch):
    X = np.random.default_rng(0).poisson([2, 9], size=(40, 2)) * (1 + np.arange(40) % 2)[:, None]
    model = MixtureModel(2, "poisson", inference=Gibbs(30, 20, 2), random_state=0)
    whole = quietly(model, X).fit_.posterior
    monkeypatch.setattr(mixture_estimator, "progress_printer", lambda *_: stopping(20))
    with pytest.raises(Stop):
        quietly(model.set_params(checkpoint=tmp_path / "run"), X)
    monkeypatch.undo()
    assert same(quietly(model, X).fit_.posterior, whole)


KILLED = {name: replace(ENGINES[name], draws=draws) for name, draws in (("gibbs", 400), ("nuts", 100))}
DRIVER = """
import sys
from tests.unit.test_checkpoint import KILLED, checkpoints, digest, estimator, quietly, runs
checkpoints.EVERY = runs.PATIENCE = 0.0  # a checkpoint after almost every step
print("ready", flush=True)
print(digest(quietly(estimator(KILLED[sys.argv[1]], checkpoint=sys.argv[2]))), flush=True)
"""


def digest(model) -> str:
    """The checksum of all draws, and of what was told of them."""
    return hashlib.sha256(b"".join(leaf.tobytes() for leaf in drawn(model.fit_.posterior))).hexdigest()


@contextmanager
def driver(name: str, path: Path) -> Iterator[subprocess.Popen]:
    """A process that fits with a checkpoint, from when its imports are done; killed at the end."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", DRIVER, name, str(path)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.send_signal(signal.SIGKILL)


def killed(name: str, path: Path, rng: np.random.Generator) -> int:
    """Kill the driver some milliseconds after a random one of the steps that are left; give the steps held then."""
    at = rng.integers(steps(path) if (path / MANIFEST).exists() else 0, KILLED[name].steps, endpoint=True)
    with driver(name, path) as process:
        while not (path / MANIFEST).exists() or steps(path) < at:
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))
    return steps(path)


@pytest.mark.statistical
@pytest.mark.parametrize("name", KILLED)
def test_twenty_kills_at_random_moments(tmp_path, name):
    """Five runs, each killed four times and then left to end; what each kill left also goes on to the end here."""
    whole, rng = digest(quietly(estimator(KILLED[name]))), np.random.default_rng()
    for run_ in range(5):
        path, held = tmp_path / f"run{run_}", []
        for kill in range(4):
            held.append(killed(name, path, rng))
            left = shutil.copytree(path, tmp_path / f"left{run_}{kill}")
            assert digest(quietly(estimator(KILLED[name], checkpoint=left))) == whole
        print(f"{name}: killed at steps {held} of {KILLED[name].steps}")
        assert held == sorted(held)
        with driver(name, path) as process:
            assert process.communicate()[0].strip() == whole
