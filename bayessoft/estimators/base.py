"""What estimators share: engines from their options, starting values in original units, and telling of a status."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances

from bayessoft.core.capacity import Several
from bayessoft.core.demand import SLACK
from bayessoft.core.sizes import Near, SizeConstraint
from bayessoft.errors import OptionError, listed
from bayessoft.families.family import SweptFamily
from bayessoft.families.structures import STRUCTURES
from bayessoft.families.tempered import Tempered
from bayessoft.families.weights import Dirichlet
from bayessoft.fit import Fit
from bayessoft.inference import ENGINES
from bayessoft.inference.engine import Climber, Given, Sampler, whole
from bayessoft.mixture import Mixture
from bayessoft.status import Status

__all__ = [
    "REGULARISING",
    "above",
    "centres_given",
    "check_run",
    "checked_weights",
    "choose_engine",
    "columns_kept",
    "constraint_of",
    "distances",
    "engine_class",
    "enough_rows",
    "forget",
    "given_start",
    "names_of",
    "progress_printer",
    "specification",
    "tell",
    "warn_of",
]

COLUMNS = ("n_features_in_", "feature_names_in_")
"""What scikit-learn's validation sets, before anything else is known of the rows."""

REGULARISING = "reg_covar"
"""The argument that only fits without priors use."""


