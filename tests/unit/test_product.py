"""Products of families: how blocks are stated, what is refused, and what estimators make of a fit."""

import warnings

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV

import bayessoft as bs
from bayessoft.errors import DataError, OptionError
from bayessoft.families.family import SweptFamily
from bayessoft.mixture import Mixture

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 80)
X = pd.DataFrame(
    {
        "height": RNG.normal(size=80) + 3 * LABELS,
        "calls": RNG.poisson(np.array([2, 7])[LABELS]),
        "answer": np.where(RNG.random(80) < 0.8, LABELS, 2),
        "width": 10 * RNG.normal(size=80) - 20 * LABELS,
        "visits": RNG.poisson(4, 80),
    }
)
MIXED = bs.Product({"gaussian": ["width", "height"], "poisson": ["calls", "visits"], "categorical": "answer"})
GIBBS, NUTS = bs.Gibbs(draws=60, warmup=30, chains=2), bs.NUTS(draws=60, warmup=60, chains=2)


def fitted(family=MIXED, table=X, inference="em", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few draws on purpose
        return bs.MixtureModel(2, family, inference=inference, random_state=0, **options).fit(table)


@pytest.mark.parametrize(
    "inference",
    [
        "em",
        *(
            pytest.param(engine, marks=pytest.mark.statistical, id=name)
            for name, engine in {"map": "map", "cavi": "cavi", "svi": "svi", "gibbs": GIBBS, "nuts": NUTS}.items()
        ),
    ],
)
def test_every_engine_finds_the_groups(inference, tmp_path):
    model = fitted(inference=inference)
    assert adjusted_rand_score(LABELS, model.predict(X)) > 0.8
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
    shown = ["mean width", "mean height", "rate calls", "rate visits", *(f"probability answer={a}" for a in range(3))]
    assert list(model.summary())[-7:] == shown
    assert set(model.parameters_) == {"means", "covariances", "rates", "probabilities"}
    rows = pd.DataFrame(model.sample(50)[0], columns=X.columns)
    assert model.predict(rows).shape == (50,)  # each column holds what its family can have
    model.save(tmp_path / "model")
    again = bs.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.family.blocks[0].columns == ("width", "height")
    if inference == "em":
        turned = fitted(table=X[X.columns[::-1]])
        assert adjusted_rand_score(turned.predict(X[X.columns[::-1]]), model.predict(X)) == 1
        return
    if inference == "map":
        return
    low, high = np.moveaxis(model.membership_interval(X[:3]), -1, 0)
    assert (low <= high).all()
    posterior = model.to_arviz(X)["posterior"]
    assert set(posterior.data_vars) == {"weights", *model.parameters_}
    assert posterior["means"].dims[-1] == "gaussian_feature"
    assert list(posterior["gaussian_feature"].values) == ["width", "height"]
    assert list(posterior["poisson_feature"].values) == ["calls", "visits"]
    checks = model.posterior_predictive_check(X, draws=20)
    assert {"mean height", "share of 1 answer"} <= set(checks.index)
    if inference in (GIBBS, NUTS):
        assert model.loo(X).pointwise.shape == (80,)
        assert "mean width" in model.prior_sensitivity().index.get_level_values(1)


@pytest.mark.statistical
def test_blocks_of_one_kind_are_told_apart():
    own = bs.Product([(bs.Gaussian("diag", "weak"), ["height"]), (bs.Gaussian("full", "weak"), ["width"])])
    model = fitted(own, X[["width", "height"]], "cavi")
    assert list(model.parameters_) == [f"gaussian_{i}_{what}" for i in (1, 2) for what in ("means", "covariances")]
    assert list(model.summary())[-2:] == ["mean height", "mean width"]
    posterior = model.to_arviz()["posterior"]
    assert posterior["gaussian_2_covariances"].dims[-2:] == ("gaussian_2_feature", "gaussian_2_feature_bis")
    assert list(posterior["gaussian_1_feature"].values) == ["height"]
    assert len(model.prior_) == 2
    heavy = bs.Product([(bs.StudentT("diag", degrees), [name]) for degrees, name in ((4.0, "height"), (9.0, "width"))])
    summary = fitted(heavy, X[["width", "height"]]).summary()
    degrees = [f"degrees of freedom studentt_{i}" for i in (1, 2)]
    assert list(summary)[-4:] == ["mean height", degrees[0], "mean width", degrees[1]]
    assert (summary[degrees] == [4, 9]).all(axis=None)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ("gaussian", "blocks is 'gaussian': pass pairs of a family and columns"),
        ([], "pass pairs of a family and columns"),
        (["gaussian", "ab"], "'gaussian' is no block: pass a family and its columns"),
        ([("normal", ["a"])], "'normal' is no family of a block: pass one of 'gaussian'"),
        ([(["a"], "gaussian")], r"\['a'\] is no family of a block: .* before the columns"),
        ([(bs.Gaussian, ["a"])], "is no family of a block"),
        ([(object(), ["a"])], "of your own, stated by draw and likelihood alone"),
        ([(bs.Product({"poisson": "a"}), ["a"])], "Product of Poisson itself: list its blocks"),
        ([("gaussian", [])], r"columns of a block are \[\]: pass one or more names"),
        ([("gaussian", [0.5])], "columns of a block are"),
        ([("gaussian", [True])], "columns of a block are"),
        ([("gaussian", [-1])], "columns of a block are"),
        ([("gaussian", ["a", "a"])], "column 'a' is in 2 places"),
        ([("gaussian", ["a", "b"]), ("poisson", ["b"])], "column 'b' is in 2 places"),
    ],
)
def test_blocks_that_are_none_are_refused(blocks, message):
    with pytest.raises(OptionError, match=message):
        bs.Product(blocks)


