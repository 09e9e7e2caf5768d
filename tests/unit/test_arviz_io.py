"""A fit as ArviZ holds it, under either of its lines."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray
from sklearn.exceptions import ConvergenceWarning

from bayessoft import NUTS, GaussianMixture
from bayessoft.arviz_io import to_arviz, write_netcdf
from bayessoft.errors import OptionError
from bayessoft.families.gaussian import Gaussian, GaussianParameters
from bayessoft.families.structures import STRUCTURES
from bayessoft.fit import Fit
from bayessoft.mixture import Mixture
from bayessoft.numerics import Affine
from bayessoft.posteriors import Draws
from bayessoft.status import Status

X = pd.DataFrame(
    np.random.default_rng(0).normal(size=(30, 2)) + 8 * (np.arange(30) % 2)[:, None],
    columns=["bill", "flipper"],
    index=[f"bird {i}" for i in range(30)],
)
SHAPES = {
    "full": ("cluster", "feature", "feature_bis"),
    "tied": ("feature", "feature_bis"),
    "diag": ("cluster", "feature"),
    "spherical": ("cluster",),
}


@pytest.fixture(scope="module")
def fitted() -> GaussianMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        engine = NUTS(draws=30, warmup=30, chains=2)
        return GaussianMixture(2, covariance_type="diag", inference=engine, random_state=0).fit(X)


def by_hand(kind: str) -> Fit:
    """A fit of random draws: two chains of five, two clusters in two columns."""
    rng = np.random.default_rng(1)
    shape = STRUCTURES[kind].shape(2, 2)
    factors = 1 + rng.random((2, 5, *shape))
    if STRUCTURES[kind].matrix:
        factors = np.triu(factors)
    draws = Draws(
        rng.dirichlet(np.ones(2), (2, 5)),
        GaussianParameters(rng.normal(size=(2, 5, 2, 2)), factors),
        {"log_density": rng.normal(size=(2, 5))},
        order=np.argsort(rng.random((2, 5, 2)), axis=-1),
    )
    frame = Affine(np.array([1.0, 2.0]), np.array([2.0, 2.0]), np.array([True, True]))
    mixture = Mixture(2, Gaussian(kind))
    return Fit(mixture, frame, draws, Status.SAMPLED, np.zeros(5), 30, 30.0, "float64", "cpu")


@pytest.mark.parametrize("kind", SHAPES)
def test_shapes_and_units(kind):
    fit = by_hand(kind)
    posterior = to_arviz(fit)["posterior"]
    assert posterior["covariances"].dims == ("chain", "draw", *SHAPES[kind])
    assert posterior["means"].dims == ("chain", "draw", "cluster", "feature")
    one = fit.posterior.order[1, 3, 0]  # what became cluster 0 of this draw
    np.testing.assert_allclose(posterior["weights"][1, 3, 0], fit.posterior.weights[1, 3, one])
    mean = fit.posterior.parameters.means[1, 3, one]
    np.testing.assert_allclose(posterior["means"][1, 3, 0], [1, 2] + 2 * mean, rtol=1e-12)
    factor = fit.posterior.parameters.factors[1, 3]
    factor = factor if kind == "tied" else factor[one]
    found = posterior["covariances"][1, 3] if kind == "tied" else posterior["covariances"][1, 3, 0]
    expected = 4 * (np.linalg.inv(factor @ factor.T) if STRUCTURES[kind].matrix else 1 / factor**2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_names_are_text(fitted):
    tree = fitted.to_arviz(X, log_likelihood=True)
    posterior = tree["posterior"]
    assert posterior["feature"].values.tolist() == ["bill", "flipper"]
    assert to_arviz(by_hand("full"), columns=["a", "b"])["posterior"]["feature_bis"].values.tolist() == ["a", "b"]
    np.testing.assert_allclose(posterior["covariances"].mean(("chain", "draw")), fitted.covariances_, rtol=1e-10)
    assert posterior["cluster"].values.tolist() == ["0", "1"]
    assert tree["observed_data"]["obs_id"].values.tolist() == list(X.index)
    np.testing.assert_array_equal(tree["observed_data"]["x"], X)
    stats = {"log_density", "potential", "energy", "acceptance_rate", "diverging", "n_steps", "step_size"}
    assert set(tree["sample_stats"].data_vars) == stats
    each = tree["log_likelihood"]["x"]
    assert each.dims == ("chain", "draw", "obs_id")
    density = np.log(np.exp(each).mean(("chain", "draw")))
    np.testing.assert_allclose(density, fitted.score_samples(X), rtol=1e-10)


def test_rows_are_opt_in(fitted):
    tree = fitted.to_arviz()
    groups = set(tree.groups() if callable(tree.groups) else (name.strip("/") for name in tree.groups))
    assert groups - {""} == {"posterior", "sample_stats"}
    with pytest.raises(OptionError, match="pass X"):
        fitted.to_arviz(log_likelihood=True)


def test_a_file_holds_it(fitted, tmp_path):
    write_netcdf(fitted.to_arviz(X), tmp_path / "posterior.nc")
    with xarray.open_dataset(tmp_path / "posterior.nc", group="posterior", engine="h5netcdf") as posterior:
        assert posterior["feature"].values.tolist() == ["bill", "flipper"]
        np.testing.assert_allclose(posterior["weights"].mean(("chain", "draw")), fitted.weights_)
