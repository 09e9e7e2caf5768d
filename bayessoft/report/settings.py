"""The options of a fit as a person types them, made into the library's objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from bayessoft.errors import OptionError, listed
from bayessoft.families import FAMILIES

__all__ = ["check", "estimator", "spelled_out"]

CLIMBING = ("n_init", "max_iter")
SAMPLING = ("chains", "draws", "warmup")
SURVIVING = ("checkpoint", "time_limit")
USED = {
    "em": CLIMBING,
    "cavi": CLIMBING,
    "gibbs": (*SAMPLING, *SURVIVING),
    "map": CLIMBING,
    "nuts": (*SAMPLING, "target_accept", *SURVIVING),
    "svi": CLIMBING,
}
"""The options that each engine uses, by its name."""
SHAPED = ("gaussian", "student-t")
"""Families whose components have a shape of their own."""


def check(options: Mapping[str, Any]) -> None:
    """Refuse options that the chosen engine does not use, and sizes that contradict each other."""
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
    bounds = [f"--{name.replace('_', '-')}" for name in ("min_size", "max_size") if options[name] is not None]
    if options["sizes"] is not None and bounds:
        raise OptionError(f"--sizes fixes what {' and '.join(bounds)} would bound: leave one of them out")
    _size_lists(options)


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


def estimator(options: Mapping[str, Any]) -> Any:
    """Build the estimator that the options describe."""
    of_estimators = (*CLIMBING, *SURVIVING)
    given: dict[str, Any] = {name: options[name] for name in of_estimators if options.get(name) is not None}
    if (sizes := _sizes(options)) is not None:
        given["sizes"] = sizes
    inference: Any = options["inference"]
    sampling = {
        name: options[name] for name in USED[inference] if name not in of_estimators and options.get(name) is not None
    }
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


@contextmanager
def spelled_out() -> Iterator[None]:
    """Add to an error about sizes how their units are written on the command line."""
    try:
        yield
    except OptionError as problem:
        hint = " (on the command line, unit='rows' is 40 and unit='share' is 40%)" if "unit=" in str(problem) else ""
        raise OptionError(f"{problem}{hint}") from None


def _sizes(options: Mapping[str, Any]) -> Any:
    """Build the size constraint that the options describe; None without one."""
    lists, unit = _size_lists(options)
    if not lists:
        return None
    from bayessoft.core.sizes import Between, Fixed

    if "sizes" in lists:
        return Fixed(lists["sizes"], unit=unit)
    sides = (lists.get(name) for name in ("min_size", "max_size"))
    low, high = (side[0] if side is not None and len(side) == 1 else side for side in sides)
    return Between(low, high, unit=unit)


def _size_lists(options: Mapping[str, Any]) -> tuple[dict[str, tuple[float, ...]], str]:
    """Read the options on sizes, and the unit they share."""
    given = {name: options[name] for name in ("sizes", "min_size", "max_size") if options[name] is not None}
    lists = {name: _size_list(f"--{name.replace('_', '-')}", text) for name, text in given.items()}
    units = {unit for _, unit in lists.values()}
    if len(units) > 1:
        mixed = " and ".join(f"--{name.replace('_', '-')} {text}" for name, text in given.items())
        raise OptionError(f"{mixed} mix rows and shares: give both as rows, or both with %")
    return {name: numbers for name, (numbers, _) in lists.items()}, units.pop() if units else "rows"


def _size_list(option: str, text: str) -> tuple[tuple[float, ...], str]:
    """Read sizes: rows, or shares where every one has its %."""
    cells = [cell.strip() for cell in text.split(",")]
    shares = [cell for cell in cells if cell.endswith("%")]
    rows = [cell for cell in cells if not cell.endswith("%")]
    if shares and rows:
        raise OptionError(
            f"{option} mixes rows ({listed(rows, str)}) and shares ({listed(shares, str)}): give all of them as rows, "
            "such as 151,123,68, or all with %, such as 40%,40%,20%"
        )
    try:
        numbers = tuple(float(cell.removesuffix("%")) for cell in cells)
    except ValueError:
        raise OptionError(f"{option} is {text!r}: give numbers separated by commas, such as 151,123,68") from None
    return (tuple(number / 100 for number in numbers), "share") if shares else (numbers, "rows")
