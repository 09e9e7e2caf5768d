"""Mixtures of any family: fits by every engine, refusals, a family of one's own, saved and loaded."""

import sys
import warnings
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

import bayessoft as bs
from bayessoft.data.rows import rows as checked
from bayessoft.errors import DataError, OptionError
from bayessoft.families import FAMILIES
from bayessoft.families.bernoulli import Bernoulli
from bayessoft.families.family import pytree

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 80)
TABLES = {
    "gaussian": RNG.normal(size=(80, 2)) + 6.0 * LABELS[:, None],
    "student-t": np.random.default_rng(1).standard_t(3, (80, 2)) + 9.0 * LABELS[:, None],
    "poisson": RNG.poisson(np.array([[1.0, 9.0], [8.0, 2.0]])[LABELS]),
    "bernoulli": RNG.random((80, 5)) < np.array([[0.1] * 5, [0.9] * 5])[LABELS],
    "categorical": np.array([RNG.choice(3, 4, p=p) for p in np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])[LABELS]]),
    "multinomial": np.array([RNG.multinomial(20, p) for p in np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])[LABELS]]),
}
GIBBS, NUTS = bs.Gibbs(draws=60, warmup=30, chains=2), bs.NUTS(draws=40, warmup=60, chains=2)


def fitted(family: Any, X: Any, inference: Any = "em", **options: Any) -> bs.MixtureModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few draws on purpose
        return bs.MixtureModel(2, family, inference=inference, random_state=0, **options).fit(X)


ALL = {"em": "em", "map": "map", "cavi": "cavi", "svi": "svi", "gibbs": GIBBS, "nuts": NUTS}
QUICK = {("poisson", name) for name in ("em", "cavi", "svi", "gibbs")}


@pytest.mark.parametrize(
    "family, inference",
    [
        pytest.param(
            family, ALL[name], id=f"{family}-{name}", marks=[pytest.mark.statistical] * ((family, name) not in QUICK)
        )
        for family in FAMILIES
        for name in ALL
    ],
)
def test_every_engine_finds_the_groups(family, inference, tmp_path):
    X = TABLES[family]
    if FAMILIES[family][1] == "b" and inference == "cavi":
        with pytest.raises(OptionError, match="has no conjugate prior"):
            fitted(family, X, inference)
        return
    model = fitted(family, X, inference)
    assert adjusted_rand_score(LABELS, model.predict(X)) > 0.6
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
    assert model.score_samples(X).shape == (80,)
    summary = model.summary()
    assert len(summary) == 2 and not summary["weight"].isna().any()
    rows, labels = model.sample(50)
    assert rows.shape == (50, X.shape[1]) and set(labels) <= {0, 1}
    model.fit_.mixture.family.check(checked(rows))
    if inference not in ("em", "map"):
        low, high = model.entropy_interval(X).T
        assert model.membership_interval(X[:3]).shape == (3, 2, 2)
        assert (low >= 0).all() and (high <= np.log(2) + 1e-12).all() and (low <= high).all()
        tree = model.to_arviz(X)
        assert set(tree["posterior"].data_vars) == {"weights", *model.parameters_}
    model.save(tmp_path / "model")
    again = bs.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_a_gaussian_model_is_the_gaussian_mixture():
    X = TABLES["gaussian"]
    one, other = fitted(bs.Gaussian("diag"), X), bs.GaussianMixture(2, covariance_type="diag", reg_covar=0)
    other.set_params(random_state=0).fit(X)
    np.testing.assert_allclose(one.parameters_["means"], other.means_)
    np.testing.assert_allclose(one.parameters_["covariances"], other.covariances_)


@pytest.mark.statistical
def test_gradients_climb_to_the_mode_that_em_finds():
    X = TABLES["poisson"]
    options = dict(weight_concentration_prior=2.0)
    em = fitted("poisson", X, bs.EM(tol=1e-13, max_iter=5000), **options)
    by_gradients = fitted("poisson", X, bs.GradientMAP(tol=1e-13), **options)
    assert by_gradients.converged_
    # the objective is flat at its top: differences of parameters are about the root of those of the objective
    np.testing.assert_allclose(by_gradients.lower_bound_, em.lower_bound_, rtol=0, atol=1e-9)
    np.testing.assert_allclose(by_gradients.parameters_["rates"], em.parameters_["rates"], rtol=1e-3)


def test_names_of_columns_reach_the_summary():
    frame = pd.DataFrame(TABLES["categorical"][:, :2], columns=["colour", "size"])
    model = fitted("categorical", frame)
    assert list(model.summary())[2:5] == ["probability colour=0", "probability colour=1", "probability colour=2"]
    counts = pd.DataFrame(TABLES["poisson"], columns=["visits", "calls"])
    assert list(fitted("poisson", counts).summary())[2:] == ["rate visits", "rate calls"]


