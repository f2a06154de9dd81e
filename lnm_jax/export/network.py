"""A trained network as exports take it: BatchNorm folded, in float32, with its graph."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from lnm_jax.data import augment
from lnm_jax.errors import ConfigError, NonFiniteError
from lnm_jax.export import graph
from lnm_jax.layers import NORMS
from lnm_jax.layers.spiking import fold_membrane_norm
from lnm_jax.training import configuration, experiment, health, losses, parallel, steps
from lnm_jax.training.run import Run


class Network(NamedTuple):
    """What is exported.

    Attributes:
      experiment: that trained it.
      model, params: folded, of a model that computes in float32 by plain scans.
      nodes: its graph.
    """

    experiment: experiment.Experiment
    model: nn.Module
    params: dict[str, Any]
    nodes: list[graph.Node]

    @property
    def example(self) -> tuple[int, ...]:
        """Shape of one example, (H, W, C) or (T, H, W, C)."""
        return tuple(self.experiment.info.shape)

    def of(self, name: str) -> dict:
        """Parameters of the module that a node is named after; a spiking layer's are its neuron's.

        A module without any gives an empty dict.
        """
        params = self.params
        for part in name.split("/"):
            params = params.get(part, {})
        return params.get("neuron", params)

    def inputs(self, images) -> jax.Array:
        """Examples (B, ...) in the unit of the data set as the model takes them."""
        info = self.experiment.info
        return steps.time_first(augment.normalise(images, info.mean, info.std))

    def logits(self, images) -> jax.Array:
        """(B, K) for a batch of examples (B, ...) in the unit of the data set."""
        return self.model.apply({"params": self.params}, self.inputs(images))


def fold_batch_norm(model: nn.Module, variables: dict) -> tuple[nn.Module, dict]:
    """A network with conv + bias in place of conv + BatchNorm, equal to it in evaluation.

    With the running mean m and variance v, kernel and bias become g k and b - g m,
    g = scale / sqrt(v + epsilon): computed in float32, as BatchNorm computes.

    Args:
      model: whose convolutions are `layers.ConvNorm`.
      variables: {"params", "batch_stats"} as trained.
    Returns: (model, variables), the model with folded=True and variables without batch_stats.
      A fitted surrogate window and a searched temperature, which act in training alone, are left
      out.
    Raises: ValueError if the model is folded already, has a norm that does not fold (TEBN's scale
      of each timestep), or a masked PSN whose masking has not risen to 1.
    """
    if model.folded:
        raise ValueError("the model's BatchNorm is folded already")
    if reason := NORMS[model.norm].unfoldable:
        raise ValueError(reason)
    for path, value in flatten_dict(variables["batch_stats"]).items():
        if path[-1] == "masking" and value != 1:
            raise ValueError(
                f"the masking of a masked PSN must be 1 before it is folded, is {value}"
            )

    def fold(params, statistics):
        if set(params) == {"conv", "norm"}:
            norm, running = params["norm"], statistics["norm"]
            gain = norm["scale"] / jnp.sqrt(running["var"] + model.epsilon)
            kernel = params["conv"]["kernel"] * gain  # the last axis is the output channel
            return {"conv": {"kernel": kernel, "bias": norm["bias"] - gain * running["mean"]}}
        if "membrane_norm" in params:
            threshold = model.neuron.facts.threshold
            return fold_membrane_norm(params, statistics, threshold, model.epsilon)
        return {
            name: fold(value, statistics.get(name, {})) if isinstance(value, dict) else value
            for name, value in params.items()
        }

    folded = fold(variables["params"], variables["batch_stats"])
    return model.clone(folded=True, window=0.0, scheduled=()), {"params": folded}


# Values that an export can express.
KNOWN = {
    "spiking.start": ("reset",),
    "model.norm": tuple(name for name, norm in NORMS.items() if not norm.unfoldable),
    "loss.name": ("cross_entropy", "tet", "im_loss", "surrogate_module", "shortcuts_variant"),
}


def prepare(run: Run) -> Network:
    """The network of a run, ready for export.

    Raises: ConfigError if its model holds an operation that no export knows; NonFiniteError if an
      array of it holds NaN or infinity.
    """
    this = run.experiment
    fields = configuration.flatten(this.config)
    for field, known in KNOWN.items():
        if fields[field] not in known:
            raise ConfigError(
                f"{run.directory}: exports know config.{field} {' and '.join(known)} alone, "
                f"not {fields[field]}"
            )
    if this.config.spiking.membrane_norm:
        raise ConfigError(f"{run.directory}: exports do not know config.spiking.membrane_norm")
    if found := health.non_finite_array(run.state.variables):
        raise NonFiniteError(f"{run.directory}: can't be exported, not finite: {found}")
    model, variables = fold_batch_norm(this.model, run.state.variables)
    # Exports compute in float32 whatever the run did, and need no backward pass.
    model = model.clone(dtype=jnp.float32, backend="scan", remat="none")
    nodes = graph.trace(model, variables, tuple(this.info.shape))
    return Network(this, model, jax.device_get(variables["params"]), nodes)


def accuracy(network: Network) -> float:
    """Percent of the run's test split that the network classifies right."""
    this, model = network.experiment, network.model
    loss = losses.build(this.config)
    step = steps.make_eval_step(
        model.clone(axis_name=parallel.AXIS, readout=loss.readout),
        prepare=lambda image: augment.normalise(image, this.info.mean, this.info.std),
        loss=loss,
        axis_name=parallel.AXIS,
    )
    this = this._replace(model=model, eval_step=parallel.parallel(step, donate=False))
    return experiment.evaluate(this, {"params": network.params})["accuracy"]
