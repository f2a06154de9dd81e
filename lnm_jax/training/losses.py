"""Losses: plain functions of logits or potentials and labels, and by name in `LOSSES`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float, Int

from lnm_jax import checks
from lnm_jax.errors import ConfigError


def cross_entropy(
    logits: Float[Array, "B K"], labels: Int[Array, " B"], smoothing: float
) -> Float[Array, " B"]:
    """Cross-entropy in nats with label smoothing (Szegedy et al. 2016).

    Args:
      smoothing: share of the target's weight that is spread evenly over all K classes.
    """
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    wide = jnp.promote_types(logits.dtype, jnp.float32)
    return optax.softmax_cross_entropy(logits.astype(wide), targets)


def correct(logits: Float[Array, "B K"], labels: Int[Array, " B"]) -> Float[Array, " B"]:
    """1 where the largest logit is the label's, else 0."""
    return (logits.argmax(-1) == labels).astype(jnp.float32)


def spike_cross_entropy(
    v_in: Float[Array, "B T N"],
    spikes: Int[Array, "B T N"],
    *,
    threshold: float,
    sharpness: float,
) -> Float[Array, " B"]:
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
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Numerator and denominator of the F1 score of predicted spikes: 2 TP, 2 TP + FP + FN."""
    predicted = (v_in >= threshold).astype(jnp.float32)
    hits = 2 * (predicted * spikes).sum((1, 2))
    return hits, (predicted + spikes).sum((1, 2))


def tet(
    logits: Float[Array, "T B K"],
    labels: Int[Array, " B"],
    *,
    smoothing: float,
    weight: float,
    mean: float,
) -> Float[Array, " B"]:
    """Temporal efficient training (Deng et al. 2022): cross-entropy of every timestep's logits.

    (1 - weight) mean_t CE(logits[t]) + weight mean_tk (logits - mean)**2, as in the authors' code.

    Args:
      smoothing: of the labels; the authors use none beside the second term.
      weight: lambda of the paper, of the second term.
      mean: that all logits are drawn to; the authors' is 1.
    """
    each = jax.vmap(lambda x: cross_entropy(x, labels, smoothing))(logits).mean(0)
    return (1 - weight) * each + weight * ((logits - mean) ** 2).mean((0, 2))


def im_loss(
    values: Float[Array, " B"], currents: list, *, weight: float, target: float
) -> Float[Array, " B"]:
    """Adds IM-Loss as released (Guo et al. 2022): currents of the blocks are drawn to a target.

    values + weight mean_blocks (mean current - target)**2, without the first and last block.

    Args:
      currents: mean current that each block's last neurons receive, in the order they run.
      weight: 0.005 in the authors' code; 2 in a note on the paper.
      target: 0.5 / T in the authors' code, the threshold in the paper.
    Raises: ConfigError for fewer than three blocks.
    """
    if len(currents) < 3:
        raise ConfigError(
            f"config.loss.name im_loss needs a ResNet of at least 3 blocks, got {len(currents)}"
        )
    inner = jnp.stack(currents[1:-1])
    return values + weight * ((inner - target) ** 2).mean()


def surrogate_module(
    logits: Float[Array, "B K"],
    labels: Int[Array, " B"],
    side: list,
    *,
    smoothing: float,
    weight: float,
    distillation: float,
    temperature: float,
) -> Float[Array, " B"]:
    """Surrogate module learning (Deng et al. 2023): side heads learn with and from the network.

    With N side heads, a = weight and l = distillation, per example
    (1 - l) (CE_0 + a sum_i CE_i) / (1 + N a)
    + l / (2 N) sum_i [KL(sg(p_0) || p_i) + KL(sg(p_i) || p_0)], p = softmax(logits / temperature).

    Args:
      side: logits (B, K) of each side head.
    """
    count = len(side)
    hard = functools.partial(cross_entropy, labels=labels, smoothing=smoothing)
    values = hard(logits) + weight * sum(hard(x) for x in side)
    log_p = [jax.nn.log_softmax(x / temperature) for x in (logits, *side)]

    def divergence(log_target, log_q):
        log_target = jax.lax.stop_gradient(log_target)
        return (jnp.exp(log_target) * (log_target - log_q)).sum(-1)

    both = sum(divergence(log_p[0], other) + divergence(other, log_p[0]) for other in log_p[1:])
    soft = distillation / (2 * count) * both
    return (1 - distillation) * values / (1 + count * weight) + soft


def shortcuts(
    logits: Float[Array, "B K"],
    labels: Int[Array, " B"],
    side: list,
    progress: Float[Array, ""],
    *,
    smoothing: float,
    weight: float,
) -> Float[Array, " B"]:
    """OUR VARIANT of backpropagation shortcuts (Guo et al. 2024a), whose details are not public.

    (1 - w) CE_0 + w mean_i CE_i with w = weight (1 - progress): side heads reach the first layers
    by a short path, and fade out. Theirs has such branches and such a schedule; where they attach,
    their layers and the schedule itself were not found, and are ours.

    Args:
      side: logits (B, K) of each side head.
      progress: share of the training that is done.
    """
    hard = functools.partial(cross_entropy, labels=labels, smoothing=smoothing)
    share = weight * (1 - progress)
    return (1 - share) * hard(logits) + share * sum(hard(x) for x in side) / len(side)


class Loss(NamedTuple):
    """What training minimises and what evaluation counts.

    Attributes:
      value: (outputs, labels) -> (B,) nats: what training minimises, as far as the outputs tell.
      score: (outputs, labels) -> (hits, possible), (B,) each; accuracy is the sum of the one over
        the sum of the other.
      logits: outputs -> (B, K) by which the network predicts; None where there are no classes.
      readout: of the model's outputs that it takes, see `models.READOUTS`.
      collections: Flax collections that the model sows for `training`.
      training: (outputs, labels, sown, progress) -> (B,) nats, minimised in place of `value` if
        given.
    """

    value: Callable
    score: Callable
    logits: Callable | None = None
    readout: str = "mean"
    collections: tuple[str, ...] = ()
    training: Callable | None = None

    def minimised(self, outputs, labels, sown, progress) -> Float[Array, " B"]:
        """What training minimises.

        Args:
          sown: the collections asked for.
          progress: share of the training steps that are done, from 0 to 1.
        """
        if self.training is None:
            return self.value(outputs, labels)
        return self.training(outputs, labels, sown, progress)


def _score(logits, labels):
    return correct(logits, labels), jnp.ones(labels.shape, jnp.float32)


def _cross_entropy(config) -> Loss:
    value = functools.partial(cross_entropy, smoothing=config.label_smoothing)
    return Loss(value, _score, logits=lambda logits: logits)


def _last_step(config) -> Loss:
    return _cross_entropy(config)._replace(readout="last")


def _tet(config) -> Loss:
    value = functools.partial(
        tet,
        smoothing=config.label_smoothing,
        weight=config.loss.tet_weight,
        mean=config.loss.tet_mean,
    )

    def mean(logits):
        return logits.mean(0)

    return Loss(value, lambda logits, labels: _score(mean(logits), labels), mean, "steps")


def _spike_trains(config) -> Loss:
    threshold = config.neuron.threshold
    value = functools.partial(
        spike_cross_entropy, threshold=threshold, sharpness=config.loss.sharpness
    )
    return Loss(value, functools.partial(f1, threshold=threshold))


def _in_order(sown):
    """Leaves in the order of the blocks that sowed them, by the numbers in their names."""

    def numbers(item):
        return [int(digits) for digits in re.findall(r"\d+", "/".join(item[0]))]

    return [leaf for _, leaf in sorted(flatten_dict(sown).items(), key=numbers)]


def _side_logits(config, sown):
    found = _in_order(sown.get("side_logits", {}))
    if not found:
        raise ConfigError(f"config.loss.name {config.loss.name} needs config.model.side_heads")
    return found


def _shortcuts(config) -> Loss:
    plain, weight = _cross_entropy(config), config.loss.side_weight
    checks.between("loss.side_weight", weight, 0, 1)  # a share, which falls

    def training(logits, labels, sown, progress):
        side, smoothing = _side_logits(config, sown), config.label_smoothing
        return shortcuts(logits, labels, side, progress, smoothing=smoothing, weight=weight)

    return plain._replace(collections=("side_logits",), training=training)


def _im_loss(config) -> Loss:
    plain, fields = _cross_entropy(config), config.loss

    def training(logits, labels, sown, progress):
        blocks = _in_order(sown.get("currents", {}))
        return im_loss(
            plain.value(logits, labels),
            blocks,
            weight=fields.im_weight,
            target=0.5 / config.timesteps,
        )

    return plain._replace(collections=("currents",), training=training)


def _surrogate_module(config) -> Loss:
    plain, fields = _cross_entropy(config), config.loss

    def training(logits, labels, sown, progress):
        return surrogate_module(
            logits,
            labels,
            _side_logits(config, sown),
            smoothing=config.label_smoothing,
            weight=fields.side_weight,
            distillation=fields.distillation,
            temperature=fields.temperature,
        )

    return plain._replace(collections=("side_logits",), training=training)


LOSSES = {
    "cross_entropy": _cross_entropy,
    "tet": _tet,
    "last_step": _last_step,  # LTS (Shen et al. 2024), for static images
    "im_loss": _im_loss,
    "surrogate_module": _surrogate_module,
    "shortcuts_variant": _shortcuts,
    "spike_trains": _spike_trains,  # potentials of recorded neurons; accuracy is F1
}


def build(config) -> Loss:
    """The loss that `config.loss` names.

    Raises: ValueError for a field with a value that it does not take.
    """
    return LOSSES[config.loss.name](config)
