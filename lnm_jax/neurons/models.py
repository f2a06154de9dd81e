"""Neuron factories: plain keyword arguments in, a `Neuron` out."""

from __future__ import annotations

import inspect
from typing import Any

from lnm_jax.neurons import bounding, checks, drift, reset as resets, surrogate as surrogates
from lnm_jax.neurons.neuron import Drift, Neuron, integrate_and_fire


def _one_variable(
    f: Drift, *, threshold, surrogate, width, reset, v_reset, gate_gradient
) -> Neuron:
    checks.positive("threshold", threshold)
    checks.one_of("surrogate", surrogate, surrogates.SURROGATES)
    checks.one_of("reset", reset, resets.RESETS)
    if not v_reset < threshold:
        raise ValueError(f"v_reset must be below threshold {threshold}, got {v_reset}")
    return integrate_and_fire(
        f,
        fire=surrogates.SURROGATES[surrogate](width),
        reset=resets.RESETS[reset](
            threshold=threshold, v_reset=v_reset, gate_gradient=gate_gradient
        ),
        threshold=threshold,
        v_reset=v_reset,
    )


def lnm(
    *,
    degree: int = 3,
    family: str = "polynomial",
    bound: str = "clip",
    clip: float = 1.0,
    decay: float = 0.25,
    threshold: float = 0.5,
    surrogate: str = "rectangle",
    width: float = 1.0,
    reset: str = "hard",
    v_reset: float = 0.0,
    gate_gradient: bool = False,
) -> Neuron:
    """Learnable neuron model: v_in = v + f(bound(v)) + I with a learned f (Eq. 10 and 11).

    Args:
      degree: N of the polynomial, >= 1.
      family: name in `drift.FAMILIES`.
      bound: name in `bounding.BOUNDS`, applied to the argument of f only.
      clip: limit of the clip bound.
      decay: factor of the potential kept per timestep at initialisation (f starts as LIF).
      threshold: v_th, in units of the input current.
      surrogate: name in `surrogate.SURROGATES`.
      width: the surrogate's width, in units of the potential.
      reset: name in `reset.RESETS`.
      v_reset: potential at the start and after a hard reset.
      gate_gradient: gradient through the reset gate (Eq. 4) or not (Algorithm 1).
    Returns: a `Neuron` with params {"theta": (degree,)}.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.one_of("family", family, drift.FAMILIES)
    checks.one_of("bound", bound, bounding.BOUNDS)
    checks.between("decay", decay, 0, 1)
    f = drift.FAMILIES[family](bounding.BOUNDS[bound](clip), degree=degree, decay=decay)
    return _one_variable(
        f,
        threshold=threshold,
        surrogate=surrogate,
        width=width,
        reset=reset,
        v_reset=v_reset,
        gate_gradient=gate_gradient,
    )


def lif(
    *,
    decay: float = 0.25,
    threshold: float = 0.5,
    surrogate: str = "rectangle",
    width: float = 1.0,
    reset: str = "hard",
    v_reset: float = 0.0,
    gate_gradient: bool = False,
) -> Neuron:
    """Leaky integrate-and-fire: v_in = decay v + I (Eq. 3; Algorithm 2). Nothing is learned.

    Args: as in `lnm`; decay is the factor kept, 1 is a perfect integrator.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.between("decay", decay, 0, 1)
    return _one_variable(
        drift.linear(decay),
        threshold=threshold,
        surrogate=surrogate,
        width=width,
        reset=reset,
        v_reset=v_reset,
        gate_gradient=gate_gradient,
    )


NEURONS = {"lnm": lnm, "lif": lif}


def build(kind: str, **fields: Any) -> Neuron:
    """The neuron of that kind, from one set of fields for all kinds.

    A field that the kind does not have (degree, for a LIF) is not used, so that a baseline
    differs from a learned neuron in `kind` alone.

    Raises: ValueError for an unknown kind, a field that no kind has, or a value not allowed.
    """
    checks.one_of("kind", kind, NEURONS)
    known = {name for make in NEURONS.values() for name in inspect.signature(make).parameters}
    for name in fields:
        checks.one_of("neuron field", name, sorted(known))
    own = inspect.signature(NEURONS[kind]).parameters
    return NEURONS[kind](**{name: value for name, value in fields.items() if name in own})
