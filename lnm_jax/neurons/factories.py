"""Neuron factories: plain keyword arguments in, a `Neuron` out."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypedDict

from lnm_jax.neurons import bounding, checks, drift
from lnm_jax.neurons.neuron import Drift, Neuron, integrate_and_fire
from lnm_jax.neurons.reset import RESETS
from lnm_jax.neurons.surrogate import SURROGATES

if TYPE_CHECKING:
    from typing import Unpack


class Firing(TypedDict, total=False):
    """How a neuron spikes and resets: keyword arguments that all factories share.

    Attributes:
      threshold: v_th, in units of the input current; default 0.5 (Table 4).
      surrogate: name in `SURROGATES`; default "rectangle".
      width: the surrogate's width, in units of the potential; default 1.
      reset: name in `RESETS`; default "hard".
      v_reset: potential at the start and after a hard reset; default 0.
      gate_gradient: gradient through the reset gate (Eq. 4), or none (Algorithm 1, the default).
    """

    threshold: float
    surrogate: str
    width: float
    reset: str
    v_reset: float
    gate_gradient: bool


def _one_variable(
    f: Drift,
    *,
    threshold: float = 0.5,
    surrogate: str = "rectangle",
    width: float = 1.0,
    reset: str = "hard",
    v_reset: float = 0.0,
    gate_gradient: bool = False,
) -> Neuron:
    checks.positive("threshold", threshold)
    checks.one_of("surrogate", surrogate, SURROGATES)
    checks.one_of("reset", reset, RESETS)
    if not v_reset < threshold:
        raise ValueError(f"v_reset must be below the threshold {threshold}, got {v_reset}")
    return integrate_and_fire(
        f,
        fire=SURROGATES[surrogate](width),
        reset=RESETS[reset](threshold=threshold, v_reset=v_reset, gate_gradient=gate_gradient),
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
    **firing: Unpack[Firing],
) -> Neuron:
    """Learnable neuron model: v_in = v + f(bound(v)) + I with a learned f (Eq. 10 and 11).

    Args:
      degree: N of the polynomial, >= 1.
      family: name in `FAMILIES`.
      bound: name in `BOUNDS`, applied to the argument of f only.
      clip: limit of the clip bound.
      decay: share of the potential kept per timestep at initialisation, where f is LIF's.
      **firing: see `Firing`.
    Returns: a `Neuron` with params {"theta": (degree,)}.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.one_of("family", family, drift.FAMILIES)
    checks.one_of("bound", bound, bounding.BOUNDS)
    checks.between("decay", decay, 0, 1)
    f = drift.FAMILIES[family](bounding.BOUNDS[bound](clip), degree=degree, decay=decay)
    return _one_variable(f, **firing)


def lif(*, decay: float = 0.25, **firing: Unpack[Firing]) -> Neuron:
    """Leaky integrate-and-fire: v_in = decay v + I (Eq. 3; Algorithm 2). Nothing is learned.

    Args:
      decay: share of the potential kept per timestep; 1 is a perfect integrator.
      **firing: see `Firing`.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.between("decay", decay, 0, 1)
    return _one_variable(drift.linear(decay), **firing)


NEURONS = {"lnm": lnm, "lif": lif}


def fields(kind: str) -> set[str]:
    """Names of the keyword arguments that the factory of that kind takes."""
    parameters = inspect.signature(NEURONS[kind]).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} | set(Firing.__annotations__)


def build(kind: str, **given: Any) -> Neuron:
    """The neuron of that kind, from one set of fields for all kinds.

    A field that the kind does not have (degree, for a LIF) is not used, so that a baseline
    differs from a learned neuron in `kind` alone.

    Raises: ValueError for an unknown kind, a field that no kind has, or a value not allowed.
    """
    checks.one_of("kind", kind, NEURONS)
    known = sorted(set().union(*map(fields, NEURONS)))
    for name in given:
        checks.one_of("neuron field", name, known)
    own = fields(kind)
    return NEURONS[kind](**{name: value for name, value in given.items() if name in own})
