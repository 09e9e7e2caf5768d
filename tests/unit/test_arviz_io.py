"""A fit as ArviZ holds it, under either of its lines."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray
from sklearn.exceptions import ConvergenceWarning

from bayessoft import NUTS, GaussianMixture
from bayessoft.arviz_io import write_netcdf
from bayessoft.errors import OptionError

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


def fitted(kind: str) -> GaussianMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        engine = NUTS(draws=30, warmup=30, chains=2)
        return GaussianMixture(2, covariance_type=kind, inference=engine, random_state=0).fit(X)


@pytest.fixture(scope="module")
def full() -> GaussianMixture:
    return fitted("full")


@pytest.mark.parametrize("kind", SHAPES)
def test_shapes_and_means(kind, full):
    gm = full if kind == "full" else fitted(kind)
    posterior = gm.to_arviz()["posterior"]
    assert posterior["covariances"].dims == ("chain", "draw", *SHAPES[kind])
    assert posterior["means"].dims == ("chain", "draw", "cluster", "feature")
    mean = ("chain", "draw")
    np.testing.assert_allclose(posterior["weights"].mean(mean), gm.weights_, rtol=1e-10)
    np.testing.assert_allclose(posterior["means"].mean(mean), gm.means_, rtol=1e-10)
    np.testing.assert_allclose(posterior["covariances"].mean(mean), gm.covariances_, rtol=1e-10)


def test_names_are_text(full):
    tree = full.to_arviz(X, log_likelihood=True)
    posterior = tree["posterior"]
    assert posterior["feature"].values.tolist() == posterior["feature_bis"].values.tolist() == ["bill", "flipper"]
    assert posterior["cluster"].values.tolist() == ["0", "1"]
    assert tree["observed_data"]["obs_id"].values.tolist() == list(X.index)
    np.testing.assert_array_equal(tree["observed_data"]["x"], X)
    stats = {"log_density", "potential", "energy", "acceptance_rate", "diverging", "n_steps", "step_size"}
    assert set(tree["sample_stats"].data_vars) == stats
    each = tree["log_likelihood"]["x"]
    assert each.dims == ("chain", "draw", "obs_id")
    density = np.log(np.exp(each).mean(("chain", "draw")))
    np.testing.assert_allclose(density, full.score_samples(X), rtol=1e-10)


def test_rows_are_opt_in(full):
    tree = full.to_arviz()
    groups = set(tree.groups() if callable(tree.groups) else (name.strip("/") for name in tree.groups))
    assert groups - {""} == {"posterior", "sample_stats"}
    with pytest.raises(OptionError, match="pass X"):
        full.to_arviz(log_likelihood=True)


def test_a_file_holds_it(full, tmp_path):
    write_netcdf(full.to_arviz(X), tmp_path / "posterior.nc")
    with xarray.open_dataset(tmp_path / "posterior.nc", group="posterior", engine="h5netcdf") as posterior:
        assert posterior["feature"].values.tolist() == ["bill", "flipper"]
        np.testing.assert_allclose(posterior["weights"].mean(("chain", "draw")), full.weights_)
