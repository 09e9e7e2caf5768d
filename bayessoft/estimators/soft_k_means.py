"""Soft k-means with the surface of scikit-learn's `KMeans`."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted

from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError
from bayessoft.estimators import posterior
from bayessoft.estimators.base import centres_given, constraint_of, distances
from bayessoft.estimators.mixture_estimator import MixtureEstimator
from bayessoft.families.radial import Radial
from bayessoft.families.weights import Equal
from bayessoft.fit import Fit
from bayessoft.inference.annealing import Annealing
from bayessoft.inference.engine import Given, whole
from bayessoft.mixture import Mixture
from bayessoft.posteriors import Point

__all__ = ["SoftKMeans"]

BATCH = 1 << 16  # rows whose distances are computed together
RATE = 1.2  # factor by which annealing raises the inverse temperature


class SoftKMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, MixtureEstimator):
    """Soft k-means: memberships fall off exponentially with the (squared) distance from centres.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of clusters k.
    beta : float > 0 or "auto", default "auto"
        Inverse temperature: memberships are proportional to ``exp(-beta * d(x, centre))``. Large values make clusters
        hard. "auto" finds the most likely one together with the centres.
    metric : {"sqeuclidean", "euclidean"}, default "sqeuclidean"
        The squared distance, whose centres are weighted means, or the distance, whose centres are weighted medians.
    update : {"weiszfeld", "mean"}, default "weiszfeld"
        How centres of the "euclidean" metric move: a step of Weiszfeld, after which the objective is no lower, or to
        the weighted mean, which promises no such thing.
    anneal : bool or float > 1, default False
        Raise the inverse temperature up to `beta` from where all centres lie together, by this factor (True: 1.2) from
        level to level. It takes longer, and does not depend on a start.
    sizes : Fixed, Between, Capacity, a list of these, or None
        What is known of the sizes of the clusters. Prediction is free of it; `responsibilities_` are not.
    init : {"k-means++", "kmeans", "random_from_data"} or array or DataFrame of shape (k, d), default "k-means++"
        Centres to start from, unless annealing. Names of the rows of a DataFrame become those of the clusters.
    n_init : int, default 1
        Number of starts; the best one is kept.
    max_iter : int, default 300
        Most iterations from each start; of annealing, at the last level.
    tol : float, default 1e-4
        Ends when the largest change of any membership is below.
    random_state : int, RandomState or None
        Where random numbers come from; an int makes the fit reproducible.
    verbose : int, default 0
        Print progress.

    Attributes
    ----------
    cluster_centers_ : array of shape (k, d)
    beta_ : float
        The inverse temperature, in nats per unit of (squared) distance.
    responsibilities_ : array of shape (n, k)
        Memberships of the rows that were fitted.
    labels_ : array of shape (n,)
        The cluster with the largest membership.
    inertia_ : float
        Weighted sum of the squared distances of the rows from the nearest centre.
    annealing_ : AnnealingPath
        Only after annealing: ``betas`` (L,), and the ``centers`` (L, k, d) that memberships settled at.
    status_, converged_, n_iter_, lower_bound_, lower_bounds_, fit_
        As of `GaussianMixture`: the bounds are log-likelihoods per unit weight.
    sizes_, prices_, duality_gap_, size_bounds_, log_likelihood_, clusters_
        Only under a size constraint or with names, as of `GaussianMixture`.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only where the columns had names.

    Notes
    -----
    It is the mixture of components with density proportional to ``exp(-beta * d(x, centre))`` under equal proportions,
    fitted by EM: of squared distances, normal components with variance ``1 / (2 beta)`` in every direction (MacKay,
    *Information Theory, Inference, and Learning Algorithms*, 2003, algorithms 20.7 and 22.2; Rose, *Proceedings of the
    IEEE* 86, 1998, for annealing). With fixed sizes an E-step is entropic optimal transport (Cuturi, NeurIPS 2013).

    Examples
    --------
    >>> X = np.array([[0.0], [0.2], [0.4], [9.0], [9.2], [9.4]])
    >>> model = SoftKMeans(2, beta=1.0, random_state=0).fit(X)
    >>> np.sort(model.cluster_centers_[:, 0]).round(2).tolist()
    [0.2, 9.2]
    >>> model.predict_proba(X).max(axis=1).round(3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """

    COUNTED = "n_clusters"

    # What mixtures have as arguments, and this one has not.
    inference: Any = "em"
    checkpoint: Any = None
    time_limit: Any = None
    verbose_interval: int = 10
    warm_start: bool = False

    def __init__(
        self,
        n_clusters: int = 8,
        beta: Any = "auto",
        *,
        metric: str = "sqeuclidean",
        update: str = "weiszfeld",
        anneal: Any = False,
        sizes: Any = None,
        init: Any = "k-means++",
        n_init: int = 1,
        max_iter: int = 300,
        tol: float = 1e-4,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.beta = beta
        self.metric = metric
        self.update = update
        self.anneal = anneal
        self.sizes = sizes
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    @property
    def labels_(self) -> Int[np.ndarray, " n"]:
        """The cluster of each row that was fitted with the largest membership."""
        check_is_fitted(self, "fit_")
        return self.responsibilities_.argmax(axis=1)

    def _mixture(self) -> Mixture:
        whole("n_clusters", self.n_clusters)
        auto = isinstance(self.beta, str) and self.beta == "auto"
        if not auto and (not isinstance(self.beta, Real) or isinstance(self.beta, bool)):
            raise OptionError(f"beta is {self.beta!r}: pass a number above 0, or 'auto'")
        if self.update != "weiszfeld" and self.metric == "sqeuclidean":
            raise OptionError("update is how centres of distances move: leave it out, or pass metric='euclidean'")
        family = Radial(None if auto else self.beta, self.metric, self.update)
        return Mixture(int(self.n_clusters), family, Equal(), constraint_of(self.sizes))

    def _engine(self) -> Annealing:
        way = "k-means++" if not isinstance(self.init, str) else self.init
        return Annealing(self.max_iter, self.tol, self.n_init, way, self._rate())

    def _rate(self) -> Any:
        """Give the factor of annealing, None without."""
        if isinstance(self.anneal, (bool, np.bool_)):
            return RATE if self.anneal else None
        return self.anneal

    def _named_start(self) -> Any:
        return self.init

    def _given(self, d: int) -> Given:
        if isinstance(self.init, str):
            return Given()
        means = centres_given(self.init, self.n_clusters, d)
        if self._rate() is not None:
            raise OptionError("annealing begins with all centres in one place: leave out init or anneal")
        return Given(None, {"means": means})

    def _again(self, fit: Fit) -> Given:
        return Given(None, {"means": posterior.centre(fit)[1]["means"]})

    def _learned(self, fit: Fit, data: Rows) -> dict[str, Any]:
        found = posterior.centre(fit)[1]
        centers = found["means"].astype(data.values.dtype)
        nearest = [distances(data.values[some], centers).min(1) for some in gen_batches(data.n, BATCH)]
        family: Any = fit.mixture.family
        learned = {"cluster_centers_": centers, "beta_": float(family.beta or found["beta"])}
        learned["inertia_"] = float(data.weights @ np.concatenate(nearest).astype(np.float64) ** 2)
        if isinstance(fit.posterior, Point) and fit.posterior.path is not None:
            learned["annealing_"] = fit.posterior.path
        return learned

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

    def transform(self, X: Any) -> Float[np.ndarray, "n k"]:
        """Give the Euclidean distance of each row from each centre."""
        check_is_fitted(self, "fit_")
        return distances(self._known(X).values, self.cluster_centers_)
