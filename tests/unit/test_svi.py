"""Stochastic variational inference: what a batch stands for, that it ends where CAVI does, what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayessoft import CAVI, SVI, Between, Capacity, Fixed, Gaussian, GaussianMixture, MixtureModel, load
from bayessoft.core.sweep import sweep
from bayessoft.data.rows import rows
from bayessoft.errors import OptionError
from bayessoft.families.structures import STRUCTURES
from bayessoft.inference.engine import Given, Problem
from bayessoft.mixture import Mixture
from bayessoft.numerics import scoped
from bayessoft.status import Status

LINEAR = {
    "poisson": lambda rng, n: rng.poisson(np.array([[1.0, 9.0], [8.0, 2.0]])[rng.integers(0, 2, n)]),
    "bernoulli": lambda rng, n: rng.integers(0, 2, (n, 3)),
    "categorical": lambda rng, n: rng.integers(0, 3, (n, 3)),
    "multinomial": lambda rng, n: rng.multinomial(9, [0.2, 0.3, 0.5], n),
}


def clusters(n: int = 600, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([[0.0, -4.0], [0.0, 0.0], [0.0, 4.0]])[np.arange(n) % 3] + rng.normal(size=(n, 2))


def posed(family, x: np.ndarray, batch_size: int = 8) -> Problem:
    mixture = MixtureModel(2, family)._mixture().proper()
    return Problem.pose(mixture, rows(x.astype(float)), 0, 0.0, Given(), batch_size)


@pytest.mark.parametrize("name", [*STRUCTURES, *LINEAR])
def test_blending_posteriors_is_blending_what_was_seen(name):
    """Natural parameters are the prior's plus sums over rows, so posteriors blend as those sums do."""
    rng = np.random.default_rng(3)
    with scoped(np.dtype(float)):
        x = LINEAR[name](rng, 16) if name in LINEAR else rng.normal(size=(16, 2)) @ [[1.0, 0.4], [0.0, 2.0]] + 3
        problem = posed(name if name in LINEAR else Gaussian(name, "weak"), x)
        mixture, tiles = problem.standard, problem.tiles
        weights, parameters = mixture.centre()
        parameters = jax.tree.map(lambda leaf: leaf * jnp.linspace(0.9, 1.1, leaf.size).reshape(leaf.shape), parameters)

        def after(w):
            return mixture.update(sweep(mixture.family, parameters, jnp.log(weights), replace(tiles, w=w))[1])

        one, other = (jnp.zeros_like(tiles.w).at[i].set(tiles.w[i]) for i in (0, 1))
        blended, exact = after(one).blend(after(other), 0.3), after(0.7 * one + 0.3 * other)
        for mine, right in zip(jax.tree.leaves(blended), jax.tree.leaves(exact), strict=True):
            np.testing.assert_allclose(mine, right, rtol=1e-10, atol=1e-12)


def test_batches_stand_for_all_rows():
    """Over the batches of a pass, what each says of all rows is on average what all rows say."""
    with scoped(np.dtype(float)):
        problem = posed(Gaussian("diag", "weak"), clusters(18))
        engine = SVI(batch_size=8, delay=1e9)
        state = jax.tree.map(lambda leaf: leaf[0], engine.begin(problem))
        assert problem.tiles.w.shape[1] == 8 and int(state.batches) == 3
        seen, rates = [], []

        def noting(self, other, rate):
            seen.append(other)
            rates.append(float(rate))
            return self

        mixture, tiles = problem.standard, problem.tiles
        log_weights, parameters = state.posterior.expected()
        whole = mixture.update(sweep(mixture.family, parameters, log_weights, tiles)[1])
        with pytest.MonkeyPatch.context() as patch, jax.disable_jit():
            patch.setattr(Mixture, "blend", noting)
            engine.step(mixture, tiles, state)
        assert len(seen) == 3
        shares = [rate / max(rates) for rate in rates]  # small ones, of a delay so long: those of the batches' weights
        assert sorted(shares) == pytest.approx([2 / 8, 1, 1], rel=1e-4)
        for field in (lambda one: one.weights.concentration, lambda one: one.family.prior.mean_precision):
            mean = np.average([np.asarray(field(one)) for one in seen], axis=0, weights=shares)
            np.testing.assert_allclose(mean, field(whole), rtol=1e-3)
            assert {round(float(field(one).sum()), 6) for one in seen} == {round(float(field(whole).sum()), 6)}


@pytest.mark.statistical
def test_one_batch_without_memory_is_cavi():
    x = clusters(60)
    with scoped(np.dtype(float)):
        problem = posed(Gaussian("full", "weak"), x, 64)
        state = jax.tree.map(lambda leaf: leaf[0], SVI().begin(problem))
        ours, bound = SVI.step(problem.standard, problem.tiles, replace(state, forgetting=jnp.zeros(())))
        theirs, exact = CAVI.step(problem.standard, problem.tiles, state)
        np.testing.assert_allclose(bound, exact, rtol=1e-14)
        for mine, right in zip(jax.tree.leaves(ours.posterior), jax.tree.leaves(theirs.posterior), strict=True):
            np.testing.assert_allclose(mine, right, rtol=1e-12, atol=1e-14)


