"""What estimators of mixtures do with sizes after a fit: assign rows within bounds, and tell what bounds cost."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.utils.validation import check_is_fitted

from bayessoft.core.assignment import best_labels
from bayessoft.core.capacity import Capacity, Several
from bayessoft.core.demand import ROWS, SLACK, SizeResult, match
from bayessoft.core.feasible import refuse_clash
from bayessoft.core.rounding import rounded
from bayessoft.core.scores import met, under_prices
from bayessoft.core.sizes import Between, Fixed, RowConstraint, SizeConstraint
from bayessoft.data.rows import Rows, evidence_of
from bayessoft.diagnostics.prices import price_draws
from bayessoft.errors import OptionError
from bayessoft.estimators import posterior
from bayessoft.estimators.base import constraint_of
from bayessoft.fit import Fit
from bayessoft.inference.engine import whole
from bayessoft.posteriors import Draws

__all__ = ["Assigning"]


class Assigning:
    """Assignment within bounds and the price of these, for an estimator of a mixture to inherit."""

    fit_: Fit

    @abstractmethod
    def _known(self, X: Any, sample_weight: Any = None) -> Rows: ...

    def _clusters(self) -> Sequence[Any]:
        """Give the names of the clusters, or their numbers."""
        return list(getattr(self, "clusters_", range(self.fit_.mixture.k)))

    def _of(self, sizes: Any) -> SizeConstraint | None:
        """Give the constraint that sizes of rows at hand make, the i-th of cluster i, or by the clusters' names."""
        constraint = constraint_of(sizes)
        return None if constraint is None else constraint.ordered(getattr(self, "clusters_", None))

    @property
    def size_bounds_(self) -> pd.DataFrame:
        """What the bounds of a size constraint came to, a row for each resource and cluster.

        Columns are ``low`` and ``high``; the ``amount``, of draws the mean count; ``bound``, the active one of them if
        any, "low", "high" or "fixed"; and, where an engine meets bounds by prices, the ``price``. NaN where clusters
        cannot be told apart from draw to draw. There only where sizes were constrained.
        """
        constraint = self._constraint()
        if constraint is None:
            raise AttributeError("sizes were not constrained: fit with sizes=")
        found = self.fit_.posterior
        result = None if isinstance(found, Draws) else found.sizes
        if result is None:
            assert isinstance(found, Draws) and found.counts is not None and found.order is not None
            counts = np.take_along_axis(found.counts, found.order, -1)
            amounts = counts.mean((0, 1))
            sides = constraint.counts(self.fit_.mixture.k, round(self.fit_.total_weight))
            low, high = (np.asarray(side, float) for side in sides)
            if constraint.order == "any":
                low, high = match(low, high, amounts)
            if not self.fit_.status.labelled:  # chains, or draws, do not agree on whose bounds are whose
                amounts, low, high = (np.full(len(amounts), np.nan) for _ in range(3))
            prices = np.full(len(amounts), np.nan)
            names: tuple[str, ...] = (ROWS,)
        else:
            names, amounts, low, high, prices = result.names, result.amounts, result.low, result.high, result.prices
        return _bounds_table(names, self._clusters(), amounts, low, high, prices)

    def assign(
        self,
        X: Any,
        *,
        hard: bool = True,
        sizes: Any = None,
        sample_weight: Any = None,
        evidence: Any = None,
        return_gap: bool = False,
    ) -> Any:
        """Assign rows to the fitted clusters within bounds of their sizes.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            Rows.
        hard : bool, default True
            One cluster for each row, the labels with the largest sum of log memberships among those whose counts are
            allowed. Otherwise memberships, the closest to the free ones whose sums are allowed.
        sizes : Fixed, Between, Capacity, a list of these, or None
            What holds for these rows; the i-th bounds are those of cluster i, whatever their `order`. None leaves sizes
            free. Labels have whole numbers: shares that come to none go to those next to them.
        sample_weight : array of shape (n,), optional
            Weight of each row, where memberships are asked for.
        evidence : array of shape (n, k), optional
            What else is known of these rows, as in `fit`.
        return_gap : bool, default False
            Whether to tell how much better, in nats, any allowed labels or memberships could be.

        Returns
        -------
        labels : array of shape (n,), int, or memberships : array of shape (n, k)
        gap : float
            Only with `return_gap`; 0 up to rounding, but for labels under capacities.

        Raises
        ------
        OptionError
            Sizes that these rows cannot have, or of another kind than asked for.

        Notes
        -----
        Labels by numbers of rows are the best ones, however many rows there are: a minimum-cost flow. With capacities
        the problem is hard: up to 20 000 rows times clusters branch and bound has 20 seconds, of more labels under
        prices are mended and improved row by row, and the gap tells how far from the best they can be.
        """
        check_is_fitted(self, "fit_")
        data = self._known(X, sample_weight)
        scores = self._scores(data, evidence)
        constraint = self._of(sizes)
        if not hard:
            shares, result = np.exp(scores), None
            if constraint is not None:
                shares, result = _met(scores, data.weights, constraint)
            return (shares, 0.0 if result is None else result.duality_gap) if return_gap else shares
        if sample_weight is not None:
            raise OptionError("sample_weight counts for memberships alone: leave it out, or pass hard=False")
        n, k = scores.shape
        if constraint is None:
            found = best_labels(scores, np.zeros(k, int), np.full(k, n))
        elif isinstance(constraint, RowConstraint):
            found = best_labels(scores, *constraint.counts(k, n, True))
        else:
            demand = constraint.demand(k, data.weights)
            assert demand.resources is not None
            prices = _met(scores, data.weights, constraint)[1].prices * demand.units[:, None]
            labels, gap = rounded(scores.astype(np.float64), demand, prices, demand.resources)
            return (labels, gap) if return_gap else labels
        return (found.labels, found.gap) if return_gap else found.labels

    def _scores(self, data: Rows, evidence: Any) -> Float[np.ndarray, "n k"]:
        """Give the logs of free memberships."""
        return self.fit_.log_memberships(data.values, evidence_of(evidence, data.n, self.fit_.mixture.k))

    def _under(self, X: Any, prices: Any, sizes: Any, resources: Any, evidence: Any) -> Float[np.ndarray, "n k"]:
        """Give memberships under the prices of the fit, or under sizes of these rows."""
        if prices is not None and sizes is not None:
            raise OptionError("prices and sizes are both given: keep the prices of the fit, or find those of a batch")
        if prices not in (None, "keep"):
            raise OptionError(f"prices is {prices!r}: pass 'keep' for those of the fit, or sizes= for those of a batch")
        check_is_fitted(self, "fit_")
        data = self._known(X)
        scores = self._scores(data, evidence)
        if sizes is not None:
            constraint = self._of(sizes)
            if constraint is None:
                return np.exp(scores)
            return _met(scores, data.weights, constraint)[0]
        result = getattr(self.fit_.posterior, "sizes", None)
        if result is None:
            raise OptionError("prices='keep' needs those of a fit: fit by 'em', 'cavi' or 'svi' with sizes=")
        return under_prices(scores, result.prices, _taken(result, resources, data.n))

    def price_interval(
        self,
        X: Any,
        *,
        interval: float = 0.95,
        sizes: Any = None,
        sample_weight: Any = None,
        evidence: Any = None,
    ) -> pd.DataFrame:
        """Give prices of bounds on sizes with their posterior uncertainty.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            The rows that the bounds are about.
        interval : float between 0 and 1
            Probability that the equal-tailed intervals hold.
        sizes : Fixed, Between, Capacity, a list of these, or None
            The bounds, the i-th of cluster i; None for those of the fit.
        sample_weight : array of shape (n,), optional
            Weight of each row.
        evidence : array of shape (n, k), optional
            What else is known of these rows, as in `fit`.

        Returns
        -------
        DataFrame
            A row for each resource and cluster: the mean ``price``, in nats per row or unit of the resource, its
            interval from ``price_low`` to ``price_high``, and the share of the draws in which a bound is ``active``.

        Raises
        ------
        OptionError
            The fit is a point, or there are no bounds.
        FitError
            The status says that clusters cannot be told apart from draw to draw.

        Notes
        -----
        Under each of 200 draws of proportions and parameters, prices are those that bring the expected sizes of these
        rows into the bounds; with these held, one more unit of a resource would change the log-likelihood of the
        constrained memberships by minus the price. Draws of "gibbs" under counts are those given the counts.
        """
        check_is_fitted(self, "fit_")
        interval = posterior.fraction(interval)
        posterior.needed(self.fit_, "price_interval")
        posterior.trusted(self.fit_)
        self._with_evidence(evidence)
        data, constraint = self._known(X, sample_weight), self._of(sizes)
        k = self.fit_.mixture.k
        if constraint is None:
            own = self._constraint()
            if own is None:
                raise OptionError("there are no bounds to price: pass sizes=, or fit with sizes=")
            demand = own.demand(k, data.weights)
            table = self.size_bounds_
            low, high = (demand.inside(table[side].to_numpy().reshape(demand.low.shape)) for side in ("low", "high"))
            demand = replace(demand, low=low, high=high)
        else:
            demand = constraint.demand(k, data.weights)
        data = replace(data, evidence=evidence_of(evidence, data.n, k))
        refuse_clash(demand, data.weights, data.evidence)
        every = price_draws(self.fit_, data, demand)
        low, high = np.quantile(every, [(1 - interval) / 2, (1 + interval) / 2], axis=0)
        columns = {"price": every.mean(0), "price_low": low, "price_high": high, "active": (every != 0).mean(0)}
        return pd.DataFrame(
            {name: values.ravel() for name, values in columns.items()}, _index(demand.names, self._clusters())
        )

    def size_curve(
        self,
        X: Any,
        cluster: int,
        values: Any,
        *,
        side: str = "low",
        resource: str = ROWS,
        sample_weight: Any = None,
        evidence: Any = None,
    ) -> pd.DataFrame:
        """Tell what a bound costs: fit again with other values of it, each from the fit as it is.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            The rows that were fitted.
        cluster : int
            Whose bound it is.
        values : sequence of float
            Values of the bound, in rows or units of the resource.
        side : {"low", "high"}
            Which bound of the cluster.
        resource : str
            Of which resource; "rows" for sizes.
        sample_weight : array of shape (n,), optional
            Weight of each row, as in the fit.
        evidence : array of shape (n, k), optional
            What else is known of the rows, as in the fit.

        Returns
        -------
        DataFrame
            A row for each value: the ``objective``, log-likelihood (plus log prior, or the evidence lower bound) in
            total in nats; the ``price`` of that bound, minus the slope of the objective; the ``amount`` that the
            cluster came to; and the ``status``.

        Raises
        ------
        OptionError
            The engine has no prices, or sizes are fixed, so that no single one can change.
        """
        check_is_fitted(self, "fit_")
        constraint = self._constraint()
        k, result = self.fit_.mixture.k, getattr(self.fit_.posterior, "sizes", None)
        if result is None or constraint is None:
            raise OptionError("size_curve needs a fit under bounds by 'em', 'cavi' or 'svi': fit with sizes=")
        self._with_evidence(evidence)
        whole("cluster", cluster, least=0)
        values = np.atleast_1d(values)
        if values.ndim > 1 or values.dtype.kind not in "iuf":
            raise OptionError(f"values is {values!r}: pass numbers, values of the bound")
        weight = self._known(X, sample_weight).total_weight
        if not np.isclose(weight, self.fit_.total_weight, rtol=1e-9):
            raise OptionError(
                f"the rows weigh {weight:g} and those that were fitted {self.fit_.total_weight:g}: pass the same rows, "
                "with their sample_weight"
            )
        if side not in ("low", "high") or resource not in result.names or not 0 <= cluster < k:
            raise OptionError(
                f"there is no {side} bound of {resource!r} of cluster {cluster!r}: pass side 'low' or 'high', a "
                f"resource of {', '.join(result.names)}, and a cluster from 0 to {k - 1}"
            )
        if resource == ROWS and constraint.pinned:
            raise OptionError("sizes are fixed, and one alone cannot change: fit with Between(low, high)")
        found = []
        for value in values:
            again: Any = copy(self)
            again.sizes = _changed(constraint, result, resource, side, cluster, float(value))
            again.warm_start = True
            again.fit(X, sample_weight=sample_weight, evidence=evidence)
            at: SizeResult = again.fit_.posterior.sizes
            place = (result.names.index(resource), cluster)
            price, amount = (np.atleast_2d(part)[place] for part in (at.prices, at.amounts))
            found.append((again.lower_bound_ * again.fit_.total_weight, price, amount, again.status_.name))
        columns = ["objective", "price", "amount", "status"]
        return pd.DataFrame(found, index=pd.Index(values, name=side), columns=columns)

    def _with_evidence(self, evidence: Any) -> None:
        """Refuse to go on without the evidence that the fit had."""
        if self.fit_.named and evidence is None:
            raise OptionError("the fit had evidence on its rows: pass evidence= here too, zeros where there is none")

    def _constraint(self) -> SizeConstraint | None:
        """Give the constraint of the fit, if any."""
        return self.fit_.mixture.sizes


