"""Mixtures of components of any family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayessoft.data.rows import Rows
from bayessoft.errors import OptionError, listed
from bayessoft.estimators import posterior
from bayessoft.estimators.base import checked_weights, specification
from bayessoft.estimators.mixture_estimator import MixtureEstimator
from bayessoft.families import FAMILIES, of_name
from bayessoft.families.family import SweptFamily
from bayessoft.families.stated import Stated
from bayessoft.fit import Fit
from bayessoft.inference.engine import Given
from bayessoft.mixture import Mixture

__all__ = ["MixtureModel"]


class MixtureModel(MixtureEstimator):
    """Mixture of components of any family: soft clusters of counts, of answers, of measurements.

    Parameters
    ----------
    n_components : int, default 1
        Number of clusters k.
    family : str or Family, default "gaussian"
        What the rows of a cluster are: "gaussian" (measurements), "student-t" (measurements
        with outliers), "poisson" (counts), "multinomial" (counts that share
        a total out), "bernoulli" (0 or 1), "categorical" (answers 0, 1, 2, ...), or a family object, which carries its
        prior and options: a `Product` for columns of several kinds. A name stands for the family under its weak prior.
    inference : {"em", "map", "cavi", "svi", "gibbs", "nuts"} or engine
        How to fit: "em" finds the best fit, "map" does by gradients, "cavi" finds the closest posterior of independent
        parts, "svi" does by batches of rows, "gibbs" and "nuts" draw from the posterior. An engine object carries its
        own options.
    weight_concentration_prior : float, array of shape (k,), Dirichlet or None
        Prior on the proportions; at least 1 for EM and MAP. None is maximum likelihood for EM, else 1.
    sizes : Fixed, Between, Capacity, Near, a list of these, or None
        What is known of the sizes of the clusters: a constraint on expected sizes ("em", "cavi", "svi") or on counts in
        every draw ("gibbs"), or a target. Prediction is free of constraints; `responsibilities_` are not.
    temperature : float > 0, default 1
        Only by "em": log densities are divided by it, in memberships and in the fit, while proportions and priors
        count as they do. Above 1 memberships are softer. Densities and scores are those of the mixture itself.
    tol : float, default 1e-3
        EM, MAP, CAVI and SVI end when the objective changes by less, in nats per row.
    max_iter : int, default 100
        Most iterations of EM, MAP or CAVI, or passes of SVI.
    n_init : int, default 1
        Number of starts; the best one is kept.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}, default "kmeans"
        How a start is found: by the best of ten k-means clusterings of at most 2000 rows (50 for each cluster, where
        that is more), after 30 steps of EM; by k-means' seeding alone; by labels, or centres, at random. Centres are
        sought where distances mean something: between square roots of counts, or between rows with a column for each
        answer.
    weights_init : array of shape (k,), optional
        Proportions to start from.
    parameters_init : dict of str to array, optional
        Parameters to start from, named and shaped as `parameters_`.
    random_state : int, RandomState or None
        Where random numbers come from; an int makes the fit reproducible.
    warm_start : bool, default False
        Start from the last fit, where there is one.
    verbose : int, default 0
        Print progress.
    verbose_interval : int, default 10
        Least number of iterations between two lines of progress.
    checkpoint : path, optional
    time_limit : float > 0, optional
        Of samplers, as of `GaussianMixture`.

    Attributes
    ----------
    weights_ : array of shape (k,)
        Proportions; like parameters, the posterior means under "cavi", "svi", "gibbs" and "nuts".
    parameters_ : dict of str to array
        Of the components, by name: "rates" (k, d) of Poisson ones, "probabilities" (k, d) of Bernoulli ones and (k, f)
        of categorical ones, "shares" (k, d) of multinomial ones, "means" and "covariances" of Gaussian ones; "means",
        "scales" (matrices) and "degrees_of_freedom" (k,) of Student-t ones; of a `Product` those of all its blocks.
    prior_ : object or None
        The prior on the parameters, in numbers.
    responsibilities_, status_, converged_, n_iter_, lower_bound_, lower_bounds_, fit_
        As of `GaussianMixture`.
    elbo_, log_relabellings_
        Only under "cavi" and "svi", as of `GaussianMixture`.
    sizes_, prices_, duality_gap_
        Only under a size constraint, as of `GaussianMixture`.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only where the columns had names.

    Examples
    --------
    >>> X = np.array([[0, 1], [1, 0], [1, 1], [9, 12], [11, 8], [10, 10]])
    >>> model = MixtureModel(2, "poisson", random_state=0).fit(X)
    >>> model.predict(X)[[0, 3]].tolist() == model.predict(X)[[1, 4]].tolist()
    True
    """

    def __init__(
        self,
        n_components: int = 1,
        family: Any = "gaussian",
        *,
        inference: Any = "em",
        weight_concentration_prior: Any = None,
        sizes: Any = None,
        temperature: float = 1.0,
        tol: float = 1e-3,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        parameters_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        checkpoint: Any = None,
        time_limit: Any = None,
    ) -> None:
        self.n_components = n_components
        self.family = family
        self.inference = inference
        self.weight_concentration_prior = weight_concentration_prior
        self.sizes = sizes
        self.temperature = temperature
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.parameters_init = parameters_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.checkpoint = checkpoint
        self.time_limit = time_limit

    def _mixture(self) -> Mixture:
        family = self.family
        if isinstance(family, str) and family in FAMILIES:
            family = of_name(family)
        if isinstance(family, str | type):
            raise OptionError(f"family is {self.family!r}: pass one of {listed(list(FAMILIES))}, or a family object")
        if not isinstance(family, SweptFamily):
            family = Stated.of(family)
        return specification(self.n_components, family, self.weight_concentration_prior, self.sizes, self.temperature)

    def _given(self, d: int) -> Given:
        if not isinstance(self.parameters_init, Mapping | None):
            raise OptionError(f"parameters_init is {self.parameters_init!r}: pass a dict of arrays, as parameters_")
        parameters = {name: np.asarray(value, np.float64) for name, value in (self.parameters_init or {}).items()}
        return Given(checked_weights(self.weights_init, int(self.n_components)), parameters)

    def _again(self, fit: Fit) -> Given:
        mine, its = self._mixture().family.plain, fit.mixture.family.plain
        if (
            _kind(mine) != _kind(its)
            or len(self.weights_) != self.n_components
            or len(fit.frame.shift) != self.n_features_in_
        ):
            raise OptionError("warm_start needs the n_components, family and columns of the last fit")
        return self._where(fit)

    def _learned(self, fit: Fit, data: Rows) -> dict[str, Any]:
        (weights, found), dtype = posterior.centre(fit), data.values.dtype
        parameters = {name: array.astype(dtype) for name, array in found.items()}
        return {"weights_": weights.astype(dtype), "parameters_": parameters, "prior_": fit.mixture.family.prior}


def _kind(family: SweptFamily) -> tuple[Any, ...]:
    """Give what two families have to share for the parameters of one to mean the same in the other."""
    blocks = tuple((block.columns, _kind(block.family)) for block in getattr(family, "blocks", ()))
    return family.name, getattr(family, "covariance_type", None), blocks
