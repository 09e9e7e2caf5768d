"""What every estimator of a mixture does with rows: fit, predict, score, draw, save."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from importlib import import_module
from inspect import signature
from numbers import Integral
from typing import Any, ClassVar, Self

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from bayessoft.arviz_io import ess, to_arviz
from bayessoft.data.rows import Rows, evidence_of, row_ids, rows, table
from bayessoft.errors import OptionError
from bayessoft.estimators import posterior
from bayessoft.estimators.assigning import Assigning
from bayessoft.estimators.base import (
    REGULARISING,
    check_run,
    choose_engine,
    columns_kept,
    enough_rows,
    forget,
    names_of,
    progress_printer,
    tell,
)
from bayessoft.estimators.criticism import Criticism
from bayessoft.families.family import GibbsFamily, lacking
from bayessoft.fit import Fit
from bayessoft.inference.cavi import CAVI
from bayessoft.inference.checkpoint import Checkpoint
from bayessoft.inference.engine import Climber, Given, Problem, Sampler
from bayessoft.inference.refusals import check_rows, tempered_only_by_em
from bayessoft.inference.run import run
from bayessoft.mixture import Mixture
from bayessoft.numerics import scoped
from bayessoft.posteriors import Conjugate, Draws, Guided, Point

__all__ = ["MixtureEstimator"]


class MixtureEstimator(Assigning, Criticism, DensityMixin, BaseEstimator, ABC):
    """An estimator of a mixture: what it is fitted to is up to the class, what is made of the fit is here."""

    COUNTED: ClassVar[str] = "n_components"
    """The argument that says how many clusters there are."""

    inference: Any
    random_state: Any
    warm_start: bool
    verbose: int
    verbose_interval: int
    checkpoint: Any
    time_limit: Any

    @abstractmethod
    def _mixture(self) -> Mixture:
        """Give the specification that the arguments make, refusing those out of range."""

    @abstractmethod
    def _given(self, d: int) -> Given:
        """Give what the arguments say of the start."""

    @abstractmethod
    def _again(self, fit: Fit) -> Given:
        """Give a start where the last fit ended."""

    @abstractmethod
    def _learned(self, fit: Fit, data: Rows) -> dict[str, Any]:
        """Give the attributes that are the class's own."""

    def _where(self, fit: Fit) -> Given:
        """Give a start where a fit ended: of CAVI for itself, such that the next pass is the next step."""
        weights, parameters = posterior.centre(fit)
        if isinstance(fit.posterior, Conjugate) and isinstance(self._engine(), CAVI):
            family = fit.mixture.family
            with scoped(np.dtype(fit.dtype)):
                log_weights, inside = jax.tree.map(np.asarray, fit.posterior.mixture.expected())
            weights = np.exp(log_weights)
            found = family.quantities(family.map_parameters(inside, fit.frame))
            parameters = {name: np.asarray(array) for name, (_, array) in found.items()}
        return Given(weights, parameters)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, evidence: Any = None) -> Self:
        """Fit the mixture to rows.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            Rows; float32 is computed in float32, everything else in float64.
        y : ignored
        sample_weight : array of shape (n,), optional
            Weight of each row, >= 0: a row of weight 2 counts as two.
        evidence : array of shape (n, k), optional
            What else is known of the cluster of each row: log-odds in nats, added to the log densities. 0 where nothing
            is known, -inf for clusters that a row cannot be in.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        ValueError
            Unusable rows, weights, options or checkpoint (`DataError`, `OptionError`, `StoreError`); nothing is set.
        FitError
            A numerical failure, or a `time_limit` before any draw, with its status; no fitted attribute is left.
        KeyboardInterrupt
            Of samplers only before there are draws: after that, an interrupt ends the run with the draws so far.
        """
        engine = self._engine()
        check_run(engine, self.checkpoint, self.time_limit, self.random_state, self.warm_start)
        mixture = self._mixture()
        tempered_only_by_em(engine, mixture)
        engine = engine.suited(mixture)
        engine.check(mixture)
        if engine.BAYESIAN:
            mixture = mixture.proper()
        seed = int(check_random_state(self.random_state).randint(1 << 31))
        previous = getattr(self, "fit_", None) if self.warm_start else None
        with columns_kept(self):
            names = names_of(getattr(evidence, "columns", None), getattr(self._named_start(), "index", None))
            if mixture.sizes is not None:
                mixture = replace(mixture, sizes=mixture.sizes.ordered(names))
            data = self._rows(X, sample_weight)
            data = replace(data, evidence=evidence_of(evidence, data.n, mixture.k))
            check_rows(engine, mixture, data)
            given = self._given(data.d) if previous is None else self._again(previous)
            with scoped(data.values.dtype):
                problem = Problem.pose(mixture, data, seed, getattr(self, REGULARISING, 0.0), given, engine.batch_size)
            engine.check(problem.mixture)
            checkpoint = None
            if isinstance(engine, Sampler) and self.checkpoint is not None:
                checkpoint = Checkpoint(self.checkpoint, engine, problem)
        forget(self)
        with scoped(data.values.dtype):
            found = run(
                engine,
                problem,
                progress_printer(self.verbose, self.verbose_interval),
                effective=lambda log_density: float(ess(log_density)),
                checkpoint=checkpoint,
                time_limit=self.time_limit,
            )
            fit = posterior.examined(found, problem.tiles)
        del problem  # with the rows on the device, before they are laid out again
        self._remember(fit, data)
        if names is not None:
            self.clusters_ = np.array(names)
        tell(fit, type(self).__name__, found.status, getattr(self, "max_iter", None))
        return self

    def _named_start(self) -> Any:
        """Give the means to start from as they were given, whose index may name the clusters."""
        return getattr(self, "means_init", None)

    def _engine(self) -> Climber | Sampler:
        """Give the engine, refusing options that contradict it."""
        defaults = self._defaults()
        names = [name for name in (*Climber.OPTIONS, REGULARISING) if name in defaults]
        return choose_engine(self.inference, {name: getattr(self, name) for name in names}, defaults)

    def _defaults(self) -> dict[str, Any]:
        """Give the defaults of the arguments."""
        return {name: parameter.default for name, parameter in signature(type(self)).parameters.items()}

    def _remember(self, fit: Fit, data: Rows) -> None:
        """Set what was learned; the only place that does."""
        learned = self._learned(fit, data) | {
            "fit_": fit,
            "status_": fit.status,
            "converged_": fit.status.converged,
            "n_iter_": len(fit.trace),
            "lower_bounds_": fit.trace.tolist(),
            "lower_bound_": posterior.bound(fit),
            "responsibilities_": fit.own_memberships(data.values, data.weights, data.evidence),
        }
        if isinstance(fit.posterior, Point | Conjugate) and (under := fit.posterior.sizes) is not None:
            learned |= {"sizes_": under.sizes, "prices_": under.prices, "duality_gap_": under.duality_gap}
            if isinstance(fit.posterior, Point):
                density = fit.plain.log_density(data.values, data.evidence)
                learned["log_likelihood_"] = float(data.weights @ density.astype(np.float64))
        drawn = fit.posterior.expected_sizes if isinstance(fit.posterior, Draws) else None
        if fit.mixture.sizes is not None and drawn is not None:
            learned["sizes_"] = drawn.mean((0, 1))
        if isinstance(fit.posterior, Conjugate | Guided):
            learned["elbo_"] = fit.posterior.elbo
            if not lacking(fit.mixture.family, GibbsFamily):  # others do not say which components have the same prior
                learned["log_relabellings_"] = fit.log_relabellings
        for name, value in learned.items():
            setattr(self, name, value)

    def _rows(self, X: Any, sample_weight: Any) -> Rows:
        """Check the rows to be fitted."""
        values = self._values(X, reset=True, least=2)
        enough_rows(values, self.COUNTED, getattr(self, self.COUNTED))
        return rows(values, columns=self._columns(), ids=row_ids(X), sample_weight=sample_weight)

    def _values(self, X: Any, *, reset: bool, least: int = 1) -> Float[np.ndarray, "n d"]:
        options = dict(dtype=[np.float64, np.float32], ensure_all_finite=False, ensure_min_samples=least)
        return validate_data(self, table(X), reset=reset, **options)

    def _columns(self) -> list[str] | None:
        return list(self.feature_names_in_) if hasattr(self, "feature_names_in_") else None

    def _named(self) -> list[str]:
        """Give the names of the columns, "x0", "x1", ... where they have none."""
        return self._columns() or [f"x{j}" for j in range(self.n_features_in_)]

    def _evaluate(self, X: Any, evidence: Any = None) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n k"]]:
        check_is_fitted(self, "fit_")
        values = self._known(X).values
        return self.fit_.evaluate(values, evidence=evidence_of(evidence, len(values), self.fit_.mixture.k))

    def _known(self, X: Any, sample_weight: Any = None) -> Rows:
        """Check rows to be looked at with what was fitted."""
        values = self._values(X, reset=False)
        found = rows(values, columns=self._columns(), ids=row_ids(X), sample_weight=sample_weight)
        self.fit_.mixture.family.check(found)
        return found

    def fit_predict(
        self, X: Any, y: Any = None, sample_weight: Any = None, evidence: Any = None
    ) -> Int[np.ndarray, " n"]:
        """Fit, and give the most probable cluster of each row, under a size constraint by `responsibilities_`."""
        shares = self.fit(X, y, sample_weight, evidence).responsibilities_
        found = self.fit_.posterior
        if isinstance(found, Conjugate) and found.sizes is None:  # predictions are not the memberships of the fit
            shares = self.predict_proba(X, evidence=evidence)
        return shares.argmax(axis=1)

    def predict(self, X: Any) -> Int[np.ndarray, " n"]:
        """Give the most probable cluster of each row, 0 to k - 1."""
        return self.predict_proba(X).argmax(axis=1)

    def predict_proba(
        self, X: Any, *, prices: Any = None, sizes: Any = None, resources: Any = None, evidence: Any = None
    ) -> Float[np.ndarray, "n k"]:
        """Give the membership of each row in each cluster; rows sum to 1.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            Rows; each has its own memberships, whatever the others are, unless `sizes` are given.
        prices : "keep" or None
            None is free of the size constraint of the fit. "keep" takes its prices as they are; under "cavi" and "svi"
            these belong to the variational memberships, and sums of predictions come near to the bounds.
        sizes : Fixed, Between, Capacity, a list of these, or None
            Bounds on the expected sizes of these rows, the i-th of cluster i: see `assign`.
        resources : array of shape (n,) or (n, c), optional
            What each row takes of resources that have prices to keep.
        evidence : array of shape (n, k), optional
            What else is known of these rows, as in `fit`.
        """
        if prices is None and sizes is None:
            return self._evaluate(X, evidence)[1]
        return self._under(X, prices, sizes, resources, evidence)

    def score_samples(self, X: Any) -> Float[np.ndarray, " n"]:
        """Give the log density of each row, in nats."""
        check_is_fitted(self, "fit_")
        return self.fit_.plain.log_density(self._known(X).values)

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
            A row per cluster: its weight, its size in rows (or weight), and what its family says of each column, a mean
            for example. Of a posterior also the weight's standard deviation and interval; of draws also its effective
            sample size and R-hat, and the interval of the expected size; NaN where the status says that clusters cannot
            be told apart.
        """
        check_is_fitted(self, "fit_")
        interval = posterior.fraction(interval)
        table = posterior.summary(self.fit_, self._named(), interval)
        return table.set_index(pd.Index(self._clusters(), name="cluster"))

    def membership_interval(self, X: Any, interval: float = 0.95) -> Float[np.ndarray, "n k 2"]:
        """Give equal-tailed posterior intervals of the memberships, from draws, or from a posterior in closed form.

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
            The fit is a point.
        FitError
            The status says that clusters cannot be told apart from draw to draw.
        """
        check_is_fitted(self, "fit_")
        interval = posterior.fraction(interval)
        posterior.needed(self.fit_, "membership_interval")
        posterior.trusted(self.fit_)
        return self.fit_.membership_interval(self._known(X).values, interval)

    def entropy_interval(self, X: Any, interval: float = 0.95) -> Float[np.ndarray, "n 2"]:
        """Give equal-tailed posterior intervals of the entropy of each row's memberships.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            Rows.
        interval : float between 0 and 1
            Probability that each interval holds.

        Returns
        -------
        array of shape (n, 2)
            Lower and upper end for each row, in nats: 0 is certain, log k any cluster as well. The names of clusters do
            not enter, so it is there even where clusters cannot be told apart. The entropy of `predict_proba`, which is
            that of the mean memberships, lies above where draws are sure of a row but differ on its cluster.

        Raises
        ------
        OptionError
            The fit is a point.
        """
        check_is_fitted(self, "fit_")
        interval = posterior.fraction(interval)
        posterior.needed(self.fit_, "entropy_interval")
        return self.fit_.entropy_interval(self._known(X).values, interval)

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
        posterior.needed(self.fit_, "to_arviz")
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
