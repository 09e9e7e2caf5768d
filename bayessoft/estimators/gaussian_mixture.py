"""Gaussian mixtures with the surface of scikit-learn's `GaussianMixture`."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from bayessoft.arviz_io import to_arviz
from bayessoft.core.sizes import SizeConstraint
from bayessoft.data.rows import Rows, row_ids, rows, table
from bayessoft.errors import OptionError
from bayessoft.estimators import posterior
from bayessoft.estimators.base import OPTIONS, choose_engine, columns_kept, forget, given_start, progress_printer, tell
from bayessoft.families.gaussian import Gaussian
from bayessoft.families.structures import STRUCTURES
from bayessoft.families.weights import Dirichlet
from bayessoft.fit import Fit, Point
from bayessoft.inference.engine import Given, Problem, Sampler
from bayessoft.inference.run import run
from bayessoft.mixture import Mixture
from bayessoft.numerics import scoped

__all__ = ["GaussianMixture"]


class GaussianMixture(DensityMixin, BaseEstimator):
    """Gaussian mixture: soft clusters with their proportions, means and covariances.

    A drop-in for scikit-learn's `GaussianMixture`: the same arguments with the same defaults, the same attributes.

    Parameters
    ----------
    n_components : int, default 1
        Number of clusters k.
    covariance_type : {"full", "tied", "diag", "spherical"}, default "full"
        A covariance matrix per cluster, one for all, variances per cluster and column, or one variance per cluster.
    tol : float, default 1e-3
        EM ends when the objective changes by less, in nats per row.
    reg_covar : float >= 0, default 1e-6
        Added to the diagonal of the covariances, in squared units of the columns. Not used under a `prior`.
    max_iter : int, default 100
        Most EM iterations.
    n_init : int, default 1
        Number of starts; the best one is kept.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}, default "kmeans"
        How a start is found.
    weights_init : array of shape (k,), optional
        Proportions to start from.
    means_init : array of shape (k, d), optional
        Means to start from.
    precisions_init : array, optional
        Inverse covariances to start from, shaped as `precisions_`.
    random_state : int, RandomState or None
        Where random numbers come from; an int makes the fit reproducible.
    warm_start : bool, default False
        Start from the last fit, where there is one.
    verbose : int, default 0
        Print progress.
    verbose_interval : int, default 10
        Least number of iterations between two lines of progress.
    prior : NormalInverseWishart, "weak" or None
        Prior on means and covariances; "weak" takes its scale from the rows. None is maximum likelihood for EM, "weak"
        for samplers.
    weight_concentration_prior : float, array of shape (k,), Dirichlet or None
        Prior on the proportions; at least 1 for EM. None is maximum likelihood for EM, 1 for samplers.
    sizes : Fixed, Between or None
        Constraint on the expected sizes of the clusters. Prediction is free of it; `responsibilities_` are not.
    inference : {"em", "nuts"} or engine
        How to fit: "em" finds the best fit, "nuts" draws from the posterior. An engine object carries its own options.

    Attributes
    ----------
    weights_ : array of shape (k,)
        Proportions; like means and covariances, the posterior means over aligned draws under "nuts".
    means_ : array of shape (k, d)
    covariances_, precisions_, precisions_cholesky_ : arrays
        (k, d, d) for full, (d, d) for tied, (k, d) for diag, (k,) for spherical. Precisions invert the covariances.
    responsibilities_ : array of shape (n, k)
        Memberships of the rows that were fitted, averaged over draws.
    status_ : Status
        How the fit ended; its text says what to do next.
    converged_ : bool
        Whether the status says so.
    n_iter_ : int
        Steps of EM, or draws that each chain kept.
    lower_bound_ : float
        Log-likelihood, plus log prior where there is one, per unit weight in nats: at the last step of EM, or the mean
        over draws.
    lower_bounds_ : list of float
        The same at every step (draw, the mean over chains).
    prior_ : NormalInverseWishart or None
        The prior in numbers, in original units.
    sizes_ : array of shape (k,)
        Only under a size constraint: expected rows (or weight) of each cluster.
    prices_ : array of shape (k,)
        Only under a size constraint: its Lagrange multipliers in nats per row. Above 0 where a low bound is active,
        below 0 where a high one is; one more row in a cluster changes the objective by minus its price.
    duality_gap_ : float
        Only under a size constraint: how far `responsibilities_` can be from the best ones, in nats.
    fit_ : Fit
        All of it in one object.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only where the columns had names.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> gm = GaussianMixture(3, random_state=0).fit(load_iris(as_frame=True).data)
    >>> sorted(gm.weights_.round(2).tolist())
    [0.3, 0.33, 0.36]
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        prior: Any = None,
        weight_concentration_prior: Any = None,
        sizes: Any = None,
        inference: Any = "em",
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.prior = prior
        self.weight_concentration_prior = weight_concentration_prior
        self.sizes = sizes
        self.inference = inference

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the mixture to rows.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            Rows; float32 is computed in float32, everything else in float64.
        y : ignored
        sample_weight : array of shape (n,), optional
            Weight of each row, >= 0: a row of weight 2 counts as two.

        Returns
        -------
        GaussianMixture
            Itself.

        Raises
        ------
        ValueError
            Unusable rows, weights or options (`DataError`, `OptionError`); nothing is set.
        FitError
            A numerical failure, with its status; no fitted attribute is left.
        """
        engine = self._engine()
        mixture = self._mixture()
        engine.check(mixture)
        if isinstance(engine, Sampler):
            mixture = mixture.proper()
        seed = int(check_random_state(self.random_state).randint(1 << 31))
        previous = getattr(self, "fit_", None) if self.warm_start else None
        with columns_kept(self):
            data = self._rows(X, sample_weight)
            given = self._given(data.d) if previous is None else self._again(previous)
            with scoped(data.values.dtype):
                problem = Problem.pose(mixture, data, seed, self.reg_covar, given)
        forget(self)
        with scoped(data.values.dtype):
            fit = run(engine, problem, progress_printer(self.verbose, self.verbose_interval))
            fit = posterior.examined(fit, problem.tiles)
        self._remember(fit, data)
        tell(fit, type(self).__name__, self.max_iter)
        return self

    def _mixture(self) -> Mixture:
        """Give the specification that the arguments make."""
        if isinstance(self.n_components, bool) or not isinstance(self.n_components, Integral) or self.n_components < 1:
            raise OptionError(f"n_components is {self.n_components!r}: pass a whole number >= 1")
        if not isinstance(self.covariance_type, str) or self.covariance_type not in STRUCTURES:
            raise OptionError(f"covariance_type is {self.covariance_type!r}: pass one of {', '.join(STRUCTURES)}")
        if not (isinstance(self.reg_covar, Real) and 0 <= self.reg_covar < np.inf):
            raise OptionError(f"reg_covar is {self.reg_covar!r}: pass a number >= 0")
        concentration = self.weight_concentration_prior
        if concentration is not None and not isinstance(concentration, Dirichlet):
            concentration = Dirichlet(concentration)
        if not (self.sizes is None or isinstance(self.sizes, SizeConstraint)):
            raise OptionError(f"sizes is {self.sizes!r}: pass Fixed([...]), Between(low, high) or None")
        return Mixture(int(self.n_components), Gaussian(self.covariance_type, self.prior), concentration, self.sizes)

    def _engine(self) -> Any:
        """Give the engine, refusing options that contradict it."""
        defaults = {name: parameter.default for name, parameter in signature(type(self)).parameters.items()}
        if self.prior is not None and self.reg_covar not in (0, defaults["reg_covar"]):
            raise OptionError("reg_covar is not used under a prior, which regularises by itself: leave out one of them")
        return choose_engine(self.inference, {name: getattr(self, name) for name in OPTIONS}, defaults)

    def _rows(self, X: Any, sample_weight: Any) -> Rows:
        """Check the rows to be fitted."""
        values = self._values(X, reset=True, least=2)
        if len(values) < self.n_components:
            raise ValueError(
                f"n_components={self.n_components} but n_samples = {len(values)}: pass at least as many rows as "
                "clusters, or fewer clusters"
            )
        return rows(values, columns=self._columns(), ids=row_ids(X), sample_weight=sample_weight)

    def _values(self, X: Any, *, reset: bool, least: int = 1) -> Float[np.ndarray, "n d"]:
        options = dict(dtype=[np.float64, np.float32], ensure_all_finite=False, ensure_min_samples=least)
        return validate_data(self, table(X), reset=reset, **options)

    def _columns(self) -> list[str] | None:
        return list(self.feature_names_in_) if hasattr(self, "feature_names_in_") else None

    def _given(self, d: int) -> Given:
        k, kind = int(self.n_components), self.covariance_type
        return given_start(self.weights_init, self.means_init, self.precisions_init, kind, k, d)

    def _again(self, fit: Fit) -> Given:
        """Start where the last fit ended."""
        kind, shape = getattr(fit.mixture.family, "covariance_type", None), (self.n_components, self.n_features_in_)
        if kind != self.covariance_type or self.means_.shape != shape:
            raise OptionError("warm_start needs the n_components, covariance_type and columns of the last fit")
        return Given(self.weights_, self.means_, self.covariances_)

    def _remember(self, fit: Fit, data: Rows) -> None:
        """Set what was learned; the only place that does."""
        dtype, structure = data.values.dtype, STRUCTURES[self.covariance_type]
        weights, means, covariances, factors = posterior.centre(fit, structure)
        precisions = factors @ np.swapaxes(factors, -1, -2) if structure.matrix else factors**2
        self.fit_ = fit
        self.weights_ = weights.astype(dtype)
        self.means_ = means.astype(dtype)
        self.covariances_ = covariances.astype(dtype)
        self.precisions_ = precisions.astype(dtype)
        self.precisions_cholesky_ = factors.astype(dtype)
        self.status_ = fit.status
        self.converged_ = fit.status.converged
        self.n_iter_ = len(fit.trace)
        self.lower_bounds_ = fit.trace.tolist()
        self.lower_bound_ = posterior.bound(fit)
        self.prior_ = fit.mixture.family.prior
        self.responsibilities_ = fit.evaluate(data.values, constrained=True)[1]
        if isinstance(fit.posterior, Point) and (under := fit.posterior.sizes) is not None:
            self.sizes_, self.prices_, self.duality_gap_ = under.sizes, under.prices, under.duality_gap

    def _evaluate(self, X: Any) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n k"]]:
        check_is_fitted(self, "fit_")
        return self.fit_.evaluate(self._known(X).values)

    def _known(self, X: Any) -> Rows:
        """Check rows to be looked at with what was fitted."""
        return rows(self._values(X, reset=False), columns=self._columns(), ids=row_ids(X))

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Int[np.ndarray, " n"]:
        """Fit, and give the most probable cluster of each row, under a size constraint by `responsibilities_`."""
        return self.fit(X, y, sample_weight).responsibilities_.argmax(axis=1)

    def predict(self, X: Any) -> Int[np.ndarray, " n"]:
        """Give the most probable cluster of each row, 0 to k - 1."""
        return self.predict_proba(X).argmax(axis=1)

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n k"]:
        """Give the membership of each row in each cluster; rows sum to 1. Free of size constraints."""
        return self._evaluate(X)[1]

    def score_samples(self, X: Any) -> Float[np.ndarray, " n"]:
        """Give the log density of each row, in nats."""
        return self._evaluate(X)[0]

    def score(self, X: Any, y: Any = None) -> float:
        """Give the mean log density of the rows, in nats."""
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def bic(self, X: Any) -> float:
        """Give the Bayesian information criterion, smaller is better: -2 log-likelihood + parameters * log(n)."""
        found = self.score_samples(X).astype(np.float64)
        return float(-2 * found.sum() + self.fit_.n_parameters * np.log(len(found)))

    def aic(self, X: Any) -> float:
        """Give Akaike's information criterion, smaller is better: -2 log-likelihood + 2 * parameters."""
        return float(-2 * self.score_samples(X).astype(np.float64).sum() + 2 * self.fit_.n_parameters)

    def sample(self, n_samples: int = 1) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        """Draw rows from the fitted mixture, and the clusters that they come from, ordered by cluster."""
        check_is_fitted(self, "fit_")
        if isinstance(n_samples, bool) or not isinstance(n_samples, Integral) or n_samples < 1:
            raise OptionError(f"Invalid value for 'n_samples': {n_samples!r}: pass a whole number >= 1")
        rng = np.random.default_rng(check_random_state(self.random_state).randint(1 << 31))
        return self.fit_.simulate(int(n_samples), rng)

    def summary(self, interval: float = 0.95) -> pd.DataFrame:
        """Give a table of the clusters.

        Parameters
        ----------
        interval : float between 0 and 1
            Probability that the equal-tailed intervals of a posterior hold.

        Returns
        -------
        DataFrame
            A row per cluster: its weight, its size in rows (or weight), and the mean of each column. Of draws also the
            weight's standard deviation, interval, effective sample size and R-hat, and the interval of the expected
            size; intervals are NaN where the status says that clusters cannot be told apart.
        """
        check_is_fitted(self, "fit_")
        interval = posterior.fraction(interval)
        columns = self._columns() or [f"x{j}" for j in range(self.n_features_in_)]
        return posterior.summary(self.fit_, STRUCTURES[self.covariance_type], columns, interval)

    def membership_interval(self, X: Any, interval: float = 0.95) -> Float[np.ndarray, "n k 2"]:
        """Give equal-tailed posterior intervals of the memberships, from draws (``inference="nuts"``).

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            Rows.
        interval : float between 0 and 1
            Probability that each interval holds.

        Returns
        -------
        array of shape (n, k, 2)
            Lower and upper end for each row and cluster.

        Raises
        ------
        OptionError
            The fit has no draws.
        FitError
            The status says that clusters cannot be told apart from draw to draw.
        """
        check_is_fitted(self, "fit_")
        interval = posterior.fraction(interval)
        posterior.drawn(self.fit_, "membership_interval")
        posterior.trusted(self.fit_)
        return self.fit_.membership_interval(self._known(X).values, interval)

    def to_arviz(self, X: Any = None, log_likelihood: bool = False) -> Any:
        """Give the draws as ArviZ holds them, labels aligned, in original units.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d), optional
            The rows that were fitted, for the group ``observed_data``: a fit does not keep them.
        log_likelihood : bool, default False
            Whether to add the log density of each row of X under each draw.

        Returns
        -------
        InferenceData or DataTree
            Of ArviZ 0.x or 1.x.
        """
        check_is_fitted(self, "fit_")
        posterior.drawn(self.fit_, "to_arviz")
        return to_arviz(self.fit_, None if X is None else self._known(X), self._columns(), log_likelihood)

    def save(self, path: Any) -> None:
        """Write the fitted model to a new folder, which `bayessoft.load` reads.

        Parameters
        ----------
        path : str or path
            The folder; refused where it exists.
        """
        check_is_fitted(self, "fit_")
        import_module("bayessoft.store").save(self, path)
