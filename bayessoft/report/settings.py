"""The options of a fit as a person types them, made into the library's objects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayessoft.errors import OptionError
from bayessoft.families import FAMILIES
from bayessoft.report import bounds
from bayessoft.report.methods import (
    CLIMBING,
    METHODS,
    MIXTURE,
    SAMPLING,
    SIZING,
    SURVIVING,
    class_of,
    refuse_unused,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["estimator", "understood"]

PRICING = ("capacity",)
USED = {
    "em": (*CLIMBING, *PRICING),
    "cavi": (*CLIMBING, *PRICING),
    "gibbs": (*SAMPLING, *SURVIVING),
    "map": CLIMBING,
    "nuts": (*SAMPLING, "target_accept", *SURVIVING),
    "svi": (*CLIMBING, *PRICING),
}
"""The options that each engine uses, by its name."""
SHAPED = ("gaussian", "student-t")
"""Families whose components have a shape of their own."""


DEFAULTS = {"family": "gaussian", "inference": "em"}
"""What a mixture is without being told."""


def understood(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options that the method uses, what was left out by its default where another option depends on it.

    Parameters
    ----------
    given : mapping
        ``method``, ``components``, ``seed``, and any other option, None or False where it was not given.

    Raises
    ------
    OptionError
        An option that the method, or its engine, does not use, or that contradicts another one.
    """
    unset: dict[str, Any] = dict.fromkeys(name for names in METHODS.values() for name in names)
    every = unset | dict(given)
    if every["method"] == MIXTURE:
        every |= {name: value for name, value in DEFAULTS.items() if every[name] is None}
    _check(every)
    found = {name: every[name] for name in ("method", "components", *METHODS[every["method"]], "seed")}
    if found.get("family") in SHAPED and found["covariance"] is None:
        found["covariance"] = "full"
    return found


def _check(options: Mapping[str, Any]) -> None:
    """Refuse options that the method or the chosen engine does not use, and sizes that contradict each other."""
    refuse_unused(options)
    if options["method"] == MIXTURE:
        _check_mixture(options)
    _beta(options)
    bounds.check(options)


def _check_mixture(options: Mapping[str, Any]) -> None:
    """Refuse options that the chosen engine does not use."""
    engine, family = options["inference"], options["family"]
    if options["covariance"] is not None and family not in SHAPED:
        raise OptionError(f"--covariance is for --family {' or '.join(SHAPED)}, not {family}: leave it out")
    for name in dict.fromkeys(name for names in USED.values() for name in names):
        if options.get(name) is not None and name not in USED[engine]:
            others = " or ".join(other for other, names in USED.items() if name in names)
            raise OptionError(f"--{name.replace('_', '-')} is for --inference {others}, not {engine}: leave it out")
    if options["prior"] == "independent" and family != "gaussian":
        raise OptionError(f"--prior independent is for --family gaussian, not {family}: use weak, or leave it out")
    if options["prior"] == "none" and engine != "em":
        raise OptionError(f"--prior none leaves {engine} without a posterior: leave it out, or use --inference em")
    _check_checkpoint(options)


def _beta(options: Mapping[str, Any]) -> float | str | None:
    """Read the inverse temperature: a number above 0, or the word auto where the method finds it."""
    text = options.get("beta")
    if text is None:
        return None
    auto = options["method"] == "soft-kmeans"
    if auto and text.strip() == "auto":
        return "auto"
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise OptionError(f"--beta is {text!r}: give a number above 0" + ", or auto" * auto)
    return number


def _check_checkpoint(options: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was not asked for, or with none."""
    path, resume = options.get("checkpoint"), options.get("resume")
    if resume and path is None:
        raise OptionError("--resume needs the run to go on with: add --checkpoint FOLDER")
    kept = path is not None and Path(path).is_dir() and any(Path(path).iterdir())
    if kept and not resume:
        raise OptionError(f"--checkpoint {path} holds a run: go on with it by --resume, or choose another folder")
    if resume and not kept:
        raise OptionError(f"--checkpoint {path} holds no run to go on with: leave out --resume to begin one there")


def estimator(options: Mapping[str, Any], resources: pd.DataFrame | None = None) -> Any:
    """Build the estimator that the options describe, with what the rows take of its capacities."""
    if options["method"] == MIXTURE:
        return _mixture(options, resources)
    names = [name for name in METHODS[options["method"]] if name not in SIZING]
    given = {name: options[name] for name in names if options[name] is not None}
    if (beta := _beta(options)) is not None:
        given["beta"] = beta
    if (sizes := bounds.constraints(options, resources)) is not None:
        given["sizes"] = sizes
    return class_of(options["method"])(options["components"], **given, random_state=options["seed"])


def _mixture(options: Mapping[str, Any], resources: pd.DataFrame | None) -> Any:
    """Build the estimator of a mixture."""
    of_estimators = (*CLIMBING, *SURVIVING)
    given: dict[str, Any] = {name: options[name] for name in of_estimators if options.get(name) is not None}
    if (sizes := bounds.constraints(options, resources)) is not None:
        given["sizes"] = sizes
    inference: Any = options["inference"]
    of_engines = [name for name in USED[inference] if name not in (*of_estimators, *PRICING)]
    sampling = {name: options[name] for name in of_engines if options.get(name) is not None}
    if sampling:
        from bayessoft.estimators.base import engine_class

        inference = engine_class(inference)(**sampling)
    given |= {"inference": inference, "random_state": options["seed"]}
    if options["family"] == "gaussian":
        from bayessoft.estimators.gaussian_mixture import GaussianMixture

        prior = None if options["prior"] == "none" else options["prior"]
        return GaussianMixture(options["components"], covariance_type=options["covariance"], prior=prior, **given)
    from bayessoft.estimators.mixture_model import MixtureModel

    return MixtureModel(options["components"], _family(options), **given)


def _family(options: Mapping[str, Any]) -> Any:
    """Give the name of a family, whose prior is weak, or the family with its shape or without its prior."""
    name, covariance = options["family"], options["covariance"]
    if options["prior"] != "none" and covariance is None:
        return name
    module, _, kind = FAMILIES[name][0].partition(":")
    shape = {} if covariance is None else {"covariance_type": covariance}
    return getattr(import_module(module), kind)(**shape, prior=None if options["prior"] == "none" else "weak")
