"""The information bottleneck: memberships that keep what rows say of columns, at the price of what they say of rows.

Arrays are (n, k) over rows and (d, k) over columns, so that one row of a table picks contiguous numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.special import xlogy
from jaxtyping import Float, Int
from scipy import sparse

from bayessoft.core.assign import assign
from bayessoft.families.family import pytree
from bayessoft.families.linear import log
from bayessoft.numerics import HIGHEST, bucket

__all__ = [
    "CONVERGED",
    "FELL",
    "NON_FINITE",
    "RUNNING",
    "Channel",
    "Solution",
    "channel",
    "decoded",
    "encoded",
    "iterate",
    "memberships",
    "softened",
    "solve",
    "solved",
]

RUNNING, CONVERGED, FELL, NON_FINITE = range(4)
WIDTH = 8  # cells of a chunk: of 4, 8 and 16 the fastest, measured at 10 and 20 clusters
FULL = 0.3  # share of cells above 0 from which a product of full matrices is the faster one, measured
FAR = 4.0  # times as far as plain steps, at most, at first; and what that bound grows and shrinks by
FURTHEST = FAR**10  # what it grows to, so that it comes down again


@pytree()
@dataclass(frozen=True, eq=False)
class Chunks:
    """A sparse matrix, cut such that a product with it needs few scattered sums.

    Attributes
    ----------
    at : array of shape (c, WIDTH)
        Columns of the cells of each chunk.
    cells : array of shape (c, WIDTH)
        Their numbers; 0 for filling.
    own : array of shape (c,)
        The row that each chunk belongs to, ascending.
    """

    at: Int[Array, "c w"]
    cells: Float[Array, "c w"]
    own: Int[Array, " c"]


@pytree()
@dataclass(frozen=True, eq=False)
class Channel:
    """A joint distribution of rows and columns, filled up with rows of probability 0.

    Attributes
    ----------
    weights : array of shape (n,)
        p(x).
    rows : Chunks, or array of shape (n, d)
        p(y given x).
    columns : Chunks, or array of shape (d, n)
        p(x, y). Both orders are kept: a product along memory is two to three times as fast as one across it.
    """

    weights: Float[Array, " n"]
    rows: Any
    columns: Any

    def scores(self, log_distributions: Float[Array, "d k"]) -> Float[Array, "n k"]:
        """Give ``sum_y p(y given x) log q(y given t)``."""
        return product(self.rows, log_distributions, len(self.weights))

    def sums(self, r: Float[Array, "n k"], d: int) -> Float[Array, "d k"]:
        """Give ``q(t, y) = sum_x q(t given x) p(x, y)``."""
        return product(self.columns, r, d)


@pytree()
@dataclass(frozen=True, eq=False)
class Solution:
    """Memberships, and what they come to.

    Attributes
    ----------
    memberships : array of shape (n, k)
        q(t given x).
    joint : array of shape (d, k)
        q(t, y).
    entropy, equivocation : scalar
        H(T) and H(T given X), in nats.
    information : scalar
        I(T; Y), in nats.
    code : int
        RUNNING where `max_iter` ended it, CONVERGED, FELL or NON_FINITE.
    steps : int
        Iterations.
    rise : scalar
        What the Lagrangian rose by where that ended it.
    """

    memberships: Any
    joint: Any
    entropy: Any
    equivocation: Any
    information: Any
    code: Any
    steps: Any
    rise: Any

    def lagrangian(self, beta: Any, alpha: Any) -> Any:
        """Give ``H(T) - alpha H(T given X) - beta I(T; Y)``, which is minimised."""
        return self.entropy - alpha * self.equivocation - beta * self.information


def product(matrix: Chunks | Float[Array, "size m"], source: Float[Array, "m k"], size: int) -> Float[Array, "size k"]:
    """Multiply a matrix of `size` rows with a full one.

    The sum within a chunk is written out: as a reduction XLA computes it six times slower on CPUs.
    """
    if not isinstance(matrix, Chunks):
        return jnp.dot(source.T, matrix.T, precision=HIGHEST).T
    parts = sum(matrix.cells[:, i, None] * source[matrix.at[:, i]] for i in range(matrix.at.shape[1]))
    return jax.ops.segment_sum(parts, matrix.own, size, indices_are_sorted=True)


def channel(joint: sparse.csr_array, dtype: np.dtype[Any]) -> Channel:
    """Lay a joint distribution out on the device, inside `numerics.scoped`; rows of probability 0 stay 0."""
    n, d = joint.shape
    filled = sparse.csr_array((joint.data, joint.indices, _ends(joint.indptr, bucket(n))), shape=(bucket(n), d))
    weights = filled.sum(1)
    share = np.divide(1.0, weights, out=np.zeros_like(weights), where=weights > 0)
    given, across = sparse.csr_array(sparse.diags_array(share) @ filled), sparse.csr_array(filled.T)
    if joint.nnz < FULL * n * d:
        laid: Any = _chunks(given, dtype), _chunks(across, dtype)
    else:
        laid = tuple(jnp.asarray(part.toarray().astype(dtype)) for part in (given, across))
    return Channel(jnp.asarray(weights.astype(dtype)), *laid)


def _ends(indptr: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([indptr, np.full(size + 1 - len(indptr), indptr[-1])])


def _chunks(matrix: sparse.csr_array, dtype: np.dtype[Any]) -> Chunks:
    cells = np.diff(matrix.indptr)
    count = -(-cells // WIDTH)
    first, total = np.cumsum(count) - count, bucket(max(1, int(count.sum())))
    row = np.repeat(np.arange(len(cells)), cells)
    place = np.arange(matrix.nnz) - matrix.indptr[row]
    at, values = np.zeros((total, WIDTH), np.int32), np.zeros((total, WIDTH), dtype)
    own = np.full(total, len(cells) - 1, np.int32)
    own[: count.sum()] = np.repeat(np.arange(len(cells)), count)
    at[first[row] + place // WIDTH, place % WIDTH] = matrix.indices
    values[first[row] + place // WIDTH, place % WIDTH] = matrix.data
    return Chunks(*(jnp.asarray(part) for part in (at, values, own)))


def decoded(joint: Float[Array, "d k"]) -> tuple[Float[Array, " k"], Float[Array, "d k"]]:
    """Give log q(t) and log q(y given t); of clusters and cells that are empty those of the smallest number.

    The logs stand in a loop of one round: XLA on CPUs drops barriers, and would take a log for every cell of the table
    that is looked up instead of every cell of the result, three times the time of an iteration.
    """
    weights = joint.sum(0)
    shares = joint / jnp.maximum(weights, jnp.finfo(joint.dtype).tiny)
    once = shares[0, 0] == shares[0, 0], shares
    return log(weights), lax.while_loop(lambda s: s[0], lambda s: (jnp.zeros((), bool), log(s[1])), once)[1]


def encoded(
    scores: Float[Array, "n k"], log_weights: Float[Array, " k"], beta: Array, alpha: Array, hard: bool
) -> tuple[Float[Array, " n"], Float[Array, "n k"]]:
    """Give each row's part of the Lagrangian, to within what is of the rows alone, and q(t given x).

    Notes
    -----
    The softmax over t of ``(log q(t) - beta KL(p(y given x) || q(y given t))) / alpha``: with alpha = 1 that of Tishby,
    Pereira and Bialek (1999), otherwise that of Strouse and Schwab (2017). `hard` is alpha = 0, their deterministic
    limit: the first of the largest, and an empty cluster stays empty.
    """
    if hard:
        logits = beta * scores + log_weights
        return -logits.max(1), jax.nn.one_hot(logits.argmax(1), logits.shape[1], dtype=logits.dtype)
    normaliser, r = assign((beta / alpha * scores).T, log_weights / alpha)
    return -alpha * normaliser, r.T


def iterate(
    of: Channel, d: int, r: Float[Array, "n k"], beta: Array, alpha: Array, hard: bool
) -> tuple[Array, Float[Array, "n k"]]:
    """Give the Lagrangian between two memberships, and the second ones."""
    log_weights, log_distributions = decoded(of.sums(r, d))
    value, after = encoded(of.scores(log_distributions), log_weights, beta, alpha, hard)
    return jnp.dot(of.weights, value), after


@pytree()
@dataclass(frozen=True, eq=False)
class _State:
    """Memberships `r` to go on from, and those of the last plain step; how, and the Lagrangian before it.

    Of every three steps two are plain, `turn` 0 and 1, and lead from log memberships `origin` to a third, turn 2, at
    memberships that they foretell, up to `most` times as far.
    """

    r: Float[Array, "n k"]
    plain: Float[Array, "n k"]
    origin: Float[Array, "n k"]
    value: Array
    most: Array
    turn: Array
    code: Array
    count: Array
    rise: Array


def solve(
    of: Channel, d: int, start: Float[Array, "n k"], beta: Array, alpha: Array, tol: Array, max_iter: Array, hard: bool
) -> Solution:
    """Iterate from memberships until none of them changes by `tol`.

    Notes
    -----
    Two plain steps foretell where the slowest change leads, and a third step starts there (Varadhan and Roland,
    *Scandinavian Journal of Statistics* 35, 2008, scheme S3, in log memberships). Where the Lagrangian is higher there,
    it goes on from the plain steps instead. A plain step never raises it, so one that does ends this.
    """
    eps = jnp.finfo(start.dtype).eps

    def body(state: _State) -> _State:
        value, after = iterate(of, d, state.r, beta, alpha, hard)
        rise = value - state.value
        size = 1 + jnp.abs(value)
        foretold = state.turn == 2
        back = foretold & ~(rise <= 64 * eps * size)
        moved = jnp.max(jnp.where(of.weights > 0, jnp.abs(after - state.r).max(1), 0))
        ends = ((moved < tol, CONVERGED), (~foretold & (rise > jnp.sqrt(eps) * size), FELL))
        code = state.code
        for happened, end in (*ends, (~jnp.isfinite(value), NON_FINITE)):
            code = jnp.where(happened & ~back, end, code)
        ahead = (state.turn == 1) & (code == RUNNING)
        further = lax.cond(ahead, lambda: _foretold(of, state, after), lambda: after)
        return _State(
            jnp.where(back, state.plain, further),
            jnp.where(back, state.plain, after),
            jnp.where(state.turn == 0, log(state.r), state.origin),
            jnp.where(back, state.value, value),
            jnp.clip(jnp.where(back, state.most / FAR, jnp.where(foretold, state.most * FAR, state.most)), 1, FURTHEST),
            jnp.where(hard, 0, (state.turn + 1) % 3),
            code,
            state.count + 1,
            jnp.where(back, state.rise, rise),
        )

    def going(state: _State) -> Array:
        return (state.code == RUNNING) & (state.count < max_iter)

    zero, none = jnp.zeros((), start.dtype), jnp.zeros((), jnp.int32)
    first = _State(start, start, log(start), zero + jnp.inf, zero + FAR, none, none, none, zero)
    last = lax.while_loop(going, body, first)
    joint = of.sums(last.plain, d)
    entropy, equivocation, information = amounts(of, last.plain, joint)
    return Solution(last.plain, joint, entropy, equivocation, information, last.code, last.count, last.rise)


def _foretold(of: Channel, state: _State, after: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """Give the memberships that two plain steps, the second of which leads to `after`, point to."""
    first = log(state.r) - state.origin
    bend = log(after) - log(state.r) - first
    measure = of.weights[:, None] * after
    tiny = jnp.finfo(after.dtype).tiny
    length = jnp.sqrt(jnp.sum(measure * first**2) / jnp.maximum(jnp.sum(measure * bend**2), tiny))
    length = jnp.clip(length, 1, state.most)
    return jax.nn.softmax(state.origin + 2 * length * first + length**2 * bend, axis=1)


def amounts(of: Channel, r: Float[Array, "n k"], joint: Float[Array, "d k"]) -> tuple[Array, Array, Array]:
    """Give H(T), H(T given X) and I(T; Y), in nats."""

    def entropy(p: Array) -> Array:
        return -xlogy(p, p).sum()

    within = entropy(joint.sum(0))
    equivocation = -jnp.dot(of.weights, xlogy(r, r).sum(1))
    return within, equivocation, within + entropy(joint.sum(1)) - entropy(joint)


@partial(jax.jit, static_argnames=("d", "hard"))
def solved(
    of: Channel,
    d: int,
    starts: Float[Array, "s n k"],
    beta: Array,
    alpha: Array,
    tol: Array,
    max_iter: Array,
    hard: bool,
) -> Solution:
    """Solve from several starts, one after the other, in one program."""

    def one(start: Float[Array, "n k"]) -> Solution:
        near = softened(of, d, start, beta, tol, max_iter, hard)
        return solve(of, d, near, beta, alpha, tol, max_iter, hard)

    return lax.map(one, starts)


def softened(
    of: Channel, d: int, start: Float[Array, "n k"], beta: Array, tol: Array, max_iter: Array, hard: bool
) -> Float[Array, "n k"]:
    """Give what to start from: of a hard fit the soft solution, since hard memberships hardly leave a start.

    A cluster that lacks a column of a row is infinitely far from it, and hard clusters of sparse counts lack many.
    """
    if not hard:
        return start
    return solve(of, d, start, beta, jnp.ones_like(beta), tol, max_iter, False).memberships


@partial(jax.jit, static_argnames="hard")
def memberships(
    of: Channel, log_weights: Array, log_distributions: Array, beta: Array, alpha: Array, hard: bool
) -> tuple[Float[Array, "n k"], Float[Array, "n k"]]:
    """Give q(t given x) of rows under clusters, and ``sum_y p(y given x) log q(y given t)`` in nats."""
    scores = of.scores(log_distributions)
    return encoded(scores, log_weights, beta, alpha, hard)[1], scores
