"""The information bottleneck at many inverse temperatures in one program, from the largest down."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float
from scipy.linalg import eigvalsh
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import svds

from bayessoft.core.bottleneck import FELL, Channel, Solution, softened, solve

__all__ = ["BETTER", "anneal", "correlations"]

BETTER = 1e-7  # nats by which the solution at another inverse temperature is better, for it to be taken
FULL_SVD = 2000  # rows or columns up to which all correlations are found at once


@partial(jax.jit, static_argnames=("d", "hard"))
def anneal(
    of: Channel,
    d: int,
    starts: Float[Array, "s n k"],
    betas: Float[Array, " b"],
    alpha: Array,
    tol: Array,
    max_iter: Array,
    rounds: Array,
    hard: bool,
) -> tuple[Solution, Array]:
    """Solve at the first of descending inverse temperatures from all starts, at each other from where the last ended.

    Hard memberships are found from soft ones, which go down by themselves. Where none at all are better than the
    clusters that were found, there are none. Then each takes the best of all solutions, by the Lagrangian at its own
    inverse temperature, and goes on from there, until none is better than what each has.

    Returns
    -------
    path : Solution
        With a leading axis over `betas`, without q(t, y): of wide tables this is the larger part.
    rounds : int
        How often solutions were handed on.
    """

    def at(beta: Array, start: Float[Array, "n k"]) -> Solution:
        return replace(solve(of, d, start, beta, alpha, tol, max_iter, hard), joint=None)

    def down(r: Float[Array, "n k"], beta: Array) -> tuple[Float[Array, "n k"], Solution]:
        near = softened(of, d, r, beta, tol, max_iter, hard)
        found = at(beta, near)
        found = lax.cond(
            found.lagrangian(beta, alpha) > 0, lambda: at(beta, jnp.full_like(r, 1 / r.shape[1])), lambda: found
        )
        return (near if hard else found.memberships), found

    onward, first = lax.map(lambda start: down(start, betas[0]), starts)
    heights = jnp.where(first.code < FELL, first.lagrangian(betas[0], alpha), jnp.inf)
    path = lax.scan(down, onward[jnp.argmin(heights)], betas)[1]

    def choice(path: Solution) -> tuple[Array, Array]:
        table = path.lagrangian(betas[:, None], alpha)  # of solution j at inverse temperature i
        table = jnp.where(jnp.isnan(table), jnp.inf, table)
        return jnp.argmin(table, 1), jnp.diagonal(table) - table.min(1) > BETTER

    def again(state: tuple[Solution, Array]) -> tuple[Solution, Array]:
        path, count = state
        chosen, better = choice(path)

        def one(each: tuple[Any, ...]) -> Solution:
            beta, own, other, takes = each

            def from_other() -> Solution:
                found = at(beta, path.memberships[other])
                return replace(found, steps=found.steps + own.steps)

            return lax.cond(takes, from_other, lambda: own)

        return lax.map(one, (betas, path, chosen, better)), count + 1

    def going(state: tuple[Solution, Array]) -> Array:
        return choice(state[0])[1].any() & (state[1] < rounds)

    return lax.while_loop(going, again, (path, jnp.zeros((), jnp.int32)))


def correlations(joint: csr_array, most: int) -> Float[np.ndarray, " c"]:
    """Give the squared canonical correlations of rows and columns, largest first, at most `most` of them.

    Notes
    -----
    They are the squared singular values of ``p(x, y) / sqrt(p(x) p(y))``, without the first, which is 1. Where all rows
    have the same memberships, none of them 0, a change of these in direction i is taken ``beta / alpha`` times its
    squared correlation by one iteration, to first order. With ``alpha = 1`` a single cluster is no more than k equal
    ones, so it is not stable beyond the reciprocal of the largest one; with a smaller alpha equal clusters cost more
    than one of them, and where the others are empty nothing comes back.
    """
    shares = [np.asarray(joint.sum(axis)) for axis in (1, 0)]
    left, right = (diags_array(np.divide(1.0, np.sqrt(p), out=np.zeros_like(p), where=p > 0)) for p in shares)
    normal = csr_array(left @ joint @ right)
    if min(joint.shape) <= FULL_SVD:
        small = normal if joint.shape[0] <= joint.shape[1] else csr_array(normal.T)
        squared = eigvalsh((small @ small.T).toarray())[::-1]
    else:
        start = np.sqrt(shares[0 if joint.shape[0] <= joint.shape[1] else 1])
        found = svds(normal, most + 1, v0=start + start.mean(), return_singular_vectors=False)
        squared = np.sort(found)[::-1] ** 2
    return np.clip(squared[1 : most + 1], 0.0, 1.0)
