"""The `Neuron` triple, and the one-variable integrate-and-fire neuron all drifts share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray

Params = Any  # a pytree of arrays, usually a dict
State = Any  # a pytree of arrays shaped like the currents of one timestep


class Neuron(NamedTuple):
    """A spiking neuron as three pure functions, as an optax transformation is two.

    Attributes:
      init: `init(key) -> params`, the learnable parameters (an empty dict if there are none).
      reset: `reset(shape, dtype) -> state`, the state before the first timestep. For
        one-variable neurons the state is the membrane potential, an array of `shape`.
      step: `step(params, state, current) -> (state, spikes)`, one timestep. It must be
        elementwise over the neurons, spikes are 0 or 1 (a compared method's may be graded), and
        it must be differentiable.
    """

    init: Callable[[PRNGKeyArray], Params]
    reset: Callable[[tuple[int, ...], Any], State]
    step: Callable[[Params, State, Float[Array, "..."]], tuple[State, Float[Array, "..."]]]


def one_variable(neuron: Neuron) -> bool:
    """Whether a neuron's state is one array, its membrane potential; one without state is not."""
    if not hasattr(neuron, "reset"):
        return False
    state = jax.eval_shape(lambda: neuron.reset((), jnp.float32))
    return jax.tree.structure(state) == jax.tree.structure(0)


class Drift(NamedTuple):
    """The subthreshold dynamics f(u) of Eq. 1 as two pure functions, with f(0) = 0.

    Attributes:
      init: `init(key) -> params`.
      apply: `apply(params, u) -> f(u)`, elementwise, per timestep.
    """

    init: Callable[[PRNGKeyArray], Params]
    apply: Callable[[Params, Float[Array, "..."]], Float[Array, "..."]]


class Firing(NamedTuple):
    """How a neuron spikes and resets, as functions; see `firing.FiringFields`.

    Attributes:
      spike: surrogate spike function of (v_in - threshold, width).
      reset: `reset(v_in, spikes) -> v`.
      gate: spikes as jumps of other variables see them, with or without gradient.
      threshold: v_th, in units of the input current.
      v_reset: membrane potential before the first timestep.
      width: of the surrogate.
    """

    spike: Callable
    reset: Callable
    gate: Callable
    threshold: float
    v_reset: float
    width: float

    def start(self, shape, dtype=jnp.float32):
        """The membrane potential before the first timestep."""
        return jnp.full(shape, self.v_reset, dtype)

    def reach(self, params):
        """Width that `spike` takes: params["width"], if a layer fits one, goes before `width`.

        With params["temperature"], which training may change, it is a pair, see `surrogate`.
        """
        width = params.get("width", self.width)
        return (width, params["temperature"]) if "temperature" in params else width

    def fire(self, params, v_in):
        """(v, spikes) of the integrated potential (Eq. 5)."""
        spikes = self.spike(v_in - self.threshold, self.reach(params))
        return self.reset(v_in, spikes), spikes


def integrate_and_fire(
    drift: Drift, firing: Firing, *, fold: Callable | None = None, gain: Callable | None = None
) -> Neuron:
    """A one-variable neuron: v_in = v + f(v) + I, spike, reset (Eq. 10, 5; Algorithm 1).

    Args:
      drift: f, as a `Drift`.
      firing: how it spikes and resets.
      fold: the bound of f, for Eq. 16's update v_in = bound(v) + f(v) + I.
      gain: `gain(params)` scales the input current (PLIF); None for 1.
    """

    def step(params, v, current):
        kept = v if fold is None else fold(lambda u: u)(v)
        if gain is not None:
            current = gain(params) * current
        return firing.fire(params, kept + drift.apply(params, v) + current)

    return Neuron(drift.init, firing.start, step)


class PerChannel(Neuron):
    """A neuron whose parameter leaves all end in an axis of channels; made by `per_channel`."""

    __slots__ = ()


def per_channel(neuron: Neuron, channels: int) -> PerChannel:
    """The neuron with a set of parameters of its own for each entry of the last axis.

    Args:
      neuron: any neuron whose parameters are used one scalar at a time.
      channels: length of the last axis of the currents.
    Returns: a neuron whose parameter leaves have a trailing axis of that length.
    """

    def init(key):
        keys = jax.random.split(key, channels)
        return jax.vmap(neuron.init, out_axes=-1)(keys)

    return PerChannel(init, neuron.reset, neuron.step)
