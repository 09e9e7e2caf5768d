"""The methods of clustering that the command line knows, and the options that each uses."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from bayessoft.errors import OptionError

__all__ = [
    "CLIMBING",
    "METHODS",
    "MIXTURE",
    "SAMPLING",
    "SIZING",
    "SURVIVING",
    "class_of",
    "method_of",
    "refuse_unused",
]

CLIMBING = ("n_init", "max_iter")
SAMPLING = ("chains", "draws", "warmup")
SURVIVING = ("checkpoint", "time_limit")
SIZING = ("sizes", "min_size", "max_size", "capacity")
MIXTURE = "gmm"
"""The method that fits mixtures, of any family by any engine."""
METHODS = {
    MIXTURE: (
        *("family", "covariance", "inference", "prior", *SIZING),
        *(*CLIMBING, *SAMPLING, "target_accept", *SURVIVING, "resume"),
    ),
    "soft-kmeans": ("beta", "anneal", "metric", *SIZING, *CLIMBING),
    "fuzzy": ("m", "variant", "entropy_weight", "noise_distance", *CLIMBING),
    "bottleneck": ("beta", "alpha", *CLIMBING),
}
"""The options that each method uses, by its name."""
CLASSES = {
    "soft-kmeans": "bayessoft.estimators.soft_k_means:SoftKMeans",
    "fuzzy": "bayessoft.estimators.fuzzy_c_means:FuzzyCMeans",
    "bottleneck": "bayessoft.estimators.information_bottleneck:InformationBottleneck",
}
"""The estimators of the methods that have one each."""


def class_of(method: str) -> Any:
    """Give the estimator of a method other than `MIXTURE`."""
    module, _, name = CLASSES[method].partition(":")
    return getattr(import_module(module), name)


def method_of(estimator: Any) -> str:
    """Give the method that an estimator is of."""
    names = {path.rpartition(":")[2]: method for method, path in CLASSES.items()}
    return names.get(type(estimator).__name__, MIXTURE)


def refuse_unused(options: Mapping[str, Any]) -> None:
    """Refuse options that were given and that the method does not use.

    Parameters
    ----------
    options : mapping
        Values by name, None or False where not given, and the ``method``.

    Raises
    ------
    OptionError
        Names the option, and the methods that use it.
    """
    method = options["method"]
    for name in dict.fromkeys(name for names in METHODS.values() for name in names):
        value = options.get(name)
        if value is not None and value is not False and name not in METHODS[method]:
            others = " or ".join(other for other, names in METHODS.items() if name in names)
            raise OptionError(f"--{name.replace('_', '-')} is for --method {others}, not {method}: leave it out")
