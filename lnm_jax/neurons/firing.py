"""Firing and reset (Eq. 5): with Algorithm 1's backward, or the full gradient through the gate."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple, TypedDict

import jax
import jax.numpy as jnp

from lnm_jax import checks
from lnm_jax.neurons.surrogate import SURROGATES, dspike

Reset = Callable  # v = reset(v_in, spikes), elementwise


def gate(spikes, gate_gradient: bool):
    """The spikes as the reset sees them: without gradient (Algorithm 1, line 15), or with it."""
    return spikes if gate_gradient else jax.lax.stop_gradient(spikes)


def hard(*, threshold: float, v_reset: float, gate_gradient: bool) -> Reset:
    """v = v_reset where a neuron spiked, else v_in (Algorithm 1, lines 7 to 11).

    Args:
      threshold: unused; every reset takes the same arguments.
      v_reset: the potential after a spike.
      gate_gradient: False is Algorithm 1, line 15: the gate (1 - z) is a constant. True lets
        the gradient through the gate as well, by the spike's surrogate.
    """
    del threshold
    if gate_gradient:
        return lambda v_in, spikes: v_in * (1 - spikes) + v_reset * spikes

    def reset(v_in, spikes):
        # A select, not a product: v_in * 0 would turn an overflow into NaN.
        return jnp.where(gate(spikes, False) > 0, jnp.asarray(v_reset, v_in.dtype), v_in)

    return reset


def soft(*, threshold: float, v_reset: float, gate_gradient: bool) -> Reset:
    """v = v_in - (threshold - v_reset) z: subtracts what a hard reset takes at the threshold.

    Args: as for `hard`.
    """
    drop = threshold - v_reset
    return lambda v_in, spikes: v_in - drop * gate(spikes, gate_gradient)


RESETS = {"hard": hard, "soft": soft}


class Firing(NamedTuple):
    """How a neuron spikes and resets, as functions; see `FiringFields`.

    Attributes:
      spike: surrogate spike function of (v_in - threshold, width).
      reset: `reset(v_in, spikes) -> v`.
      gate: spikes as jumps of other variables see them, with or without gradient.
      threshold: v_th, in units of the input current.
      v_reset: membrane potential before the first timestep.
      width: of the surrogate.
      reset_name: of `reset`, in `RESETS`.
    """

    spike: Callable
    reset: Callable
    gate: Callable
    threshold: float
    v_reset: float
    width: float
    reset_name: str

    def initial(self, shape, dtype=jnp.float32):
        """The membrane potential before the first timestep."""
        return jnp.full(shape, self.v_reset, dtype)

    @property
    def reads(self) -> tuple[str, ...]:
        """What training may set in the parameters, see `neuron.Facts`."""
        return ("width", "temperature") if self.spike is dspike else ("width",)

    def surrogate_width(self, params):
        """Width that `spike` takes: params["width"], if a layer fits one, goes before `width`.

        With params["temperature"], which training may change, it is a pair, see `surrogate`.
        """
        width = params.get("width", self.width)
        return (width, params["temperature"]) if "temperature" in params else width

    def fire(self, params, v_in, seen=None):
        """(v, spikes) of the integrated potential (Eq. 5); `seen` is compared in its place."""
        compared = v_in if seen is None else seen
        spikes = self.spike(compared - self.threshold, self.surrogate_width(params))
        return self.reset(v_in, spikes), spikes


class FiringFields(TypedDict, total=False):
    """How a neuron spikes and resets: keyword arguments that most factories share.

    Attributes:
      threshold: v_th, in units of the input current; default 0.5 (Table 4).
      surrogate: name in `SURROGATES`; default "rectangle".
      width: the surrogate's width, in units of the potential; default 1.
      reset: name in `RESETS`; default "hard".
      v_reset: potential at the start and after a hard reset; default 0.
      gate_gradient: gradient through the reset's gate, or none (Algorithm 1, the default).
    """

    threshold: float
    surrogate: str
    width: float
    reset: str
    v_reset: float
    gate_gradient: bool


def firing(
    *,
    threshold: float = 0.5,
    surrogate: str = "rectangle",
    width: float = 1.0,
    reset: str = "hard",
    v_reset: float = 0.0,
    gate_gradient: bool = False,
) -> Firing:
    """The functions that `FiringFields` name.

    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.positive("threshold", threshold)
    checks.positive("width", width)
    checks.one_of("surrogate", surrogate, SURROGATES)
    checks.one_of("reset", reset, RESETS)
    if not (checks.traced(v_reset, threshold) or v_reset < threshold):
        raise ValueError(f"v_reset must be below the threshold {threshold}, got {v_reset}")
    return Firing(
        spike=SURROGATES[surrogate],
        reset=RESETS[reset](threshold=threshold, v_reset=v_reset, gate_gradient=gate_gradient),
        gate=functools.partial(gate, gate_gradient=gate_gradient),
        threshold=threshold,
        v_reset=v_reset,
        width=width,
        reset_name=reset,
    )


def arguments(factory: Callable) -> list[str]:
    """Names of the keyword arguments that a factory takes, those of `FiringFields` included."""
    parameters = inspect.signature(factory).parameters.values()
    own = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    shared = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return own + (list(FiringFields.__annotations__) if shared else [])


def factory(make: Callable) -> Callable:
    """Decorates a function of keyword arguments to a neuron, which then prints as its call.

    Raises (when it is called): TypeError that names the function for an argument it does not have.
    """
    known = arguments(make)

    @functools.wraps(make)
    def call(**given):
        for name in given:
            if name not in known:
                try:
                    checks.one_of("", name, known)
                except ValueError as error:
                    reason = str(error).removeprefix(" must be")
                    raise TypeError(f"{make.__name__}() takes{reason}") from None
        neuron = make(**given)
        text = f"{make.__name__}({', '.join(f'{name}={x!r}' for name, x in given.items())})"
        facts = neuron.facts._replace(call=text, traced=checks.traced(*given.values()))
        return neuron._replace(facts=facts)

    return call