def choose_engine(inference: Any, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> Climber | Sampler:
    """Give the engine that `inference` names or is.

    Parameters
    ----------
    inference : str or engine
        A string takes its options from the estimator's arguments, an engine object carries its own.
    options, defaults : mapping
        The estimator's arguments and their defaults: those of `Engine.OPTIONS`, and `REGULARISING`.

    Raises
    ------
    OptionError
        An unknown engine, or an argument that the engine does not take from the estimator and is not at its default.
    """
    named = isinstance(inference, str) and inference in ENGINES
    if not named and not isinstance(inference, Climber | Sampler):
        raise OptionError(f"inference is {inference!r}: pass {', '.join(map(repr, ENGINES))}, or an engine object")
    kind = engine_class(inference) if named else type(inference)
    set_ = [name for name in options if options[name] != defaults[name]]
    unused = [name for name in set_ if name not in kind.OPTIONS and (kind.BAYESIAN or name != REGULARISING)]
    if unused:
        raise OptionError(
            f"{', '.join(unused)} set, which {kind.__name__} does not use: leave them out, and set its own options in "
            f"{kind.__name__}(...)"
        )
    if named:
        return kind(**{field: options[name] for name, field in kind.OPTIONS.items() if name in options})
    if beside := [name for name in set_ if name in kind.OPTIONS]:
        raise OptionError(
            f"{', '.join(beside)} set beside an engine object, which carries its own options: set them in "
            f"inference={kind.__name__}(...)"
        )
    return inference


def check_run(engine: Climber | Sampler, checkpoint: Any, time_limit: Any, random_state: Any, warm_start: bool) -> None:
    """Refuse a checkpoint and a time limit that are none, or that the engine does not take."""
    given = [name for name, value in (("checkpoint", checkpoint), ("time_limit", time_limit)) if value is not None]
    if given and not isinstance(engine, Sampler):
        raise OptionError(
            f"{' and '.join(given)} set, which {type(engine).__name__} does not take, since only samplers run long: "
            "leave out, or pass inference='gibbs' or 'nuts'"
        )
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        raise OptionError(f"checkpoint is {checkpoint!r}: pass the path of a folder")
    if checkpoint is not None and warm_start:
        raise OptionError(
            "checkpoint and warm_start are both ways to go on: a run that is kept goes on by itself, so leave out "
            "warm_start"
        )
    if checkpoint is not None and random_state is None:
        raise OptionError(
            "checkpoint needs random_state: without it every call draws a seed of its own, and no run could go on: "
            "pass an int"
        )
    number = isinstance(time_limit, Real) and not isinstance(time_limit, bool)
    if time_limit is not None and not (number and time_limit > 0):
        raise OptionError(f"time_limit is {time_limit!r}: pass a number of seconds > 0")


def specification(k: Any, family: SweptFamily, concentration: Any, sizes: Any, temperature: Any = 1.0) -> Mixture:
    """Give the mixture that an estimator's arguments state, refusing those out of range."""
    whole("n_components", k)
    if concentration is not None and not isinstance(concentration, Dirichlet):
        concentration = Dirichlet(concentration)
    parts = list(sizes) if isinstance(sizes, list | tuple) else [sizes]
    priors = [part for part in parts if isinstance(part, Near)]
    if len(priors) > 1 or (priors and concentration is not None):
        both = priors[:2] if concentration is None else [concentration, *priors]
        raise OptionError(f"{both[0]!r} and {both[1]!r} both state a prior on the proportions: leave one of them out")
    if priors:
        concentration = priors[0].prior()
    above("temperature", temperature, 0)
    if temperature != 1:
        family = Tempered(family, 1 / float(temperature))
    return Mixture(int(k), family, concentration, constraint_of([part for part in parts if part not in priors]))


def constraint_of(sizes: Any) -> SizeConstraint | None:
    """Give one constraint for what is said of sizes: nothing, a constraint, or a list of several."""
    parts = tuple(part for part in (sizes if isinstance(sizes, list | tuple) else [sizes]) if part is not None)
    if odd := [part for part in parts if not isinstance(part, SizeConstraint)]:
        raise OptionError(
            f"sizes is {odd[0]!r}: pass Fixed([...]), Between(low, high), Capacity(resource, low, high), a list of "
            "these, or None; for a fit also Near(target, strength)"
        )
    return Several(parts) if len(parts) > 1 else parts[0] if parts else None


def names_of(*tables: Any) -> tuple[str, ...] | None:
    """Give the names that the first table with names as text has over its clusters; None without one."""
    for labels in tables:  # a list has an index too: a method
        if isinstance(labels, pd.Index) and all(isinstance(label, str) for label in labels):
            return tuple(labels)
    return None


def engine_class(name: str) -> Any:
    """Import the engine of a name."""
    module, _, kind = ENGINES[name].partition(":")
    return getattr(import_module(module), kind)


def given_start(weights: Any, means: Any, precisions: Any, covariance_type: str, k: int, d: int) -> Given:
    """Check starting values as scikit-learn's `GaussianMixture` takes them.

    Raises
    ------
    OptionError
        A wrong shape, weights that do not sum to 1, precisions that are not positive definite.
    """
    structure = STRUCTURES[covariance_type]
    weights, means = checked_weights(weights, k), _shaped("means_init", means, (k, d))
    precisions = _shaped("precisions_init", precisions, structure.shape(k, d))
    if precisions is None:
        return _without_none(weights, means=means)
    if structure.matrix:
        positive = np.allclose(precisions, np.swapaxes(precisions, -1, -2)) and np.linalg.eigvalsh(precisions).min() > 0
    else:
        positive = (precisions > 0).all()
    if not positive:
        raise OptionError("precisions_init must be symmetric positive definite (positive, for variances)")
    covariances = np.linalg.inv(precisions) if structure.matrix else 1 / precisions
    return _without_none(weights, means=means, covariances=covariances)


def _without_none(weights: np.ndarray | None, **parameters: np.ndarray | None) -> Given:
    return Given(weights, {name: value for name, value in parameters.items() if value is not None})


def checked_weights(weights: Any, k: int) -> np.ndarray | None:
    """Check proportions to start from."""
    weights = _shaped("weights_init", weights, (k,))
    if weights is not None and ((weights < 0).any() or not np.isclose(weights.sum(), 1, atol=1e-6)):
        raise OptionError(f"weights_init is {weights}: pass numbers >= 0 that sum to 1")
    return weights


def above(name: str, value: object, least: float) -> None:
    """Refuse an option that is no finite number above `least`."""
    if isinstance(value, bool) or not isinstance(value, Real) or not least < float(value) < np.inf:
        raise OptionError(f"{name} is {value!r}: pass a finite number above {least:g}")


def enough_rows(values: np.ndarray, name: str, k: int) -> None:
    """Refuse fewer rows than clusters, whose number has the name."""
    if len(values) < k:
        raise ValueError(
            f"{name}={k} but n_samples = {len(values)}: pass at least as many rows as clusters, or fewer clusters"
        )


def centres_given(init: Any, k: int, d: int) -> Float[np.ndarray, "k d"]:
    """Check centres to start from."""
    centres = _shaped("init", init, (int(k), d))
    assert centres is not None
    return centres


def distances(values: Float[np.ndarray, "n d"], centres: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "n k"]:
    """Give the Euclidean distance of each row from each centre, in the dtype of the rows."""
    middle = centres.astype(np.float64).mean(0)  # products about it keep digits far from the origin
    return pairwise_distances(values - middle, centres - middle).astype(values.dtype)


def _shaped(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    if value is None:
        return None
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise OptionError(f"{name} has shape {array.shape} and needs {shape}")
    if not np.isfinite(array).all():
        raise OptionError(f"{name} holds NaN or infinity: pass finite numbers")
    return array


def forget(estimator: Any) -> None:
    """Drop what an earlier fit left, so that a fit that fails leaves nothing."""
    for name in [name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")]:
        if name not in COLUMNS:
            delattr(estimator, name)


@contextmanager
def columns_kept(estimator: Any) -> Iterator[None]:
    """Bring back what an earlier fit knew of the columns where the rows of a new one are refused."""
    before = {name: value for name, value in vars(estimator).items() if name in COLUMNS}
    try:
        yield
    except BaseException:
        for name in COLUMNS:
            vars(estimator).pop(name, None)
        vars(estimator).update(before)
        raise


def warn_of(status: Status, name: str, remark: str = "") -> None:
    """Warn of a status that the user should know about, for whoever called the method that calls this."""
    if not status.converged:
        warnings.warn(f"{name} {status.text}{remark}", ConvergenceWarning, stacklevel=3)


def tell(fit: Fit, name: str, ended: Status, max_iter: int | None = None) -> None:
    """Warn of a status that the user should know about, of what the draws said, and of how the run `ended`."""
    status, checks = fit.status, getattr(fit.posterior, "checks", None)
    if status is Status.NOT_CONVERGED and max_iter == 0:
        return  # no iteration was asked for
    if not status.converged:
        remark = f" ({checks.text})" if checks is not None else ""
        if status is Status.SIZES_NOT_MET and (result := getattr(fit.posterior, "sizes", None)) is not None:
            remark = f" ({listed(result.broken(SLACK), str)})"
        if ended.early and ended is not status:
            remark += f"; the run was {ended.text}"
        warnings.warn(f"{name} {status.text}{remark}", ConvergenceWarning, stacklevel=3)
    elif status is Status.REG_COVAR_DOMINATES:
        warnings.warn(f"{name} {status.text}", UserWarning, stacklevel=3)


def progress_printer(verbose: int, interval: int) -> Callable[[int, float, float | None], None] | None:
    """Print the objective now and then, `interval` steps or more apart, as scikit-learn's `verbose` asks for."""
    if not verbose:
        return None
    last = 0

    def show(step: int, objective: float, effective: float | None = None) -> None:
        nonlocal last
        if step - last >= interval or verbose > 1:
            draws = "" if effective is None or np.isnan(effective) else f", {effective:.0f} effective draws so far"
            print(f"  iteration {step}: {objective:.6f} nats per row (standardised){draws}")
            last = step

    return show
