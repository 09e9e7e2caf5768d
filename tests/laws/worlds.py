"""Small worlds for the laws: the registered families, rows, and parameters that are no fitted ones."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayessoft.core import sweep as core
from bayessoft.families.gaussian import Gaussian, GaussianParameters
from bayessoft.families.independent_normal_inverse_wishart import IndependentNormalInverseWishart
from bayessoft.families.normal_inverse_wishart import NormalInverseWishart
from bayessoft.families.structures import STRUCTURES
from bayessoft.families.student_t import StudentT

from .linear import LINEAR

KINDS = tuple(STRUCTURES)
MEMBERS = [Gaussian(kind) for kind in KINDS]
CASES = {"gaussian": MEMBERS, **LINEAR, "student-t": [StudentT(kind) for kind in KINDS]}
"""The members of every registered family; a test compares the names with the registry."""
PRIORS = ("none", pytest.param("shared", marks=pytest.mark.statistical), "each")
INDEPENDENT = ("known", "unknown")
"""Means independent of covariances: one prior for each cluster with a known scale, one for all with an unknown one."""


def label(member: object) -> str:
    """Name a member in the id of a test."""
    return f"{type(member).__name__.lower()}-{member.covariance_type}"


def some(*kinds: str) -> list:
    """All members, those of other kinds in the statistical run only: each would compile for seconds."""
    return [
        pytest.param(member, id=label(member), marks=() if member.covariance_type in kinds else pytest.mark.statistical)
        for member in MEMBERS
    ]


def independent(*quick: tuple[str, str]) -> list:
    """All members under all independent priors, those but a few in the statistical run only."""
    return [
        pytest.param(
            member,
            prior,
            id=f"{label(member)}-{prior}",
            marks=() if (member.covariance_type, prior) in quick else pytest.mark.statistical,
        )
        for member in MEMBERS
        for prior in INDEPENDENT
    ]


def points(n: int, d: int, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    """Rows with some spread in every direction; an offset sends the passes into their centred form."""
    rng = np.random.default_rng(seed)
    return offset + rng.normal(size=(n, d)) * np.linspace(0.8, 1.5, d) + rng.integers(0, 2, n)[:, None]


def shares(n: int, k: int, seed: int = 0) -> np.ndarray:
    """Responsibilities of shape (k, n) that no parameters gave."""
    return np.random.default_rng(seed + 77).dirichlet(np.ones(k), n).T


def covariances(kind: str, k: int, d: int, seed: int = 0) -> np.ndarray:
    """Covariances in the shape of the structure, well conditioned."""
    rng = np.random.default_rng(seed + 7)
    matrices = np.array([np.eye(d) + 0.5 * (a @ a.T) / d for a in rng.normal(size=(k, d, d))])
    return {
        "full": matrices,
        "tied": matrices[0],
        "diag": np.einsum("kdd->kd", matrices),
        "spherical": np.einsum("kdd->k", matrices) / d,
    }[kind]


def dense(kind: str, spread: np.ndarray, k: int, d: int) -> np.ndarray:
    """The (k, d, d) covariance matrices that an array shaped by the structure stands for."""
    return {
        "full": lambda: spread,
        "tied": lambda: np.broadcast_to(spread, (k, d, d)),
        "diag": lambda: np.array([np.diag(row) for row in spread]),
        "spherical": lambda: spread[:, None, None] * np.eye(d),
    }[kind]()


def parameters(member: Gaussian, k: int, d: int, seed: int = 0, offset: float = 0.0) -> GaussianParameters:
    """Parameters of k components."""
    means = offset + np.random.default_rng(seed + 3).normal(size=(k, d))
    spread = covariances(member.covariance_type, k, d, seed)
    return GaussianParameters(jnp.asarray(means), member.structure.factor(jnp.asarray(spread)))


def proportions(k: int, seed: int = 0) -> np.ndarray:
    """Proportions, none of them small."""
    return np.random.default_rng(seed + 11).dirichlet(np.full(k, 5.0))


def laid_out(x: np.ndarray, weights: np.ndarray | None = None, tile_rows: int = 16) -> core.Tiles:
    """Rows in tiles."""
    return core.tiles(x, np.ones(len(x)) if weights is None else weights, np.dtype(np.float64), tile_rows)


def linear_tiles(name: str, x: np.ndarray, w: np.ndarray, tile_rows: int) -> core.Tiles:
    """Rows of a family with linear scores in tiles."""
    return core.tiles(x, w, np.dtype(np.float64), tile_rows, LINEAR[name].encoded)


@jax.jit
def swept(member: Gaussian, theta: GaussianParameters, log_weights: jax.Array, rows: core.Tiles) -> tuple:
    """One pass, compiled: tests of one shape share it."""
    return core.sweep(member, theta, log_weights, rows)


@jax.jit
def rowwise(member: Gaussian, theta: GaussianParameters, log_weights: jax.Array, rows: core.Tiles) -> tuple:
    """Log densities and memberships of every row, compiled."""
    return core.rowwise(member, theta, log_weights, rows)


def statistics_of(member: Gaussian, theta: GaussianParameters, x: np.ndarray, r: np.ndarray, fast: bool) -> Any:
    """Statistics of rows x of shape (n, d) under responsibilities r of shape (k, n)."""
    features = member.tile_features(theta, x.T, fast)
    return member.collect(theta, member.tile_statistics(theta, features, r, fast), fast)


def start(member: Gaussian, k: int, d: int) -> dict[str, np.ndarray]:
    """A complete start for an estimator, so that nothing in a fit is random."""
    spread = covariances(member.covariance_type, k, d)
    precisions = np.linalg.inv(spread) if member.structure.matrix else 1 / spread
    return dict(weights_init=proportions(k), means_init=points(k, d, seed=9), precisions_init=precisions)


def with_prior(member: Gaussian, prior: str, k: int, d: int) -> Gaussian:
    """A member under a prior: "none", one "shared" by all clusters, one for "each", or one of `INDEPENDENT`."""
    if prior == "none":
        return member
    kind, rng = member.covariance_type, np.random.default_rng(5)
    entry = covariances(kind, k, d, seed=1)
    if prior in INDEPENDENT:
        of_means = 2 * covariances("full" if kind == "tied" else kind, k, d, seed=2)
        one, mean = entry if kind == "tied" else entry[0], rng.normal(size=(k, d))
        if prior == "unknown":
            stated = IndependentNormalInverseWishart(mean[0], of_means[0], d + 1.5, one, d + 0.7)
        else:
            degrees = d + 2.5 if kind == "tied" else d + 1 + rng.random(k)
            stated = IndependentNormalInverseWishart(mean, of_means, degrees, entry)
    elif prior == "shared":
        scale = entry if kind == "tied" else entry[0]
        stated = NormalInverseWishart(rng.normal(size=d), 0.7, d + 1.5, scale)
    else:
        degrees = d + 2.5 if kind == "tied" else d + 1 + rng.random(k)
        stated = NormalInverseWishart(rng.normal(size=(k, d)), 0.5 + rng.random(k), degrees, entry)
    return replace(member, prior=stated.checked(member.structure, k, d))