def _met(
    scores: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " n"], constraint: SizeConstraint
) -> tuple[Float[np.ndarray, "n k"], SizeResult]:
    demand = constraint.demand(scores.shape[1], weights)
    refuse_clash(demand, weights, scores)
    return met(scores, weights, demand)


def _taken(result: SizeResult, resources: Any, n: int) -> Float[np.ndarray, "n c"] | None:
    """Give what rows take of the resources that a fit has prices of."""
    others = [name for name in result.names if name != ROWS]
    if not others:
        return None
    if resources is None:
        raise OptionError(f"prices are per unit of {', '.join(others)}: pass resources=, what each row takes of them")
    given = np.asarray(resources, np.float64)
    given = given[:, None] if given.ndim == 1 else given
    if given.shape != (n, len(others)) or not np.isfinite(given).all() or (given < 0).any():
        raise OptionError(
            f"resources have shape {given.shape}: pass finite numbers >= 0 of shape ({n}, {len(others)}), of "
            f"{', '.join(others)}"
        )
    return np.hstack([np.ones((n, 1)), given]) if ROWS in result.names else given


def _index(names: tuple[str, ...], clusters: Sequence[Any]) -> pd.MultiIndex:
    return pd.MultiIndex.from_product([names, clusters], names=["resource", "cluster"])


