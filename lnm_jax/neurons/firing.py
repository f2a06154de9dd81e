"""The fields of firing and reset that neurons share, and the functions that they name."""

from __future__ import annotations

import functools
from typing import TypedDict

from lnm_jax.neurons import checks
from lnm_jax.neurons.neuron import Firing
from lnm_jax.neurons.reset import RESETS, gate
from lnm_jax.neurons.surrogate import SURROGATES


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
    if not v_reset < threshold:
        raise ValueError(f"v_reset must be below the threshold {threshold}, got {v_reset}")
    return Firing(
        spike=SURROGATES[surrogate],
        reset=RESETS[reset](threshold=threshold, v_reset=v_reset, gate_gradient=gate_gradient),
        gate=functools.partial(gate, gate_gradient=gate_gradient),
        threshold=threshold,
        v_reset=v_reset,
        width=width,
    )
