"""Log-likelihoods of mclust on iris, for the four covariance types that both programs have.

The figures are in ``mclust_iris.json``: EM run by mclust to a relative change of 1e-14.
The rows come from scikit-learn.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

from bayessoft import GaussianMixture

ENTRIES = json.loads((Path(__file__).parent / "mclust_iris.json").read_text())["entries"]


def shaped(kind: str, covariances: np.ndarray) -> np.ndarray:
    """Take from (k, d, d) matrices what the covariance type keeps."""
    return {
        "full": lambda: covariances,
        "tied": lambda: covariances[0],
        "diag": lambda: np.einsum("kdd->kd", covariances),
        "spherical": lambda: covariances[:, 0, 0],
    }[kind]()


MARKED = [
    pytest.param(entry, marks=() if entry["k"] in (2, 3) else pytest.mark.statistical)  # each compiles its own programs
    for entry in ENTRIES
]


@pytest.mark.parametrize("entry", MARKED, ids=lambda entry: f"{entry['model']}{entry['k']}")
def test_em_from_mclusts_parameters_stays_at_its_likelihood(entry):
    X, kind = load_iris().data, entry["covariance_type"]
    spread = shaped(kind, np.array(entry["covariances"]))
    precisions = np.linalg.inv(spread) if kind in ("full", "tied") else 1 / spread
    weights = np.array(entry["weights"]) / np.sum(entry["weights"])
    gm = GaussianMixture(
        entry["k"],
        covariance_type=kind,
        reg_covar=0,
        tol=1e-13,
        max_iter=500,
        weights_init=weights,
        means_init=entry["means"],
        precisions_init=precisions,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a change below 1e-13 is rounding: converged or not is chance
        gm.fit(X)
    # mclust stopped at a relative change of 1e-14; where EM creeps, the rest of its way may be 1e8 times a step
    np.testing.assert_allclose(gm.score(X) * len(X), entry["loglik"], rtol=1e-6)
    np.testing.assert_allclose(gm.lower_bounds_[0] * len(X), entry["loglik"], rtol=1e-9)
    assert gm.fit_.n_parameters == entry["df"]
    np.testing.assert_allclose(gm.bic(X), -2 * entry["loglik"] + entry["df"] * np.log(len(X)), rtol=1e-6)
    np.testing.assert_allclose(gm.weights_, weights, atol=1e-4)
