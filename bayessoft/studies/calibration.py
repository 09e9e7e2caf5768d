"""Simulation-based calibration: whether an engine's draws are from the posterior that its model states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array, lax
from jax.scipy.special import gammaln, xlogy
from jaxtyping import Float, Int
from scipy.stats import chi2

from bayessoft.core.distributions import laid_out
from bayessoft.core.sweep import Tiles, rowwise
from bayessoft.errors import OptionError
from bayessoft.families.family import seeded
from bayessoft.inference.engine import Sampler, whole
from bayessoft.inference.gibbs import Gibbs
from bayessoft.mixture import Mixture, handed
from bayessoft.numerics import scoped

__all__ = ["Calibration", "calibrate"]

BINS = 20  # of a histogram of ranks; each should hold some simulations
MOST = 1_000_000  # counts that are looked at for those allowed
LEAST = 5  # simulations that a bin should hold by chance


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranks of the truth among draws from the posterior, over many simulated tables.

    Attributes
    ----------
    ranks : dict of str to array of shape (simulations,), int
        How many of the draws are below the true value of each quantity: 0 to `draws`, each as probable as the other
        where the draws are from the posterior.
    draws : int
        Draws of each simulation.
    """

    ranks: dict[str, Int[np.ndarray, " simulations"]]
    draws: int

    @property
    def p_values(self) -> dict[str, float]:
        """Give, for each quantity, the probability of ranks as uneven as these by chance, by a chi-square test."""
        return {name: _evenness(ranks, self.draws) for name, ranks in self.ranks.items()}

    def summary(self) -> pd.DataFrame:
        """Give a table of the quantities: the mean rank as a share, its standard error by chance, and p-values.

        ``holm`` is the p-value adjusted for the number of quantities (Holm, Scandinavian J. Statistics 6 (1979)): the
        engine or its model is wrong where it is below the rate of false alarms that you accept, 0.01 for example. A
        mean rank above a half says that draws are too small.
        """
        found = self.p_values
        count = len(next(iter(self.ranks.values())))
        table = {
            "mean_rank": [float(ranks.mean()) / self.draws for ranks in self.ranks.values()],
            "standard_error": np.sqrt((self.draws + 2) / (12 * self.draws * count)),
            "p": list(found.values()),
            "holm": list(holm(found).values()),
        }
        return pd.DataFrame(table, index=pd.Index(list(found), name="quantity"))

    def rejected(self, level: float = 0.01) -> bool:
        """Tell whether any ranks are more uneven than chance makes them at this rate of false alarms."""
        return min(holm(self.p_values).values()) < level


