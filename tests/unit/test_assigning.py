"""What estimators do with sizes after a fit: assignment within bounds, prices kept or found anew, what bounds cost."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

import bayessoft as bs
from bayessoft import plots
from bayessoft.errors import DataError, OptionError
from bayessoft.report import tables
from bayessoft.status import Status

RNG = np.random.default_rng(3)
TRUTH = RNG.permutation(np.repeat([0, 1, 2], [40, 25, 15]))
X = pd.DataFrame(RNG.normal(size=(80, 2)) + np.array([[0, 0], [4, 0], [2, 4]])[TRUTH], columns=["length", "width"])
LOAD = pd.Series(RNG.gamma(3.0, 2.0, 80), name="load")
FEW = bs.Gibbs(draws=60, warmup=60, chains=2)
AND_GIBBS = pytest.param(FEW, marks=pytest.mark.statistical, id="gibbs")


def fitted(sizes=None, inference="em", evidence=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few draws on purpose
        gm = bs.GaussianMixture(3, covariance_type="diag", prior="weak", sizes=sizes, inference=inference)
        return gm.set_params(random_state=0, **options).fit(X, evidence=evidence)


@pytest.fixture(scope="module")
def bounded():
    return fitted([bs.Between(low=20), bs.Capacity(LOAD, high=0.4, unit="share")])


def test_the_table_of_bounds_says_what_they_came_to(bounded):
    table = bounded.size_bounds_
    assert list(table.columns) == ["low", "high", "amount", "bound", "price"]
    assert table.index.names == ["resource", "cluster"] and list(table.index.levels[0]) == ["load", "rows"]
    rows, load = table.loc["rows"], table.loc["load"]
    np.testing.assert_allclose(rows["amount"], bounded.responsibilities_.sum(0))
    np.testing.assert_allclose(load["amount"], LOAD @ bounded.responsibilities_)
    np.testing.assert_array_equal(np.stack([rows["price"], load["price"]]), bounded.prices_)
    assert (rows["bound"] == np.where(bounded.prices_[0] > 0, "low", "")).all()
    assert (load["bound"] == np.where(bounded.prices_[1] < 0, "high", "")).all()
    assert (rows["bound"] == "low").any() and (load["bound"] == "high").any()
    assert not hasattr(fitted(), "size_bounds_")


@pytest.mark.statistical
def test_bounds_of_draws_are_those_of_their_counts():
    table = fitted(bs.Between([10, 30, 10], [20, 80, 30]), FEW).size_bounds_.loc["rows"]
    assert sorted(zip(table["low"], table["high"], strict=True)) == [(10, 20), (10, 30), (30, 80)]
    assert (table["amount"] >= table["low"]).all() and (table["amount"] <= table["high"]).all()
    assert table["price"].isna().all()


def test_bounds_of_clusters_that_cannot_be_told_apart_are_not_said():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    gm = bs.GaussianMixture(3, covariance_type="diag", sizes=bs.Fixed([10, 20, 30]), inference=FEW, random_state=0)
    with pytest.warns(ConvergenceWarning):
        gm.fit(rows)
    assert not gm.status_.labelled
    table = gm.size_bounds_
    assert table[["low", "high", "amount"]].isna().all(axis=None) and (table["bound"] == "").all()
    with pytest.raises(OptionError, match="no sizes by cluster to draw: sampled, but"):
        plots.sizes(gm)
    assert (
        tables._bounds("rows", {"low": [None], "high": [None], "amount": [None], "bound": [None], "price": [None]})
        == []
    )


@pytest.mark.parametrize("inference", ["em", "cavi", AND_GIBBS])
def test_labels_keep_their_counts_whatever_the_fit(inference):
    gm = fitted(inference=inference)
    free = gm.assign(X)
    np.testing.assert_array_equal(free, gm.predict(X))
    labels, gap = gm.assign(X, sizes=bs.Fixed([30, 30, 20]), return_gap=True)
    np.testing.assert_array_equal(np.bincount(labels), [30, 30, 20])
    assert gap == pytest.approx(0, abs=1e-9)
    logs = gm.fit_.log_memberships(X.to_numpy())
    np.testing.assert_allclose(np.exp(logs), gm.predict_proba(X), atol=1e-12)
    swapped = labels.copy()  # no swap of two rows gains anything
    for _ in range(200):
        i, j = RNG.choice(80, 2, replace=False)
        swapped[[i, j]] = labels[[j, i]]
        assert logs[np.arange(80), swapped].sum() <= logs[np.arange(80), labels].sum() + 1e-9
        swapped[[i, j]] = labels[[i, j]]
    np.testing.assert_array_equal(np.bincount(gm.assign(X, sizes=bs.Between(26)), minlength=3) >= 26, True)


def test_a_batch_may_be_as_small_as_it_likes(bounded):
    shares = bs.Fixed([0.5, 0.3, 0.2], unit="share")
    for n in (1, 2, 7):
        soft = bounded.predict_proba(X[:n], sizes=shares)
        np.testing.assert_allclose(soft.sum(0), n * np.array(shares.sizes), atol=1e-8 * n)
        np.testing.assert_array_equal(soft, bounded.assign(X[:n], hard=False, sizes=shares))
        assert bounded.assign(X[:n], sizes=shares).shape == (n,)
        assert bounded.predict_proba(X[:n], prices="keep", resources=LOAD[:n]).shape == (n, 3)
    np.testing.assert_array_equal(np.bincount(bounded.assign(X[:7], sizes=shares), minlength=3), [4, 2, 1])


def test_kept_prices_are_those_of_the_fit(bounded):
    np.testing.assert_allclose(
        bounded.predict_proba(X, prices="keep", resources=LOAD), bounded.responsibilities_, atol=1e-9
    )
    one = fitted(bs.Fixed([20, 25, 35]))
    np.testing.assert_allclose(one.predict_proba(X, prices="keep"), one.responsibilities_, atol=1e-9)
    assert np.abs(one.predict_proba(X) - one.responsibilities_).max() > 0.1


def test_memberships_of_a_batch_meet_several_bounds(bounded):
    weights = np.where(np.arange(80) % 2, 0.5, 2.0)
    sizes = [bs.Between(low=0.3, unit="share"), bs.Capacity(LOAD, high=0.38, unit="share")]
    found, gap = bounded.assign(X, hard=False, sizes=sizes, sample_weight=weights, return_gap=True)
    assert (weights @ found >= 0.3 * weights.sum() - 1e-6).all()
    assert ((weights * LOAD) @ found <= 0.38 * (weights @ LOAD) + 1e-6).all()
    assert 0 <= gap < 1e-6


@pytest.mark.parametrize("inference", ["cavi", AND_GIBBS])
def test_prices_have_intervals(inference):
    gm = fitted(bs.Fixed([20, 25, 35]), inference)
    table = gm.price_interval(X).loc["rows"]
    assert (table["price_low"] <= table["price"]).all() and (table["price"] <= table["price_high"]).all()
    assert (table["price_low"] < table["price_high"]).all() and (table["active"] == 1).all()
    if inference == "cavi":
        assert (np.sign(table["price"]) == np.sign(gm.prices_)).all()
    supposed = fitted(inference="cavi").price_interval(X, sizes=bs.Between(low=22)).loc["rows"]
    assert 0 < supposed["active"].max() and (supposed["price"] >= 0).all()


def test_a_curve_follows_a_bound(bounded):
    cluster = int(bounded.prices_[0].argmax())
    curve = bounded.size_curve(X, cluster, [21, 22, 23])
    assert (np.diff(curve["objective"]) < 0).all() and (curve["price"] > 0).all()
    np.testing.assert_allclose(curve["amount"], [21, 22, 23], atol=1e-6)
    slopes = np.diff(curve["objective"])
    between = (curve["price"].to_numpy()[1:] + curve["price"].to_numpy()[:-1]) / 2
    np.testing.assert_allclose(slopes, -between, rtol=0.1)  # EM ends within 1e-3 nats per row of its mode
    cluster = int(bounded.prices_[1].argmin())
    high = bounded.size_curve(X, cluster, [LOAD.sum() * 0.39], side="high", resource="load")
    assert high["objective"].iloc[0] < bounded.lower_bound_ * 80 and high["price"].iloc[0] < 0


def test_refusals(bounded):
    with pytest.raises(OptionError, match="the high bounds sum to 300"):
        bounded.assign(X, sizes=bs.Capacity(LOAD, high=100))
    with pytest.raises(OptionError, match="pass resources=, what each row takes"):
        bounded.predict_proba(X, prices="keep")
    with pytest.raises(OptionError, match="needs those of a fit"):
        fitted().predict_proba(X, prices="keep")
    with pytest.raises(OptionError, match="pass 'keep'"):
        bounded.predict_proba(X, prices="all")
    with pytest.raises(OptionError, match="needs a posterior"):
        bounded.price_interval(X)
    with pytest.raises(OptionError, match="no bounds to price"):
        fitted(inference="cavi").price_interval(X)
    with pytest.raises(OptionError, match="fit with Between"):
        fitted(bs.Fixed([20, 25, 35])).size_curve(X, 0, [21])
    with pytest.raises(OptionError, match="there is no low bound of 'mass'"):
        bounded.size_curve(X, 0, [21], resource="mass")
    with pytest.raises(OptionError, match="numbers but there are 80 rows"):
        fitted(bs.Capacity(LOAD[:70], high=0.5, unit="share"))
    with pytest.raises(OptionError, match="about other resources than rows"):
        fitted(bs.Capacity(LOAD, high=0.5, unit="share"), FEW)
    with pytest.raises(OptionError, match="high bounds sum to 0.9"):
        fitted(bs.Capacity(LOAD / LOAD.sum(), high=0.3))
    with pytest.raises(OptionError, match=r"no rows with 40 of 'rows', .* take less than"):
        fitted([bs.Between([40, None, None]), bs.Capacity(LOAD, high=[30, None, None])])
    with pytest.raises(OptionError, match="bound numbers of rows twice"):
        fitted([bs.Between(10), bs.Fixed([20, 25, 35])])


@pytest.mark.statistical
def test_bounds_that_cannot_be_met_together_are_named():
    """Each can be met alone, and by pairs, but not all three."""
    one = np.where(np.arange(80) < 40, 3.0, 1.0)
    other = 4 - one + 0.01 * RNG.random(80)
    sizes = [
        bs.Fixed([20, 20, 40], order="given"),
        bs.Capacity(one, high=[None, None, 0.43 * one.sum()], order="given", name="one"),
        bs.Capacity(other, high=[None, None, 0.43 * other.sum()], order="given", name="other"),
    ]
    gm = bs.GaussianMixture(3, covariance_type="diag", prior="weak", sizes=sizes, means_init=X[:3].to_numpy())
    with pytest.warns(ConvergenceWarning, match=r"is not met.* \(.*of cluster \d .*, at (most|least) "):
        gm.fit(X)
    assert gm.status_ is Status.SIZES_NOT_MET and not np.isfinite(gm.duality_gap_)


KNOWN = np.arange(0, 80, 4)
HARD = np.zeros((80, 3))
HARD[KNOWN] = -np.inf
HARD[KNOWN, TRUTH[KNOWN]] = 0
SOFT = np.maximum(HARD, -8.0)


@pytest.mark.parametrize(
    "inference",
    ["em", FEW, *(pytest.param(name, marks=pytest.mark.statistical) for name in ("cavi", "svi", "map"))]
    + [pytest.param(bs.NUTS(draws=30, warmup=60, chains=1), marks=pytest.mark.statistical)],
    ids=str,
)
def test_evidence_says_which_cluster_is_which(inference):
    gm = fitted(inference=inference, evidence=HARD)
    assert (gm.responsibilities_.argmax(1) == TRUTH).mean() > 0.9
    np.testing.assert_allclose(gm.responsibilities_[KNOWN, TRUTH[KNOWN]], 1)
    np.testing.assert_allclose(gm.predict_proba(X, evidence=HARD)[KNOWN, TRUTH[KNOWN]], 1)
    assert gm.predict_proba(X)[KNOWN, TRUTH[KNOWN]].min() < 1 - 1e-6
    labels = gm.assign(X, sizes=bs.Fixed([35, 25, 20]), evidence=HARD)
    np.testing.assert_array_equal(labels[KNOWN], TRUTH[KNOWN])
    np.testing.assert_array_equal(np.bincount(labels), [35, 25, 20])


@pytest.mark.parametrize(
    "inference", ["em", *(pytest.param(each, marks=pytest.mark.statistical) for each in (FEW, "cavi"))], ids=str
)
def test_evidence_goes_with_sizes(inference):
    soft = inference is FEW
    gm = fitted(bs.Fixed([30, 25, 25], order="given"), inference, evidence=SOFT if soft else HARD)
    np.testing.assert_allclose(gm.sizes_, [30, 25, 25], rtol=1e-8)
    np.testing.assert_allclose(gm.responsibilities_.sum(0), [30, 25, 25], rtol=1e-8)
    assert gm.responsibilities_[KNOWN, TRUTH[KNOWN]].min() > 0.9
    if not soft:
        assert 0 <= gm.duality_gap_ < 1e-6


def test_bounds_that_evidence_rules_out_are_refused():
    count = int((TRUTH[KNOWN] == 0).sum())
    with pytest.raises(OptionError, match=f"only belong to clusters 0 come to {count}, and the high bounds .* 3"):
        fitted(bs.Fixed([3, 40, 37], order="given"), evidence=HARD)
    able = 80 - (TRUTH[KNOWN] != 0).sum()
    with pytest.raises(OptionError, match=f"may belong to clusters 0 come to {able}, and the low bounds .* 75"):
        fitted(bs.Between(low=[75, 0, 0], order="given"), evidence=HARD)
    with pytest.raises(OptionError, match="evidence of -inf keeps rows out"):
        fitted(bs.Fixed([30, 25, 25]), FEW, evidence=HARD)
    with pytest.raises(OptionError, match="no labels of the 80 rows have counts"):
        fitted().assign(X, sizes=bs.Fixed([3, 40, 37]), evidence=HARD)


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        (np.zeros((80, 2)), r"evidence has shape \(80, 2\)"),
        (np.full((80, 3), np.nan), "evidence is NaN for 80 rows"),
        (np.full((80, 3), np.inf), "evidence is infinite"),
        (np.full((80, 3), -np.inf), "row 0 is -inf for every cluster"),
        ([["a"] * 3] * 80, "evidence holds no numbers"),
    ],
)
def test_evidence_that_is_none_is_refused(evidence, message):
    with pytest.raises(DataError, match=message):
        fitted(evidence=evidence)


def test_clusters_with_evidence_do_not_change_places(tmp_path):
    gm = fitted(inference=FEW, evidence=SOFT)
    assert (gm.fit_.posterior.ancestry == np.arange(3)).all()
    gm.save(tmp_path / "model")
    np.testing.assert_array_equal(bs.load(tmp_path / "model").responsibilities_, gm.responsibilities_)


NAMES = ["flat", "long", "wide"]


def test_sizes_go_by_the_names_of_clusters(tmp_path):
    named = pd.DataFrame(SOFT, columns=NAMES)
    gm = fitted([bs.Between(low={"wide": 20}), bs.Capacity(LOAD, high={"flat": LOAD.sum() / 3})], evidence=named)
    np.testing.assert_array_equal(gm.clusters_, NAMES)
    assert gm.summary().index.tolist() == NAMES
    table = gm.size_bounds_
    assert table.loc[("rows", "wide"), "low"] == 20 and table.loc[("rows", "long"), "low"] == 0
    assert table.loc[("load", "flat"), "high"] == pytest.approx(LOAD.sum() / 3)
    labels = gm.assign(X, sizes=bs.Fixed({"wide": 30, "flat": 25, "long": 25}), evidence=named)
    np.testing.assert_array_equal(np.bincount(labels), [25, 25, 30])
    gm.save(tmp_path / "model")
    assert bs.load(tmp_path / "model").size_bounds_.equals(table)
    start = pd.DataFrame([[0.0, 0.0], [4, 0], [2, 4]], NAMES)
    by_means = fitted(bs.Fixed({"wide": 20, "flat": 35, "long": 25}), means_init=start)
    np.testing.assert_allclose(by_means.sizes_, [35, 25, 20])
    assert gm.log_likelihood_ >= gm.lower_bound_ * 80 - gm.fit_.mixture.log_prior(*prior_of(gm))
    by_means.save(tmp_path / "other")


def prior_of(gm):
    family = gm.fit_.mixture.family
    return gm.weights_, family.map_parameters(gm.fit_.posterior.parameters, gm.fit_.frame)


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        (bs.Fixed({"a": 40, "b": 20, "c": 20}), {}, "nothing says which cluster is which"),
        (
            bs.Fixed({"flat": 40, "b": 20, "wide": 20}),
            {"evidence": pd.DataFrame(SOFT, columns=NAMES)},
            "no cluster 'b'",
        ),
        (bs.Fixed({"flat": 40, "wide": 40}), {"evidence": pd.DataFrame(SOFT, columns=NAMES)}, "pass all of them"),
    ],
)
def test_names_that_are_none_are_refused(sizes, options, message):
    with pytest.raises(OptionError, match=message):
        fitted(sizes, **options)
    with pytest.raises(OptionError, match="the other side goes by name"):
        bs.Between(low={"a": 3}, high=[4, 5, 6])


@pytest.mark.parametrize("few", [True, False])
def test_labels_under_capacities(few, monkeypatch):
    if not few:
        monkeypatch.setattr("bayessoft.core.rounding.FEW", 0)
    gm, sizes = fitted(), [bs.Between(low=20), bs.Capacity(LOAD, high=0.4, unit="share")]
    labels, gap = gm.assign(X, sizes=sizes, return_gap=True)
    assert (np.bincount(labels) >= 20).all() and (np.bincount(labels, LOAD) <= 0.4 * LOAD.sum() + 1e-9).all()
    logs = gm.fit_.log_memberships(X.to_numpy())
    value = logs[np.arange(80), labels].sum()
    assert gap >= 0 and (not few or gap < 0.01 * abs(value))
    soft = gm.assign(X, hard=False, sizes=sizes)
    relaxed = (soft * logs).sum()  # of memberships that are no less even than labels: its entropy makes up for it
    assert value <= relaxed + np.sum(-soft * np.log(np.maximum(soft, 1e-300))) + 1e-6
    with pytest.raises(OptionError, match="since rows are not shared"):
        gm.assign(X[:2], sizes=bs.Capacity(LOAD[:2], high=[0.34, 0.34, 0.34], unit="share"))