def test_a_start_can_be_given_and_taken_up():
    X = TABLES["poisson"]
    first = fitted("poisson", X)
    start = dict(weights_init=first.weights_[::-1], parameters_init={"rates": first.parameters_["rates"][::-1]})
    again = fitted("poisson", X, **start)
    np.testing.assert_allclose(again.parameters_["rates"], first.parameters_["rates"][::-1], rtol=1e-2)
    assert again.n_iter_ <= 3
    warm = fitted("poisson", X, warm_start=True)
    assert warm.fit(X).n_iter_ <= 3


def test_sizes_bind_counts_too():
    X = TABLES["poisson"]
    model = fitted("poisson", X, sizes=bs.Fixed([60, 20]))
    np.testing.assert_allclose(np.sort(model.responsibilities_.sum(0)), [20, 60], atol=1e-6)


@pytest.mark.parametrize(
    ("family", "cell", "message"),
    [
        ("poisson", -1.0, r"X holds -1 at .* need counts"),
        ("poisson", 0.5, "X holds 0.5 .* need counts"),
        ("multinomial", 0.5, "need counts"),
        ("bernoulli", 2.0, "need 0 or 1"),
        ("categorical", 0.5, "answers numbered 0, 1, 2"),
    ],
)
def test_cells_without_a_density_are_refused(family, cell, message):
    X = TABLES[family].astype(float)
    X[3, 1] = cell
    with pytest.raises(DataError, match=message):
        fitted(family, X)
    model = fitted(family, TABLES[family])
    with pytest.raises(DataError, match=message):
        model.predict(X)


def test_answers_that_the_fit_did_not_know_are_refused():
    model = fitted("categorical", TABLES["categorical"])
    with pytest.raises(DataError, match="the columns have 3, 3, 3, 3 answers"):
        model.predict([[0, 0, 0, 3]])


def test_large_counts_in_single_precision_are_refused():
    with pytest.raises(DataError, match="astype"):
        fitted("poisson", np.array([[1e6, 0], [0, 1e6], [3, 4]], np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(family="gamma"), "family is 'gamma': pass one of"),
        (dict(family=object()), "needs a method draw"),
        (dict(family=bs.Poisson(bs.Gamma(1.5, -1.0))), "prior.rate is -1.0: pass finite numbers above 0"),
        (dict(family=bs.Poisson(bs.Beta(1.0, 1.0))), "prior is a Beta: pass None, 'weak' or a Gamma"),
        (dict(family=bs.Poisson(bs.Gamma(np.ones(3), 1.0))), r"prior.shape has shape \(3,\)"),
        (dict(family=bs.Poisson(bs.Gamma(0.5, 1.0))), "no mode for EM to find"),
        (dict(family=bs.Multinomial(total=-1)), "total is -1"),
        (dict(family="poisson", inference="map", sizes=bs.Fixed([40, 40])), "cannot be met"),
        (dict(family="poisson", parameters_init=3), "pass a dict of arrays"),
        (dict(family="poisson", parameters_init={"rate": np.ones((2, 2))}), "there is no 'rate' to start from"),
        (dict(family="poisson", parameters_init={"rates": np.ones(2)}), r"pass finite numbers of shape \(2, 2\)"),
        (dict(family="poisson", parameters_init={"rates": -np.ones((2, 2))}), "pass numbers >= 0"),
        (
            dict(family="gaussian", parameters_init={"covariances": np.tile([[1.0, 2.0], [2.0, 1.0]], (2, 1, 1))}),
            "positive definite",
        ),
    ],
)
def test_refusals(options, message):
    with pytest.raises(OptionError, match=message):
        fitted(X=TABLES["poisson"], **options)


class Laplace:
    """Laplace components with one scale for all: a family that states its prior and its likelihood, nothing else."""

    def draw(self, sample: Any, k: int) -> Any:
        location = sample("location", dist.Normal(0.0, 10.0).expand([k, 2]).to_event(2))
        return location, sample("scale", dist.LogNormal(0.0, 1.0))

    def likelihood(self, parameters: Any) -> Any:
        return dist.Laplace(*parameters).to_event(1)


