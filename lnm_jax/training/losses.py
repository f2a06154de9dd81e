"""Losses and scores of what a model returns, one value an example; by name in `LOSSES`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import optax

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Loss(NamedTuple):
    """What training minimises and what evaluation counts.

    Attributes:
      value: (outputs, labels) -> (B,) nats.
      score: (outputs, labels) -> (hits, possible), (B,) each; accuracy is the sum of the one over
        the sum of the other.
      readout: of the model's outputs that it takes, see `models.READOUTS`.
    """

    value: Callable
    score: Callable
    readout: str = "mean"


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


def spike_cross_entropy(
    v_in: Float[Array, "B T N"],
    spikes: Int[Array, "B T N"],
    *,
    threshold: float,
    sharpness: float,
) -> Float[Array, "B"]:
    """Binary cross-entropy of recorded spikes, the mean over neurons and timesteps, in nats.

    Args:
      v_in: integrated potentials.
      spikes: 0 or 1.
      threshold: where a spike is as likely as none.
      sharpness: distance to the threshold, in units of the potential, of one logit.
    """
    logits = (v_in - threshold) / sharpness
    return optax.sigmoid_binary_cross_entropy(logits, spikes).mean((1, 2))


def f1(
    v_in: Float[Array, "B T N"], spikes: Int[Array, "B T N"], *, threshold: float
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """Numerator and denominator of the F1 score of predicted spikes: 2 TP, 2 TP + FP + FN."""
    predicted = (v_in >= threshold).astype(jnp.float32)
    hits = 2 * (predicted * spikes).sum((1, 2))
    return hits, (predicted + spikes).sum((1, 2))


def tet(
    logits: Float[Array, "T B K"],
    labels: Int[Array, "B"],
    *,
    smoothing: float,
    weight: float,
    mean: float,
) -> Float[Array, "B"]:
    """Temporal efficient training (Deng et al. 2022): cross-entropy of every timestep's logits.

    (1 - weight) mean_t CE(logits[t]) + weight mean_tk (logits - mean)**2, as in the authors' code.

    Args:
      smoothing: of the labels; the authors use none beside the second term.
      weight: lambda of the paper, of the second term.
      mean: that all logits are drawn to; the authors' is 1.
    """
    each = jax.vmap(lambda x: cross_entropy(x, labels, smoothing))(logits).mean(0)
    return (1 - weight) * each + weight * ((logits - mean) ** 2).mean((0, 2))


def _score(logits, labels):
    return correct(logits, labels), jnp.ones(labels.shape, jnp.float32)


def _cross_entropy(config) -> Loss:
    return Loss(functools.partial(cross_entropy, smoothing=config.label_smoothing), _score)


def _last_step(config) -> Loss:
    return _cross_entropy(config)._replace(readout="last")


def _tet(config) -> Loss:
    value = functools.partial(
        tet,
        smoothing=config.label_smoothing,
        weight=config.loss.tet_weight,
        mean=config.loss.tet_mean,
    )
    return Loss(value, lambda logits, labels: _score(logits.mean(0), labels), "steps")


def _spike_trains(config) -> Loss:
    threshold = config.neuron.threshold
    value = functools.partial(
        spike_cross_entropy, threshold=threshold, sharpness=config.loss.sharpness
    )
    return Loss(value, functools.partial(f1, threshold=threshold))


LOSSES = {
    "cross_entropy": _cross_entropy,
    "tet": _tet,
    "last_step": _last_step,  # LTS (Shen et al. 2024), for static images
    "spike_trains": _spike_trains,  # potentials of recorded neurons; accuracy is F1
}


def build(config) -> Loss:
    """The loss that `config.loss` names."""
    return LOSSES[config.loss.name](config)