@pytest.mark.statistical
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_it_ends_where_cavi_does(dtype, tmp_path):
    x = clusters().astype(dtype)[np.argsort(np.arange(600) % 3, kind="stable")]  # sorted: batches have to be shuffled
    cavi, svi = (
        GaussianMixture(3, prior="weak", inference=engine, random_state=0).fit(x)
        for engine in (CAVI(tol=1e-6), SVI(batch_size=64, tol=1e-4, max_iter=200))
    )
    assert svi.status_ is Status.CONVERGED and svi.n_iter_ < 200
    assert svi.elbo_ <= cavi.elbo_ + 1e-3
    assert svi.elbo_ > cavi.elbo_ - 0.002 * 600  # a five-hundredth of a nat a row
    mine, its = (gm.means_[:, 1].argsort() for gm in (svi, cavi))
    assert np.abs(svi.predict_proba(x)[:, mine] - cavi.predict_proba(x)[:, its]).max() < 0.05
    total = svi.fit_.posterior.mixture.weights.concentration.sum()
    assert total == pytest.approx(603, rel=0.05)  # posteriors as narrow as 600 rows make them
    widths = [(gm.summary()["weight_high"] - gm.summary()["weight_low"]).to_numpy() for gm in (svi, cavi)]
    np.testing.assert_allclose(widths[0][mine], widths[1][its], rtol=0.1)
    assert svi.predict_proba(x).dtype == dtype
    svi.save(tmp_path / "fit")
    np.testing.assert_array_equal(load(tmp_path / "fit").predict_proba(x), svi.predict_proba(x))


@pytest.mark.statistical
def test_weights_count_and_a_pass_is_repeatable():
    x, weights = clusters(300), np.tile([1.0, 2.0, 3.0], 100)
    options = dict(n_components=3, family=Gaussian("diag", "weak"), inference=SVI(batch_size=32), random_state=1)
    one, other = (MixtureModel(**options).fit(x, sample_weight=weights) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(x), other.predict_proba(x))
    sizes = one.weights_[one.predict(x[:3])]
    np.testing.assert_allclose(sizes, [1 / 6, 2 / 6, 3 / 6], atol=0.03)


def test_a_wrong_cell_is_named_where_it_is():
    counts = np.random.default_rng(0).poisson(3.0, (40, 2)).astype(float)
    counts[7, 1] = -1
    with pytest.raises(ValueError, match="row 7"):
        MixtureModel(2, "poisson", inference="svi").fit(counts)


def test_refusals():
    with pytest.raises(OptionError, match="forgetting is 0.5"):
        SVI(forgetting=0.5)
    with pytest.raises(OptionError, match="delay is 0"):
        SVI(delay=0)
    with pytest.raises(OptionError, match="batch_size is 0"):
        SVI(batch_size=0)
    with pytest.raises(OptionError, match="cannot be met by inference='svi'"):
        guided = SVI(guide="AutoDiagonalNormal")
        GaussianMixture(3, inference=guided, sizes=Between(0.1, 0.9, unit="share")).fit(clusters(30))


@pytest.mark.statistical
@pytest.mark.parametrize("several", [False, True])
def test_sizes_by_batches_are_those_of_all_rows(several):
    """Prices move with the batches; those of the end are of all rows, and near those of CAVI."""
    X = clusters(600)
    taken, shares = np.random.default_rng(3).gamma(2.0, size=len(X)), np.array([0.28, 0.34, 0.38])
    sizes = Fixed(shares, unit="share")
    if several:
        sizes = [Between(0.32, unit="share"), Capacity(taken, high=0.335, unit="share")]
    fits = [
        GaussianMixture(3, inference=inference, sizes=sizes, random_state=0).fit(X)
        for inference in (CAVI(tol=1e-8, max_iter=500), SVI(tol=1e-6, batch_size=200, max_iter=1000))
    ]
    for gm in fits:
        np.testing.assert_allclose(gm.sizes_, gm.responsibilities_.sum(0), rtol=1e-7)
        assert 0 <= gm.duality_gap_ < 1e-5 and np.abs(gm.prices_).max() > 0.01
        if several:
            amounts = taken @ gm.responsibilities_ / taken.sum()
            assert (amounts <= 0.335 + 1e-8).all() and (gm.sizes_ >= len(X) * (0.32 - 1e-8)).all()
        else:
            np.testing.assert_allclose(np.sort(gm.sizes_), len(X) * shares, rtol=1e-8)
    closed, by_batches = fits
    assert by_batches.elbo_ == pytest.approx(closed.elbo_, abs=0.5)
    np.testing.assert_allclose(by_batches.prices_, closed.prices_, atol=0.2)
