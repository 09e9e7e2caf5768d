"""Bayesian soft clustering: which groups rows belong to, how sure that is, and how large the groups are.

The public names are resolved when first used, so that ``import bayessoft`` loads nothing heavy and changes no setting
of JAX.

Examples
--------
>>> import numpy as np
>>> import bayessoft as bs
>>> X = np.array([[0.0], [0.2], [0.4], [9.0], [9.2], [9.4]])
>>> gm = bs.GaussianMixture(2, random_state=0).fit(X)
>>> gm.weights_.round(2)
array([0.5, 0.5])
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "CAVI",
    "EM",
    "NUTS",
    "SVI",
    "Bernoulli",
    "Beta",
    "Between",
    "Capacity",
    "Categorical",
    "Dirichlet",
    "Fixed",
    "FuzzyCMeans",
    "Gamma",
    "Gaussian",
    "GaussianMixture",
    "Gibbs",
    "GradientMAP",
    "IndependentNormalInverseWishart",
    "InformationBottleneck",
    "Mixture",
    "MixtureDensity",
    "MixtureModel",
    "Multinomial",
    "Near",
    "NormalInverseWishart",
    "Poisson",
    "Product",
    "SoftKMeans",
    "StudentT",
    "StudentTPrior",
    "__version__",
    "calibrate",
    "fisher_ratio",
    "load",
    "membership_entropy",
    "overlap",
    "partition_coefficient",
    "reduce_mixture",
    "relabel",
    "soft_rand",
    "soft_scatter",
    "soft_silhouette",
    "stability",
    "xie_beni",
]

_HOMES = {
    "CAVI": "bayessoft.inference.cavi",
    "EM": "bayessoft.inference.em",
    "NUTS": "bayessoft.inference.nuts",
    "SVI": "bayessoft.inference.svi",
    "Bernoulli": "bayessoft.families.bernoulli",
    "Beta": "bayessoft.families.bernoulli",
    "Between": "bayessoft.core.sizes",
    "Capacity": "bayessoft.core.capacity",
    "Categorical": "bayessoft.families.categorical",
    "Dirichlet": "bayessoft.families.weights",
    "Fixed": "bayessoft.core.sizes",
    "FuzzyCMeans": "bayessoft.estimators.fuzzy_c_means",
    "Near": "bayessoft.core.sizes",
    "Gamma": "bayessoft.families.poisson",
    "Gaussian": "bayessoft.families.gaussian",
    "GaussianMixture": "bayessoft.estimators.gaussian_mixture",
    "Gibbs": "bayessoft.inference.gibbs",
    "GradientMAP": "bayessoft.inference.gradient_map",
    "IndependentNormalInverseWishart": "bayessoft.families.independent_normal_inverse_wishart",
    "InformationBottleneck": "bayessoft.estimators.information_bottleneck",
    "Mixture": "bayessoft.mixture",
    "MixtureDensity": "bayessoft.densities.mixture_density",
    "MixtureModel": "bayessoft.estimators.mixture_model",
    "Multinomial": "bayessoft.families.multinomial",
    "NormalInverseWishart": "bayessoft.families.normal_inverse_wishart",
    "Poisson": "bayessoft.families.poisson",
    "Product": "bayessoft.families.product",
    "SoftKMeans": "bayessoft.estimators.soft_k_means",
    "StudentT": "bayessoft.families.student_t",
    "StudentTPrior": "bayessoft.families.degrees_of_freedom",
    "calibrate": "bayessoft.studies.calibration",
    "fisher_ratio": "bayessoft.diagnostics.separation",
    "load": "bayessoft.store",
    "membership_entropy": "bayessoft.diagnostics.ambiguity",
    "overlap": "bayessoft.diagnostics.overlap",
    "partition_coefficient": "bayessoft.diagnostics.ambiguity",
    "reduce_mixture": "bayessoft.densities.reduction",
    "relabel": "bayessoft.diagnostics.relabelling",
    "soft_rand": "bayessoft.diagnostics.agreement",
    "soft_scatter": "bayessoft.diagnostics.separation",
    "soft_silhouette": "bayessoft.diagnostics.silhouette",
    "stability": "bayessoft.studies.stability",
    "xie_beni": "bayessoft.diagnostics.separation",
}

if TYPE_CHECKING:
    from bayessoft.core.capacity import Capacity
    from bayessoft.core.sizes import Between, Fixed, Near
    from bayessoft.densities.mixture_density import MixtureDensity
    from bayessoft.densities.reduction import reduce_mixture
    from bayessoft.diagnostics.agreement import soft_rand
    from bayessoft.diagnostics.ambiguity import membership_entropy, partition_coefficient
    from bayessoft.diagnostics.overlap import overlap
    from bayessoft.diagnostics.relabelling import relabel
    from bayessoft.diagnostics.separation import fisher_ratio, soft_scatter, xie_beni
    from bayessoft.diagnostics.silhouette import soft_silhouette
    from bayessoft.estimators.fuzzy_c_means import FuzzyCMeans
    from bayessoft.estimators.gaussian_mixture import GaussianMixture
    from bayessoft.estimators.information_bottleneck import InformationBottleneck
    from bayessoft.estimators.mixture_model import MixtureModel
    from bayessoft.estimators.soft_k_means import SoftKMeans
    from bayessoft.families.bernoulli import Bernoulli, Beta
    from bayessoft.families.categorical import Categorical
    from bayessoft.families.degrees_of_freedom import StudentTPrior
    from bayessoft.families.gaussian import Gaussian
    from bayessoft.families.independent_normal_inverse_wishart import IndependentNormalInverseWishart
    from bayessoft.families.multinomial import Multinomial
    from bayessoft.families.normal_inverse_wishart import NormalInverseWishart
    from bayessoft.families.poisson import Gamma, Poisson
    from bayessoft.families.product import Product
    from bayessoft.families.student_t import StudentT
    from bayessoft.families.weights import Dirichlet
    from bayessoft.inference.cavi import CAVI
    from bayessoft.inference.em import EM
    from bayessoft.inference.gibbs import Gibbs
    from bayessoft.inference.gradient_map import GradientMAP
    from bayessoft.inference.nuts import NUTS
    from bayessoft.inference.svi import SVI
    from bayessoft.mixture import Mixture
    from bayessoft.store import load
    from bayessoft.studies.calibration import calibrate
    from bayessoft.studies.stability import stability
else:  # hidden from type checkers, which would otherwise accept any attribute

    def __getattr__(name: str) -> object:
        """Resolve a public name on first use (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    """Return the public names, resolved or not."""
    return sorted({*globals(), *__all__})
