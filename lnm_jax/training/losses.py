"""Losses and scores of logits, one value an example."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


def cross_entropy(
    logits: Float[Array, "B K"], labels: Int[Array, "B"], smoothing: float
) -> Float[Array, "B"]:
    """Cross-entropy in nats with label smoothing (Szegedy et al. 2016).

    Args:
      smoothing: share of the target's weight that is spread evenly over all K classes.
    """
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    wide = jnp.promote_types(logits.dtype, jnp.float32)
    return optax.softmax_cross_entropy(logits.astype(wide), targets)


def correct(logits: Float[Array, "B K"], labels: Int[Array, "B"]) -> Float[Array, "B"]:
    """1 where the largest logit is the label's, else 0."""
    return (logits.argmax(-1) == labels).astype(jnp.float32)
