"""Running a neuron over the leading time axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from lnm_jax.neurons import checks

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from lnm_jax.neurons.neuron import Neuron, Params, State

# Beyond this many timesteps the scan is rolled: unrolled, compile time grows with T.
UNROLL = 32


def _check_currents(currents: Array) -> None:
    if not jnp.issubdtype(currents.dtype, jnp.floating):
        raise ValueError(
            f"currents must be floating point, got {currents.dtype} of shape {currents.shape}"
        )
    if currents.ndim < 1 or currents.shape[0] == 0:
        raise ValueError(
            f"currents must be (T, ...) with time leading and T >= 1, got shape {currents.shape}"
        )


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
    currents = jnp.asarray(currents)
    _check_currents(currents)
    # bfloat16 currents are integrated in float32: 8 bits lose small inputs to a large potential.
    dtype = jnp.promote_types(currents.dtype, jnp.float32)

    def step(state, current):
        state, spikes = neuron.step(params, state, current.astype(dtype))
        return state, (state, spikes.astype(currents.dtype))

    start = neuron.reset(currents.shape[1:], dtype)
    timesteps = currents.shape[0]
    unroll = timesteps if timesteps <= UNROLL else 1
    _, (states, spikes) = jax.lax.scan(step, start, currents, unroll=unroll)
    return states, spikes


def _scan(neuron, params, currents):
    return trace(neuron, params, currents)[1]


BACKENDS = {"scan": _scan}


def run(
    neuron: Neuron,
    params: Params,
    currents: Float[Array, "T ..."],
    *,
    backend: str = "auto",
) -> Float[Array, "T ..."]:
    """Spikes of a neuron driven by currents over time, from its reset state.

    Args:
      neuron: the triple.
      params: as made by `neuron.init`.
      currents: (T, ...) input currents; potentials are float32 or wider.
      backend: "scan" (`jax.lax.scan`, unrolled up to T = 32) or "auto".
    Returns: (T, ...) spikes, 0 or 1, in the currents' dtype.
    Raises: ValueError for an unknown backend, or currents without a time axis, with T = 0
      or of an integer dtype.
    """
    checks.one_of("backend", backend, ["auto", *BACKENDS])
    return BACKENDS["scan" if backend == "auto" else backend](neuron, params, currents)
