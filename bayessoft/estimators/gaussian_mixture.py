"""Gaussian mixtures with the surface of scikit-learn's `GaussianMixture`."""

from __future__ import annotations

from numbers import Real
from typing import Any

import jax.numpy as jnp
import numpy as np

from bayessoft.data.rows import Rows, fresh
from bayessoft.errors import OptionError
from bayessoft.estimators import posterior
from bayessoft.estimators.base import given_start, specification
from bayessoft.estimators.mixture_estimator import MixtureEstimator
from bayessoft.families.gaussian import Gaussian
from bayessoft.families.structures import STRUCTURES
from bayessoft.fit import Fit
from bayessoft.inference.engine import Given
from bayessoft.mixture import Mixture
from bayessoft.numerics import scoped
from bayessoft.posteriors import Draws

__all__ = ["GaussianMixture"]


class GaussianMixture(MixtureEstimator):
    """Gaussian mixture: soft clusters with their proportions, means and covariances.

    A drop-in for scikit-learn's `GaussianMixture`: the same arguments with the same defaults, the same attributes.

    Parameters
    ----------
    n_components : int, default 1
        Number of clusters k.
    covariance_type : {"full", "tied", "diag", "spherical"}, default "full"
        A covariance matrix per cluster, one for all, variances per cluster and column, or one variance per cluster.
    tol : float, default 1e-3
        EM, MAP, CAVI and SVI end when the objective changes by less, in nats per row.
    reg_covar : float >= 0, default 1e-6
        Added to the diagonal of the covariances, in squared units of the columns. Not used under a `prior`.
    max_iter : int, default 100
        Most iterations of EM, MAP or CAVI, or passes of SVI.
    n_init : int, default 1
        Number of starts; the best one is kept.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}, default "kmeans"
        How a start is found: by the best of ten k-means clusterings of at most 2000 rows (50 for each cluster, where
        that is more), after 30 steps of EM; by k-means' seeding alone; by labels, or centres, at random.
    weights_init : array of shape (k,), optional
        Proportions to start from.
    means_init : array or DataFrame of shape (k, d), optional
        Means to start from; chains of a sampler take some steps of EM before they begin. Names of its rows become
        those of the clusters.
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
    prior : NormalInverseWishart, IndependentNormalInverseWishart, "weak", "independent" or None
        Prior on means and covariances; "weak" and "independent", one of either kind, take their scale from the rows.
        Independent ones are for every engine but CAVI. None is maximum likelihood for EM, "weak" for every other
        engine.
    weight_concentration_prior : float, array of shape (k,), Dirichlet or None
        Prior on the proportions; at least 1 for EM. None is maximum likelihood for EM, 1 for every other engine.
    sizes : Fixed, Between, Capacity, Near, a list of these, or None
        What is known of the sizes of the clusters: a constraint on expected sizes ("em", "cavi", "svi") or on counts in
        every draw ("gibbs"), or a target. Prediction is free of constraints; `responsibilities_` are not.
    temperature : float > 0, default 1
        Only by "em": log densities are divided by it, in memberships and in the fit, while proportions and priors
        count as they do. Above 1 memberships are softer. Densities and scores are those of the mixture itself.
    inference : {"em", "map", "cavi", "svi", "gibbs", "nuts"} or engine
        How to fit: "em" finds the best fit, "map" does by gradients, "cavi" finds the closest posterior of independent
        parts, "svi" does by batches of rows, "gibbs" and "nuts" draw from the posterior. An engine object carries its
        own options.
    checkpoint : path, optional
        Folder where a sampler is kept while it runs, every 30 seconds and when it ends, so that a run that was stopped
        or killed goes on where it was: fit again, with the same arguments and rows, and the draws are those of a run
        that was never stopped, to the last bit on the same machine. The `draws` of the engine alone may change, to make
        a run longer. Needs a `random_state`.
    time_limit : float > 0, optional
        Seconds after which a sampler ends with the draws that it has, as it does when interrupted; `status_` says so.

    Attributes
    ----------
    weights_ : array of shape (k,)
        Proportions; like means and covariances, the posterior means over aligned draws under "gibbs" and "nuts".
    means_ : array of shape (k, d)
    covariances_, precisions_, precisions_cholesky_ : arrays
        (k, d, d) for full, (d, d) for tied, (k, d) for diag, (k,) for spherical. Precisions invert the covariances;
        under "cavi" and "svi" they are their own posterior means, as in scikit-learn's `BayesianGaussianMixture`.
    responsibilities_ : array of shape (n, k)
        Memberships of the rows that were fitted, averaged over draws; under "cavi" and "svi" the
        variational ones.
    status_ : Status
        How the fit ended; its text says what to do next.
    converged_ : bool
        Whether the status says so.
    n_iter_ : int
        Steps of EM, MAP or CAVI, passes of SVI, or draws that each chain kept.
    lower_bound_ : float
        Log-likelihood, plus log prior where there is one, per unit weight in nats: at the last step of EM, or the mean
        over draws. Under "cavi" and "svi" the evidence lower bound per unit weight.
    lower_bounds_ : list of float
        The same at every step (draw, the mean over chains).
    elbo_ : float
        Only under "cavi" and "svi": the evidence lower bound in total, in nats, of what was found. It is below the log
        evidence, and no constant is left out, so fits with other priors, families and engines compare.
    log_relabellings_ : float
        Only under "cavi" and "svi": log k! where all clusters have the same priors. The bound is about one labelling of
        them; across k compare ``elbo_ + log_relabellings_``, which is below the log evidence too where clusters are
        apart.
    prior_ : NormalInverseWishart, IndependentNormalInverseWishart or None
        The prior in numbers, in original units.
    sizes_ : array of shape (k,)
        Only under a size constraint: expected rows (or weight) of each cluster; of "gibbs", the mean of the counts.
    prices_ : array of shape (k,) or, of several constraints or capacities, (c, k)
        Only under a size constraint, by "em", "cavi" and "svi": its Lagrange multipliers in nats per row, or unit of
        the resource. Above 0 where a low bound is active, below 0 where a high one is; one more row in a cluster
        changes the objective by minus its price.
    duality_gap_ : float
        As `prices_`: how far `responsibilities_` can be from the best ones, in nats; infinite where that is not known.
    log_likelihood_ : float
        Only under a size constraint, by "em": log-likelihood of the rows free of it, in total, in nats; `lower_bound_`
        is that of memberships within the bounds.
    size_bounds_ : DataFrame
        Only under a size constraint: its bounds, what they came to, which are active, and their prices.
    clusters_ : array of str
        Only where evidence or `means_init` named the clusters.
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
    [0.3, 0.33, 0.37]
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
        temperature: float = 1.0,
        inference: Any = "em",
        checkpoint: Any = None,
        time_limit: Any = None,
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
        self.temperature = temperature
        self.inference = inference
        self.checkpoint = checkpoint
        self.time_limit = time_limit

    def _mixture(self) -> Mixture:
        """Give the specification that the arguments make."""
        if not isinstance(self.covariance_type, str) or self.covariance_type not in STRUCTURES:
            raise OptionError(f"covariance_type is {self.covariance_type!r}: pass one of {', '.join(STRUCTURES)}")
        if not (isinstance(self.reg_covar, Real) and 0 <= self.reg_covar < np.inf):
            raise OptionError(f"reg_covar is {self.reg_covar!r}: pass a number >= 0")
        if self.prior is not None and self.reg_covar not in (0, self._defaults()["reg_covar"]):
            raise OptionError("reg_covar is not used under a prior, which regularises by itself: leave out one of them")
        family = Gaussian(self.covariance_type, self.prior)
        return specification(self.n_components, family, self.weight_concentration_prior, self.sizes, self.temperature)

    def _given(self, d: int) -> Given:
        k, kind = int(self.n_components), self.covariance_type
        return given_start(self.weights_init, self.means_init, self.precisions_init, kind, k, d)

    def _again(self, fit: Fit) -> Given:
        """Start where the last fit ended."""
        kind, shape = (
            getattr(fit.mixture.family.plain, "covariance_type", None),
            (self.n_components, self.n_features_in_),
        )
        if kind != self.covariance_type or self.means_.shape != shape:
            raise OptionError("warm_start needs the n_components, covariance_type and columns of the last fit")
        return self._where(fit)

    def _learned(self, fit: Fit, data: Rows) -> dict[str, Any]:
        structure = STRUCTURES[self.covariance_type]
        weights, found = posterior.centre(fit)
        covariances = found["covariances"]
        if isinstance(fit.posterior, Draws):
            with scoped(np.dtype(np.float64)):
                factors = np.asarray(structure.factor(jnp.asarray(fresh(covariances))))
        else:
            factors = fit.mixture.family.map_parameters(fit.posterior.parameters, fit.frame).factors
        precisions = factors @ np.swapaxes(factors, -1, -2) if structure.matrix else factors**2
        arrays = {
            "weights_": weights,
            "means_": found["means"],
            "covariances_": covariances,
            "precisions_": precisions,
            "precisions_cholesky_": factors,
        }
        dtype = data.values.dtype
        return {name: array.astype(dtype) for name, array in arrays.items()} | {"prior_": fit.mixture.family.prior}