@pytest.mark.parametrize(
    ("blocks", "table", "message"),
    [
        ({"gaussian": ["height", "width"], "poisson": ["calls"]}, X, "column 'answer' is in no block"),
        ({"gaussian": [0, 1, 3]}, X.to_numpy(), "column 2 is in no block"),
        ({"gaussian": ["height", "wide"]}, X, "there is no column 'wide': X has 'height', 'calls'"),
        ({"gaussian": ["height"]}, X.to_numpy(), "X has no names of columns, and a block has 'height'"),
        ({"gaussian": [0, 7]}, X, "there is no column 7: X has 5"),
        ({"gaussian": [*X], "poisson": [1]}, X, "column 'calls' is in 2 places, by name and by position"),
    ],
)
def test_columns_that_do_not_fit_are_refused(blocks, table, message):
    with pytest.raises(OptionError, match=message):
        fitted(bs.Product(blocks), table)


def test_cells_without_a_density_are_named_by_their_own_column():
    with pytest.raises(DataError, match=r"X holds 0\.5 at row 3 column 'calls' .* need counts"):
        fitted(table=X.assign(calls=X["calls"].astype(float).where(X.index != 3, 0.5)))
    family = bs.Product({"gaussian": [0, 3], "poisson": [4, 1], "categorical": [2]})
    values = X.to_numpy(float)
    values[3, 4] = -1
    with pytest.raises(DataError, match="X holds -1 at row 3 column 4 "):
        fitted(family, values)


def test_engines_refuse_what_a_block_cannot():
    half = type("Half", (SweptFamily,), {name: None for name in SweptFamily.__abstractmethods__})()
    mixture = Mixture(2, bs.Product([("poisson", [0]), (half, [1])]))
    with pytest.raises(OptionError, match="Half has no conjugate prior, .* use 'nuts', 'svi' with a guide"):
        bs.CAVI().check(mixture)
    assert bs.SVI().suited(mixture) != bs.SVI()  # no natural gradients
    with pytest.raises(OptionError, match="Half has no draw of its parameters"):
        bs.Gibbs().check(mixture)
    with pytest.raises(OptionError, match="no mode for EM to find"):
        fitted(bs.Product({bs.Poisson(bs.Gamma(0.5, 1.0)): [0]}), X[["calls"]])


def test_a_product_is_a_parameter_of_scikit_learn():
    again = clone(bs.MixtureModel(2, MIXED)).family
    assert [block.columns for block in again.blocks] == [block.columns for block in MIXED.blocks]


@pytest.mark.statistical
def test_products_are_searched_over():
    diag = bs.Product(
        [
            (bs.Gaussian("diag", "weak"), ["width", "height"]),
            *zip(MIXED.parts[1:], (["calls", "visits"], "answer"), strict=True),
        ]
    )
    search = GridSearchCV(bs.MixtureModel(2, random_state=0, max_iter=5), {"family": [MIXED, diag]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert search.fit(X).best_params_["family"].name == "Product of Gaussian and Poisson and Categorical"


def test_a_start_is_given_and_taken_up():
    first = fitted()
    warm = fitted(warm_start=True)
    assert warm.fit(X).n_iter_ <= 3
    with pytest.raises(OptionError, match="warm_start needs the n_components, family and columns"):
        warm.set_params(
            family=bs.Product(
                {"gaussian": ["height", "width"], "poisson": ["calls", "visits"], "categorical": "answer"}
            )
        ).fit(X)
    turned = {name: array[::-1] for name, array in first.parameters_.items()}
    again = fitted(weights_init=first.weights_[::-1], parameters_init=turned)
    np.testing.assert_allclose(again.parameters_["rates"], turned["rates"], rtol=1e-2)


def test_blocks_without_a_prior_get_the_weak_one_where_it_is_needed():
    some = bs.Product([(bs.Gaussian(), [0]), (bs.Poisson(bs.Gamma(2.0, 0.5)), [1])])
    assert some.prior is None
    proper = some.proper()
    assert proper.parts[0].prior == "weak" and proper.parts[1].prior is some.parts[1].prior
    assert proper.prior == "weak"


@pytest.mark.statistical
def test_single_precision_and_sizes():
    close = bs.EM(tol=1e-6, max_iter=1000)
    single, double = fitted(table=X.astype(np.float32), inference=close), fitted(inference=close)
    order = single.parameters_["rates"][:, 0].argsort()[double.parameters_["rates"][:, 0].argsort().argsort()]
    found = single.predict_proba(X.astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, order], double.predict_proba(X), atol=1e-2)
    sized = fitted(sizes=bs.Fixed([30, 50]))
    np.testing.assert_allclose(np.sort(sized.responsibilities_.sum(0)), [30, 50], atol=1e-6)


@pytest.mark.statistical
def test_tables_are_drawn_from_the_prior():
    from numpyro.infer import Predictive

    prior = bs.NormalInverseWishart(np.zeros(1), 0.5, 4.0, np.ones(1))
    family = bs.Product([(bs.Categorical(bs.Dirichlet(2.0), (2, 3)), [2, 0]), (bs.Gaussian("diag", prior), [1])])
    drawn = Predictive(Mixture(2, family).numpyro_model, num_samples=4)(jax.random.key(0), n=6)
    assert drawn["x"].shape == (4, 6, 3) and set(drawn) == {
        "x",
        "weights",
        "categorical_probabilities_2",
        "categorical_probabilities_3",
        "gaussian_means",
        "gaussian_precisions",
    }
    assert drawn["x"][..., 2].max() <= 1 and (drawn["x"][..., 1] % 1 != 0).all()
