"""Precision through the public face: log density and M-step against a reference in long double."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from bayessoft import GaussianMixture
from bayessoft.errors import FitError
from tests.benchmarks import longdouble
from tests.benchmarks.protocol import Check, Report

K = 5
APART = 100  # standard deviations between centres
LAYOUTS = ("axes", "rotated", "own orientation")
CASES = (  # dtype, condition, offset in standard deviations, bars of the log density and of the covariance
    (np.float32, 1e4, 10, 5e-2, 2e-2),
    (np.float64, 1e4, 1e3, 1e-8, 1e-6),
    (np.float64, 1e8, 1e3, 1e-5, 1e-6),
)


def planted(layout: str, d: int, condition: float, offset: float, dtype: Any, seed: int = 0) -> dict[str, Any]:
    """Rows of five clusters of the given condition, far apart along the widest and the narrowest axis.

    The widest standard deviation is 1, the others fall geometrically. Centres lie at 0 and at +-100 standard deviations
    along both axes; where every cluster is turned its own way, 100 of the widest, so that they stay apart.
    """
    rng = np.random.default_rng(seed)
    spreads = np.geomspace(1, condition**-0.5, d)

    def turn() -> np.ndarray:
        return np.linalg.qr(rng.standard_normal((d, d)))[0]

    common = np.eye(d) if layout == "axes" else turn()
    turns = [turn() if layout == "own orientation" else common for _ in range(K)]
    steps = np.zeros((K, d))
    steps[1:3, 0] = APART * np.array([1, -1])
    steps[3:, -1] = APART * np.array([1, -1]) * (1 if layout == "own orientation" else spreads[-1])
    means = steps @ common.T + offset
    each = max(400, 20 * d)
    rows = [mean + (rng.standard_normal((each, d)) * spreads) @ q.T for mean, q in zip(means, turns, strict=True)]
    precisions = np.stack([(q / spreads**2) @ q.T for q in turns])
    start = {
        "weights_init": np.full(K, 1 / K),
        "means_init": means,
        "precisions_init": (precisions + np.swapaxes(precisions, 1, 2)) / 2,
    }
    return {"X": np.concatenate(rows).astype(dtype), "start": start}


def fitted(case: dict[str, Any]) -> GaussianMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        return GaussianMixture(K, reg_covar=0.0, **case["start"]).fit(case["X"])


def errors(case: dict[str, Any]) -> dict[str, float]:
    """Largest errors of the log density, given the fitted attributes, and of the covariances."""
    X = case["X"]
    try:
        gm = fitted(case)
    except (FitError, ConvergenceWarning):
        return dict.fromkeys(("log density", "covariance"), np.inf)  # no usable fit: a miss
    found = gm.score_samples(X)
    roots = [longdouble.cholesky(matrix.astype(longdouble.LONG)) for matrix in gm.covariances_]
    joint = longdouble.joint(X, gm.weights_, gm.means_, roots)
    density = longdouble.log_density(joint)
    r = np.exp(joint - density[:, None])
    whitened = [longdouble.whitened_error(gm.covariances_[j], longdouble.covariance(X, r[:, j])) for j in range(K)]
    return {
        "log density": float(np.abs(found - density).max()),
        "covariance": max(whitened),
    }


def outcome(case: dict[str, Any]) -> str:
    """How a fit ended, in the name of its status."""
    try:
        return fitted(case).status_.name
    except FitError as problem:
        return getattr(problem.status, "name", "FitError without a status")
    except ConvergenceWarning:
        return "NOT_CONVERGED"


def run(quick: bool) -> Report:
    report = Report(
        "Precision",
        f"Five clusters {APART} standard deviations apart along their widest and narrowest axes, the whole offset by "
        "10 (float32) or 1e3 (float64) standard deviations, fitted from the planted start with `reg_covar=0`. "
        "`score_samples` of the fitted rows against the density in long double of the same rows and the fitted "
        "`weights_`, `means_`, `covariances_`; `covariances_` against the covariance in long double under the "
        "memberships, as the largest entry of |L^-1 C L^-T - I|.",
    )
    table, dimensions = [], (2,) if quick else (2, 10, 50)
    for dtype, condition, offset, density_bar, covariance_bar in CASES:
        name, found = np.dtype(dtype).name, []
        for layout in LAYOUTS:
            for d in dimensions:
                found.append(errors(planted(layout, d, condition, offset, dtype)))
                row = {"dtype": name, "condition": condition, "layout": layout, "d": d}
                table.append(row | {f"{what}, error": error for what, error in found[-1].items()})
        what = f"{name}, condition {condition:.0e}"
        report.checks += [
            Check.at_most(f"log density, {what} (nats)", max(e["log density"] for e in found), density_bar),
            Check.at_most(f"covariance, {what}", max(e["covariance"] for e in found), covariance_bar),
        ]
    ends = [
        {"dtype": "float32", "condition": 1e8, "layout": layout, "d": d, "status": outcome(case)}
        for layout in LAYOUTS
        for d in dimensions
        for case in [planted(layout, d, 1e8, 10, np.float32)]
    ]
    accepted = sum(end["status"] != "ILL_CONDITIONED" for end in ends)
    report.tables = [table, ends]
    what = f"float32, condition 1e+08: fits of {len(ends)} that are not refused by status"
    report.checks.append(Check.at_most(what, accepted, 0))
    return report