def calibrate(
    mixture: Mixture,
    n: int,
    engine: Sampler | None = None,
    *,
    simulations: int = 1000,
    thin: int = 10,
    random_state: int = 0,
    assumed: Mixture | None = None,
) -> Calibration:
    """Check an engine by tables simulated from its own model.

    Proportions and parameters are drawn from the prior, and n rows from those; then the engine draws from the
    posterior given these rows. If it is right, the truth is one more draw from the same posterior.

    Parameters
    ----------
    mixture : Mixture
        The model; its priors are in numbers.
    n : int >= 1
        Rows of each table. Few are enough, and quick.
    engine : Gibbs or NUTS, optional
        What is checked: `draws` are those that count, 99 for example, and `warmup` the steps before them; a chain for
        each table. By default ``Gibbs(draws=99, warmup=50)``.
    simulations : int >= 1
        Number of tables.
    thin : int >= 1
        Steps for each draw that counts, so that draws are nearly independent of each other.
    random_state : int
        Seed of all random numbers.
    assumed : Mixture, optional
        What the engine takes the model for, by default `mixture`: to see what a wrong assumption does.

    Returns
    -------
    Calibration
        Ranks of quantities that do not depend on the names of the clusters: the largest proportion, the entropy of the
        proportions, the log-likelihood of the rows, the log density of parameters and rows together, and how probably
        the first two rows are in one cluster.

    Raises
    ------
    OptionError
        An engine that does not draw, a prior that is not in numbers, or numbers out of range.

    Notes
    -----
    Talts et al., arXiv:1804.06788 (2018); the log-likelihood among the quantities after Modrák et al., Bayesian
    Analysis (2023), without which some faults stay unseen. Chains begin at the true proportions and parameters, from
    which `warmup` leads away; under a size constraint at any labels that it allows.
    All tables are one program, in float64.

    Examples
    --------
    >>> from bayessoft import Dirichlet, Gaussian, NormalInverseWishart
    >>> prior = NormalInverseWishart(np.zeros(1), 0.5, 5.0, np.array([1.0]))
    >>> found = calibrate(Mixture(2, Gaussian("diag", prior), Dirichlet(2.0)), n=5, simulations=200)
    >>> found.rejected()
    False
    """
    engine = Gibbs(draws=99, warmup=50) if engine is None else engine
    if not isinstance(engine, Sampler):
        raise OptionError(f"engine is {engine!r}, which does not draw: pass Gibbs(...) or NUTS(...)")
    for name, value in (("n", n), ("simulations", simulations), ("thin", thin)):
        whole(name, value)
    if simulations < LEAST * min(BINS, engine.draws + 1):
        raise OptionError(
            f"simulations is {simulations}: pass {LEAST * BINS} or more, to tell uneven ranks from chance"
        )
    models = [_in_numbers(each, engine) for each in (mixture, assumed or mixture)]
    with scoped(np.dtype(np.float64)):
        keys = jax.random.split(jax.random.key(random_state, impl="threefry2x32"), simulations)
        on_device = jax.tree.map(lambda leaf: jnp.asarray(handed(np.asarray(leaf, np.float64))), models)
        one_chain: Any = replace(engine, chains=1)  # type: ignore[type-var] # samplers are dataclasses
        found = _every(one_chain, n, thin, *on_device, keys)
        return Calibration({name: np.asarray(ranks) for name, ranks in found.items()}, engine.draws)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for their number by Holm's method.

    Examples
    --------
    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    names = sorted(p_values, key=lambda name: p_values[name])
    adjusted, least = {}, 0.0
    for i, name in enumerate(names):
        least = max(least, min(1.0, (len(names) - i) * p_values[name]))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}


def _in_numbers(mixture: Mixture, engine: Sampler) -> Mixture:
    """Refuse what cannot be simulated."""
    engine.check(mixture)
    prior = getattr(mixture.family, "prior", None)
    if prior is None or isinstance(prior, str) or mixture.weights is None:
        raise OptionError(f"the prior is {prior!r}: pass priors in numbers, from which tables can be simulated")
    return replace(mixture, weights=mixture.weights.checked(mixture.k))


