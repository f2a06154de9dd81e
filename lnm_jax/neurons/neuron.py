"""The `Neuron` triple, and the one-variable integrate-and-fire neuron all drifts share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

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
        elementwise over the neurons, spikes are 0 or 1, and it must be differentiable.
    """

    init: Callable[[PRNGKeyArray], Params]
    reset: Callable[[tuple[int, ...], Any], State]
    step: Callable[[Params, State, Float[Array, "..."]], tuple[State, Float[Array, "..."]]]


class Drift(NamedTuple):
    """The subthreshold dynamics f(u) of Eq. 1 as two pure functions, with f(0) = 0.

    Attributes:
      init: `init(key) -> params`.
      apply: `apply(params, u) -> f(u)`, elementwise, per timestep.
    """

    init: Callable[[PRNGKeyArray], Params]
    apply: Callable[[Params, Float[Array, "..."]], Float[Array, "..."]]


def integrate_and_fire(
    drift: Drift,
    *,
    fire: Callable,
    reset: Callable,
    threshold: float,
    v_reset: float,
) -> Neuron:
    """A one-variable neuron: v_in = v + f(v) + I, spike, reset (Eq. 10, 5; Algorithm 1).

    Args:
      drift: f, as a `Drift`.
      fire: surrogate spike function of (v_in - threshold); see `surrogate`.
      reset: `reset(v_in, spikes) -> v`; see `reset`.
      threshold: v_th, in units of the input current.
      v_reset: membrane potential before the first timestep.
    """

    def start(shape, dtype=jnp.float32):
        return jnp.full(shape, v_reset, dtype)

    def step(params, v, current):
        v_in = v + drift.apply(params, v) + current
        spikes = fire(v_in - threshold)
        return reset(v_in, spikes), spikes

    return Neuron(drift.init, start, step)
