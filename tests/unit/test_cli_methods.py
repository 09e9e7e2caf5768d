"""The command line beyond mixtures: soft k-means and fuzzy c-means, rows in doubt, methods side by side."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy
from sklearn.metrics import adjusted_rand_score, silhouette_score

from bayessoft import store
from bayessoft.cli import app
from bayessoft.errors import FitError, OptionError
from bayessoft.estimators.fuzzy_c_means import FuzzyCMeans
from bayessoft.estimators.information_bottleneck import InformationBottleneck
from bayessoft.estimators.mixture_model import MixtureModel
from bayessoft.estimators.soft_k_means import SoftKMeans
from bayessoft.report import base, comparison, console, doubt, methods, runtime, settings, tables, units


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


@pytest.fixture
def small(tmp_path) -> Path:
    """Two clusters of twelve rows that touch, with ids, a word, and a column that is no feature."""
    numbers = np.vstack([np.random.default_rng(j).normal(3 * j, 1, (12, 2)) for j in range(2)])
    table = pd.DataFrame(numbers, columns=["a", "b"])
    table.insert(0, "name", [f"r{i}" for i in range(24)])
    table["colour"] = "red"
    table["load"] = np.arange(24) % 5 + 1.0
    table.to_csv(tmp_path / "small.csv", index=False)
    return tmp_path / "small.csv"


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def rows_of(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, index_col="name")[["a", "b"]]


# --- fit


def test_soft_k_means_leaves_what_a_mixture_does(run, small):
    out = small.parent / "out"
    arguments = ["fit", small, "--id", "name", "--columns", "a,b", "--components", 2, "--seed", 3, "--quiet"]
    code, printed, shown = run(*arguments, "--method", "soft-kmeans", "--beta", 0.4, "--out", out)
    assert (code, shown) == (0, "")
    for words in ("cluster_0", "centre by column", "status: converged", "BIC", "beta 0.4", "24 rows, 2 columns"):
        assert words in printed
    assert entries(out) == {"memberships.csv", "summary.csv", "model", "plot.png", "fit.json"}
    expected = SoftKMeans(2, 0.4, random_state=3).fit(rows_of(small))
    memberships = pd.read_csv(out / "memberships.csv", index_col="name")
    assert list(memberships) == ["cluster", "ambiguity", "cluster_0", "cluster_1"]
    np.testing.assert_allclose(memberships.iloc[:, 2:], expected.responsibilities_, atol=1e-6)  # of tol, a last step
    summary = pd.read_csv(out / "summary.csv", index_col="cluster")
    assert list(summary) == ["size", "share", "centre a", "centre b"]
    np.testing.assert_allclose(summary[["centre a", "centre b"]], expected.cluster_centers_)
    np.testing.assert_allclose(summary["size"], expected.responsibilities_.sum(0))
    found = json.loads((out / "fit.json").read_text())
    assert (found["method"], found["family"], found["status"]) == ("soft-kmeans", None, "converged")
    assert found["options"] == {
        **{"method": "soft-kmeans", "components": 2, "beta": "0.4", "anneal": False, "metric": None, "seed": 3},
        **dict.fromkeys([*methods.SIZING, *methods.CLIMBING]),
    }
    assert found["objective"] == found["lower_bound"] == expected.lower_bound_
    assert (found["objective_is"], found["beta"]) == ("lower bound, nats a row", 0.4)
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert run("predict", out, small, "--out", small.parent / "m.csv")[0] == 0
    assert (small.parent / "m.csv").read_bytes() == (out / "memberships.csv").read_bytes()
    code, printed, _ = run("diagnose", out)
    assert code == 0
    assert "2 clusters by soft-kmeans: beta 0.4, metric sqeuclidean\nstatus: converged (" in printed


@pytest.mark.statistical  # seconds of compiling; sizes of mixtures go the same way
def test_soft_k_means_takes_sizes(run, small):
    out = small.parent / "out"
    arguments = ["fit", small, "--id", "name", "--columns", "a,b", "--components", 2, "--method", "soft-kmeans"]
    code, printed, _ = run(*arguments, "--sizes", "15,9", "--out", out, "--json")
    assert code == 0
    found = json.loads(printed)
    assert sorted(found["sizes"]) == pytest.approx([9, 15], abs=1e-4)
    assert list(found["size_bounds"]) == ["rows"]
    assert {"memberships_constrained.csv", "size_bounds.csv"} < entries(out) == set(found["files"].values())
    held = pd.read_csv(out / "memberships_constrained.csv")
    np.testing.assert_allclose(held[["cluster_0", "cluster_1"]].sum(), found["sizes"], atol=1e-4)
    assert "rows price" in set(pd.read_csv(out / "summary.csv"))
    tables.print_fit(found, console.standard_output())


def test_noise_has_a_column_of_its_own(run, small):
    out = small.parent / "out"
    table = pd.read_csv(small)
    table.loc[7, ["a", "b"]] = [8.0, -5.0]
    table.to_csv(small, index=False)
    arguments = ["fit", small, "--id", "name", "--columns", "a,b", "--components", 2, "--method", "fuzzy", "--m", 1.5]
    code, printed, _ = run(*arguments, "--variant", "noise", "--noise-distance", 3, "--n-init", 5, "--out", out)
    assert code == 0
    assert "noise" in printed
    memberships = pd.read_csv(out / "memberships.csv", index_col="name")
    assert list(memberships) == ["cluster", "ambiguity", "cluster_0", "cluster_1", "noise"]
    np.testing.assert_allclose(memberships.iloc[:, 2:].sum(axis=1), 1, atol=3e-10)  # ten digits each
    assert memberships.loc["r7", "cluster"] == -1
    assert memberships.loc["r7", "noise"] > 0.95
    summary = pd.read_csv(out / "summary.csv", index_col="cluster")
    assert list(summary.index) == [0, 1, -1]
    assert summary["size"].sum() == pytest.approx(24)
    assert summary.loc[-1, ["centre a", "centre b"]].isna().all()
    found = json.loads((out / "fit.json").read_text())
    model = store.load(out)
    assert found["clusters"] == ["cluster_0", "cluster_1", "noise"]
    assert found["objective"] == model.objective_
    assert (model.m, model.variant, model.noise_distance) == (1.5, "noise", 3.0)
    np.testing.assert_array_equal(memberships["cluster"], model.labels_)
    code, printed, _ = run("predict", out, small, "--out", small.parent / "m.csv", "--json")
    assert (small.parent / "m.csv").read_bytes() == (out / "memberships.csv").read_bytes()
    assert json.loads(printed)["rows"] == [int((model.labels_ == label).sum()) for label in (0, 1, -1)]
    printed = run("diagnose", out)[1]
    assert "2 clusters beside noise by fuzzy: m 1.5, variant noise, noise distance 3.0\nstatus: converged" in printed
    assert "that of noise included" in printed


def test_one_column_has_a_plot_too(run, small):
    out = small.parent / "out"
    arguments = ["fit", small, "--columns", "a", "--components", 1, "--method", "fuzzy", "--out", out, "--quiet"]
    assert run(*arguments)[0] == 0
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_counts_are_compressed(run, tmp_path):
    counts = pd.DataFrame([[9, 1, 0], [8, 2, 0], [1, 9, 1], [0, 1, 9]], columns=["x", "y", "z"], index=list("abcd"))
    counts.to_csv(tmp_path / "counts.csv", index_label="name")
    out = tmp_path / "out"
    arguments = ["fit", tmp_path / "counts.csv", "--id", "name", "--components", 3, "--method", "bottleneck"]
    code, printed, _ = run(*arguments, "--beta", 20, "--out", out)
    assert code == 0
    assert "3 clusters used" in printed
    expected = InformationBottleneck(3, 20.0, random_state=0).fit(counts)
    memberships = pd.read_csv(out / "memberships.csv", index_col="name")
    shares = memberships[["cluster_0", "cluster_1", "cluster_2"]]
    np.testing.assert_allclose(shares, expected.responsibilities_, atol=1e-5)  # of tol, a last step
    found = json.loads((out / "fit.json").read_text())
    assert (found["objective"], found["information_y"]) == (expected.lagrangian_, expected.information_y_)
    np.testing.assert_array_equal(np.transpose(list(found["shown"].values())), expected.cluster_distributions_)
    np.testing.assert_allclose(pd.read_csv(out / "summary.csv")["weight"], expected.weights_)
    assert run("predict", out, tmp_path / "counts.csv", "--out", tmp_path / "m.csv")[0] == 0
    assert (tmp_path / "m.csv").read_bytes() == (out / "memberships.csv").read_bytes()
    assert "3 clusters by bottleneck: beta 20.0, alpha 1.0\nstatus: converged" in run("diagnose", out)[1]
    np.testing.assert_array_equal(store.load(out).cluster_distributions_, expected.cluster_distributions_)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--beta", 1], "--beta is for --method soft-kmeans or bottleneck, not gmm: leave it out"),
        (["--method", "fuzzy", "--anneal"], "--anneal is for --method soft-kmeans, not fuzzy: leave it out"),
        (["--method", "fuzzy", "--sizes", "12,12"], "--sizes is for --method gmm or soft-kmeans, not fuzzy"),
        (["--method", "soft-kmeans", "--entropy-weight", 0], "--entropy-weight is for --method fuzzy, not soft-kmeans"),
        (["--method", "soft-kmeans", "--family", "gaussian"], "--family is for --method gmm, not soft-kmeans"),
        (["--method", "soft-kmeans", "--inference", "em"], "--inference is for --method gmm, not soft-kmeans"),
        (["--method", "soft-kmeans", "--resume"], "--resume is for --method gmm, not soft-kmeans"),
        (["--method", "soft-kmeans", "--beta", "much"], "--beta is 'much': give a number above 0, or auto"),
        (["--method", "soft-kmeans", "--beta", "-1"], "--beta is '-1': give a number above 0, or auto"),
        (["--method", "bottleneck", "--beta", "auto"], "--beta is 'auto': give a number above 0"),
        (["--method", "fuzzy", "--alpha", 0], "--alpha is for --method bottleneck, not fuzzy"),
        (["--method", "fuzzy", "--m", 1], "m is 1.0"),
        (["--method", "fuzzy", "--variant", "entropy"], "variant='entropy' needs an entropy_weight"),
        (["--method", "fuzzy", "--noise-distance", 2], "noise_distance set, which variant='standard' does not use"),
        (["--method", "dbscan"], "'gmm', 'soft-kmeans', 'fuzzy', 'bottleneck'"),
    ],
)
def test_refusals(run, small, options, words):
    arguments = ["fit", small, "--components", 2, "--columns", "a,b", "--out", small.parent / "out", "--quiet"]
    code, printed, shown = run(*arguments, *options)
    assert (code, printed) == (2, "")
    assert words in " ".join(shown.replace("│", " ").split())
    assert entries(small.parent) == {"small.csv"}


def test_every_option_of_a_method_is_an_option_of_fit_and_of_its_estimator(run):
    import inspect

    from bayessoft.commands.fit import fit

    known = inspect.signature(fit).parameters
    for method, names in methods.METHODS.items():
        assert set(names) <= set(known)
        if method != methods.MIXTURE:
            theirs = inspect.signature(methods.class_of(method)).parameters
            assert {name for name in names if name not in methods.SIZING} <= set(theirs)
            made = settings.estimator(settings.understood({"method": method, "components": 4, "seed": 5}))
            assert methods.method_of(made) == method
            assert (made.n_clusters, made.random_state) == (4, 5)


# --- ambiguity


@pytest.fixture
def folder(run, small) -> Path:
    out = small.parent / "fit"
    arguments = ["fit", small, "--id", "name", "--columns", "a,b", "--components", 2, "--out", out, "--quiet"]
    assert run(*arguments, "--method", "soft-kmeans", "--beta", 0.4)[0] == 0
    return out


def test_rows_in_doubt(run, small, folder):
    code, printed, shown = run("ambiguity", folder, "--top", 3, "--out", small.parent / "doubt.csv", "--json")
    assert (code, shown) == (0, "")
    memberships = pd.read_csv(folder / "memberships.csv", index_col="name")
    shares = memberships[["cluster_0", "cluster_1"]]
    nats = pd.Series(entropy(shares, axis=1), shares.index)
    written = pd.read_csv(small.parent / "doubt.csv", index_col="name")
    assert list(written.index) == list(nats.sort_values(ascending=False, kind="stable").index)
    np.testing.assert_allclose(written["entropy"], nats[written.index], atol=1e-8)  # ten digits
    np.testing.assert_allclose(written["ambiguity"], memberships.loc[written.index, "ambiguity"], atol=1e-8)
    np.testing.assert_array_equal(written["cluster"], memberships.loc[written.index, "cluster"])
    np.testing.assert_allclose(written["membership"], shares.max(axis=1)[written.index], atol=1e-9)
    np.testing.assert_allclose(written["membership"] + written["second_membership"], 1, atol=1e-9)
    assert (written["cluster"] + written["second_cluster"] == 1).all()
    found = json.loads(printed)
    assert [row["row"] for row in found["rows"]] == list(written.index[:3])
    assert found["mean_entropy"] == pytest.approx(nats.mean())
    assert found["certain"] == (shares.max(axis=1) > 0.95).mean()
    assert found["partition_coefficient"] == pytest.approx((shares**2).sum(axis=1).mean())
    code, printed, _ = run("ambiguity", folder, small, "--top", 3, "--json", "--quiet")
    again = json.loads(printed)
    for row, other in zip(found["rows"], again["rows"], strict=True):
        assert row == pytest.approx(other, abs=1e-8)
    code, printed, _ = run("ambiguity", folder)
    assert len(printed.splitlines()) == 1 + 10 + 1 + 1
    assert "24 rows in 2 clusters: mean entropy 0." in printed


def test_noise_is_a_place_of_doubt(capsys, run, tmp_path):
    path = tmp_path / "memberships.csv"
    path.write_text("row,cluster,ambiguity,cluster_0,noise\n0,0,0,1,0\n1,-1,.9,.4,.6\nNA,0,1,0.5,0.5\n")
    code, printed, _ = run("ambiguity", tmp_path)
    assert code == 0
    assert [line.split() for line in printed.splitlines()[1:4]] == [
        ["NA", "0.693", "100.0%", "0.500", "in", "0", "0.500", "in", "noise"],
        ["1", "0.673", "97.1%", "0.600", "in", "noise", "0.400", "in", "0"],
        ["0", "0", "0.0%", "1.000", "in", "0", "0.000", "in", "noise"],
    ]
    assert "3 rows in 1 cluster beside noise" in printed


def test_a_posterior_gives_intervals_of_the_entropy(run, tmp_path):
    table = pd.DataFrame(np.random.default_rng(0).poisson([[4, 9]] * 10 + [[9, 4]] * 10), columns=["a", "b"])
    model = MixtureModel(2, "poisson", inference="cavi", random_state=0).fit(table)
    model.save(tmp_path / "model")
    table.to_csv(tmp_path / "table.csv", index=False)
    code, printed, _ = run("ambiguity", tmp_path / "model", tmp_path / "table.csv", "--out", tmp_path / "o.csv")
    assert code == 0
    assert "95% interval" in printed
    written = pd.read_csv(tmp_path / "o.csv", index_col="row").sort_index()
    expected = model.entropy_interval(table, interval=base.INTERVAL)
    np.testing.assert_allclose(written[["entropy_low", "entropy_high"]], expected, rtol=1e-9)
    (tmp_path / "posterior.nc").write_text("")
    (tmp_path / "memberships.csv").write_text("row,cluster,ambiguity,cluster_0,cluster_1\n0,0,0,1,0\n")
    assert "pass the TABLE of the rows for intervals" in run("ambiguity", tmp_path)[1]


@pytest.mark.parametrize(
    ("content", "arguments", "code", "words"),
    [
        (None, [], 1, "has no memberships.csv: pass the --out folder of a fit, or the TABLE"),
        ("", [], 1, "memberships.csv cannot be read"),
        ("row,cluster_0\n0,x\n", [], 1, "memberships.csv cannot be read"),
        ("row,cluster_1\n0,1\n", [], 1, "memberships.csv is not what a fit writes"),
        ("row,cluster_0\n", [], 1, "memberships.csv is not what a fit writes"),
        ("row,cluster_0\n0,0.5\n", [], 1, "does not sum to 1 in 1 row"),
        ("row,cluster_0\n0,1\n", ["--id", "row"], 2, "--id and --drop-missing are about TABLE"),
        ("row,cluster_0\n0,1\n", ["--out", "{folder}"], 2, "is a folder"),
        ("row,cluster_0\n0,1\n", ["{folder}/memberships.csv"], 1, "holds no saved model"),
    ],
)
def test_ambiguity_refuses(run, tmp_path, content, arguments, code, words):
    if content is not None:
        (tmp_path / "memberships.csv").write_text(content)
    got, printed, shown = run("ambiguity", tmp_path, *(each.format(folder=tmp_path) for each in arguments))
    assert (got, printed, shown.count("\n")) == (code, "", 1)
    assert words in shown


# --- compare


@pytest.fixture
def fitted(small) -> dict[str, np.ndarray]:
    """Memberships of the small table by the library."""
    X = rows_of(small)
    made = {"soft-kmeans": SoftKMeans(2, random_state=4), "fuzzy": FuzzyCMeans(2, random_state=4)}
    return {name: estimator.fit(X).predict_proba(X) for name, estimator in made.items()}


def test_methods_side_by_side(run, small, fitted):
    out = small.parent / "out"
    arguments = ["compare", small, "--id", "name", "--columns", "a,b", "--components", 2, "--seed", 4, "--quiet"]
    code, printed, shown = run(*arguments, "--methods", "soft-kmeans,fuzzy", "--out", out)
    assert (code, shown) == (0, "")
    lines = [line.split() for line in printed.splitlines()]
    assert lines[0] == ["soft-kmeans", "fuzzy"]
    assert lines[1] == ["status", "converged", "converged"]
    assert entries(out) == {"comparison.csv", "memberships.csv", "compare.json"}
    memberships = pd.read_csv(out / "memberships.csv", index_col="name")
    assert list(memberships.index) == list(rows_of(small).index)
    table = pd.read_csv(out / "comparison.csv", index_col="method")
    found = json.loads((out / "compare.json").read_text())
    assert (found["agreement_with"], found["standardised"], found["remarks"]) == ("soft-kmeans", False, [])
    for method, shares in fitted.items():
        columns = [f"{method}_cluster_0", f"{method}_cluster_1"]
        np.testing.assert_allclose(memberships[columns], shares, atol=1e-9)
        line = table.loc[method]
        assert line["mean_ambiguity"] == pytest.approx(entropy(shares, axis=1).mean() / np.log(2))
        assert line["partition_coefficient"] == pytest.approx((shares**2).sum(1).mean())
        assert [line["size_0"], line["size_1"]] == pytest.approx(sorted(shares.sum(0), reverse=True))
        assert next(own for own in found["methods"] if own["method"] == method)["sizes"][0] == pytest.approx(
            line["size_0"]
        )
    assert table.loc["fuzzy", "mean_ambiguity"] > table.loc["soft-kmeans", "mean_ambiguity"]


def test_hard_memberships_are_measured_as_labels_are(small):
    """The measures are the classical ones, of the right memberships."""
    X = rows_of(small)
    one, other = np.arange(24) >= 12, np.arange(24) >= 9
    entered = [
        comparison.Entry(name, np.column_stack([~own, own]).astype(float), "converged", "", 0.0)
        for name, own in (("x", one), ("y", other))
    ]
    failed = comparison.Entry("z", None, "failed", "why", 0.0)
    table, remarks = comparison.comparison_table([failed, *entered], X, 0)
    assert remarks == []
    assert table["agreement"].tolist()[1:] == pytest.approx([1, adjusted_rand_score(one, other)])
    assert table["soft_silhouette"].tolist()[1:] == pytest.approx([silhouette_score(X, own) for own in (one, other)])
    assert table.loc[2, ["size_0", "size_1"]].tolist() == [15, 9]
    assert table.loc[0, ["agreement", "size_0"]].isna().all()


def test_units_are_remarked_on_or_standardised(run, small):
    table = pd.read_csv(small)
    table.assign(b=1000 * table["b"]).to_csv(small, index=False)
    arguments = ["compare", small, "--columns", "a,b", "--components", 2, "--methods", "fuzzy", "--json"]
    code, printed, _ = run(*arguments)
    (remark,) = json.loads(printed)["remarks"]
    assert "('b'): distances see the large ones alone: add --standardise" in remark
    code, printed, _ = run(*arguments, "--standardise")
    found = json.loads(printed)
    assert (code, found["remarks"], found["standardised"]) == (0, [], True)
    X = rows_of(small)
    X = (X - X.mean()) / X.std(ddof=0)
    shares = FuzzyCMeans(2, random_state=0).fit(X).predict_proba(X)
    assert found["methods"][0]["partition_coefficient"] == pytest.approx((shares**2).sum(1).mean())
    flat = pd.DataFrame({"c": [2.0] * 7, "d": [0.1] * 7, "e": range(7)})  # the mean of 7 times 0.1 is not 0.1
    assert not units.standardised(flat)[["c", "d"]].to_numpy().any()
    assert units.units_apart(flat) is None


def test_a_method_that_fails_is_a_line(run, small, monkeypatch):
    def failing(*_: object, **__: object) -> None:
        raise FitError("the fit failed at step 3", advice="try\nmore")

    monkeypatch.setattr("bayessoft.estimators.soft_k_means.SoftKMeans.fit", failing)
    arguments = ["compare", small, "--columns", "a,b", "--components", 1, "--quiet"]
    code, printed, _ = run(*arguments, "--methods", "soft-kmeans,fuzzy", "--out", small.parent / "out")
    assert code == 0
    assert "\nsoft-kmeans: the fit failed at step 3: try more\n" in printed
    assert "agreement with fuzzy" in printed
    assert "fuzzy: no soft silhouette: " in printed  # of one cluster
    table = pd.read_csv(small.parent / "out" / "comparison.csv", index_col="method")
    assert table["status"].tolist() == ["failed", "converged"]
    assert list(pd.read_csv(small.parent / "out" / "memberships.csv")) == ["row", "fuzzy_cluster_0"]
    code, printed, shown = run(*arguments, "--methods", "soft-kmeans", "--out", small.parent / "other")
    assert (code, printed, shown) == (1, "", "error: soft-kmeans: the fit failed at step 3: try more\n")
    assert entries(small.parent) == {"small.csv", "out"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "gmm,dbscan"], "--methods has 'dbscan': choose from gmm, soft-kmeans, fuzzy"),
        (["--methods", "gmm,gmm"], "--methods is 'gmm,gmm': name each method once"),
        (["--methods", ""], "--methods is ''"),
        (["--methods", "gmm,bottleneck", "--standardise"], "--standardise leaves negative numbers, and bottleneck"),
        (["--out", "{folder}"], "exists already"),
    ],
)
def test_compare_refuses(run, small, options, words):
    code, printed, shown = run("compare", small, "--components", 2, *(o.format(folder=small.parent) for o in options))
    assert (code, printed, shown.count("\n")) == (2, "", 1)
    assert words in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["ambiguity", "{folder}/fit", "--out", "{folder}/o"],
        ["compare", "{folder}/small.csv", "--columns=a,b", "--components=2", "--methods=fuzzy", "--out", "{folder}/o"],
    ],
    ids=["ambiguity", "compare"],
)
def test_an_interrupt_leaves_nothing_half_written(run, small, folder, monkeypatch, arguments):
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bayessoft.report.files.write_table", stopped)
    code, printed, shown = run(*(each.format(folder=small.parent) for each in arguments))
    assert (code, printed) == (130, "")
    assert shown.endswith("interrupted\n")
    assert entries(small.parent) == {"small.csv", "fit"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ambiguity", "{0}/fit", "--out", "{0}/fit"], "fit is a folder, and --out is a CSV file to write"),
        (["predict", "{0}/fit", "{0}/small.csv", "--out", "{0}/fit"], "fit is a folder, and --out is a CSV file"),
        (["compare", "{0}/small.csv", "--components=2", "--out", "{0}/small.csv"], "small.csv is a file, and --out is"),
        (["fit", "{0}/small.csv", "--components=2", "--out", "{0}/small.csv"], "small.csv is a file, and --out is"),
    ],
    ids=["ambiguity", "predict", "compare", "fit"],
)
def test_force_replaces_like_by_like(run, small, folder, arguments, words):
    """A table in the place of a fit, or a folder in that of the rows, is a slip that nothing brings back."""
    before = small.read_bytes()
    code, printed, shown = run(*(each.format(small.parent) for each in arguments), "--force", "--quiet")
    assert (code, printed, shown.count("\n")) == (2, "", 1)
    assert words in shown
    assert (small.read_bytes(), (folder / "fit.json").is_file()) == (before, True)


# --- how it looks


@pytest.mark.parametrize("width", [40, 80])
def test_tables_keep_to_the_width(capsys, width):
    entered = [comparison.Entry(name, np.eye(3)[:2], "converged", "", 0.1) for name in methods.METHODS]
    X = pd.DataFrame({"a": [0.0, 1.0]})
    table = comparison.comparison_table(entered, X, 0)[0]
    about = {"columns": ["a"], "n": 2, "dropped": 0, "left_out": [], "seed": 0, "standardised": False, "out": None}
    narrow = console.Console(width=width)
    comparison.print_comparison(comparison.comparison_document(entered, table, about, []), narrow)
    found = doubt.Doubt(np.full((2, 3), 1 / 3), ["first", "second"], intervals=np.array([[0.1, 0.9], [0.5, 1.0]]))
    lines = doubt.doubt_table(found)
    doubt.print_doubt(doubt.doubt_document(found, lines, 2, {"out": None}), narrow)
    printed = capsys.readouterr().out
    of_tables = [line for line in printed.splitlines() if ":" not in line and "rows," not in line]
    assert max(map(len, of_tables)) <= width
    assert "…" not in printed
    for name in (*methods.METHODS, "entropy", "interval", "largest", "second"):
        assert name in printed


def test_options_of_other_methods_do_not_reach_a_mixture():
    with pytest.raises(OptionError, match="--variant is for --method fuzzy, not gmm"):
        settings.understood({"method": "gmm", "components": 2, "seed": 0, "variant": "noise"})
    assert "variant" not in settings.understood({"method": "gmm", "components": 2, "seed": 0})
