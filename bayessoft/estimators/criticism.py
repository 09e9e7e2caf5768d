"""What estimators say of their own model: how it predicts, what tables it makes, whence its results come."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import cycle
from typing import Any

import jax
import numpy as np
import pandas as pd
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from bayessoft.data.rows import Rows, row_ids, rows, table
from bayessoft.diagnostics.loo import LeaveOneOut, leave_one_out
from bayessoft.diagnostics.predictive import Statistic, check, statistics_of
from bayessoft.diagnostics.sensitivity import THRESHOLD, log_parts, sensitivity
from bayessoft.estimators import posterior
from bayessoft.fit import Fit
from bayessoft.inference.engine import whole
from bayessoft.mixture import Mixture, handed
from bayessoft.numerics import scoped
from bayessoft.posteriors import drawn

__all__ = ["Criticism"]

LEAST_TABLES = 20  # whose intervals say something


class Criticism:
    """Checks of a model, for an estimator of a mixture to inherit."""

    fit_: Fit
    random_state: Any

    @abstractmethod
    def _known(self, X: Any) -> Rows: ...

    @abstractmethod
    def _named(self) -> list[str]: ...

    @abstractmethod
    def _mixture(self) -> Mixture: ...

    def loo(self, X: Any) -> LeaveOneOut:
        """Approximate leave-one-out cross-validation, for comparing models fitted to the same rows.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            The rows that were fitted, each of weight 1.

        Returns
        -------
        LeaveOneOut
            ``elpd``, the expected log density of as many new rows in nats, larger is better; ``standard_error``;
            ``pointwise``; and ``pareto_k``, which tells for which rows the approximation is to be trusted (``text``).

        Raises
        ------
        OptionError
            A fit without draws of a sampler, or with too few.

        Notes
        -----
        Pareto-smoothed importance sampling: Vehtari, Gelman and Gabry, Statistics and Computing 27 (2017). The labels
        of rows are summed out.
        """
        check_is_fitted(self, "fit_")
        return leave_one_out(self.fit_, self._known(X).values)

    def posterior_predictive_check(
        self, X: Any, statistics: Mapping[str, Statistic] | None = None, draws: int = 200, interval: float = 0.95
    ) -> pd.DataFrame:
        """Compare a table with tables of as many rows drawn from the fit.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            Rows.
        statistics : dict of str to callable, optional
            What to compare: functions of a table (n, d) that give a number. By default, of counts and answers with few
            values the shares of those, of other columns mean, standard deviation, skewness and outer points; and
            correlations.
        draws : int
            Number of tables, each from another draw of the posterior; of a point, all from it.
        interval : float between 0 and 1
            Probability that the equal-tailed intervals hold.

        Returns
        -------
        DataFrame
            A row per statistic: ``observed``; ``mean``, ``low`` and ``high`` over the drawn tables; and ``p_value``,
            the share of them above the observed one: near 0 or 1, the model does not make tables like this one.

        Notes
        -----
        Gelman et al., *Bayesian Data Analysis*, 3rd ed., section 6.3. The rows are used twice, to fit and to check, so
        these p-values are nearer to 1/2 than uniform ones. No labels enter.
        """
        check_is_fitted(self, "fit_")
        interval = posterior.fraction(interval)
        whole("draws", draws, LEAST_TABLES)
        data, fit, rng = self._known(X), self.fit_, self._rng()
        weights, inside = fit.flat()
        parameters = fit.mixture.family.map_parameters(inside, fit.frame)
        draw = _tables(fit.mixture, weights, parameters, data.n, rng)
        return self._checked(fit.mixture, data.values, self._named(), statistics, draw, draws, interval)

    def prior_predictive_check(
        self, X: Any, statistics: Mapping[str, Statistic] | None = None, draws: int = 200, interval: float = 0.95
    ) -> pd.DataFrame:
        """Compare a table with tables of as many rows drawn from the prior, before any fit.

        Parameters
        ----------
        X, statistics, draws, interval
            As `posterior_predictive_check` has them.

        Returns
        -------
        DataFrame
            The same. A prior is too narrow where the observed number is far outside of the interval. Where no prior is
            given, it is the weak one, which is taken from X.
        """
        interval = posterior.fraction(interval)
        whole("draws", draws, LEAST_TABLES)
        known, rng = table(X), self._rng()
        columns = list(map(str, known.columns)) if hasattr(known, "columns") else None
        values = check_array(known, dtype=[np.float64, np.float32], ensure_all_finite=False)  # `rows` names such cells
        data = rows(values, columns=columns, ids=row_ids(X))
        names = columns or [f"x{j}" for j in range(data.d)]
        mixture = replace(self._mixture().proper(), sizes=None).build(data)
        with scoped(np.dtype(np.float64)):
            keys = jax.random.split(jax.random.key(int(rng.integers(1 << 31))), draws)
            weights, parameters = jax.tree.map(np.asarray, drawn(jax.tree.map(handed, mixture), keys))
        draw = _tables(mixture, weights, parameters, data.n, rng)
        return self._checked(mixture, data.values, names, statistics, draw, draws, interval)

    def prior_sensitivity(self) -> pd.DataFrame:
        """Tell which results come from the rows, and which from the prior.

        Returns
        -------
        DataFrame
            A row for each cluster and number that a summary shows: ``prior`` and ``likelihood``, how much it moves when
            that part counts a little more or less (0.05 or more is sensitive); and ``diagnosis``: "prior-data conflict"
            where both do, "strong prior or weak likelihood" where only the prior does, else "".

        Raises
        ------
        OptionError
            A fit without draws of a sampler.
        FitError
            The status says that clusters cannot be told apart from draw to draw.

        Notes
        -----
        Power-scaling: Kallioinen, Paananen, Bürkner and Vehtari, Statistics and Computing 34 (2024).
        """
        check_is_fitted(self, "fit_")
        parts = dict(zip(("prior", "likelihood"), log_parts(self.fit_), strict=True))
        posterior.trusted(self.fit_)
        values, labels = posterior.drawn(self.fit_, self._named())
        found = pd.DataFrame({name: sensitivity(part, values) for name, part in parts.items()}, index=labels)
        strong, informed = found["prior"] >= THRESHOLD, found["likelihood"] >= THRESHOLD
        found["diagnosis"] = np.select(
            [strong & informed, strong], ["prior-data conflict", "strong prior or weak likelihood"], ""
        )
        return found

    def _checked(
        self,
        mixture: Mixture,
        values: np.ndarray,
        names: list[str],
        statistics: Any,
        draw: Any,
        draws: int,
        interval: float,
    ) -> pd.DataFrame:
        if statistics is None:
            statistics = statistics_of(values, names, mixture.family.discrete(len(names)))
        return check(values, statistics, draw, draws, interval)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(check_random_state(self.random_state).randint(1 << 31))


def _tables(
    mixture: Mixture, weights: np.ndarray, parameters: Any, n: int, rng: np.random.Generator
) -> Callable[[], np.ndarray]:
    """Give what gives a table of n rows at each call, from the next of some draws in random order."""
    order = cycle(rng.permutation(len(weights)))

    def draw() -> np.ndarray:
        i = next(order)
        own = jax.tree.map(lambda leaf: leaf[i], parameters)
        return mixture.simulate(weights[i].astype(np.float64), own, n, rng)[0]

    return draw
