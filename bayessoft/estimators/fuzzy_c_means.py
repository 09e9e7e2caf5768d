"""Fuzzy c-means with the surface of scikit-learn's `KMeans`."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from bayessoft.core.fuzzy import VARIANTS, FuzzyModel
from bayessoft.data.rows import Rows, row_ids, rows, table
from bayessoft.errors import OptionError, listed
from bayessoft.estimators.base import (
    above,
    centres_given,
    columns_kept,
    distances,
    enough_rows,
    forget,
    names_of,
    progress_printer,
    warn_of,
)
from bayessoft.inference.engine import whole
from bayessoft.inference.fuzzy import STRENGTHS, FuzzyFit, FuzzyMeans, FuzzyProblem
from bayessoft.inference.run import climb
from bayessoft.inference.seeding import INITS
from bayessoft.numerics import scoped

__all__ = ["FuzzyCMeans"]


class FuzzyCMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Fuzzy c-means: rows have shares in several clusters, which fall off with powers of the distance from centres.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of clusters k.
    m : float > 1, default 2.0
        Fuzzifier: memberships are proportional to ``d^(-2 / (m - 1))``. Near 1 they are hard. Not used by "entropy".
        Refused where rounding would decide: within 1.5e-8 of 1 (float32: 3.5e-4), and where k memberships of 1 / k, to
        the power m, add up to less than the rounding of the dtype (with 8 clusters above 18.3, in float32 above 8.6).
    variant : {"standard", "gustafson-kessel", "entropy", "noise"}, default "standard"
        Round clusters; clusters with shapes of their own, of the same volume; memberships proportional to
        ``exp(-d^2 / entropy_weight)``; or a further cluster at the same distance from every row, which takes outliers.
    entropy_weight : float > 0, optional
        Only of "entropy", which needs it: weight of the memberships' entropy, in squared units of the columns.
    noise_distance : float > 0, optional
        Only of "noise": distance of the noise from every row, in units of the columns. None is the root mean squared
        distance of the rows from their mean.
    init : {"k-means++", "kmeans", "random_from_data"} or array or DataFrame of shape (k, d), default "k-means++"
        Centres to start from.
    n_init : int, default 1
        Number of starts; the best one is kept.
    max_iter : int, default 300
        Most iterations from each start.
    tol : float, default 1e-5
        Ends when the largest change of any membership is below.
    random_state : int, RandomState or None
        Where random numbers come from; an int makes the fit reproducible.
    verbose : int, default 0
        Print progress.

    Attributes
    ----------
    cluster_centers_ : array of shape (k, d)
    responsibilities_ : array of shape (n, k)
        Memberships of the rows that were fitted. They sum to 1, under "noise" to 1 minus the share of noise.
    labels_ : array of shape (n,)
        The cluster with the largest membership; -1 where noise has more.
    objective_ : float
        Weighted sum of ``u^m d^2``, in squared units of the columns; of "noise" with that of noise, of "entropy"
        with m = 1 and the weighted sum of ``entropy_weight * u log u``.
    covariances_ : array of shape (k, d, d)
        Only of "gustafson-kessel": shapes of the clusters, of determinant 1.
    clusters_ : array of str
        Only where a DataFrame `init` named the clusters.
    status_ : Status
        How the fit ended; its text says what to do next.
    converged_ : bool
    n_iter_ : int
    objectives_ : list of float
        The objective at every step.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only where the columns had names.

    Notes
    -----
    Memberships are shares in several clusters, no probabilities of one: far from all centres they are all alike, where
    those of a mixture are not. Bezdek, *Pattern Recognition with Fuzzy Objective Function Algorithms* (1981); Gustafson
    and Kessel, IEEE CDC (1979); Miyamoto and Mukaidono, IFSA (1997); Dave, *Pattern Recognition Letters* 12 (1991). In
    many columns centres coincide at the mean (Winkler, Klawonn and Kruse, 2011), which the status tells.

    Of "gustafson-kessel" the columns have to vary and to be no combinations of others. To the covariance of a cluster
    1e-9 of that of all rows is added, so that a cluster of rows on a line keeps a volume.

    Examples
    --------
    >>> X = np.array([[0.0], [0.2], [0.4], [9.0], [9.2], [9.4]])
    >>> model = FuzzyCMeans(2, random_state=0).fit(X)
    >>> np.sort(model.cluster_centers_[:, 0]).round(1).tolist()
    [0.2, 9.2]
    """

    def __init__(
        self,
        n_clusters: int = 8,
        m: float = 2.0,
        *,
        variant: str = "standard",
        entropy_weight: Any = None,
        noise_distance: Any = None,
        init: Any = "k-means++",
        n_init: int = 1,
        max_iter: int = 300,
        tol: float = 1e-5,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.m = m
        self.variant = variant
        self.entropy_weight = entropy_weight
        self.noise_distance = noise_distance
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Find centres and memberships.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            Rows; float32 is computed in float32, everything else in float64.
        y : ignored
        sample_weight : array of shape (n,), optional
            Weight of each row, >= 0: a row of weight 2 counts as two.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        ValueError
            Unusable rows, weights or options (`DataError`, `OptionError`); nothing is set.
        FitError
            A numerical failure, with its status; no fitted attribute is left.
        """
        model = self._model()
        seed = int(check_random_state(self.random_state).randint(1 << 31))
        way = self.init if isinstance(self.init, str) else INITS[0]
        engine = FuzzyMeans(self.max_iter, self.tol, self.n_init, way)
        with columns_kept(self):
            data = self._rows(X, sample_weight)
            given = None if isinstance(self.init, str) else centres_given(self.init, self.n_clusters, data.d)
            with scoped(data.values.dtype):
                problem = FuzzyProblem.pose(model, data, int(self.n_clusters), seed, given)
        forget(self)
        with scoped(data.values.dtype):
            state, status, objectives = climb(engine, problem, progress_printer(self.verbose, 10))
            found = FuzzyFit.of(problem, state, status, objectives)
        self._remember(found, data)
        warn_of(status, type(self).__name__)
        return self

    def _model(self) -> FuzzyModel:
        """Give what is minimised, refusing options out of range, or without use."""
        whole("n_clusters", self.n_clusters)
        if self.variant not in VARIANTS:
            raise OptionError(f"variant is {self.variant!r}: pass {listed(list(VARIANTS))}")
        above("m", self.m, 1)
        entropy, defaults = self.variant == "entropy", {"m": 2.0, "entropy_weight": None, "noise_distance": None}
        used = STRENGTHS.get(self.variant)
        for name in defaults:
            needed = name == used or (name == "m" and not entropy)
            if not needed and getattr(self, name) != defaults[name]:
                raise OptionError(f"{name} set, which variant={self.variant!r} does not use: leave it out")
        if entropy and self.entropy_weight is None:
            raise OptionError(
                "variant='entropy' needs an entropy_weight, in squared units of the columns, such as twice the "
                "variance within clusters; SoftKMeans(beta='auto') finds it, as 1 / beta_"
            )
        for name in STRENGTHS.values():
            if getattr(self, name) is not None:
                above(name, getattr(self, name), 0)
        strength: Any = self.entropy_weight if entropy else 0.0
        if self.variant == "noise":
            strength = None if self.noise_distance is None else float(self.noise_distance) * float(self.noise_distance)
        return FuzzyModel(self.variant, 1.0 if entropy else float(self.m), strength)

    def _rows(self, X: Any, sample_weight: Any) -> Rows:
        """Check the rows to be fitted."""
        values = self._values(X, reset=True)
        enough_rows(values, "n_clusters", self.n_clusters)
        columns = list(self.feature_names_in_) if hasattr(self, "feature_names_in_") else None
        return rows(values, columns=columns, ids=row_ids(X), sample_weight=sample_weight)

    def _values(self, X: Any, *, reset: bool) -> Float[np.ndarray, "n d"]:
        options = dict(dtype=[np.float64, np.float32], ensure_all_finite=False, ensure_min_samples=2 if reset else 1)
        return validate_data(self, table(X), reset=reset, **options)

    def _known(self, X: Any) -> Float[np.ndarray, "n d"]:
        """Check rows to be looked at with what was fitted."""
        check_is_fitted(self, "fit_")
        return rows(self._values(X, reset=False), ids=row_ids(X)).values

    def _remember(self, found: FuzzyFit, data: Rows) -> None:
        """Set what was learned; the only place that does."""
        means, shapes = found.outside()
        dtype = data.values.dtype
        learned: dict[str, Any] = {
            "fit_": found,
            "status_": found.status,
            "converged_": found.status.converged,
            "n_iter_": len(found.trace),
            "objectives_": found.trace.tolist(),
            "objective_": float(found.trace[-1]),
            "cluster_centers_": means.astype(dtype),
            "responsibilities_": found.evaluate(data.values),
        }
        learned["labels_"] = self._labels(learned["responsibilities_"])
        if shapes is not None:
            learned["covariances_"] = shapes.astype(dtype)
        if (names := names_of(getattr(self.init, "index", None))) is not None:
            learned["clusters_"] = np.array(names)
        for name, value in learned.items():
            setattr(self, name, value)

    def _labels(self, shares: Float[np.ndarray, "n k"]) -> Int[np.ndarray, " n"]:
        labels = shares.argmax(axis=1)
        return np.where(1 - shares.sum(1) > shares.max(1), -1, labels) if self.variant == "noise" else labels

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n k"]:
        """Give the membership of each row in each cluster; rows sum to 1, under "noise" to 1 minus its share."""
        values = self._known(X)
        return self.fit_.evaluate(values)

    def predict(self, X: Any) -> Int[np.ndarray, " n"]:
        """Give the cluster of each row with the largest membership; -1 where noise has more."""
        return self._labels(self.predict_proba(X))

    def transform(self, X: Any) -> Float[np.ndarray, "n k"]:
        """Give the Euclidean distance of each row from each centre."""
        return distances(self._known(X), self.cluster_centers_)

    def save(self, path: Any) -> None:
        """Write the fitted model to a new folder, which `bayessoft.load` reads.

        Parameters
        ----------
        path : str or path
            The folder; refused where it exists.
        """
        check_is_fitted(self, "fit_")
        import_module("bayessoft.store").save(self, path)

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)
