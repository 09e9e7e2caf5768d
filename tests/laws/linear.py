"""Small worlds of families with linear scores: rows, parameters, priors, and the same densities by SciPy."""

from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayessoft.data.rows import rows as checked_rows
from bayessoft.families.bernoulli import Bernoulli, Beta, Probabilities
from bayessoft.families.categorical import AnswerProbabilities, Categorical
from bayessoft.families.family import ConjugateFamily
from bayessoft.families.linear import Sums
from bayessoft.families.multinomial import Multinomial, Shares
from bayessoft.families.poisson import Gamma, Poisson, Rates
from bayessoft.families.weights import Dirichlet

LEVELS, TOTAL, D = (2, 3, 2), 5, 3
LINEAR = {
    "poisson": Poisson(None),
    "bernoulli": Bernoulli(None),
    "categorical": Categorical(None, LEVELS),
    "multinomial": Multinomial(None, TOTAL),
}
names = pytest.mark.parametrize("name", LINEAR)


def points(name: str, n: int, seed: int = 0) -> np.ndarray:
    """Rows that the family may have, of shape (n, D)."""
    rng = np.random.default_rng(seed)
    return {
        "poisson": lambda: rng.poisson(rng.choice([0.5, 4.0, 9.0], (n, D))),
        "bernoulli": lambda: rng.integers(0, 2, (n, D)),
        "categorical": lambda: rng.integers(0, LEVELS, (n, D)),
        "multinomial": lambda: np.array([rng.multinomial(rng.integers(0, 9), [0.2, 0.3, 0.5]) for _ in range(n)]),
    }[name]().astype(float)


def every_row(name: str) -> np.ndarray:
    """All rows that there are; of counts, those with all but 1e-13 of the probability at the rates here."""
    sets = {"bernoulli": [range(2)] * D, "categorical": [range(most) for most in LEVELS]}
    if name in sets:
        return np.array(list(product(*sets[name])), float)
    if name == "multinomial":
        return np.array([x for x in product(range(TOTAL + 1), repeat=D) if sum(x) == TOTAL], float)
    return np.array(list(product(range(46), repeat=D)), float)


def encoded(name: str, x: np.ndarray) -> np.ndarray:
    """Rows as the columns of a tile."""
    return np.asarray(LINEAR[name].encoded(x)).T


def simplices(name: str, rng: np.random.Generator, k: int, weight: float = 3.0) -> np.ndarray:
    """Probabilities that sum to 1 within each column, or altogether."""
    sizes = LEVELS if name == "categorical" else (D,)
    return np.hstack([rng.dirichlet(np.full(size, weight), k) for size in sizes])


def parameters(name: str, k: int, seed: int = 0) -> Any:
    """Parameters of k components, inside of what they may be."""
    rng = np.random.default_rng(seed + 3)
    return {
        "poisson": lambda: Rates(jnp.asarray(rng.gamma(3.0, 1.0, (k, D)))),
        "bernoulli": lambda: Probabilities(jnp.asarray(rng.beta(3.0, 3.0, (k, D)))),
        "categorical": lambda: AnswerProbabilities(jnp.asarray(simplices(name, rng, k))),
        "multinomial": lambda: Shares(jnp.asarray(simplices(name, rng, k))),
    }[name]()


def under(name: str, prior: str, k: int, least: float = 1.1) -> ConjugateFamily:
    """The family under a prior: "none", one "shared" by all clusters, or one for "each"."""
    family = LINEAR[name]
    if prior == "none":
        return family
    rng, f = np.random.default_rng(5), sum(LEVELS) if name == "categorical" else D
    shape = (f,) if prior == "shared" else (k, f)
    first, second = least + rng.random(shape), least + 2 * rng.random(shape)
    stated = {"poisson": Gamma(2 * first, second / 2), "bernoulli": Beta(first, second)}.get(name, Dirichlet(first))
    return family.with_prior(stated).resolved(k, checked_rows(points(name, 4)))


def log_pmf(name: str, theta: Any, x: np.ndarray) -> np.ndarray:
    """Log densities (k, n) of rows, by SciPy."""
    if name == "poisson":
        return stats.poisson.logpmf(x, np.asarray(theta.rates)[:, None]).sum(-1)
    if name == "bernoulli":
        return stats.bernoulli.logpmf(x, np.asarray(theta.probabilities)[:, None]).sum(-1)
    if name == "multinomial":
        p = np.asarray(theta.shares)
        return np.array([stats.multinomial.logpmf(x, x.sum(1), one / one.sum()) for one in p])
    p = np.asarray(theta.probabilities)
    first = np.cumsum((0, *LEVELS[:-1]))
    return np.log(p[:, first + x.astype(int)]).sum(-1)


def log_prior(name: str, prior: Any, theta: Any) -> float:
    """Log density of parameters under a prior for each component, by SciPy."""
    if name == "poisson":
        return float(stats.gamma.logpdf(theta.rates, prior.shape, scale=1 / np.asarray(prior.rate)).sum())
    if name == "bernoulli":
        return float(stats.beta.logpdf(theta.probabilities, prior.yes, prior.no).sum())
    p = np.asarray(theta.shares if name == "multinomial" else theta.probabilities)
    parts = np.split(np.arange(p.shape[1]), np.cumsum(LEVELS)[:-1]) if name == "categorical" else [np.arange(D)]
    alpha = np.broadcast_to(prior.concentration, p.shape)
    return float(
        sum(
            stats.dirichlet.logpdf(one[of] / one[of].sum(), a[of])
            for one, a in zip(p, alpha, strict=True)
            for of in parts
        )
    )


def updated(name: str, prior: Any, x: np.ndarray, r: np.ndarray) -> Any:
    """The conjugate posterior after rows x with responsibilities r (k, n): counts added, from the rows themselves."""
    sums, rows = r @ x, r.sum(1)[:, None]
    if name == "poisson":
        return Gamma(prior.shape + sums, prior.rate + rows)
    if name == "bernoulli":
        return Beta(prior.yes + sums, prior.no + r @ (1 - x))
    if name == "multinomial":
        return Dirichlet(prior.concentration + sums)
    ones = np.hstack([x[:, [j]] == np.arange(most) for j, most in enumerate(LEVELS)])
    return Dirichlet(prior.concentration + r @ ones)


def predictive(name: str, prior: Any, x: np.ndarray) -> np.ndarray:
    """Log predictive densities (n,) of rows under the first component's prior, by SciPy."""
    first = {key: np.atleast_2d(value)[0] for key, value in vars(prior).items()}
    if name == "poisson":
        return stats.nbinom.logpmf(x, first["shape"], first["rate"] / (1 + first["rate"])).sum(-1)
    if name == "bernoulli":
        return stats.bernoulli.logpmf(x, first["yes"] / (first["yes"] + first["no"])).sum(-1)
    alpha = first["concentration"]
    if name == "multinomial":
        return stats.dirichlet_multinomial.logpmf(x.astype(int), alpha, x.sum(1).astype(int))
    parts = np.split(alpha, np.cumsum(LEVELS)[:-1])
    return sum(np.log(part / part.sum())[x[:, j].astype(int)] for j, part in enumerate(parts))


def statistics_of(name: str, x: np.ndarray, r: np.ndarray) -> Sums:
    """Statistics of rows x under responsibilities r of shape (k, n)."""
    family = LINEAR[name]
    features = family.tile_features(None, jnp.asarray(encoded(name, x)), False)
    return family.collect(None, family.tile_statistics(None, features, jnp.asarray(r), False), False)
