"""The information bottleneck: soft clusters of the rows of a joint table that keep what rows say of columns."""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib import import_module
from numbers import Real
from typing import Any, Self

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.special import entr
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from bayessoft.core.annealing import anneal
from bayessoft.core.bottleneck import CONVERGED, FELL, Solution, channel, memberships, solved
from bayessoft.errors import FitError, OptionError
from bayessoft.estimators.base import columns_kept, forget
from bayessoft.estimators.bottleneck_path import BottleneckPath, used
from bayessoft.estimators.joint_table import betas_of, cells_of, joint_of, normalised, starts_of
from bayessoft.inference.engine import whole
from bayessoft.numerics import scoped
from bayessoft.status import Status

__all__ = ["InformationBottleneck"]

CODES = (Status.NOT_CONVERGED, Status.CONVERGED, Status.FELL, Status.NON_FINITE)
ROUNDS = 50  # how often solutions of a path are handed on, at most
LEFT = 1e-6  # nats by which the solution at another inverse temperature may be better


class InformationBottleneck(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Information bottleneck: soft clusters T of the rows X of a joint table that keep what rows say of the columns Y.

    Memberships minimise ``H(T) - alpha H(T given X) - beta I(T; Y)``.

    Parameters
    ----------
    n_clusters : int, default 8
        Most clusters k that there can be; fewer are used where beta is small.
    beta : float > 0, default 10.0
        What a nat of I(T; Y) is worth in nats of I(T; X). Up to 1 a single cluster is best, whatever the table;
        `path` tells what other values give.
    alpha : float, 0 to 1, default 1.0
        1 is the information bottleneck, 0 the deterministic one, with hard memberships; in between, their
        interpolation.
    n_init : int, default 10
        Number of starts, beside one without clusters; the solution with the least Lagrangian is kept.
    max_iter : int, default 10000
        Most iterations from one start, or at one inverse temperature of a path.
    tol : float, default 1e-6
        Iterations end when no membership changes by as much; no less than 32 units of rounding of the dtype.
    random_state : int, RandomState or None
        Where random numbers come from; an int makes the fit reproducible.
    verbose : int, default 0
        Print what each start came to.

    Attributes
    ----------
    responsibilities_ : array of shape (n, k)
        Memberships q(t given x) of the rows that were fitted. Those of a row without any count are proportional to
        `weights_` to the power 1 / alpha: `weights_` themselves with ``alpha = 1``, the largest cluster with 0.
    labels_ : array of shape (n,)
        The cluster with the largest membership, the first of several.
    weights_ : array of shape (k,)
        q(t); 0 for clusters that were emptied.
    cluster_distributions_ : array of shape (k, d)
        q(y given t); 0 in emptied clusters.
    information_x_, information_y_, entropy_ : float
        I(T; X), I(T; Y) and H(T), in nats.
    lagrangian_ : float
        ``H(T) - alpha H(T given X) - beta I(T; Y)``, minimised.
    n_clusters_used_ : int
        How many clusters hold rows and differ from each other.
    status_ : Status
        How the fit ended; its text says what to do next.
    converged_ : bool
        Whether the status says so.
    n_iter_ : int
        Iterations of the start that was kept.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only where the columns had names.

    Notes
    -----
    p(x) is the share of each row in the total, p(y given x) its shares. Tishby, Pereira and Bialek (1999), "The
    information bottleneck method"; Strouse and Schwab (2017), "The deterministic information bottleneck". Each row is
    a multinomial component's tempered density away from its memberships: those of `MixtureModel` with family
    "multinomial", where rows are normalised, weigh p(x), and have the inverse temperature beta.

    An iteration is two products of the table with a matrix of k columns. These are sparse where less than 0.3 of the
    cells are above 0, whether the table came so or not.

    Memberships start at k-means++ seeds under Hellinger's distance. Hard ones start where soft ones at the same beta
    ended, and rarely move from there: a cluster that lacks a column of a row is infinitely far from it.

    Examples
    --------
    >>> X = [[9, 1, 0], [8, 2, 0], [1, 9, 1], [0, 1, 9]]
    >>> ib = InformationBottleneck(3, beta=20, random_state=0).fit(X)
    >>> ib.n_clusters_used_, ib.status_.name
    (3, 'CONVERGED')
    >>> bool(ib.labels_[0] == ib.labels_[1])
    True
    """

    def __init__(
        self,
        n_clusters: int = 8,
        beta: float = 10.0,
        *,
        alpha: float = 1.0,
        n_init: int = 10,
        max_iter: int = 10_000,
        tol: float = 1e-6,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.beta = beta
        self.alpha = alpha
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        return tags

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit clusters to the rows of a joint table.

        Parameters
        ----------
        X : array, DataFrame, table or sparse matrix of shape (n, d)
            Counts or joint probabilities, >= 0; float32 is computed in float32, everything else in float64.
        y : ignored
        sample_weight : array of shape (n,), optional
            Weight of each row, >= 0: a row of weight 2 counts as two.

        Returns
        -------
        InformationBottleneck
            Itself.

        Raises
        ------
        ValueError
            Unusable rows, weights or options (`DataError`, `OptionError`); nothing is set.
        FitError
            A numerical failure; no fitted attribute is left.
        """
        self._check()
        with columns_kept(self):
            joint, data = joint_of(self, X, sample_weight)
            self._check_range(self.beta, data.values.dtype)
        forget(self)
        found, _ = self._solved(joint, data.values.dtype)
        self._remember(self._best(found), joint)
        if not self.status_.converged:
            warnings.warn(f"InformationBottleneck {self.status_.text}", ConvergenceWarning, stacklevel=2)
        return self

    def path(
        self, X: Any, *, betas: Any = None, sample_weight: Any = None, keep_memberships: bool = False
    ) -> BottleneckPath:
        """Solve at many inverse temperatures, from the largest down, each from where the last one ended.

        Parameters
        ----------
        X : array, DataFrame, table or sparse matrix of shape (n, d)
            Counts or joint probabilities, >= 0.
        betas : sequence of float > 0, optional
            Inverse temperatures, in any order. By default 60, evenly spaced in logs, from half of where the first
            clusters part (but no less than 1) to ten times where k directions have parted, see the notes.
        sample_weight : array of shape (n,), optional
            Weight of each row, >= 0.
        keep_memberships : bool, default False
            Whether to keep q(t given x) of every solution, b n k numbers.

        Returns
        -------
        BottleneckPath
            The estimator itself is left as it is, its `beta` unused.

        Notes
        -----
        Each solution is at least as good as every other one of the path at its inverse temperature: better ones are
        handed on and iterated until there are none, by more than 1e-7 nats. With ``alpha = 1`` a single cluster is no
        stable solution above the reciprocal of the largest squared canonical correlation of rows and columns, the
        second eigenvalue of ``sum_y p(y given x) p(x' given y)``: there the first two clusters part, or earlier by a
        jump. With a smaller alpha they part by a jump, at no smaller beta.
        """
        self._check()
        joint, data = joint_of(clone(self), X, sample_weight)
        chosen = betas_of(betas, joint, self.n_clusters)
        self._check_range(chosen[0], data.values.dtype)
        found, values = self._solved(joint, data.values.dtype, chosen)
        if (failed := np.flatnonzero(found.code >= FELL)).size:
            raise _failed(jax.tree.map(lambda leaf: leaf[failed[0]], found), f" at beta = {values[failed[0]]:g}")
        weights = joint.sum(1)
        lagrangian = found.lagrangian(values, self.alpha)
        path = BottleneckPath(
            betas=values,
            information_x=found.entropy - found.equivocation,
            information_y=found.information,
            entropy=found.entropy,
            lagrangian=lagrangian,
            n_clusters_used=np.array([used(r, weights) for r in found.memberships]),
            n_iter=found.steps,
            converged=found.code == CONVERGED,
            alpha=float(self.alpha),
            information=float(entr(weights).sum() + entr(joint.sum(0)).sum() - entr(joint.data).sum()),
            n_clusters=self.n_clusters,
            memberships=found.memberships if keep_memberships else None,
        )
        _tell(path, found.lagrangian(values[:, None], self.alpha))
        return path

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n k"]:
        """Give the membership q(t given x) of each row in each cluster; rows sum to 1.

        Those of the rows that were fitted agree with `responsibilities_` to within `tol`.
        """
        return self._under(X)[0]

    def predict(self, X: Any) -> Int[np.ndarray, " n"]:
        """Give the cluster of each row with the largest membership, 0 to k - 1."""
        return self.predict_proba(X).argmax(axis=1)

    def transform(self, X: Any) -> Float[np.ndarray, "n k"]:
        """Give the divergence of each row from each cluster, ``KL(p(y given x) || q(y given t))`` in nats.

        Where a cluster lacks a column, the log of the smallest normal number stands for that of 0: such divergences are
        some hundred times what the row has in such columns, where they would be infinite. A row without counts has 0.
        """
        return self._under(X)[1]

    def _check(self) -> None:
        """Refuse options out of range."""
        for name in ("n_clusters", "n_init", "max_iter"):
            whole(name, getattr(self, name))
        limits = {"beta": (0, np.inf, False), "alpha": (0, 1, True), "tol": (0, np.inf, False)}
        for name, (low, high, at_low) in limits.items():
            value = getattr(self, name)
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not number or not np.isfinite(value) or not (low < value <= high or (at_low and value == low)):
                above = f">= {low}" if at_low else f"> {low}"
                raise OptionError(f"{name} is {value!r}: pass a finite number {above}" + " and <= 1" * (high == 1))

    def _check_range(self, beta: float, dtype: np.dtype[Any]) -> None:
        """Refuse an exponent of memberships that the dtype cannot hold, times the log of its smallest number."""
        exponent = float(beta) / float(self.alpha or 1)
        largest, tiny = float(np.finfo(dtype).max), float(np.finfo(dtype).tiny)
        if not exponent < largest / -np.log(tiny) or 0 < self.alpha < tiny:
            raise OptionError(
                f"beta / alpha is {exponent:g}, which {dtype} cannot hold times a divergence: lower beta, or pass "
                "alpha=0 for hard memberships"
            )

    def _solved(
        self, joint: sparse.csr_array, dtype: np.dtype[Any], betas: Any = None
    ) -> tuple[Solution, Float[np.ndarray, " b"]]:
        """Run the program of one fit, or of a path where there are `betas`, and give what it found as NumPy arrays."""
        n, d = joint.shape
        starts = starts_of(joint, self.n_clusters, self.n_init, check_random_state(self.random_state))
        values = np.asarray(self.beta if betas is None else betas, np.float64)
        hard, limit = bool(self.alpha == 0), np.asarray(self.max_iter, np.int32)
        tol = max(self.tol, 32 * np.finfo(dtype).eps)
        with scoped(dtype):
            of = channel(joint, dtype)
            padded = np.full((len(starts), len(of.weights), self.n_clusters), 1 / self.n_clusters, dtype)
            padded[:, :n] = starts
            options = (*(np.asarray(each, dtype) for each in (values, self.alpha, tol)), limit)
            if betas is None:
                found = solved(of, d, padded, *options, hard=hard)
            else:
                found = anneal(of, d, padded, *options, np.asarray(ROUNDS, np.int32), hard=hard)[0]
            found = jax.tree.map(np.array, found)
        found = replace(found, memberships=found.memberships[:, :n])
        amounts = {name: getattr(found, name).astype(np.float64) for name in ("entropy", "equivocation", "information")}
        return replace(found, **amounts), values

    def _best(self, found: Solution) -> Solution:
        """Keep the start with the least Lagrangian among those that did not fail."""
        heights = found.lagrangian(self.beta, self.alpha)
        if self.verbose:
            names = [*(f"start {i}" for i in range(1, len(heights))), "no clusters"]
            for name, height, steps in zip(names, heights, found.steps, strict=True):
                print(f"  {name}: Lagrangian {height:.6f} nats after {steps} iterations")
        failed = found.code >= FELL
        best = int(np.argmin(np.where(failed, np.inf, heights)))
        one = jax.tree.map(lambda leaf: leaf[best], found)
        if failed[:-1].all():  # without clusters nothing fails
            raise _failed(jax.tree.map(lambda leaf: leaf[0], found))
        return one

    def _remember(self, found: Solution, joint: sparse.csr_array) -> None:
        """Set what was learned; the only place that does."""
        weights = found.joint.sum(0)
        shares = (found.joint / np.maximum(weights, np.finfo(weights.dtype).tiny)).T
        self.responsibilities_ = found.memberships
        self.labels_ = found.memberships.argmax(1)
        self.weights_ = weights
        self.cluster_distributions_ = shares
        self.information_x_ = float(found.entropy - found.equivocation)
        self.information_y_ = float(found.information)
        self.entropy_ = float(found.entropy)
        self.lagrangian_ = float(found.lagrangian(self.beta, self.alpha))
        self.n_clusters_used_ = used(found.memberships, joint.sum(1))
        self.status_ = CODES[int(found.code)]
        self.converged_ = self.status_.converged
        self.n_iter_ = int(found.steps)

    def _under(self, X: Any) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """Give memberships of rows in the fitted clusters, and divergences from them."""
        check_is_fitted(self, "status_")
        cells, data = cells_of(self, X, reset=False)
        dtype, n = np.result_type(data.values.dtype, self.weights_.dtype), data.n
        tiny = np.finfo(dtype).tiny
        logs = [np.log(np.maximum(each, tiny), dtype=dtype) for each in (self.weights_, self.cluster_distributions_.T)]
        with scoped(dtype):
            of = channel(cells, dtype)
            options = (np.asarray(each, dtype) for each in (self.beta, self.alpha))
            found = memberships(of, *logs, *options, hard=bool(self.alpha == 0))
            r, scores = (np.array(each)[:n] for each in found)
        shares = normalised(cells)
        own = -sparse.csr_array((entr(shares.data), shares.indices, shares.indptr), shares.shape).sum(1)
        return r, np.maximum(own[:, None] - scores, 0).astype(dtype)

    @property
    def _n_features_out(self) -> int:
        return self.n_clusters

    def save(self, path: Any) -> None:
        """Write the fitted model to a new folder, which `bayessoft.load` reads.

        Parameters
        ----------
        path : str or path
            The folder; refused where it exists.
        """
        check_is_fitted(self, "status_")
        import_module("bayessoft.store").save(self, path)


def _failed(found: Solution, where: str = "") -> FitError:
    status = CODES[int(found.code)]
    fall = f" by {float(found.rise):.3g} nats" if status is Status.FELL else ""
    return FitError(f"the fit failed at step {int(found.steps)}{where}{fall}", status=status, advice=status.text)


def _tell(path: BottleneckPath, table: Float[np.ndarray, "b b"]) -> None:
    """Warn where memberships have not settled, or better solutions are left."""
    left = int((path.lagrangian - table.min(1) > LEFT).sum())
    for number, what in (
        (int((~path.converged).sum()), Status.NOT_CONVERGED.text),
        (left, "other solutions of the path are better, and were not handed on: raise max_iter, or n_init"),
    ):
        if number:
            words = f"InformationBottleneck.path at {number} of {len(path.betas)} inverse temperatures: {what}"
            warnings.warn(words, ConvergenceWarning, stacklevel=3)
