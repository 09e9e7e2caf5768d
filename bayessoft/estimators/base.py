"""What estimators share: engines from their options, starting values in original units, and telling of a status."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from bayessoft.errors import OptionError
from bayessoft.families.structures import STRUCTURES
from bayessoft.fit import Fit, Status
from bayessoft.inference.em import EM
from bayessoft.inference.engine import Given
from bayessoft.inference.nuts import NUTS

__all__ = ["choose_engine", "columns_kept", "forget", "given_start", "progress_printer", "tell"]

EM_OPTIONS = ("max_iter", "tol", "n_init", "init_params")
"""Arguments of an estimator that configure the engine ``"em"``."""

COLUMNS = ("n_features_in_", "feature_names_in_")
"""What scikit-learn's validation sets, before anything else is known of the rows."""

OPTIONS = (*EM_OPTIONS, "reg_covar")
"""Arguments that not every engine uses."""


def choose_engine(inference: Any, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> EM | NUTS:
    """Give the engine that `inference` names or is.

    Parameters
    ----------
    inference : str or engine
        A string takes its options from the estimator's arguments, an engine object carries its own.
    options, defaults : mapping
        The estimator's arguments of `OPTIONS`, and their defaults.

    Raises
    ------
    OptionError
        An unknown engine, or an argument that the engine does not take from the estimator and is not at its default.
    """
    set_ = [name for name in OPTIONS if options[name] != defaults[name]]
    if isinstance(inference, NUTS) or (isinstance(inference, str) and inference == "nuts"):
        if set_:
            raise OptionError(
                f"{', '.join(set_)} set, which nuts does not use: leave them out, and set its own options in NUTS(...)"
            )
        return inference if isinstance(inference, NUTS) else NUTS()
    if isinstance(inference, str) and inference == "em":
        return EM(options["max_iter"], options["tol"], options["n_init"], options["init_params"])
    if not isinstance(inference, EM):
        raise OptionError(f"inference is {inference!r}: pass 'em', 'nuts', or an EM or NUTS object")
    if set_ := [name for name in set_ if name in EM_OPTIONS]:
        raise OptionError(
            f"{', '.join(set_)} set beside an engine object, which carries its own options: set them in "
            f"inference={type(inference).__name__}(...)"
        )
    return inference


def given_start(weights: Any, means: Any, precisions: Any, covariance_type: str, k: int, d: int) -> Given:
    """Check starting values as scikit-learn's `GaussianMixture` takes them.

    Raises
    ------
    OptionError
        A wrong shape, weights that do not sum to 1, precisions that are not positive definite.
    """
    structure = STRUCTURES[covariance_type]
    weights, means = _shaped("weights_init", weights, (k,)), _shaped("means_init", means, (k, d))
    precisions = _shaped("precisions_init", precisions, structure.shape(k, d))
    if weights is not None and ((weights < 0).any() or not np.isclose(weights.sum(), 1, atol=1e-6)):
        raise OptionError(f"weights_init is {weights}: pass numbers >= 0 that sum to 1")
    if precisions is None:
        return Given(weights, means, None)
    if structure.matrix:
        positive = np.allclose(precisions, np.swapaxes(precisions, -1, -2)) and np.linalg.eigvalsh(precisions).min() > 0
    else:
        positive = (precisions > 0).all()
    if not positive:
        raise OptionError("precisions_init must be symmetric positive definite (positive, for variances)")
    return Given(weights, means, np.linalg.inv(precisions) if structure.matrix else 1 / precisions)


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


def tell(fit: Fit, name: str, max_iter: int | None = None) -> None:
    """Warn of a status that the user should know about, and of what the draws said."""
    status, checks = fit.status, getattr(fit.posterior, "checks", None)
    if status is Status.NOT_CONVERGED and max_iter == 0:
        return  # no iteration was asked for
    if not status.converged:
        remark = f" ({checks.text})" if checks is not None else ""
        warnings.warn(f"{name} {status.text}{remark}", ConvergenceWarning, stacklevel=3)
    elif status is Status.REG_COVAR_DOMINATES:
        warnings.warn(f"{name} {status.text}", UserWarning, stacklevel=3)


def progress_printer(verbose: int, interval: int) -> Callable[[int, float], None] | None:
    """Print the objective now and then, `interval` steps or more apart, as scikit-learn's `verbose` asks for."""
    if not verbose:
        return None
    last = 0

    def show(step: int, objective: float) -> None:
        nonlocal last
        if step - last >= interval or verbose > 1:
            print(f"  iteration {step}: {objective:.6f} nats per row (standardised)")
            last = step

    return show
