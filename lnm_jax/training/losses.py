"""Losses by name, in `LOSSES`: an objective with its score and what it asks of the model."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from lnm_jax import checks
from lnm_jax.errors import ConfigError
from lnm_jax.training import objectives

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Loss(NamedTuple):
    """What training minimises and what evaluation counts.

    Attributes:
      value: (outputs, labels) -> (B,) nats.
      score: (outputs, labels) -> (hits, possible), (B,) each; accuracy is the sum of the one over
        the sum of the other.
      readout: of the model's outputs that it takes, see `models.READOUTS`.
      collections: Flax collections that the model sows for `training`.
      training: (outputs, labels, sown, progress) -> (B,) nats, minimised in place of `value` if
        given.
    """

    value: Callable
    score: Callable
    readout: str = "mean"
    collections: tuple[str, ...] = ()
    training: Callable | None = None

    def minimised(self, outputs, labels, sown, progress) -> Float[Array, "B"]:
        """What training minimises.

        Args:
          sown: the collections asked for.
          progress: share of the training steps that are done, from 0 to 1.
        """
        if self.training is None:
            return self.value(outputs, labels)
        return self.training(outputs, labels, sown, progress)


def _score(logits, labels):
    return objectives.correct(logits, labels), jnp.ones(labels.shape, jnp.float32)


def _cross_entropy(config) -> Loss:
    return Loss(
        functools.partial(objectives.cross_entropy, smoothing=config.label_smoothing), _score
    )


def _last_step(config) -> Loss:
    return _cross_entropy(config)._replace(readout="last")


def _tet(config) -> Loss:
    value = functools.partial(
        objectives.tet,
        smoothing=config.label_smoothing,
        weight=config.loss.tet_weight,
        mean=config.loss.tet_mean,
    )
    return Loss(value, lambda logits, labels: _score(logits.mean(0), labels), "steps")


def _spike_trains(config) -> Loss:
    threshold = config.neuron.threshold
    value = functools.partial(
        objectives.spike_cross_entropy, threshold=threshold, sharpness=config.loss.sharpness
    )
    return Loss(value, functools.partial(objectives.f1, threshold=threshold))


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
        return objectives.shortcuts(
            logits, labels, side, progress, smoothing=smoothing, weight=weight
        )

    return plain._replace(collections=("side_logits",), training=training)


def _im_loss(config) -> Loss:
    plain, fields = _cross_entropy(config), config.loss

    def training(logits, labels, sown, progress):
        blocks = _in_order(sown.get("currents", {}))
        return objectives.im_loss(
            plain.value(logits, labels),
            blocks,
            weight=fields.im_weight,
            target=0.5 / config.timesteps,
        )

    return plain._replace(collections=("currents",), training=training)


def _surrogate_module(config) -> Loss:
    plain, fields = _cross_entropy(config), config.loss

    def training(logits, labels, sown, progress):
        return objectives.surrogate_module(
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