@pytest.mark.statistical
@pytest.mark.parametrize("inference", ["map", NUTS], ids=["map", "nuts"])
def test_a_family_without_registration(inference):
    X = TABLES["gaussian"]
    model = fitted(Laplace(), X, inference)
    assert adjusted_rand_score(LABELS, model.predict(X)) > 0.9
    assert model.parameters_["location"].shape == (2, 2) and model.parameters_["scale"].shape == ()
    order = np.argsort(model.parameters_["location"][:, 0])
    np.testing.assert_allclose(model.parameters_["location"][order], [[0, 0], [6, 6]], atol=0.7)
    assert list(model.summary())[-2:] == ["location 0", "location 1"]
    assert model.sample(5)[0].shape == (5, 2) and model.fit_.n_parameters == 1 + 4 + 1
    if inference is NUTS:
        assert model.membership_interval(X[:3]).shape == (3, 2, 2)
        assert set(model.to_arviz()["posterior"].data_vars) == {"weights", "location", "scale"}


@pytest.mark.parametrize("inference", ["em", "cavi", "gibbs"])
def test_a_family_without_registration_is_refused_where_it_does_not_suffice(inference):
    with pytest.raises(OptionError, match="Laplace has no .*, which inference="):
        fitted(Laplace(), TABLES["gaussian"], inference)


def test_a_likelihood_of_the_wrong_shape_is_refused():
    class Flat(Laplace):
        def likelihood(self, parameters: Any) -> Any:
            return dist.Laplace(*parameters)

    with pytest.raises(OptionError, match=r"batch shape \(2, 2\) and event shape \(\)"):
        fitted(Flat(), TABLES["gaussian"], "map")


@pytree()
@dataclass(frozen=True, eq=False)
class Geometric(Bernoulli):
    """How many zeros come before the first 1: a family by one file, which the next test registers by one line."""

    def check(self, rows: Any) -> None:
        pass

    def weak(self, rows: Any) -> Any:
        return bs.Beta(np.full(rows.d, 1.5), np.full(rows.d, 1.5))

    def natural(self, parameters: Any) -> Any:
        p = parameters.probabilities
        return jnp.log1p(-p), jnp.log(p).sum(-1)

    def _answers(self, statistics: Any) -> Any:
        return jnp.broadcast_to(statistics.weight[:, None], statistics.first.shape), statistics.first

    def centres(self, means: Any) -> Any:
        return type(super().centres(means))(1 / (1 + means))

    def expected(self, k: int) -> Any:
        from jax.scipy.special import digamma

        yes, no = self.spread(k)
        log_yes, log_no = digamma(yes) - digamma(yes + no), digamma(no) - digamma(yes + no)
        p = -jnp.expm1(log_no)
        return self.gathered({"probabilities": p}), (log_yes - jnp.log(p)).sum(-1)

    def likelihood(self, parameters: Any) -> Any:
        return dist.GeometricProbs(parameters.probabilities).to_event(1)

    def tile_predictive(self, k: int, x: Any) -> Any:
        from jax.scipy.special import betaln

        yes, no = (field[:, :, None] for field in self.spread(k))
        return jnp.sum(betaln(yes + 1, no + x) - betaln(yes, no), 1)

    def simulate(self, parameters: Any, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.geometric(np.asarray(parameters.probabilities)[labels]).astype(float) - 1


@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.statistical)])
def test_a_family_by_one_file_and_one_line(monkeypatch, thorough):
    module = ModuleType("geometric")
    module.Geometric = Geometric
    monkeypatch.setitem(sys.modules, "geometric", module)
    monkeypatch.setitem(FAMILIES, "geometric", ("geometric:Geometric", "c"))
    X = RNG.geometric(np.array([[0.1, 0.7], [0.8, 0.15]])[LABELS]) - 1
    for inference in ("em", "cavi", GIBBS) if thorough else ("em",):
        assert adjusted_rand_score(LABELS, fitted("geometric", X, inference).predict(X)) > 0.5
    if not thorough:
        return
    right = bs.Mixture(2, Geometric(bs.Beta(np.full(2, 3.0), 2.0)), bs.Dirichlet(2.0))
    assert not bs.calibrate(right, n=5, simulations=200).rejected()


def test_a_prior_of_one_number_needs_columns():
    mixture = bs.Mixture(2, bs.Poisson(bs.Gamma(2.0, 1.0)), bs.Dirichlet(2.0))
    with pytest.raises(OptionError, match="one number for all columns"):
        bs.calibrate(mixture, n=5, simulations=200)
    resolved = replace(mixture, family=mixture.family.resolved(2, checked(TABLES["poisson"].astype(float))))
    assert resolved.draw(lambda _, d: d.sample(jax.random.key(0)))[1].rates.shape == (2, 2)


