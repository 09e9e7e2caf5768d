"""A finite Gaussian mixture as a density, of as many components as rows or as few as clusters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, Self

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from bayessoft.core import kernels
from bayessoft.core.sweep import Tiles, tiles
from bayessoft.data.rows import Rows, TableLike, rows, table
from bayessoft.densities.bandwidths import kernel_covariance
from bayessoft.errors import DataError, OptionError, listed
from bayessoft.estimators import posterior
from bayessoft.estimators.mixture_estimator import MixtureEstimator
from bayessoft.numerics import CHUNK, WHITENABLE, Affine, scoped

__all__ = ["MixtureDensity"]

MOST = 100_000_000  # memberships given at once: 800 MB
SUM = 1e-6  # by which weights may miss 1: the rounding of float32


@dataclass(frozen=True, eq=False)
class MixtureDensity:
    """A mixture of Gaussian components as a density, with scikit-learn's verbs of one.

    Parameters
    ----------
    weights : array of shape (k,)
        Proportions of the components: 0 or more, summing to 1.
    means : array of shape (k, d)
        Their means; float32 stays float32.
    covariances : array of shape (d, d) or (k, d, d)
        The covariance that all of them share, or one for each, symmetric and positive definite.
    columns : sequence of d str, optional
        Names of the columns.

    Raises
    ------
    OptionError
        Shapes that do not fit, numbers that are not finite, weights that do not sum to 1, or a covariance that is not
        symmetric and positive definite.

    Notes
    -----
    Everything is in the units of the rows. Rows far from the origin lose no digits: they are centred, and measured in
    standard deviations, in float64 before anything else is computed. Densities are computed in the dtype of the rows
    that they are asked for, in blocks of rows by components, so that memory does not grow with the number of pairs.

    Examples
    --------
    >>> density = MixtureDensity([0.25, 0.75], [[0.0], [4.0]], [[1.0]])
    >>> density.score_samples([[0.0], [4.0]]).round(3)
    array([-2.304, -1.207])
    >>> density.mean, density.covariance
    (array([3.]), array([[4.]]))
    """

    weights: Float[np.ndarray, " k"]
    means: Float[np.ndarray, "k d"]
    covariances: Float[np.ndarray, "... d d"]
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check what was given and hold it as read-only arrays."""
        means = _floats(self.means, "means", None)
        if means.ndim != 2 or 0 in means.shape:
            raise OptionError(f"means has shape {means.shape}: pass (k, d), a row for each component")
        k, d = means.shape
        weights = _floats(self.weights, "weights", np.float64)
        if weights.shape != (k,):
            raise OptionError(f"weights has shape {weights.shape}, and there are {k} means: pass ({k},)")
        if (weights < 0).any() or abs(weights.sum() - 1) > SUM:
            raise OptionError(
                f"weights range from {weights.min():g} and sum to {weights.sum():g}: pass weights >= 0 of sum 1"
            )
        covariances = _floats(self.covariances, "covariances", None)
        if covariances.shape not in ((d, d), (k, d, d)):
            raise OptionError(f"covariances has shape {covariances.shape}: pass ({d}, {d}), or ({k}, {d}, {d})")
        _check_positive(covariances)
        names = self.columns
        if names is not None and len(names := tuple(map(str, names))) != d:
            raise OptionError(f"columns has {len(names)} names: pass {d}, or None")
        for name, value in (("weights", weights / weights.sum()), ("means", means), ("covariances", covariances)):
            value = value.view()
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        object.__setattr__(self, "columns", names)

    @classmethod
    def from_kernels(cls, X: TableLike, bandwidth: Any = "scott", sample_weight: Any = None) -> Self:
        """Give the kernel density of rows: a Gaussian kernel at each.

        Parameters
        ----------
        X : array, DataFrame or table of shape (n, d)
            Rows.
        bandwidth : {"scott", "silverman", "likelihood"}, float, array of shape (d,) or (d, d)
            Numbers are the standard deviation of a kernel, as scikit-learn's `KernelDensity` has it, one for each
            column, or a *covariance* matrix. By a rule, the covariance of a kernel is that of the rows times the square
            of a factor, as in SciPy's `gaussian_kde`: ``m ** (-1 / (d + 4))`` for "scott", and that with
            ``m (d + 2) / 4`` in the place of m for "silverman", where ``m = (sum w)^2 / sum w^2`` is the effective
            number of rows. (scikit-learn's rules of these names are the same factors as standard deviations, whatever
            the units of the columns.) "likelihood" chooses the factor under which the rows are most probable, each
            under the kernels of all others; it looks at every pair of rows some twenty times.
        sample_weight : array of shape (n,), optional
            Weight of each row, >= 0; kernels weigh in proportion.

        Returns
        -------
        MixtureDensity
            Component i is the kernel of row i.

        Raises
        ------
        DataError
            Unusable rows or weights; for a rule, rows that span fewer dimensions than there are columns.
        OptionError
            A bandwidth that is none.

        Warns
        -----
        UserWarning
            For "likelihood", more than a tenth of the rows repeat others. A row is left out with all that equal it, so
            that a weight of 2 counts as the row twice; otherwise kernels of no width would be the best.

        Notes
        -----
        Scott, *Multivariate Density Estimation* (1992), section 6.3; Silverman, *Density Estimation* (1986), section
        4.3.2; Habbema, Hermans and van den Broek, COMPSTAT (1974).

        Examples
        --------
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> density = MixtureDensity.from_kernels(X, bandwidth=0.5)
        >>> density.n_components, density.score(X) < 0
        (200, True)
        """
        data = _rows(X, sample_weight)
        covariance = kernel_covariance(data, bandwidth)
        return cls(data.weights / data.weights.sum(), data.values, covariance.astype(data.values.dtype), data.columns)

    @classmethod
    def from_fit(cls, model: Any) -> Self:
        """Give the density of a fitted mixture of Gaussian components.

        Parameters
        ----------
        model : GaussianMixture or MixtureModel
            Fitted, with Gaussian components of any covariance type. Of a posterior its centre is taken: the parameters
            that ``model.weights_`` and ``model.means_`` show, not their spread; a `temperature` does not change the
            density.

        Raises
        ------
        OptionError
            No mixture, or its components are not Gaussian.
        """
        if not isinstance(model, MixtureEstimator):
            raise OptionError(
                f"from_fit needs a fitted GaussianMixture or MixtureModel, and got {type(model).__name__}: pass "
                "one, or a MixtureDensity made by from_kernels"
            )
        check_is_fitted(model, "fit_")
        weights, found = posterior.centre(model.fit_)
        if set(found) != {"means", "covariances"}:
            raise OptionError(f"from_fit needs Gaussian components, and these have {listed(list(found), str)}")
        means, covariances = found["means"], found["covariances"]
        family: Any = model.fit_.mixture.family.plain
        kind, (k, d) = family.covariance_type, means.shape
        if kind in ("diag", "spherical"):
            covariances = covariances.reshape(k, -1)[:, :, None] * np.eye(d)
        dtype = np.dtype(model.fit_.dtype)
        names = getattr(model, "feature_names_in_", None)
        columns = None if names is None else tuple(map(str, names))
        return cls(weights / weights.sum(), means.astype(dtype), covariances.astype(dtype), columns)

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.weights)

    @cached_property
    def mean(self) -> Float[np.ndarray, " d"]:
        """Mean of the whole, float64."""
        middle = self.means.astype(np.float64).mean(0)
        return middle + self.weights @ (self.means - middle)

    @cached_property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """Covariance of the whole, float64: the mean covariance of the components, and that of their means."""
        apart = self.means - self.mean
        within = self.covariances.astype(np.float64)
        if within.ndim == 3:
            within = np.einsum("k,kab->ab", self.weights, within)
        return within + (apart * self.weights[:, None]).T @ apart

    @cached_property
    def frame(self) -> Affine:
        """The map to the units that densities are computed in: of a kernel's own, or in which the whole is standard."""
        covariance = self.covariances.astype(np.float64) if self.covariances.ndim == 2 else self.covariance
        scale = np.sqrt(np.diag(covariance))
        correlation = covariance / np.outer(scale, scale)
        factor = None
        if self.covariances.ndim == 2 or np.linalg.eigvalsh(correlation)[0] > WHITENABLE:
            factor = np.linalg.cholesky(correlation)
        return Affine(self.mean, scale, np.ones(len(scale), bool), factor)

    def score_samples(self, X: TableLike) -> Float[np.ndarray, " n"]:
        """Give the log density of each row, in nats."""
        data = self._known(X)
        with scoped(data.values.dtype):
            laid, of = self._laid(data)
            found = np.asarray(kernels.log_density(of, laid, kernels.product_is_safe(of, laid)))
        found = found.ravel()[: data.n]
        return (found + self.frame.log_det).astype(data.values.dtype)

    def score(self, X: TableLike, y: Any = None) -> float:
        """Give the mean log density of the rows, in nats."""
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def predict_proba(self, X: TableLike) -> Float[np.ndarray, "n k"]:
        """Give the probability that each row comes from each component; rows sum to 1.

        Raises
        ------
        OptionError
            More than 100 million numbers would be given.
        """
        data, k = self._known(X), self.n_components
        if data.n * k > MOST:
            raise OptionError(
                f"memberships of {data.n} rows in {k} components are {data.n * k:.2g} numbers, over {MOST:.0e}: pass "
                f"at most {MOST // k} rows at a time, or reduce_mixture first"
            )
        found = np.empty((data.n, k), data.values.dtype)
        size = max(kernels.ROWS, CHUNK // k)
        with scoped(data.values.dtype):
            for first in range(0, data.n, size):
                part = data.reordered(np.arange(first, min(first + size, data.n)))
                laid, of = self._laid(part)
                shares = np.moveaxis(np.asarray(kernels.memberships(of, laid)), 3, 1)  # tile, row, block, component
                found[first : first + size] = shares.reshape(-1, shares.shape[2] * shares.shape[3])[: part.n, :k]
        return found

    def sample(self, n: int = 1, random_state: Any = None) -> Float[np.ndarray, "n d"]:
        """Draw rows.

        Parameters
        ----------
        n : int >= 1
            How many.
        random_state : int, RandomState or None
            Seed of the draws.
        """
        if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
            raise OptionError(f"n is {n!r}: pass a whole number >= 1")
        rng = np.random.default_rng(check_random_state(random_state).randint(1 << 31))
        chosen = rng.choice(self.n_components, int(n), p=self.weights)
        noise = rng.standard_normal((int(n), self.means.shape[1]))
        lower = np.linalg.cholesky(self.covariances.astype(np.float64))
        if lower.ndim == 2:
            noise = noise @ lower.T
        else:
            noise = np.einsum("nab,nb->na", lower[chosen], noise)
        return (self.means[chosen] + noise).astype(self.means.dtype)

    def summary(self) -> pd.DataFrame:
        """Give a table of the components: the weight of each, and its mean and standard deviation in each column."""
        names = self.columns or [f"x{j}" for j in range(self.means.shape[1])]
        spreads = np.sqrt(np.diagonal(self.covariances, axis1=-2, axis2=-1))
        spreads = np.broadcast_to(spreads, self.means.shape)
        found = {"weight": self.weights}
        found |= {f"mean {name}": column for name, column in zip(names, self.means.T, strict=True)}
        found |= {f"sd {name}": column for name, column in zip(names, spreads.T, strict=True)}
        return pd.DataFrame(found, index=pd.RangeIndex(self.n_components, name="component"))

    def __repr__(self) -> str:
        """Say how many components there are, not all of their numbers."""
        shared = "one covariance" if self.covariances.ndim == 2 else "a covariance each"
        return f"MixtureDensity({self.n_components} components in {self.means.shape[1]} dimensions, {shared})"

    def _known(self, X: TableLike) -> Rows:
        """Check rows that the density is asked for."""
        data = _rows(X)
        if data.d != self.means.shape[1]:
            raise DataError(
                f"X has {data.d} features, and this density has {self.means.shape[1]}: pass the same columns"
            )
        if data.columns and self.columns and data.columns != self.columns:
            raise DataError(
                f"X has columns {listed(data.columns)}, this density {listed(self.columns)}: pass the same ones"
            )
        return data

    def _laid(self, data: Rows) -> tuple[Tiles, kernels.Components]:
        """Lay rows and components out on the device, inside `numerics.scoped`."""
        dtype, apply = data.values.dtype, self.frame.apply
        laid = tiles(data.values, data.weights, dtype, kernels.ROWS, apply)
        return laid, kernels.components(self.weights, *self._own, dtype)

    @cached_property
    def _own(self) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k d d"] | None]:
        """Means, and factors of the precisions where components differ in them, in the units of the frame."""
        means = self.frame.apply(self.means)
        if self.covariances.ndim == 2:
            return means, None
        a = self.frame.inverse_matrix()
        return means, _precision_factors(a @ self.covariances.astype(np.float64) @ a.T)


def _floats(given: Any, name: str, dtype: Any) -> np.ndarray:
    """Give a new array of finite floats; float32 stays unless a dtype is wanted."""
    try:
        array = np.asarray(given)
        array = array.astype(dtype or (np.float32 if array.dtype == np.float32 else np.float64))
    except (TypeError, ValueError):
        raise OptionError(f"{name} holds no numbers: pass an array of floats") from None
    if not np.isfinite(array).all():
        raise OptionError(f"{name} has numbers that are NaN or infinite: pass finite ones")
    return array


def _check_positive(covariances: Float[np.ndarray, "... d d"]) -> None:
    """Refuse covariances that are not symmetric and positive definite, naming the first."""
    every = covariances.astype(np.float64).reshape(-1, *covariances.shape[-2:])
    largest = np.abs(every).max((1, 2))
    uneven = np.abs(every - np.swapaxes(every, 1, 2)).max((1, 2)) > 1e-5 * largest
    scale = np.sqrt(np.maximum(np.diagonal(every, axis1=1, axis2=2), 0))
    flat = (scale == 0).any(1)
    scale = np.where(scale == 0, 1, scale)
    smallest = np.linalg.eigvalsh(every / (scale[:, :, None] * scale[:, None, :]))[:, 0]
    if (wrong := uneven | flat | ~(smallest > 0)).any():
        first = int(np.argmax(wrong))
        which = "the covariance" if covariances.ndim == 2 else f"covariance {first}"
        raise OptionError(
            f"{which} is not symmetric and positive definite: {np.array2string(every[first], precision=3)}"
        )


def _precision_factors(covariances: Float[np.ndarray, "k d d"]) -> Float[np.ndarray, "k d d"]:
    """Give upper triangular factors of the precisions: of ``L``, lower, the inverse transposed."""
    return np.swapaxes(np.linalg.inv(np.linalg.cholesky(covariances)), 1, 2)


def _rows(X: TableLike, sample_weight: Any = None) -> Rows:
    """Check rows, with the names of their columns where they have any."""
    prepared = table(X)
    columns = getattr(prepared, "columns", None)
    values = prepared if columns is None else prepared.to_numpy()
    return rows(np.asarray(values), columns=columns, sample_weight=sample_weight)
