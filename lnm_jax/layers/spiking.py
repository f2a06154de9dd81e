"""The spiking layer: owns a neuron's parameters and records spike rates; holds no equation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

from lnm_jax import neurons

if TYPE_CHECKING:
    from jaxtyping import Array, Float

SHARING = ("layer", "channel")
# Membrane potential before the first timestep: the neuron's own, or one learned for each neuron.
STARTS = ("reset", "learned")


def _uniform(key, shape):
    """Between -0.2 and 0.2, as the authors of IMP start."""
    return jax.random.uniform(key, shape, minval=-0.2, maxval=0.2)


class Spiking(nn.Module):
    """Runs a neuron over the leading time axis.

    Attributes:
      neuron: the triple. Its parameters live under this layer's path as "neuron", so that the
        optimizer can tell them from weights.
      sharing: one set of neuron parameters a "layer" (the paper's), or one a "channel".
      window: 0 leaves the surrogate's width to the neuron. Above 0, the width follows the
        neuron: it is `window` times the running standard deviation of v_in, which a
        one-variable neuron's training keeps in "batch_stats" (the limit that the paper's
        section 6 names last; Lian et al. 2023 derive such a width for LIF).
      momentum: share of the running deviation kept at each training step.
      axis_name: device axis that the deviation is averaged over, or None.
      backend: of `neurons.run`.
      varied: (name, start) of numbers that training changes between epochs, see
        `training.adaptation`: variables in "batch_stats", handed to the neuron as parameters.
      start: "learned" is IMP (Shen et al. 2024), for neurons of one variable: the potential
        before the first timestep is a parameter "v_0" of every neuron, shaped like the layer.
    """

    neuron: neurons.Neuron
    sharing: str = "layer"
    window: float = 0.0
    momentum: float = 0.9
    axis_name: str | None = None
    backend: str = "auto"
    start: str = "reset"
    varied: tuple[tuple[str, float], ...] = ()

    @nn.compact
    def __call__(
        self, currents: Float[Array, "T *B C"], *, train: bool = False
    ) -> Float[Array, "T *B C"]:
        """Spikes for currents.

        Sows "rates", mean spikes per neuron and timestep, (B,); "spikes", the spikes of each
        neuron over time, (B, ..., C) float32; and "window", the share of potentials inside the
        surrogate's window, (B,), see `neurons.surrogate_window`. A jitted step that asks for none
        pays nothing.
        """
        neuron, params, currents = prepared(self, currents)
        if self.window:
            params = {**params, "width": self._width(neuron, params, currents, train)}
        spikes = neurons.run(neuron, params, currents, backend=self.backend)
        sow_activity(self, spikes)
        if self.is_mutable_collection("window") and not isinstance(neuron, neurons.Parallel):
            inside = neurons.surrogate_window(neuron, params, currents)
            _sow_mean(self, "window", "share", inside)
        return spikes

    def _width(self, neuron, params, currents, train):
        """The surrogate's width, a constant of the step; training updates the deviation."""
        # Until the first step: as if v_in were spread evenly over [-1, 1].
        deviation = self.variable("batch_stats", "deviation", lambda: jnp.float32(3**-0.5))
        if train and not self.is_initializing():
            fixed = jax.lax.stop_gradient((params, currents))
            states, _ = neurons.trace(neuron, *fixed)
            v_in = neurons.before_firing(neuron, fixed[0], states, fixed[1])
            moments = jnp.stack([v_in.mean(), (v_in * v_in).mean()])
            if self.axis_name is not None:
                moments = jax.lax.pmean(moments, self.axis_name)
            new = jnp.sqrt(jnp.maximum(moments[1] - moments[0] ** 2, 1e-6))
            deviation.value = self.momentum * deviation.value + (1 - self.momentum) * new
        width = jax.lax.stop_gradient(self.window * deviation.value)
        return _shared(self, width, currents)


# No methods: Flax would capture their results with a layer's own.
def _shared(layer, number, currents):
    """The number shaped like every parameter of the neuron."""
    per_channel = layer.sharing == "channel"
    return jnp.broadcast_to(number, currents.shape[-1:]) if per_channel else number


def prepared(layer: Spiking, currents: Float[Array, "T *B C"]):
    """(neuron, its parameters, currents), as `sharing`, `varied` and `start` have them."""
    neuron = layer.neuron
    if layer.sharing == "channel":
        neuron = neurons.per_channel(neuron, currents.shape[-1])
    params = layer.param("neuron", neuron.init)
    for name, start in layer.varied:
        number = layer.variable("batch_stats", name, jnp.float32, start).value
        params = {**params, name: _shared(layer, number, currents)}
    if layer.start == "learned":
        v_0 = layer.param("v_0", _uniform, currents.shape[2:])
        # A potential of v_0 does to the first step what this current does at a potential of 0.
        kick = neurons.integrate(neuron, params, v_0, jnp.zeros_like(v_0))
        kick = kick - neurons.integrate(
            neuron, params, neuron.reset(v_0.shape, v_0.dtype), jnp.zeros_like(v_0)
        )
        kick = (kick / neurons.gain_of(neuron, params)).astype(currents.dtype)
        first = jnp.arange(len(currents)).reshape(-1, *[1] * (currents.ndim - 1)) == 0
        currents = currents + jnp.where(first, kick, 0)
    return neuron, params, currents


def _sow_mean(layer, collection, name, values):
    """Sows a mean of each example, so that padding can be masked; values are (T, B, ...)."""
    each = values.mean((0, *range(2, values.ndim)), dtype=jnp.float32)
    layer.sow(collection, name, each, reduce_fn=lambda _, new: new)


def sow_activity(layer: Spiking, spikes: Float[Array, "T *B C"]) -> None:
    """Sows "rates" and "spikes" where they are asked for."""
    fired = spikes != 0  # a ternary spike may be -1
    _sow_mean(layer, "rates", "rate", fired)
    if layer.is_mutable_collection("spikes"):
        counts = fired.sum(0, dtype=jnp.float32)
        layer.sow("spikes", "count", counts, reduce_fn=lambda _, new: new)
