"""SVI by guides of NumPyro: families of one's own, what is said of a guide that is far, what is refused.

That its bound and its draws are those of the posterior is a law of `tests/laws/test_evidence.py`.
"""

from typing import Any

import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from bayessoft import SVI, GaussianMixture, MixtureModel, NormalInverseWishart, load
from bayessoft.errors import OptionError
from bayessoft.inference.guided import GUIDES, GuidedSVI
from bayessoft.status import Status

X = np.random.default_rng(0).normal(size=(20, 1))


class Scales:
    """Exponential waiting times of which none is registered."""

    def draw(self, sample: Any, k: int) -> Any:
        return sample("rate", dist.Gamma(2.0, 1.0).expand([k]).to_event(1))

    def likelihood(self, rate: Any) -> Any:
        return dist.Exponential(rate[:, None]).to_event(1)


@pytest.mark.statistical
def test_a_family_of_ones_own_in_batches():
    rate = np.array([0.02, 5.0])[np.arange(300) % 2]
    waits = np.random.default_rng(1).exponential(1 / rate)[:, None]
    model = MixtureModel(2, Scales(), inference=SVI(batch_size=64), random_state=0).fit(waits)
    assert list(model.summary().columns)[:6] == ["weight", "weight_sd", "weight_low", "weight_high", "size", "size_low"]
    assert "weight_rhat" not in model.summary()
    slow, fast = np.argsort(model.parameters_["rate"])
    low, high = (np.quantile(model.to_arviz()["posterior"]["rate"].values[0, :, slow], q) for q in (0.025, 0.975))
    about = stats.gamma(2 + 150, scale=1 / (1 + waits[rate < 1].sum()))  # of labels that are all but known
    assert low == pytest.approx(about.ppf(0.025), rel=0.1) and high == pytest.approx(about.ppf(0.975), rel=0.1)
    assert model.membership_interval(waits[:3]).shape == (3, 2, 2)
    for ask in (lambda: model.loo(waits), model.prior_sensitivity):
        with pytest.raises(OptionError, match="'gibbs' or 'nuts'"):
            ask()
    assert model.weights_[fast] == pytest.approx(0.5, abs=0.1)


@pytest.mark.statistical
def test_a_guide_that_is_far_says_so(tmp_path):
    x = np.random.default_rng(2).normal(size=(3, 1))  # three rows, and a prior that knows little: no normal posterior
    vague = NormalInverseWishart(np.zeros(1), 0.01, 0.5, np.array([0.1]))
    gm = GaussianMixture(
        1, covariance_type="diag", prior=vague, inference=SVI(guide=GUIDES[0], tol=0.5), random_state=0
    )
    with pytest.warns(match="Pareto k above 0.7"):
        gm.fit(x)
    assert gm.status_ is Status.GUIDE_FAR and not gm.converged_
    gm.save(tmp_path / "fit")
    again = load(tmp_path / "fit")
    assert again.status_ is Status.GUIDE_FAR and again.elbo_ == gm.elbo_
    np.testing.assert_array_equal(again.score_samples(x), gm.score_samples(x))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"guide": "AutoNormal"}, "guide is 'AutoNormal': pass .*'AutoDiagonalNormal'"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"learning_rate": 0.1}, "learning_rate set, which the conjugate guide does not use"),
        ({"guide": GUIDES[0], "delay": 2.0}, "delay set, which a guide of NumPyro does not use"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(OptionError, match=message):
        GaussianMixture(1, inference=SVI(**options)).fit(X)


def test_the_guide_follows_the_family():
    gaussian, stated = GaussianMixture(2)._mixture(), MixtureModel(2, Scales())._mixture()
    assert isinstance(SVI().suited(gaussian), SVI)
    assert SVI(max_iter=7).suited(stated) == GuidedSVI(max_iter=7, guide=GUIDES[0])
    with pytest.raises(OptionError, match="Scales has no conjugate prior.*'svi' with a guide of NumPyro"):
        MixtureModel(2, Scales(), inference=SVI(guide="conjugate")).fit(X)
