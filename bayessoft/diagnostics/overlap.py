"""How often the components of a fitted mixture are taken for each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from sklearn.utils import check_random_state

from bayessoft.diagnostics.base import centre
from bayessoft.errors import FitError, OptionError
from bayessoft.fit import Fit
from bayessoft.inference.engine import whole
from bayessoft.posteriors import Draws, Point

__all__ = ["Overlap", "overlap"]


@dataclass(frozen=True, eq=False)
class Overlap:
    """How often rows of one cluster are given to another, each number with its Monte-Carlo standard error.

    Attributes
    ----------
    table, table_error : DataFrame of shape (k, k)
        The probability that a row of one cluster (index, "from") is given to another (columns, "to"), by the Bayes rule
        among all clusters; rows sum to 1.
    pairs, pairs_error : DataFrame of shape (k, k)
        The same between two clusters, as if there were no others; 0 on the diagonal.
    bayes_error, bayes_error_error : float
        The probability that a row of the mixture is given to another cluster than its own.
    n : int
        Rows that were drawn from each cluster.
    """

    table: pd.DataFrame
    table_error: pd.DataFrame
    pairs: pd.DataFrame
    pairs_error: pd.DataFrame
    bayes_error: float
    bayes_error_error: float
    n: int


def overlap(model: Any, n: int = 10_000, random_state: Any = 0) -> Overlap:
    """Tell how often a row of one cluster is given to another, if the fitted mixture is the truth.

    Parameters
    ----------
    model : GaussianMixture, MixtureModel or Fit
        A fitted estimator, or its `fit_`. Of a posterior, its centre: of draws the means of proportions and parameters.
    n : int >= 1, default=10_000
        Rows that are drawn from each cluster.
    random_state : int, RandomState or None, default=0
        Of the rows that are drawn.

    Returns
    -------
    Overlap
        Tables by cluster, and the Bayes error.

    Raises
    ------
    OptionError
        What is no fitted mixture, or a number of rows below 1.
    FitError
        The status says that clusters cannot be told apart from draw to draw.

    Notes
    -----
    ``pairs`` has ``P(pi_i f_i(X) < pi_j f_j(X))`` for X from f_i, the misclassification probabilities of Maitra and
    Melnykov, J. Computational and Graphical Statistics 19 (2010); the sum of the two of a pair is their overlap.
    ``table`` differs from it where a third cluster wins. Probabilities are shares of the drawn rows; the standard error
    of one that x of n rows have is the standard deviation of Beta(1 + x, 1 + n - x), which is above 0 also where x = 0.
    Prices of a size constraint play no part, nor does a temperature: the rule is that of the mixture with the
    parameters found, which no other betters.

    Examples
    --------
    >>> import bayessoft as bs
    >>> X = np.random.default_rng(0).normal(size=(200, 1)) + 3 * (np.arange(200) % 2)[:, None]
    >>> found = overlap(bs.GaussianMixture(2, covariance_type="tied", random_state=0).fit(X))
    >>> found.table.shape, 0.03 < found.bayes_error < 0.12
    ((2, 2), True)
    """
    fit = getattr(model, "fit_", model)
    if not isinstance(fit, Fit):
        raise OptionError(f"model is {type(model).__name__}, no fitted mixture: fit a GaussianMixture or MixtureModel")
    whole("n", n)
    fit = _at_centre(fit).plain  # at a temperature memberships are others than Bayes' rule has them
    rng = np.random.default_rng(check_random_state(random_state).randint(1 << 31))
    k, family = fit.mixture.k, fit.mixture.family
    parameters = family.map_parameters(fit.posterior.parameters, fit.frame)
    given, beaten = np.empty((2, k, k))
    for i in range(k):
        rows = family.simulate(parameters, np.full(n, i), rng).astype(fit.dtype)
        logs = fit.log_memberships(rows)
        given[i] = np.bincount(logs.argmax(1), minlength=k)
        beaten[i] = _wins(logs, i).sum(0)
    (table, spread), (pairs, apart) = _shares(given, n), _shares(beaten, n)
    np.fill_diagonal(apart, 0.0)  # a cluster does not lose to itself
    weights = fit.posterior.weights.astype(np.float64)
    names = pd.Index(getattr(model, "clusters_", range(k)))

    def named(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, names.rename("from"), names.rename("to"))

    return Overlap(
        table=named(table),
        table_error=named(spread),
        pairs=named(pairs),
        pairs_error=named(apart),
        bayes_error=float(weights @ (1 - np.diag(table))),
        bayes_error_error=float(np.linalg.norm(weights * np.diag(spread))),
        n=int(n),
    )


def _at_centre(fit: Fit) -> Fit:
    """Give a fit that is a point: its own, or the centre of its posterior."""
    if not isinstance(fit.posterior, Draws):
        return replace(fit, posterior=Point(fit.posterior.weights, fit.posterior.parameters))
    if not fit.status.labelled:
        raise FitError("numbers by cluster are refused", status=fit.status, advice=fit.status.text)
    weights, means = centre(fit)
    return replace(fit, posterior=Point(weights, fit.mixture.family.given_parameters(means, fit.frame)))


def _wins(logs: Float[np.ndarray, "n k"], own: int) -> Bool[np.ndarray, "n k"]:
    """Tell which clusters a row is given to when only that one and its own are there; of equal ones to the first."""
    before = np.arange(logs.shape[1]) < own
    return np.where(before, logs >= logs[:, [own]], logs > logs[:, [own]])


def _shares(counts: Float[np.ndarray, "k k"], n: int) -> tuple[Float[np.ndarray, "k k"], Float[np.ndarray, "k k"]]:
    """Give shares of n, and their standard errors."""
    return counts / n, np.sqrt((counts + 1) * (n - counts + 1) / (n + 3)) / (n + 2)