def test_tables_are_drawn_from_the_prior():
    from numpyro.infer import Predictive

    mixture = bs.Mixture(2, bs.Categorical(bs.Dirichlet(2.0), (2, 3)))
    drawn = Predictive(mixture.numpyro_model, num_samples=4)(jax.random.key(0), n=6)["x"]
    assert drawn.shape == (4, 6, 2) and drawn.max() <= 2


def test_mappings_of_the_registry_tell_the_tiers():
    from importlib import import_module

    for path, tier in FAMILIES.values():
        module, _, name = path.partition(":")
        assert getattr(import_module(module), name).TIER == tier


class LogNormal:
    """Components on the numbers above 0, with a setting."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def draw(self, sample: Any, k: int) -> Any:
        location = sample("location", dist.Normal(0.0, self.scale).expand([k, 1]).to_event(2))
        return location, sample("spread", dist.LogNormal(-1.0, 0.5).expand([k, 1]).to_event(2))

    def likelihood(self, parameters: Any) -> Any:
        return dist.LogNormal(*parameters).to_event(1)


@pytest.mark.statistical
def test_a_support_without_zero_and_settings_that_change():
    X = np.exp(0.2 * RNG.normal(size=35) + 3.0 * (np.arange(35) % 2))[:, None]  # 35 rows do not fill their tile
    family = LogNormal(10.0)
    wide = fitted(family, X, "map")
    assert adjusted_rand_score(np.arange(35) % 2, wide.predict(X)) == 1
    family.scale = 0.1
    assert fitted(family, X, "map").lower_bound_ < wide.lower_bound_ - 1
    with pytest.raises(DataError, match="row 1 of X, .* has no density: LogNormal is on"):
        wide.predict([[1.0], [-1.0]])


def test_sites_that_grow_on_another_axis_are_refused():
    class Turned(Laplace):
        def draw(self, sample: Any, k: int) -> Any:
            scale = sample("width", dist.LogNormal(0.0, 1.0).expand([3, k]).to_event(2))
            return super().draw(sample, k)[0], scale[0][:, None]

        def likelihood(self, parameters: Any) -> Any:
            return dist.Laplace(*parameters).to_event(1)

    with pytest.raises(OptionError, match=r"'width' has shape \(3, 2\) .* told apart by the first axis"):
        fitted(Turned(), TABLES["gaussian"], "map")


@pytest.mark.parametrize("family", [bs.Bernoulli(None), bs.Poisson(None), bs.Categorical(None), bs.Multinomial(None)])
def test_single_precision_rows_of_a_fit_on_the_boundary(family):
    """Parameters that float64 holds and float32 does not, of columns that are 0 or 1 throughout."""
    X = np.array([[1, 0, 1], [0, 1, 1]] * 10, float)
    model = fitted(family, X)
    single = model.predict_proba(X.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, model.predict_proba(X), atol=1e-5)


def test_a_warm_start_of_cavi_goes_on():
    model = fitted("multinomial", TABLES["multinomial"], "cavi", warm_start=True, tol=1e-12, max_iter=500)
    bound = model.elbo_
    assert model.fit(TABLES["multinomial"]).n_iter_ <= 2
    np.testing.assert_allclose(model.elbo_, bound, rtol=1e-12)


def test_small_concentrations_leave_finite_bounds():
    model = fitted(bs.Multinomial(bs.Dirichlet(1e-3)), TABLES["multinomial"], "cavi")
    assert np.isfinite(model.elbo_)


def test_rows_without_a_total_are_not_drawn():
    with pytest.raises(OptionError, match="how many counts a drawn row has"):
        bs.calibrate(bs.Mixture(2, bs.Multinomial(bs.Dirichlet(np.ones(3)))), n=4, simulations=200)


def test_the_gibbs_kernel_takes_counts():
    from numpyro.infer import MCMC

    kernel = bs.Gibbs(permute=False).kernel(bs.Mixture(2, bs.Poisson()))
    mcmc = MCMC(kernel, num_warmup=20, num_samples=20, progress_bar=False)
    mcmc.run(jax.random.key(0), TABLES["poisson"].astype(float))
    assert mcmc.get_samples()["rates"].shape == (20, 2, 2)


@pytest.mark.parametrize("levels", [3, (True, 2), (0, 2)])
def test_levels_that_are_none_are_refused(levels):
    with pytest.raises(OptionError, match="pass a tuple of whole numbers >= 1"):
        fitted(bs.Categorical(levels=levels), TABLES["categorical"][:, :2])


def test_numbers_that_are_no_answers_are_refused():
    with pytest.raises(DataError, match="column 1 has answers up to 7900"):
        fitted("categorical", np.column_stack([LABELS, 100 * np.arange(80)]))