def _bounds_table(
    names: tuple[str, ...],
    clusters: Sequence[Any],
    amounts: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    prices: np.ndarray,
) -> pd.DataFrame:
    """Give the table of bounds, and which of them are active."""
    near = SLACK * np.atleast_2d(amounts).sum(1, keepdims=True)
    amounts, low, high, prices = (np.atleast_2d(each) for each in (amounts, low, high, prices))
    active = np.select([low == high, amounts <= low + near, amounts >= high - near], ["fixed", "low", "high"], "")
    columns = {"low": low, "high": high, "amount": amounts, "bound": active, "price": prices}
    index = _index(names, clusters)
    return pd.DataFrame({name: each.ravel() for name, each in columns.items()}, index)


def _changed(
    constraint: SizeConstraint, result: SizeResult, resource: str, side: str, cluster: int, value: float
) -> Any:
    """Give the constraint that held, in the order of the clusters, with one bound at another value."""
    low, high = (np.atleast_2d(each).copy() for each in (result.low, result.high))
    (low if side == "low" else high)[result.names.index(resource), cluster] = value
    parts = constraint.parts if isinstance(constraint, Several) else (constraint,)
    found: list[SizeConstraint] = []
    for name, own_low, own_high in zip(result.names, low, high, strict=True):
        if name == ROWS and constraint.pinned:
            found.append(Fixed(own_low.tolist(), order="given"))
        elif name == ROWS:
            found.append(Between(own_low.tolist(), own_high.tolist(), order="given"))
        else:
            part = next(part for part in parts if isinstance(part, Capacity) and part.name == name)
            found.append(Capacity(part.resource, own_low.tolist(), own_high.tolist(), order="given", name=name))
    return found
