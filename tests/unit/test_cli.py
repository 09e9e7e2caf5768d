"""The command line: what it prints and leaves, what it refuses with which exit code, and that it cleans up."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pandas as pd
import pytest
import xarray

from bayessoft import store
from bayessoft.cli import app
from bayessoft.commands.base import Covariance, Family, Inference, Method, Metric, Variant
from bayessoft.core.fuzzy import VARIANTS
from bayessoft.core.sizes import Between, Fixed
from bayessoft.data.readers import read_answers
from bayessoft.errors import FitError, OptionError
from bayessoft.estimators.gaussian_mixture import GaussianMixture
from bayessoft.estimators.mixture_model import MixtureModel
from bayessoft.families import FAMILIES
from bayessoft.families.poisson import Poisson
from bayessoft.families.radial import METRICS
from bayessoft.families.structures import STRUCTURES
from bayessoft.inference import ENGINES
from bayessoft.inference.gibbs import Gibbs
from bayessoft.report import base, bounds, console, document, layout, methods, record, runtime, settings, tables

ROOT = Path(__file__).parents[2]
PENGUINS = ROOT / "examples" / "data" / "penguins.csv"
MEASUREMENTS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
USUAL = [str(PENGUINS), "--id", "id", "--drop-missing", "--components", "3", "--seed", "1"]


@pytest.fixture(autouse=True)
def settings_of_jax_stay(monkeypatch):
    monkeypatch.setattr(runtime, "turn_on_compilation_cache", lambda: None)


@pytest.fixture
def run(capsys):
    """Run the command line: exit code, standard output, standard error."""

    def runner(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            app([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return runner


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> SimpleNamespace:
    """One fit of the penguins, for all tests that only read."""
    out = tmp_path_factory.mktemp("fit") / "penguins-fit"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "turn_on_compilation_cache", lambda: None)
        with pytest.raises(SystemExit) as stop:
            app(["fit", *USUAL, "--out", str(out), "--quiet"])
    assert not stop.value.code
    return SimpleNamespace(out=out, document=json.loads((out / "fit.json").read_text()))


@pytest.fixture
def small(tmp_path) -> Path:
    """A small table with an id, text, and an empty cell."""
    numbers = np.vstack([np.random.default_rng(j).normal(9 * j, 1, (12, 2)) for j in range(2)])
    table = pd.DataFrame(numbers, columns=["a", "b"])
    table.insert(0, "name", [f"r{i}" for i in range(24)])
    table["colour"] = "red"
    table["c"] = table["a"] ** 2
    table.loc[3, "c"] = np.nan
    table.to_csv(tmp_path / "small.csv", index=False)
    return tmp_path / "small.csv"


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- fit


def test_a_fit_leaves_its_files(fitted):
    assert entries(fitted.out) == {"memberships.csv", "summary.csv", "model", "plot.png", "fit.json"}
    assert entries(fitted.out.parent) == {"penguins-fit"}
    memberships = pd.read_csv(fitted.out / "memberships.csv")
    assert list(memberships) == ["id", "cluster", "ambiguity", "cluster_0", "cluster_1", "cluster_2"]
    assert len(memberships) == 342
    assert "P004" not in set(memberships["id"])  # it has no measurements
    probabilities = memberships[["cluster_0", "cluster_1", "cluster_2"]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=3e-10)  # ten digits each
    np.testing.assert_array_equal(probabilities.argmax(axis=1), memberships["cluster"])
    assert memberships["ambiguity"].between(0, 1).all()
    assert list(pd.read_csv(fitted.out / "summary.csv")["cluster"]) == [0, 1, 2]
    assert (fitted.out / "plot.png").read_bytes().startswith(b"\x89PNG")
    loaded = store.load(fitted.out)
    table = pd.read_csv(PENGUINS, index_col="id")[MEASUREMENTS].dropna()
    np.testing.assert_allclose(loaded.predict_proba(table), probabilities, atol=1e-10)
    assert list(table.index) == list(memberships["id"])


def test_the_document_of_a_fit(fitted):
    found = fitted.document
    assert (found["n"], found["dropped"], found["id"], found["seed"]) == (342, 2, "id", 1)
    assert found["columns"] == MEASUREMENTS
    assert found["left_out"] == ["species", "island", "sex"]
    assert (found["status"], found["converged"], found["inference"]) == ("converged", True, "em")
    assert (found["dtype"], found["prices"], found["duality_gap"]) == ("float64", None, None)
    assert sum(found["sizes"]) == pytest.approx(342, rel=1e-12)
    assert sum(found["weights"]) == pytest.approx(1, rel=1e-12)
    assert np.shape(found["means"]) == np.shape(found["standard_deviations"]) == (3, 4)
    assert (found["family"], found["quantity"], found["answers"]) == ("gaussian", "mean", None)
    np.testing.assert_array_equal(np.transpose(list(found["shown"].values())), found["means"])
    assert list(found["shown"]) == MEASUREMENTS
    assert found["options"]["covariance"] == "full"
    assert set(found["seconds"]) == {"reading", "loading", "compiling", "fitting"}
    assert {"bayessoft", "jax", "numpy"} <= set(found["versions"])
    assert set(found["files"].values()) == entries(fitted.out)


def test_a_table_and_phases_are_shown(run, small):
    out = small.parent / "out"
    code, printed, shown = run("fit", small, "--components", 2, "--columns", "b, a", "--out", out)
    assert code == 0
    for words in ("cluster_0", "share", "50.0%", "status: converged", "24 rows, 2 columns", "float64 on cpu", f"{out}"):
        assert words in printed
    assert printed.index("\nb  ") < printed.index("\na  ")  # in the order asked for
    assert [line.split()[0] for line in shown.splitlines()] == ["reading", "loading", "fitting", "writing"]
    memberships = pd.read_csv(out / "memberships.csv")
    assert list(memberships)[0] == "row"
    assert list(memberships["row"]) == list(range(24))


def test_what_was_left_out_and_dropped_is_named(fitted, capsys):
    tables.print_fit(fitted.document, console.standard_output())
    printed = capsys.readouterr().out
    assert "342 rows, 4 columns; 2 incomplete rows dropped; left out, not numeric: species, island, sex" in printed
    assert "penguins-fit/ (memberships.csv, summary.csv, model, plot.png, fit.json)" in printed


def test_json_and_quiet(run, small):
    out = small.parent / "out"
    code, printed, shown = run("fit", small, "--components", 2, "--columns", "a,b", "--out", out, "--json", "--quiet")
    assert (code, shown) == (0, "")
    assert json.loads(printed) == json.loads((out / "fit.json").read_text())


def test_not_converged_is_said_and_is_no_failure(run, fitted, tmp_path):
    out = tmp_path / "out"
    code, printed, shown = run("fit", *USUAL, "--out", out, "--max-iter", 1, "--quiet")
    assert code == 0
    assert "status: stopped at max_iter" in printed
    assert shown.count("\n") == 1
    assert shown.startswith("warning: GaussianMixture stopped at max_iter")
    found = json.loads((out / "fit.json").read_text())
    assert (found["status"], found["converged"]) == ("not_converged", False)


def test_force_replaces_a_whole_folder(run, small):
    out = small.parent / "out"
    out.mkdir()
    (out / "old").write_text("old")
    arguments = ["fit", small, "--components", 2, "--columns", "a,b", "--out", out]
    code, _, shown = run(*arguments)
    assert code == 2
    assert shown == f"error: {out} exists already: choose another --out, or replace it with --force\n"
    assert entries(out) == {"old"}
    assert run(*arguments, "--force")[0] == 0
    assert "old" not in entries(out)
    assert entries(small.parent) == {"small.csv", "out"}


def test_sizes_give_constrained_memberships_and_prices(run, small):
    out = small.parent / "out"
    arguments = ["fit", small, "--id", "name", "--columns", "a,b", "--components", 2, "--out", out, "--quiet"]
    code, printed, shown = run(*arguments, "--sizes", "15,9", "--json")
    assert (code, shown) == (0, "")
    found = json.loads(printed)
    assert found["sizes"] == pytest.approx([15, 9], abs=1e-4) or found["sizes"] == pytest.approx([9, 15], abs=1e-4)
    assert np.dot(found["sizes"], found["prices"]) == pytest.approx(0, abs=1e-3)  # by convention, where all are fixed
    assert found["duality_gap"] < 1e-3
    assert found["options"]["sizes"] == "15,9"
    assert set(found["files"].values()) == entries(out)
    free, bound = (pd.read_csv(out / name) for name in ("memberships.csv", "memberships_constrained.csv"))
    assert list(free) == list(bound)
    np.testing.assert_allclose(bound[["cluster_0", "cluster_1"]].sum(), found["sizes"], atol=1e-3)
    assert store.load(out).sizes.sizes == (15.0, 9.0)
    assert found["size_bounds"]["rows"]["bound"] == ["fixed", "fixed"]
    np.testing.assert_array_equal(found["size_bounds"]["rows"]["price"], found["prices"])
    tables.print_fit(found, console.standard_output())
    code, _, shown = run(*arguments, "--sizes", "0.6,0.4", "--force")
    assert code == 2
    assert "sizes sum to 1 but the rows sum to 24" in shown
    assert "unit='share' is 40%" in shown


def test_capacities_bind_and_are_priced(run, small):
    """A column that is no feature bounds the fit, with the rows that are complete in it alone."""
    out = small.parent / "out"
    table = pd.read_csv(small)
    table["load"] = np.arange(24) % 5 + 1.0
    table.loc[[1, 5], "load"] = np.nan
    table.to_csv(small, index=False)
    arguments = ["fit", small, "--id", "name", "--components", 2, "--drop-missing", "--out", out]
    capacities = ["--capacity", "load=:55%", "--capacity", "b=20:", "--min-size", 7]
    code, printed, _ = run(*arguments, "--columns", "a,b", *capacities, "--prior", "weak", "--force", "--json")
    assert code == 2
    assert printed == ""  # b is below 0 somewhere
    table["b"] -= table["b"].min()
    table.to_csv(small, index=False)
    code, printed, _ = run(*arguments, "--columns", "a,b", *capacities, "--prior", "weak", "--quiet", "--json")
    assert code == 0
    found = json.loads(printed)
    assert (found["n"], found["dropped"], found["columns"]) == (22, 2, ["a", "b"])
    assert found["options"]["capacity"] == ["load=:55%", "b=20:"]
    kept = table.dropna(subset="load")
    held = pd.read_csv(out / "memberships_constrained.csv")
    assert list(held["name"]) == list(kept["name"])
    amounts = kept["load"].to_numpy() @ held[["cluster_0", "cluster_1"]].to_numpy()
    np.testing.assert_allclose(found["size_bounds"]["load"]["amount"], amounts, rtol=1e-8)
    assert max(amounts) <= 0.55 * kept["load"].sum() * (1 + 1e-6)
    assert list(found["size_bounds"]) == ["rows", "load", "b"]
    written = pd.read_csv(out / "size_bounds.csv", index_col=["resource", "cluster"], keep_default_na=False)
    expected = store.load(out).size_bounds_
    pd.testing.assert_frame_equal(written, expected, rtol=1e-9, check_dtype=False)
    summary = pd.read_csv(out / "summary.csv", index_col="cluster")
    np.testing.assert_allclose(summary["load price"], expected.loc["load", "price"])
    assert set(found["files"].values()) == entries(out)


def test_a_capacity_is_shown_in_brief(capsys):
    sides = {
        "low": [0.0, 10.0, 20.0],
        "high": [100.0, 60.0, 20.0],
        "amount": [20.0, 60.0, 20.0],
        "price": [0, -0.25, 1],
    }
    lines = tables._bounds("load", sides | {"bound": [None, "high", "fixed"]})
    assert lines == [
        ("load", ["20", "60", "20"]),
        ("  bounds", ["any", "10 to 60*", "20*"]),
        ("  price (nats a unit)", ["0", "-0.250", "1.00"]),
    ]
    counts = {"low": [5.0, 0.0], "high": [12.0, 7.5], "amount": [5.0, 7.0], "price": [None, None]}  # of draws
    assert tables._bounds("rows", counts | {"bound": ["low", None]}) == [("  bounds", ["5* or more", "up to 7.5"])]


@pytest.mark.statistical
def test_prediction_is_free_of_a_capacity(run, small):
    out, predicted = small.parent / "out", small.parent / "m.csv"
    options = ["--columns", "b", "--capacity", "c=:60%", "--drop-missing", "--inference", "svi"]
    assert run("fit", small, "--id", "name", "--components", 2, "--out", out, "--quiet", *options)[0] == 0
    pd.read_csv(small)[["name", "b"]].to_csv(small, index=False)  # who predicts need not know the resource
    assert run("predict", out, small, "--out", predicted, "--quiet")[0] == 0
    free = pd.read_csv(out / "memberships.csv").set_index("name")
    pd.testing.assert_frame_equal(pd.read_csv(predicted).set_index("name").loc[free.index], free, rtol=1e-6)


@pytest.mark.parametrize("engine", ["gibbs", pytest.param("nuts", marks=pytest.mark.statistical)])
def test_draws_give_intervals_and_a_posterior(run, small, engine):
    out = small.parent / "out"
    sampling = ["--inference", engine, "--chains", 2, "--draws", 30, "--warmup", 60]
    sampling += ["--target-accept", 0.9] if engine == "nuts" else []
    code, printed, _ = run(
        "fit", small, "--id", "name", "--columns", "a,b", "--components", 2, "--out", out, "--json", *sampling
    )
    assert code == 0
    found = json.loads(printed)
    assert found["status"] in ("sampled", "not_mixed")  # there are few draws
    assert (found["inference"], found["interval"], found["lower_bound"], found["bic"]) == (engine, 0.95, None, None)
    assert {"rhat", "ess", "divergent", "unclear", "modes", "text"} <= set(found["checks"])
    for (low, high), weight in zip(found["weight_intervals"], found["weights"], strict=True):
        assert 0 < low < weight < high < 1
    for (low, high), size in zip(found["size_intervals"], found["sizes"], strict=True):
        assert low - 1e-3 <= size <= high + 1e-3  # a mean, of clusters that no row is between
    assert set(found["files"].values()) == entries(out)
    memberships = pd.read_csv(out / "memberships.csv")
    for name in ("cluster_0", "cluster_1"):
        assert (memberships[f"{name}_low"] <= memberships[name] + 1e-3).all()
        assert (memberships[name] <= memberships[f"{name}_high"] + 1e-3).all()
    with xarray.open_dataset(out / "posterior.nc", group="posterior", engine="h5netcdf") as posterior:
        assert dict(posterior.sizes) == {"chain": 2, "draw": 30, "cluster": 2, "feature": 2, "feature_bis": 2}
        assert list(posterior["feature"].values) == ["a", "b"]
        np.testing.assert_allclose(posterior["weights"].mean(("chain", "draw")), found["weights"], rtol=1e-9)
    with xarray.open_dataset(out / "posterior.nc", group="observed_data", engine="h5netcdf") as observed:
        assert list(observed["obs_id"].values[:2]) == ["r0", "r1"]
    tables.print_fit(found, console.standard_output())
    code, printed, _ = run("predict", out, small, "--out", small.parent / "m.csv")
    assert code == 0
    assert (small.parent / "m.csv").read_bytes() == (out / "memberships.csv").read_bytes()


@pytest.mark.statistical
def test_a_run_that_is_kept_goes_on(run, small, tmp_path):
    arguments = ["fit", small, "--components", 2, "--columns", "a,b", "--inference", "gibbs", "--chains", 1]
    arguments += ["--warmup", 20, "--quiet", "--checkpoint", tmp_path / "kept"]
    assert run(*arguments, "--draws", 20, "--out", tmp_path / "one")[0] == 0
    code, _, error = run(*arguments, "--draws", 30, "--out", tmp_path / "two")
    assert code == 2 and "holds a run: go on with it by --resume" in error
    assert run(*arguments, "--draws", 30, "--out", tmp_path / "two", "--resume")[0] == 0
    first, more = (store.load(tmp_path / name).fit_.posterior.weights for name in ("one", "two"))
    np.testing.assert_array_equal(more[:, :20], first)
    assert more.shape == (1, 30, 2)


@pytest.mark.statistical
@pytest.mark.parametrize("engine", ["cavi", "gibbs"])
def test_other_engines_leave_the_same_files(run, small, engine):
    out = small.parent / "out"
    few = ["--chains", 2, "--draws", 30, "--warmup", 60] if engine == "gibbs" else ["--n-init", 2]
    arguments = ["--columns", "a,b", "--components", 2, "--inference", engine, "--out", out, *few]
    code, printed, _ = run("fit", small, *arguments)
    assert code == 0
    found = json.loads((out / "fit.json").read_text())
    assert ("evidence lower bound" in printed) is (engine == "cavi") is (found["elbo"] is not None)
    assert (found["checks"] is None) is (engine == "cavi")
    assert all(
        low < weight < high for (low, high), weight in zip(found["weight_intervals"], found["weights"], strict=True)
    )
    assert set(found["files"].values()) == entries(out)
    assert "posterior.nc" in entries(out)
    assert {"cluster_0_low", "cluster_1_high"} <= set(pd.read_csv(out / "memberships.csv"))


def test_intervals_that_are_refused_are_left_out(small, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise FitError("intervals by cluster are refused")

    monkeypatch.setattr(base, "distributed", lambda _: True)
    assert base.membership_intervals(SimpleNamespace(membership_interval=refused), pd.DataFrame()) is None
    table = pd.DataFrame({"weight_low": [0.1, np.nan], "weight_high": [0.2, np.nan]})
    assert document._intervals(table, "weight") is None
    assert document._intervals(table, "size") is None


# --- other families


@pytest.fixture
def survey(tmp_path) -> Path:
    """Answers in words and in numbers, counts, a remark, and an empty cell, of two clear clusters."""
    rng = np.random.default_rng(3)
    second = np.arange(60) % 2
    table = pd.DataFrame({"who": [f"p{i}" for i in range(60)]})
    table["smokes"] = np.where(rng.random(60) < np.where(second, 0.9, 0.1), "yes", "no")
    table["colour"] = [rng.choice(["red", "green", "blue"], p=[[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]][k]) for k in second]
    table["agrees"] = rng.choice([1, 2, 10], 60)
    table["visits"], table["calls"] = rng.poisson(np.where(second, [[20], [2]], [[3], [9]]))
    table["remark"] = [f"remark {i}" for i in range(60)]
    table.loc[5, "colour"] = None
    table.to_csv(tmp_path / "survey.csv", index=False)
    return tmp_path / "survey.csv"


@pytest.mark.parametrize(("family", "word"), [("poisson", "rate"), ("multinomial", "share")])
def test_counts(run, survey, family, word):
    out = survey.parent / "out"
    arguments = [survey, "--id", "who", "--components", 2, "--columns", "visits,calls", "--family", family]
    code, printed, _ = run("fit", *arguments, "--out", out)
    assert code == 0
    assert f"{word} by column" in printed
    found = json.loads((out / "fit.json").read_text())
    assert (found["family"], found["quantity"], list(found["shown"])) == (family, word, ["visits", "calls"])
    assert (found["means"], found["standard_deviations"], found["options"]["covariance"]) == (None, None, None)
    assert set(found["files"].values()) == entries(out)
    np.testing.assert_allclose(pd.read_csv(out / "summary.csv")[f"{word} calls"], found["shown"]["calls"], rtol=1e-12)
    assert sum(found["sizes"]) == pytest.approx(60)
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert run("predict", out, survey, "--out", survey.parent / "m.csv")[0] == 0
    assert (survey.parent / "m.csv").read_bytes() == (out / "memberships.csv").read_bytes()


def test_answers_keep_their_words(run, survey):
    out = survey.parent / "out"
    arguments = [survey, "--id", "who", "--components", 2, "--columns", "smokes,colour,agrees", "--drop-missing"]
    code, printed, _ = run("fit", *arguments, "--family", "categorical", "--out", out, "--inference", "cavi")
    assert code == 0
    found = json.loads((out / "fit.json").read_text())
    assert found["answers"] == {"smokes": ["no", "yes"], "colour": ["blue", "green", "red"], "agrees": ["1", "2", "10"]}
    labels = [f"{name}={answer}" for name, answers in found["answers"].items() for answer in answers]
    assert list(found["shown"]) == labels
    assert all(label in printed for label in labels)
    assert found["n"] == 59
    table = pd.read_csv(survey).dropna()
    for name, answers in found["answers"].items():  # the mean over the clusters is the share in the table
        for answer in answers:
            share = (table[name].astype(str) == answer).mean()
            mean = np.dot(found["weights"], found["shown"][f"{name}={answer}"])
            assert mean == pytest.approx(share, abs=0.05)  # of 59 rows and two priors worth a row
    assert list(pd.read_csv(out / "summary.csv"))[-len(labels) :] == [f"probability {label}" for label in labels]
    with xarray.open_dataset(out / "posterior.nc", group="posterior", engine="h5netcdf") as posterior:
        assert posterior.sizes["answer"] == len(labels)


def test_predict_numbers_answers_as_the_fit_did(run, survey):
    out, some = survey.parent / "out", survey.parent / "some.csv"
    arguments = [survey, "--id", "who", "--components", 2, "--columns", "smokes,colour,agrees", "--drop-missing"]
    assert run("fit", *arguments, "--family", "categorical", "--out", out)[0] == 0
    table = pd.read_csv(survey).dropna()
    table[table["colour"] != "blue"].assign(agrees=lambda t: t["agrees"] * 1.0).to_csv(some, index=False)
    assert run("predict", out, some, "--out", survey.parent / "m.csv")[0] == 0
    fitted = pd.read_csv(out / "memberships.csv", index_col="who")
    predicted = pd.read_csv(survey.parent / "m.csv", index_col="who")
    pd.testing.assert_frame_equal(predicted, fitted.loc[predicted.index], check_exact=True)
    table.replace({"colour": {"green": "pink"}}).to_csv(some, index=False)
    code, _, shown = run("predict", out, some, "--out", survey.parent / "n.csv", "--quiet")
    assert code == 1
    assert "column 'colour' holds 'pink', which is none of the answers 'blue', 'green', 'red'" in shown
    assert not (survey.parent / "n.csv").exists()


def test_two_answers_are_enough_for_bernoulli(run, survey):
    out = survey.parent / "out"
    table = pd.read_csv(survey)
    table.assign(owns=np.arange(60) % 2, deaf=0).to_csv(survey, index=False)
    code, printed, _ = run(
        "fit", survey, "--id", "who", "--components", 2, "--family", "bernoulli", "--out", out, "--prior", "none"
    )
    assert code == 0
    assert "left out, not of two answers: colour, agrees, visits, calls, remark, deaf" in printed
    found = json.loads((out / "fit.json").read_text())
    assert list(found["shown"]) == ["smokes=yes", "owns"]
    for label, share in (("smokes=yes", (table["smokes"] == "yes").mean()), ("owns", 0.5)):
        assert np.dot(found["weights"], found["shown"][label]) == pytest.approx(share, abs=1e-3)  # no prior


# --- diagnose


def test_a_point_is_diagnosed(run, fitted):
    code, printed, shown = run("diagnose", fitted.out)
    assert (code, shown) == (0, "")
    assert "3 gaussian clusters by em\nstatus: converged (" in printed
    assert f"lower bound {fitted.document['lower_bound']:.6g} nats a row" in printed


def test_a_bound_is_diagnosed(run, tmp_path):
    X = np.random.default_rng(0).poisson([[2, 9]] * 20 + [[9, 2]] * 20)
    MixtureModel(2, "poisson", inference="cavi", random_state=0).fit(X).save(tmp_path / "model")
    code, printed, _ = run("diagnose", tmp_path / "model")
    assert code == 0
    assert "2 poisson clusters by cavi\nstatus: converged" in printed
    assert "evidence lower bound" in printed


@pytest.mark.filterwarnings("ignore:MixtureModel sampled, but")
def test_draws_are_diagnosed(run, tmp_path):
    X = np.random.default_rng(0).poisson([[2, 9]] * 20 + [[9, 2]] * 20)
    engine = Gibbs(chains=2, draws=20, warmup=20)
    model = MixtureModel(2, "poisson", inference=engine, random_state=0).fit(X)
    model.save(tmp_path / "model")
    checks = model.fit_.posterior.checks
    code, printed, _ = run("diagnose", tmp_path)
    assert code == 0
    assert "2 poisson clusters by gibbs, 2 chains of 20 draws" in printed
    for words in ("log density", "rates", "1.05 at most", "100 at least", "few draws", "clusters unclear in", "status"):
        assert words in printed
    code, printed, _ = run("diagnose", tmp_path, "--json")
    found = json.loads(printed)
    assert found["checks"]["rhat"] == pytest.approx(checks.rhat)
    assert (found["chains"], found["draws"], found["limits"]["ess"]) == (2, 20, 100)
    assert (found["status"], found["n_iter"]) == (model.status_.name.lower(), None)


def test_what_is_wrong_with_draws_is_named(capsys):
    checks = {"rhat": {"rates": 1.2, "weights": None}, "ess": {"rates": 300.0, "weights": None}}
    checks |= {"divergent": 0.25, "unclear": 0.5, "modes": [0, 1, 0], "pareto_k": None}
    found = {"checks": checks, "family": "poisson", "clusters": ["cluster_0"], "inference": "nuts", "chains": 3}
    found |= {"limits": {"rhat": 1.05, "ess": 150, "unclear": 0.1, "divergent": 0.01, "modes": 1}, "draws": 7}
    found |= {"status_text": "sampled, but", "elbo": None, "duality_gap": None}
    checks["text"] = "in one line"
    tables.print_diagnosis(found, console.standard_output())
    printed = capsys.readouterr().out
    assert "1 poisson cluster by nuts, 3 chains of 7 draws" in printed
    assert [line.split() for line in printed.splitlines() if line.startswith(("rates", "weights"))] == [
        ["rates", "1.200", "300", "R-hat", "is", "high"],
        ["weights", "-", "-"],
    ]
    assert "chains in 2 modes: chains 0, 2; 1 (1 is wanted)" in printed
    assert "25.0% of the transitions divergent (1% at most)" in printed
    assert "clusters unclear in 50.0% of the draws (10% at most)" in printed


def test_diagnose_refuses_what_is_no_fit(run, tmp_path):
    code, printed, shown = run("diagnose", tmp_path)
    assert (code, printed) == (1, "")
    assert "holds no saved model" in shown


# --- predict


def test_predict_gives_the_memberships_of_the_fit(run, fitted, tmp_path):
    for folder, name in ((fitted.out, "a.csv"), (fitted.out / "model", "b.csv")):
        code, printed, shown = run("predict", folder, PENGUINS, "--drop-missing", "--out", tmp_path / name)
        assert code == 0
        assert "342 rows, 4 columns; 2 incomplete rows dropped" in printed
        assert [line.split()[0] for line in shown.splitlines()] == ["loading", "reading", "computing"]
        assert (tmp_path / name).read_bytes() == (fitted.out / "memberships.csv").read_bytes()
    assert entries(tmp_path) == {"a.csv", "b.csv"}


def test_predict_picks_columns_by_name(run, fitted, tmp_path):
    table = pd.read_csv(PENGUINS).dropna(subset=MEASUREMENTS)
    table = table[["body_mass_g", "species", *MEASUREMENTS[:3]]].assign(more=1.0)  # and no id
    table.to_csv(tmp_path / "table.csv", index=False)
    code, printed, shown = run(
        "predict", fitted.out, tmp_path / "table.csv", "--out", tmp_path / "m.csv", "--json", "--quiet"
    )
    assert (code, shown) == (0, "")
    found = json.loads(printed)
    assert (found["n"], found["id"], sum(found["rows"])) == (342, None, 342)
    expected = pd.read_csv(fitted.out / "memberships.csv").drop(columns="id")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "m.csv").drop(columns="row"), expected, check_exact=True)


def test_predict_refuses(run, fitted, tmp_path):
    table = pd.read_csv(PENGUINS)[["id", "bill_length_mm", "body_mass_g"]]
    table.to_csv(tmp_path / "table.csv", index=False)
    out = tmp_path / "m.csv"
    code, _, shown = run("predict", fitted.out, tmp_path / "table.csv", "--out", out, "--quiet")
    assert code == 1
    assert "lacks 'bill_depth_mm', 'flipper_length_mm' of the fit's columns: it has 'id'" in shown
    code, _, shown = run("predict", fitted.out, PENGUINS, "--out", out, "--id", "nome", "--drop-missing", "--quiet")
    assert code == 1
    assert "has no column 'nome'" in shown
    code, _, shown = run("predict", tmp_path / "nowhere", PENGUINS, "--out", out, "--quiet")
    assert code == 1
    assert "holds no saved model" in shown
    out.write_text("mine")
    code, _, shown = run("predict", fitted.out, PENGUINS, "--out", out, "--drop-missing")
    assert code == 2
    assert "exists already" in shown
    assert out.read_text() == "mine"
    assert entries(tmp_path) == {"table.csv", "m.csv"}


def test_predict_with_a_model_fitted_without_names(run, small):
    X = pd.read_csv(small)[["a", "b"]]
    GaussianMixture(2, random_state=0).fit(X.to_numpy()).save(small.parent / "model")
    X.to_csv(small.parent / "two.csv", index=False)
    assert run("predict", small.parent / "model", small.parent / "two.csv", "--out", small.parent / "m.csv")[0] == 0
    arguments = ("predict", small.parent / "model", small, "--out", small.parent / "n.csv", "--drop-missing")
    code, _, shown = run(*arguments)
    assert code == 1
    assert "has 3 numeric columns but the fit had 2" in shown


def test_a_truncated_model_is_refused(run, fitted, tmp_path):
    shutil.copytree(fitted.out, tmp_path / "fit")
    tensors = tmp_path / "fit" / "model" / "arrays.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-8])
    code, _, shown = run("predict", tmp_path / "fit", PENGUINS, "--out", tmp_path / "m.csv", "--quiet")
    assert code == 1
    assert "truncated or was edited" in shown
    assert entries(tmp_path) == {"fit"}


# --- refusals


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 1, "column 'c': leave such rows out with --drop-missing"),
        (["--columns", "a,d"], 1, "has no column 'd'"),
        (["--columns", "a,colour"], 1, "column 'colour' is not numeric"),
        (["--columns", "a", "--id", "nome"], 1, "did you mean 'name'?"),
        (["--columns", "a", "--components", 25], 1, "n_components=25"),
        (["--components", 0], 2, "--components"),
        (["--components", "three"], 2, "--components"),
        (["--covariance", "round"], 2, "'full', 'tied', 'diag', 'spherical'"),
        (["--inference", "hmc"], 2, "'em', 'cavi', 'gibbs', 'map', 'nuts', 'svi'"),
        (["--prior", "strong"], 2, "'weak', 'independent', 'none'"),
        (["--seed", -1], 2, "--seed"),
        (["--unknown"], 2, "--unknown"),
        (["--draws", 10], 2, "--draws is for --inference gibbs or nuts, not em: leave it out"),
        (["--checkpoint", "kept"], 2, "--checkpoint is for --inference gibbs or nuts, not em: leave it out"),
        (["--inference", "gibbs", "--resume"], 2, "--resume needs the run to go on with: add --checkpoint"),
        (["--inference", "nuts", "--checkpoint", "none", "--resume"], 2, "holds no run to go on with"),
        (["--inference", "nuts", "--n-init", 2], 2, "--n-init is for --inference em or cavi or map or svi, not nuts"),
        (["--inference", "nuts", "--prior", "none"], 2, "--prior none leaves nuts without a posterior"),
        (["--inference", "nuts", "--columns", "a", "--sizes", "12,12"], 2, "cannot be met by inference='nuts'"),
        (["--family", "poison"], 2, "'gaussian', 'poisson'"),
        (
            ["--family", "poisson", "--covariance", "full"],
            2,
            "--covariance is for --family gaussian or student-t, not poisson",
        ),
        (["--family", "poisson", "--columns", "a"], 1, "Poisson components need counts"),
        (["--family", "bernoulli", "--columns", "colour"], 1, "column 'colour' has 1 answer, 'red': leave it out"),
        (["--family", "bernoulli"], 1, "no column is of two answers among"),
        (["--family", "categorical"], 1, "no column is of 2 to 20 answers among"),
        (["--family", "poisson", "--inference", "gibbs", "--prior", "none"], 2, "--prior none leaves gibbs without"),
        (["--family", "poisson", "--prior", "independent"], 2, "--prior independent is for --family gaussian"),
        (["--sizes", "40%,3"], 2, "--sizes mixes rows (3) and shares (40%)"),
        (["--sizes", "many,few"], 2, "--sizes is 'many,few': give numbers"),
        (["--sizes", "1,"], 2, "--sizes is '1,': give numbers"),
        (["--min-size", "3", "--max-size", "40%"], 2, "--min-size 3 and --max-size 40% mix rows and shares"),
        (["--sizes", "12,12", "--max-size", "9"], 2, "--sizes fixes what --max-size would bound"),
        (["--capacity", "lod=:9"], 1, "has no column 'lod'"),
        (["--columns", "a", "--capacity", "colour=:9"], 1, "column 'colour' is not numeric"),
        (["--columns", "a", "--capacity", "c=:9"], 1, "1 missing cell in 1 of 24 rows: line 5 column 'c': leave such"),
        (["--id", "name", "--capacity", "name=:9"], 1, "column 'name' is the id"),
        (["--columns", "a", "--capacity", "b=:9"], 2, "column 'b' goes down to -"),
        (["--capacity", "c"], 2, "--capacity is 'c': give COLUMN=LOW:HIGH, such as load=:120"),
        (["--capacity", "c=9"], 2, "give COLUMN=LOW:HIGH"),
        (["--capacity", "c=:"], 2, "one side may be empty, which leaves it open"),
        (["--capacity", "c=1:2:3"], 2, "give COLUMN=LOW:HIGH"),
        (["--capacity", "=1:2"], 2, "give COLUMN=LOW:HIGH"),
        (["--capacity", "c=few:9"], 2, "LOW of --capacity c=few:9 is 'few': give numbers"),
        (["--capacity", "c=:9,40%"], 2, "HIGH of --capacity c=:9,40% mixes amounts (9) and shares (40%)"),
        (["--capacity", "c=1:40%"], 2, "--capacity c=1:40% mixes amounts and shares"),
        (["--capacity", "c=9:1"], 2, "--capacity c=9:1 has a LOW above its HIGH"),
        (["--capacity", "c=1,3:2"], 2, "has a LOW above its HIGH"),
        (["--capacity", "c=-1:5"], 2, "has -1: give finite numbers from 0 up"),
        (["--capacity", "c=:140%"], 2, "has 140%: give finite numbers from 0 to 100%"),
        (["--capacity", "c=:nan"], 2, "has nan: give finite numbers"),
        (["--capacity", "c=:1,2,3"], 2, "--capacity c: HIGH has 3 numbers but there are 2 clusters"),
        (["--capacity", "c=:9", "--capacity", "c=1:"], 2, "--capacity bounds 'c' twice"),
        (
            ["--capacity", "c=:9", "--inference", "gibbs"],
            2,
            "--capacity is for --inference em or cavi or svi, not gibbs",
        ),
        (["--columns", "a", "--drop-missing", "--capacity", "c=:9"], 2, "high bounds sum to 18, less than the"),
    ],
)
def test_refusals(run, small, options, code, words):
    out = small.parent / "out"
    got, printed, shown = run("fit", small, "--components", 2, "--out", out, "--quiet", *options)
    assert (got, printed) == (code, "")
    plain = " ".join(shown.replace("│", " ").split())  # typer draws a box around what it refuses itself
    assert words in plain
    assert "Traceback" not in shown
    if shown.startswith("error: "):
        assert shown.count("\n") == 1
    assert entries(small.parent) == {"small.csv"}


@pytest.mark.parametrize("content", [None, "", "a,b\n", "a,b\n1\n", "a;b\n1;2\n", "a\nx\n", "a,b\n1,2\n"])
def test_unusable_tables_are_refused_in_one_line(run, tmp_path, content):
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_text(content)
    code, printed, shown = run("fit", path, "--components", 2, "--out", tmp_path / "out", "--quiet")
    assert (code, printed) == (1, "")
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_the_fit(run, small):
    out = small.parent / "nowhere" / "out"
    code, _, shown = run("fit", small, "--components", 2, "--out", out)
    assert code == 1
    assert shown == f"error: cannot write {out}: No such file or directory: choose a folder that can be written\n"


def test_a_device_that_is_not_there_is_refused(run, small):
    absent = "gpu" if jax.default_backend() == "tpu" else "tpu"
    code, _, shown = run(
        "fit", small, "--components", 2, "--columns", "a", "--device", absent, "--out", small.parent / "o", "--quiet"
    )
    assert code == 2
    assert shown.startswith(f"error: JAX finds no {absent} here, but ")
    assert "--device" in shown
    assert entries(small.parent) == {"small.csv"}


# --- stopping at any moment


MOMENTS = {
    "reading": "bayessoft.data.readers.read_csv",
    "loading": "bayessoft.report.settings.estimator",
    "fitting": "bayessoft.estimators.gaussian_mixture.GaussianMixture.fit",
    "writing memberships": "bayessoft.report.files.write_table",
    "writing the model": "bayessoft.store.save",
    "writing the plot": "bayessoft.plots.save",
    "writing the document": "bayessoft.report.files.as_json",
}
STOPS = [(KeyboardInterrupt(), 130, "interrupted"), (OSError(28, "No space left on device"), 1, "No space left")]
STOPS += [(MemoryError(), 1, "not enough memory")]


@pytest.mark.parametrize(("stop", "code", "words"), STOPS, ids=["interrupt", "full disk", "memory"])
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_stop_at_any_moment_leaves_what_was_there(run, small, monkeypatch, moment, stop, code, words):
    def stopped(*_: object, **__: object) -> None:
        raise stop

    out = small.parent / "out"
    out.mkdir()
    (out / "old").write_text("old")
    monkeypatch.setattr(moment, stopped)
    got, printed, shown = run(
        "fit", small, "--components", 2, "--columns", "a,b", "--out", out, "--force", "--quiet", "--json"
    )
    assert (got, printed, shown.count("\n")) == (code, "", 1)
    assert words in shown
    assert entries(small.parent) == {"small.csv", "out"}
    assert entries(out) == {"old"}


@pytest.mark.skipif(sys.platform == "win32", reason="signals to another process are POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_process_and_leaves_nothing(tmp_path, number, code):
    table = tmp_path / "table.csv"
    os.mkfifo(table)  # reading waits for a writer that never comes
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # should we be a background job
    command = [sys.executable, "-c", f"{heard}; from bayessoft.cli import main; main()", "fit", str(table)]
    command += ["--components", "2", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while len(entries(tmp_path)) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        printed, shown = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, shown
    assert "Traceback" not in shown
    assert printed == ""
    assert entries(tmp_path) == {"table.csv"}


# --- the parts


def test_choices_are_the_library_s():
    assert list(Covariance) == list(STRUCTURES)
    assert list(Family) == list(FAMILIES)
    assert list(Inference) == list(ENGINES) == list(settings.USED)
    assert list(Method) == list(methods.METHODS) == [methods.MIXTURE, *methods.CLASSES]
    assert list(Metric) == list(METRICS)
    assert list(Variant) == list(VARIANTS)


def test_version(run):
    assert run("--version")[:2] == (0, f"bayessoft {store.version()}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("151,123,68", ((151, 123, 68), "rows")),
        (" 40%, 40% ,20%", ((0.4, 0.4, 0.2), "share")),
        ("10", ((10,), "rows")),
        ("2.5%", ((0.025,), "share")),
    ],
)
def test_sizes_are_read(text, expected):
    assert bounds.numbers_of("--sizes", text) == expected


def test_a_path_or_a_message_is_no_markup(run, tmp_path):
    code, _, shown = run("fit", tmp_path / "[red]x", "--components", 2, "--out", tmp_path / "o")
    assert code == 1
    assert shown.count("[red]x") == 2


def test_ambiguity_is_relative_entropy():
    np.testing.assert_allclose(base.ambiguity(np.array([[0.5, 0.5, 0.0]])), np.log(2) / np.log(3))
    np.testing.assert_array_equal(base.ambiguity(np.ones((3, 1))), 0)


def test_an_id_column_keeps_apart_from_the_others():
    table = base.memberships_table(np.eye(2), ["x", "y"], "cluster", intervals=np.zeros((2, 2, 2)))
    assert list(table)[:2] == ["cluster_", "cluster"]
    assert list(table)[-4:] == ["cluster_0_low", "cluster_0_high", "cluster_1_low", "cluster_1_high"]


def test_answers_are_numbered_in_order(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b,c,d\n10,10,yes,x\n2.0,2,no ,x\n,don't know,yes,x\n02,9,inf,x\n")
    found = read_answers(path, drop_missing=True)
    assert found.answers == {"a": ("2", "10"), "b": ("2", "9", "10"), "c": ("inf", "no", "yes")}
    np.testing.assert_array_equal(found.frame, [[1, 2, 2], [0, 0, 1], [0, 1, 0]])
    assert (found.left_out, found.dropped, list(found.frame.index)) == (("d",), 1, [0, 1, 3])
    again = read_answers(path, drop_missing=True, known=found.answers | {"b": ("2", "9", "10", "don't know")})
    pd.testing.assert_frame_equal(again.frame, found.frame)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0, 3, "0"),
        (38.7934, 4, "38.79"),
        (5076.3, 4, "5076"),
        (504.2, 2, "500"),
        (0.00123, 2, "0.0012"),
        (-9.9996, 4, "-10.00"),
        (0.999, 2, "1.0"),
        (1.5e-7, 2, "1.5e-07"),
        (2.5e12, 2, "2.5e+12"),
        (None, 3, "-"),
    ],
)
def test_numbers_are_written_shortly(value, digits, text):
    assert layout.number(value, digits) == text


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        (38.7934, 2.63, "38.8 ± 2.6"),
        (5076.3, 504.2, "5076 ± 500"),
        (1_000_000.00623, 0.00118, "1000000.0062 ± 0.0012"),
        (0.001, 2.63, "0.0 ± 2.6"),
        (12.3456, 15.0, "12.35 ± 15"),
        (1.0, 0.0, "1.000 ± 0"),
        (0.0, 1.0, "0.0 ± 1.0"),
        (2.8e-150, 0.001, "2.800e-150 ± 0.0010"),
    ],
)
def test_a_mean_is_written_as_finely_as_its_spread(mean, deviation, text):
    assert layout.spread(mean, deviation) == text


def test_many_clusters_are_spread_over_several_tables(capsys):
    found = {"clusters": base.cluster_names(7), "rows": [1] * 7, "sizes": [1.0] * 7, "out": "m.csv", "n": 7}
    found |= {"columns": ["a"], "dropped": 0, "left_out": []}
    tables.print_prediction(found, console.Console(width=80))
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert [name for name in printed.split() if name.startswith("cluster_")] == base.cluster_names(7)


def test_what_is_not_finite_becomes_null():
    assert record.plain({"x": [np.nan, (np.inf, 1.5)], 1: np.arange(2), "b": np.bool_(True)}) == {
        "x": [None, [None, 1.5]],
        "1": [0, 1],
        "b": True,
    }


def test_the_cache_is_turned_on_unless_the_user_decided(monkeypatch, tmp_path):
    monkeypatch.undo()  # of the fixture above
    changed: dict[str, object] = {}
    monkeypatch.setattr(jax.config, "update", changed.__setitem__)
    monkeypatch.setattr(runtime, "_cache_folder", lambda: tmp_path / "deep" / "jax")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    runtime.turn_on_compilation_cache()
    folder = tmp_path / "deep" / "jax"
    assert folder.is_dir()
    assert changed == {"jax_compilation_cache_dir": str(folder), "jax_persistent_cache_min_compile_time_secs": 0}
    changed.clear()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "2")
    runtime.turn_on_compilation_cache()
    assert changed == {}


def test_without_a_folder_for_the_cache_nothing_is_changed(monkeypatch, tmp_path):
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(jax.config, "update", lambda *_: pytest.fail("changed"))
    monkeypatch.setattr(runtime, "_cache_folder", lambda: tmp_path / "file" / "jax")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    runtime.turn_on_compilation_cache()


def test_compiling_is_told_from_fitting():
    phases = console.Phases(quiet=True)
    with phases.fitting("x"), jax.enable_x64(True):
        jax.jit(lambda x: x * 3 + 1)(np.arange(7.0))  # a lambda of its own is compiled anew
    assert phases.seconds["compiling"] > 0
    assert phases.seconds["fitting"] >= 0


def test_warnings_are_shown_once_in_one_line(capsys):
    import warnings

    with console.tidy_warnings():
        for _ in range(2):
            warnings.warn("two\n  lines", UserWarning, stacklevel=1)
        warnings.warn("for programmers", FutureWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: two lines\n"


def test_the_cache_folder_follows_the_platform(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert runtime._cache_folder() == Path("/x/bayessoft/jax")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert runtime._cache_folder() == Path.home() / "Library" / "Caches" / "bayessoft" / "jax"


def test_options_become_an_estimator():
    options = {"method": "gmm", "components": 3, "covariance": "tied", "prior": "weak", "seed": 7, "n_init": 4}
    made = settings.estimator(settings.understood(options))
    expected = GaussianMixture(3, covariance_type="tied", prior="weak", random_state=7, n_init=4)
    assert made.get_params() == expected.get_params()
    for changes, sizes in (
        ({"sizes": "50%,30%,20%"}, Fixed((0.5, 0.3, 0.2), unit="share")),
        ({"min_size": "5"}, Between(5.0, None)),
        ({"min_size": "1,2,3", "max_size": "40"}, Between((1, 2, 3), 40.0)),
        ({"max_size": "40%"}, Between(None, 0.4, unit="share")),
    ):
        assert settings.estimator(settings.understood(options | changes)).sizes == sizes


def test_options_become_a_model_of_any_family():
    options = {"method": "gmm", "components": 3, "family": "poisson", "seed": 7}
    for prior in (None, "weak"):
        made = settings.estimator(settings.understood(options | {"prior": prior}))
        assert made.get_params() == MixtureModel(3, "poisson", random_state=7).get_params()
    family = settings.estimator(settings.understood(options | {"prior": "none"})).family
    assert isinstance(family, Poisson)
    assert family.prior is None


def test_sizes_that_mix_units_name_both():
    options = {"method": "gmm", "components": 2, "seed": 0, "min_size": "3", "max_size": "40%"}
    with pytest.raises(OptionError, match="--min-size 3 and --max-size 40% mix rows and shares"):
        settings.understood(options)