def _evenness(ranks: np.ndarray, draws: int) -> float:
    """Give the p-value of a chi-square test of evenness, in bins of whole ranks, as many as `BINS` or ranks allow."""
    bins = min(BINS, draws + 1, len(ranks) // LEAST)
    edges = np.linspace(0, draws + 1, bins + 1).round()
    counts = np.histogram(ranks, edges - 0.5)[0]
    expected = len(ranks) * np.diff(edges) / (draws + 1)
    return float(chi2.sf(np.sum((counts - expected) ** 2 / expected), bins - 1))


def _quantities(mixture: Mixture, rows: Tiles, weights: Float[Array, " k"], parameters: Any) -> dict[str, Array]:
    """Give what is ranked: numbers that do not depend on the names of the clusters."""
    log_density, r = rowwise(mixture.family, parameters, jnp.log(weights), rows)
    likelihood = jnp.sum(rows.w * log_density)
    shares = jnp.moveaxis(r, 1, 2).reshape(-1, mixture.k)
    return {
        "largest proportion": weights.max(),
        "entropy of proportions": -jnp.sum(xlogy(weights, weights)),
        "log-likelihood": likelihood,
        "log joint density": likelihood + mixture.log_prior(weights, parameters),
        "first two together": jnp.sum(shares[0] * shares[min(1, len(shares) - 1)]),
    }


@partial(jax.jit, static_argnums=(0, 1, 2))
def _every(engine: Sampler, n: int, thin: int, mixture: Mixture, assumed: Mixture, keys: Array) -> dict[str, Array]:
    """Give the ranks of all simulations."""

    def one(key: Array) -> dict[str, Array]:
        prior_key, rows_key, chain_key, ties_key = jax.random.split(key, 4)
        truth = mixture.draw(seeded(prior_key))
        if mixture.sizes is None:
            x = mixture.row_distribution(*truth).sample(rows_key, (n,))
        else:
            truth, x = _under_sizes(mixture, truth[1], n, rows_key)
        rows = laid_out(mixture.family, x, mixture.k)
        bounds = () if assumed.sizes is None else (assumed.sizes.counts(assumed.k, n),)
        state = engine.at(assumed, rows, *truth, chain_key, *bounds)

        def stepped(steps: int, state: Any) -> Any:
            return lax.fori_loop(0, steps, lambda _, now: engine.step(assumed, rows, now)[0], state)

        def draw(state: Any, _: None) -> tuple[Any, dict[str, Array]]:
            after, found = engine.step(assumed, rows, stepped(thin - 1, state))
            return after, _quantities(assumed, rows, found.weights, found.parameters)

        drawn = lax.scan(draw, stepped(engine.warmup, state), None, length=engine.draws)[1]
        true = _quantities(assumed, rows, *truth)
        ties = jax.random.split(ties_key, len(true))
        return {name: _rank(drawn[name], true[name], tie) for tie, name in zip(ties, true, strict=True)}

    return lax.map(one, keys, batch_size=min(engine.SIDE_BY_SIDE, len(keys)))


def _under_sizes(mixture: Mixture, parameters: Any, n: int, key: Array) -> tuple[tuple[Array, Any], Array]:
    """Draw proportions, and n rows whose labels have allowed counts, given parameters.

    Of proportions, labels and rows the joint density is restricted to such labels. So counts have the probabilities of
    a Dirichlet-multinomial distribution among the allowed ones, and proportions their posterior given the counts.
    """
    assert mixture.sizes is not None
    low, high = mixture.sizes.counts(mixture.k, n)
    if math.prod((high - low + 1).tolist()) > MOST:
        raise OptionError(f"n={n} rows have too many allowed counts to list them: pass a smaller n")
    every = np.array([c for c in product(*map(range, low, high + 1)) if sum(c) == n])
    alpha = jnp.broadcast_to(jnp.asarray(mixture.drawable()[1].concentration), (mixture.k,))
    logs = jnp.sum(gammaln(alpha + every) - gammaln(alpha) - gammaln(every + 1.0), 1)
    count_key, weight_key, order_key, row_key = jax.random.split(key, 4)
    counts = jnp.asarray(every)[jax.random.categorical(count_key, logs)]
    weights = jax.random.dirichlet(weight_key, alpha + counts)
    labels = jnp.searchsorted(jnp.cumsum(counts), jax.random.permutation(order_key, n), side="right")

    def row(label: Array, key: Array) -> Array:
        return mixture.row_distribution(jax.nn.one_hot(label, mixture.k), parameters).sample(key)

    return (weights, parameters), jax.vmap(row)(labels, jax.random.split(row_key, n))


def _rank(drawn: Float[Array, " s"], true: Array, key: Array) -> Array:
    """Count the draws below the truth; equal ones fall on either side at random."""
    below, equal = jnp.sum(drawn < true), jnp.sum(drawn == true)
    return below + jax.random.randint(key, (), 0, equal + 1)
