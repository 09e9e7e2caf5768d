"""The soft assignment: a softmax over clusters."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bayessoft.families.family import pytree
from bayessoft.numerics import HIGHEST

__all__ = ["Beside", "assign"]


@pytree()
@dataclass(frozen=True, eq=False)
class Beside:
    """What is known of rows beside their columns: of a tile, or with a leading axis over tiles.

    Attributes
    ----------
    evidence : array of shape (k, t) or None
        Log-odds of each cluster, in nats; -inf where a row cannot belong.
    resources : array of shape (c, t) or None
        What each row takes of the capacities that clusters have.
    """

    evidence: Float[Array, "*T k t"] | None = None
    resources: Float[Array, "*T c t"] | None = None


def assign(
    scores: Float[Array, "k t"],
    log_weights: Float[Array, " k"],
    prices: Float[Array, "*c k"] | None = None,
    beside: Beside | None = None,
) -> tuple[Float[Array, " t"], Float[Array, "k t"]]:
    """Give the log-normaliser of each row and its responsibilities.

    Parameters
    ----------
    scores : array of shape (k, t)
        Log density of each row under each component.
    log_weights : array of shape (k,)
        Log proportions.
    prices : array of shape (k,) or (c, k), optional
        Lagrange multipliers, in nats: per row, or per unit of each resource.
    beside : Beside, optional
        Evidence and resources of the rows.

    Returns
    -------
    log_normaliser : array of shape (t,)
        ``logsumexp`` over clusters of the sum of all terms.
    responsibilities : array of shape (k, t)
        Their softmax; columns sum to 1.
    """
    if prices is not None and prices.ndim == 1:
        log_weights = log_weights + prices
    logits = scores + log_weights[:, None]
    if prices is not None and prices.ndim > 1:
        assert beside is not None and beside.resources is not None
        logits = logits + jnp.einsum("ck,ct->kt", prices, beside.resources, precision=HIGHEST)
    if beside is not None and beside.evidence is not None:
        logits = logits + beside.evidence
    peak = lax.stop_gradient(logits.max(axis=0))  # its derivative cancels, and is NaN where it is computed twice
    exponentials = jnp.exp(logits - peak)
    total = exponentials.sum(axis=0)
    return peak + jnp.log(total), exponentials / total
