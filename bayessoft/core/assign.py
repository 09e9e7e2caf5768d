"""The soft assignment: a softmax over clusters."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

__all__ = ["assign"]


def assign(
    scores: Float[Array, "k t"], log_weights: Float[Array, " k"], prices: Float[Array, " k"] | None = None
) -> tuple[Float[Array, " t"], Float[Array, "k t"]]:
    """Give the log-normaliser of each row and its responsibilities.

    Parameters
    ----------
    scores : array of shape (k, t)
        Log density of each row under each component.
    log_weights : array of shape (k,)
        Log proportions.
    prices : array of shape (k,), optional
        Lagrange multipliers of size constraints, in nats.

    Returns
    -------
    log_normaliser : array of shape (t,)
        ``logsumexp`` over clusters of the sum of all terms.
    responsibilities : array of shape (k, t)
        Their softmax; columns sum to 1.
    """
    logits = scores + (log_weights if prices is None else log_weights + prices)[:, None]
    peak = lax.stop_gradient(logits.max(axis=0))  # its derivative cancels, and is NaN where it is computed twice
    exponentials = jnp.exp(logits - peak)
    total = exponentials.sum(axis=0)
    return peak + jnp.log(total), exponentials / total
