"""Student-t components end to end: a reference in NumPy, outliers, draws, names, refusals."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats
from sklearn.exceptions import ConvergenceWarning

import bayessoft as bs
from bayessoft.errors import OptionError
from bayessoft.numerics import Affine

CENTRES = np.array([[0.0, 0.0], [6.0, 2.0]])
START = dict(
    weights_init=np.array([0.5, 0.5]),
    parameters_init=dict(means=CENTRES, scales=np.stack([np.eye(2)] * 2), degrees_of_freedom=np.array([5.0, 5.0])),
)


def table(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two clusters with heavy tails, and the labels of the rows."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return CENTRES[labels] + rng.standard_t(3, (n, 2)), labels


def fitted(family, X, inference="em", **options) -> bs.MixtureModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return bs.MixtureModel(2, family, inference=inference, random_state=0, **options).fit(X)


def peel_and_mclachlan(X, steps):
    """EM as their paper states it: eqs. 19, 20 and 27 to 31."""
    n, d = X.shape
    pi, mu, sigma, nu = np.array([0.5, 0.5]), CENTRES, np.stack([np.eye(2)] * 2), np.array([5.0, 5.0])
    for _ in range(steps):
        logs = [np.log(pi[j]) + stats.multivariate_t(mu[j], sigma[j], nu[j]).logpdf(X) for j in range(2)]
        objective = special.logsumexp(logs, 0).mean()
        r = special.softmax(logs, 0)
        away = X[None] - mu[:, None]
        delta = np.einsum("knd,kde,kne->kn", away, np.linalg.inv(sigma), away)
        u = (nu[:, None] + d) / (nu[:, None] + delta)
        pi, mu = r.mean(1), (r * u) @ X / (r * u).sum(1, keepdims=True)
        away = X[None] - mu[:, None]
        sigma = np.einsum("kn,knd,kne->kde", r * u, away, away) / r.sum(1)[:, None, None]
        half = (nu + d) / 2
        told = 1 + np.sum(r * (np.log(u) - u), 1) / r.sum(1) + special.digamma(half) - np.log(half)
        nu = np.array([optimize.brentq(lambda v: np.log(v / 2) - special.digamma(v / 2) + t, 1, 200) for t in told])  # noqa: B023
    return objective, pi, mu, sigma, nu


def test_fixed_degrees_of_freedom_come_back_from_draws_and_float32():
    """What rounding moved is theirs: means over draws start a fit and stand for a posterior."""
    family, frame = bs.StudentT(degrees_of_freedom=7.3), Affine(np.zeros(1), np.ones(1), np.ones(1, bool))
    for given in (np.full(2, 7.3) * (1 + 1e-15), np.full(2, 7.3, np.float32)):
        found = family.given_parameters({"degrees_of_freedom": given}, frame)
        np.testing.assert_array_equal(found.degrees_of_freedom, 7.3)


def test_em_is_that_of_peel_and_mclachlan():
    X = table()[0]
    model = fitted(bs.StudentT(), X, bs.EM(max_iter=25, tol=0), **START)
    objective, pi, mu, sigma, nu = peel_and_mclachlan(X, 25)
    # the same steps; roots of equations to 1e-12, through 25 of them
    np.testing.assert_allclose(model.lower_bound_, objective, rtol=1e-9)
    np.testing.assert_allclose(model.weights_, pi, rtol=1e-7)
    np.testing.assert_allclose(model.parameters_["means"], mu, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(model.parameters_["scales"], sigma, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(model.parameters_["degrees_of_freedom"], nu, rtol=1e-6)
    assert (np.diff(model.lower_bounds_) > 0).all()


@pytest.mark.statistical
def test_outliers_drag_gaussian_components_and_not_these(tmp_path):
    X, labels = table()
    X[:6] += np.array([-40.0, 60.0]) * np.random.default_rng(1).normal(1, 0.3, (6, 1))
    frame = pd.DataFrame(X, columns=["length", "width"])
    model, normal = fitted(bs.StudentT("full", 3.0), frame), fitted(bs.Gaussian("full", "weak"), frame)
    off = [np.abs(m.parameters_["means"][np.argsort(m.parameters_["means"][:, 0])] - CENTRES) for m in (model, normal)]
    assert off[0].max() < 0.5 < 3 < off[1].max()
    right = (model.predict(frame) == labels)[6:].mean()
    assert max(right, 1 - right) > 0.95
    summary = model.summary()
    assert list(summary)[2:] == ["mean length", "mean width", "degrees of freedom"]
    assert (summary["degrees of freedom"] == 3).all()
    assert model.parameters_["scales"].shape == (2, 2, 2) and model.fit_.n_parameters == 1 + 4 + 6
    model.save(tmp_path / "model")
    again = bs.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
    rows = model.sample(20_000)[0]
    assert np.isfinite(rows).all() and np.abs(rows).max() > 20  # where a Gaussian row lies once in 1e20


@pytest.mark.statistical
def test_gibbs_draws_degrees_of_freedom(tmp_path):
    X = pd.DataFrame(table(120)[0], columns=["length", "width"])
    model = fitted("student-t", X, bs.Gibbs(draws=150, warmup=100, chains=2))
    tree = model.to_arviz()
    assert tree["posterior"]["degrees_of_freedom"].shape == (2, 150, 2)
    assert tree["posterior"]["scales"].dims[2:] == ("cluster", "feature", "feature_bis")
    assert list(tree["posterior"]["feature"].values) == ["length", "width"]
    draws = tree["posterior"]["degrees_of_freedom"].values
    assert ((draws >= 1) & (draws <= 200)).all() and draws.std() > 0.5
    assert isinstance(model.prior_, bs.StudentTPrior) and (model.prior_.shape, model.prior_.rate) == (2.0, 0.1)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(bs.load(tmp_path / "model").predict_proba(X), model.predict_proba(X))


PRIOR = bs.NormalInverseWishart(np.zeros(2), 0.1, 4.0, np.eye(2))


@pytest.mark.parametrize(
    ("arguments", "inference", "options", "message"),
    [
        ({}, "cavi", {}, "StudentT has no conjugate prior, which inference='cavi' needs: use 'gibbs'"),
        ({}, bs.SVI(guide="conjugate"), {}, "StudentT has no conjugate prior"),
        ({}, bs.Gibbs(inverse_temperatures=(1.0, 0.5)), {}, "StudentT draws more of a row than its label"),
        ({"covariance_type": "round"}, "em", {}, "covariance_type is 'round'"),
        ({"degrees_of_freedom": 0.5}, "em", {}, "degrees_of_freedom is 0.5: pass a number >= 1, or None"),
        ({"degrees_of_freedom": "many"}, "em", {}, "degrees_of_freedom is 'many'"),
        ({"prior": PRIOR}, "em", {}, "prior is a NormalInverseWishart: pass None, 'weak' or a StudentTPrior"),
        ({"prior": bs.StudentTPrior(PRIOR, 0.5)}, "em", {}, "prior.shape is 0.5: pass a number >= 1"),
        ({"prior": bs.StudentTPrior(PRIOR, 2.0, 1e-4)}, "em", {}, "pass a mean, shape / rate, in that range"),
        ({"prior": bs.StudentTPrior(None)}, "em", {}, "prior.components is None"),
        ({}, "em", {"parameters_init": {"covariances": 1}}, "pass 'means' and 'scales' and 'degrees_of"),
        ({}, "em", {"parameters_init": {"degrees_of_freedom": [0.5, 2]}}, "pass numbers >= 1"),
        ({"degrees_of_freedom": 3}, "em", {"parameters_init": {"degrees_of_freedom": [2, 2]}}, "fixes them at 3"),
    ],
)
def test_refusals(arguments, inference, options, message):
    with pytest.raises(OptionError, match=message):
        fitted(bs.StudentT(**arguments), table(20)[0], inference, **options)


def test_rows_that_count_twice_are_refused_where_each_draws_a_scale():
    with pytest.raises(
        OptionError, match="sample_weight goes up to 2, but StudentT draws more .* pass each row as often"
    ):
        bs.MixtureModel(2, "student-t", inference="gibbs").fit(table(20)[0], sample_weight=np.repeat([1, 2], 10))


@pytest.mark.statistical
def test_the_command_line_takes_it(tmp_path):
    from typer.testing import CliRunner

    from bayessoft.cli import app

    pd.DataFrame(table(60)[0], columns=["length", "width"]).to_csv(tmp_path / "t.csv", index=False)
    arguments = ["fit", tmp_path / "t.csv", "--components", 2, "--family", "student-t", "--covariance", "spherical"]
    ran = CliRunner().invoke(app, [*map(str, arguments), "--seed", "1", "--out", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    found = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert (found["family"], found["options"]["covariance"]) == ("student-t", "spherical")
    assert "degrees of freedom" in pd.read_csv(tmp_path / "out" / "summary.csv")
