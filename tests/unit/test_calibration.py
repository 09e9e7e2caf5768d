"""Calibration: right engines pass, wrong assumptions and faulty engines are rejected."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from bayessoft import (
    CAVI,
    NUTS,
    Bernoulli,
    Beta,
    Between,
    Categorical,
    Dirichlet,
    Gamma,
    Gaussian,
    Gibbs,
    IndependentNormalInverseWishart,
    Mixture,
    Multinomial,
    NormalInverseWishart,
    Poisson,
    Product,
    StudentT,
    StudentTPrior,
    calibrate,
)
from bayessoft.errors import OptionError
from bayessoft.families import FAMILIES as REGISTRY
from bayessoft.families.normal_inverse_wishart import NormalInverseWishart as Prior
from bayessoft.studies.calibration import Calibration

KINDS = ("full", "tied", "diag", "spherical")
SCALES = {"full": np.eye(2), "tied": np.eye(2), "diag": np.ones(2), "spherical": np.array(1.0)}


def world(kind: str = "diag", k: int = 2, alpha: float = 2.0) -> Mixture:
    prior = NormalInverseWishart(np.array([1.0, -1.0]), 0.3, 5.0, SCALES[kind])
    return Mixture(k, Gaussian(kind, prior), Dirichlet(alpha))


def assert_even(found: Calibration) -> None:
    """No quantity's ranks are uneven, at a level of 1 % over all quantities of the run, by Holm's method."""
    print(found.summary().round(3))
    assert all(ranks.min() >= 0 and ranks.max() <= found.draws for ranks in found.ranks.values())
    assert not found.rejected()


@pytest.mark.statistical
def test_a_wrong_assumption_is_rejected():
    wrong = calibrate(world(), n=6, simulations=400, assumed=world(alpha=8.0))
    assert wrong.rejected()
    table = wrong.summary()
    assert table.loc["largest proportion", "mean_rank"] > 0.5 + 4 * table["standard_error"].iloc[0]


def test_even_and_uneven_ranks():
    rng = np.random.default_rng(0)
    even = Calibration({"a": rng.integers(0, 100, 1000), "b": rng.integers(0, 100, 1000)}, 99)
    assert not even.rejected()
    assert (np.abs(even.summary()["mean_rank"] - 0.5) < 4 * even.summary()["standard_error"]).all()
    assert Calibration({"a": rng.integers(10, 90, 1000)}, 99).rejected()
    few = Calibration({"a": rng.integers(0, 4, 30)}, 3)  # bins as wide as the numbers allow
    assert 0 < few.p_values["a"] <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": CAVI()}, "which does not draw"),
        ({"simulations": 50}, "pass 100 or more"),
        ({"n": 0}, "n is 0"),
        ({"mixture": Mixture(2)}, "pass priors in numbers"),
        ({"mixture": replace(world(), sizes=Between(1, 5)), "engine": NUTS(draws=19)}, "cannot be met"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(OptionError, match=message):
        calibrate(**({"mixture": world(), "n": 5} | options))


@pytest.mark.statistical
@pytest.mark.parametrize("kind", KINDS)
def test_gibbs_is_calibrated_for_every_structure(kind):
    assert_even(calibrate(world(kind, k=3), n=10))


@pytest.mark.statistical
def test_gibbs_is_calibrated_with_hotter_copies():
    assert_even(calibrate(world("full"), n=8, engine=Gibbs(draws=99, warmup=50, inverse_temperatures=(1.0, 0.6))))


@pytest.mark.statistical
@pytest.mark.parametrize(("kind", "unknown"), [("full", None), ("full", 4.0), ("diag", 4.0)])
def test_gibbs_is_calibrated_under_independent_priors(kind, unknown):
    """Known and unknown scales of matrices, and an unknown one of variances."""
    spread = SCALES[kind]
    prior = IndependentNormalInverseWishart(np.array([1.0, -1.0]), 4 * spread, 6.0, 2 * spread, unknown)
    assert_even(calibrate(Mixture(2, Gaussian(kind, prior), Dirichlet(2.0)), n=8, simulations=500))


FAMILIES = {
    "poisson": Poisson(Gamma(np.array([2.0, 3.0]), 0.5)),
    "bernoulli": Bernoulli(Beta(1.5, np.array([2.0, 0.8]))),
    "categorical": Categorical(Dirichlet(1.2), (2, 3)),
    "multinomial": Multinomial(Dirichlet(np.array([0.8, 1.0, 2.0])), 5),
    "student-t": StudentT("full", prior=StudentTPrior(NormalInverseWishart(np.zeros(2), 0.3, 5.0, np.eye(2)))),
}
MIXED = Product([(FAMILIES["poisson"], [3, 0]), (world().family, [1, 4]), (FAMILIES["categorical"], [2, 5])])


def test_every_family_has_a_prior_to_be_calibrated_under():
    """Every family but the Gaussian, whose structures are above."""
    assert FAMILIES.keys() | {"gaussian"} == REGISTRY.keys()


@pytest.mark.statistical
@pytest.mark.parametrize("name", [*FAMILIES, "product"])
def test_gibbs_is_calibrated_for_every_family(name):
    assert_even(calibrate(Mixture(3, (FAMILIES | {"product": MIXED})[name], Dirichlet(2.0)), n=10))


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["full", "tied", "diag", "poisson", "categorical"])
def test_nuts_is_calibrated(name):
    mixture = world(name) if name in KINDS else Mixture(2, FAMILIES[name], Dirichlet(2.0))
    assert_even(calibrate(mixture, n=8, engine=NUTS(draws=19, warmup=100), simulations=200, thin=3))


def doubled(original):
    return lambda self, weight: replace(original(self, weight), concentration=original(self, weight).concentration * 2)


def half_a_row(original):
    def update(self, statistics):
        return original(self, replace(statistics, weight=statistics.weight / 2))

    return update


def dropped(original):
    def update(self, structure, statistics):
        posterior = original(self, structure, statistics)
        return replace(posterior, degrees_of_freedom=posterior.degrees_of_freedom - 1)

    return update


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("holder", "fault", "family"),
    [(Dirichlet, doubled, "full"), (Prior, dropped, "full"), (Poisson, half_a_row, "poisson")],
    ids=["concentration doubled", "a degree of freedom less", "rows counted half"],
)
def test_faults_are_rejected_in_nine_of_ten_repeats(monkeypatch, holder, fault, family):
    monkeypatch.setattr(holder, "update", fault(holder.update))
    jax.clear_caches()
    mixture = Mixture(2, FAMILIES[family], Dirichlet(2.0)) if family in FAMILIES else world(family)
    found = [calibrate(mixture, random_state=seed, n=8, simulations=500).rejected() for seed in range(10)]
    jax.clear_caches()
    assert sum(found) >= 9


@pytest.mark.statistical
def test_false_alarms_are_rare():
    """At a level of 1 in 20: more than 4 alarms in 20 happen by chance once in 400 times, if at all."""
    alarms = sum(calibrate(world(), n=6, simulations=400, random_state=seed).rejected(0.05) for seed in range(20))
    print(f"{alarms} false alarms in 20")
    assert alarms <= 4
