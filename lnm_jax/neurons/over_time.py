"""Running a neuron over the leading time axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from lnm_jax.neurons.neuron import Neuron, Params, State

# A scan is unrolled, which lets XLA fuse timesteps, up to this many timesteps, and up to this many
# operations: compile time grows with both (an MLP drift of 8 units: 4 s for T = 4). XLA for CPUs
# computes a timestep again for each later one that it fuses it into: unrolled is 2 to 4 times as
# fast as a loop at T = 2 and 4, as fast at 8, and takes 2.5 times as long at 16.
UNROLL = 32
UNROLL_ON_CPU = 8
UNROLLED_OPERATIONS = 800


def checked(currents: Array) -> Array:
    """The currents, if `run` can take them.

    Raises: ValueError for an integer dtype, no time axis or no timestep.
    """
    currents = jnp.asarray(currents)
    if not jnp.issubdtype(currents.dtype, jnp.floating):
        raise ValueError(
            f"currents must be floating point, got {currents.dtype} of shape {currents.shape}"
        )
    if currents.ndim < 1 or currents.shape[0] == 0:
        raise ValueError(
            f"currents must be (T, ...) with time leading and T >= 1, got shape {currents.shape}"
        )
    return currents


def state_dtype(currents: Array):
    """float32, or float64 for such currents: 8 bits lose small inputs to a large potential."""
    return jnp.promote_types(currents.dtype, jnp.float32)


def operations(jaxpr) -> int:
    """Primitive operations of a jaxpr, those of nested ones included."""
    nested = [jaxprs_in_params(equation.params) for equation in jaxpr.eqns]
    return sum(sum(map(operations, inner)) if (inner := list(x)) else 1 for x in nested)


def _unroll(step, start, currents) -> int:
    """How many timesteps of a scan to unroll: all of them, or none."""
    timesteps = currents.shape[0]
    if timesteps > (UNROLL_ON_CPU if jax.default_backend() == "cpu" else UNROLL):
        return 1
    current = jax.ShapeDtypeStruct(currents.shape[1:], currents.dtype)
    count = operations(jax.make_jaxpr(step)(start, current).jaxpr)
    return timesteps if timesteps * count <= UNROLLED_OPERATIONS else 1


def trace(
    neuron: Neuron, params: Params, currents: Float[Array, "T ..."]
) -> tuple[State, Float[Array, "T ..."]]:
    """Like `run`, returning the state after every timestep as well.

    Args:
      neuron: the triple.
      params: as made by `neuron.init`.
      currents: (T, ...) input currents.
    Returns: (states, spikes), each leaf (T, ...); states are after the reset and at least
      float32, spikes have the currents' dtype.
    Raises: ValueError if currents have no time axis, no timestep or an integer dtype.
    """
    currents = checked(currents)
    dtype = state_dtype(currents)

    def step(state, current):
        state, spikes = neuron.step(params, state, current.astype(dtype))
        return state, (state, spikes.astype(currents.dtype))

    start = neuron.reset(currents.shape[1:], dtype)
    unroll = _unroll(step, start, currents)
    _, (states, spikes) = jax.lax.scan(step, start, currents, unroll=unroll)
    return states, spikes


def scan(neuron: Neuron, params: Params, currents: Float[Array, "T ..."]):
    """Spikes over time by `jax.lax.scan`; the backward pass keeps what XLA chooses to keep."""
    return trace(neuron, params, currents)[1]
