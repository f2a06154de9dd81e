"""Parallel spiking neurons: no state and no reset, time is a learned linear map."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax import checks
from lnm_jax.neurons.firing import factory, firing
from lnm_jax.neurons.neuron import Facts, Parallel, checked, state_dtype


def _parallel(init, integrate, fires, *reads) -> Parallel:
    """The neuron that compares v_in with 0: its threshold is in c."""

    def fire(params, v_in):
        return fires.spike(v_in, fires.surrogate_width(params))

    return Parallel(init, integrate, fire, Facts(threshold=0.0, reads=(*fires.reads, *reads)))


def _matrix(timesteps: int, fires, seen=None, masking: float = 1.0) -> Parallel:
    """The neuron u = (W * mask) I + c of `timesteps` timesteps, mask 1 if nothing is seen less."""

    def init(key):
        limit = 1 / math.sqrt(timesteps)
        weights = jax.random.uniform(key, (timesteps, timesteps), jnp.float32, -limit, limit)
        return {"weights": weights, "c": jnp.full(timesteps, -fires.threshold, jnp.float32)}

    def integrate(params, currents):
        currents = checked(currents)
        if len(currents) != timesteps:
            raise ValueError(
                f"currents must have T = {timesteps} timesteps, got shape {currents.shape}"
            )
        dtype = state_dtype(currents)
        share = masking * params.get("masking", 1.0)
        mask = 1.0 if seen is None else share * seen + (1 - share)
        # A GPU's shorter multiplications would move potentials across the threshold.
        mixed = jnp.tensordot(
            (params["weights"] * mask).astype(dtype),
            currents.astype(dtype),
            1,
            precision=jax.lax.Precision.HIGHEST,
        )
        c = params["c"].reshape(timesteps, *(1,) * (currents.ndim - 1))
        return mixed + c

    return _parallel(init, integrate, fires, *(() if seen is None else ("masking",)))


@factory
def psn(
    *,
    timesteps: int = 4,
    threshold: float = 1.0,
    surrogate: str = "arctan",
    width: float = 0.5,
) -> Parallel:
    """Parallel spiking neuron (Fang et al. 2023): u = W I + c over time, z = H(u).

    W (T, T) and c (T,) are a layer's. It is not causal: a spike depends on later currents.
    Source: the authors' code. Confidence: certain.

    Args:
      timesteps: T, of all currents.
      threshold: -c at initialisation; published 1.
      surrogate, width: see `FiringFields`; published an arctan of alpha = 2, width 0.5.
    Returns: a `Parallel` with params {"weights": (T, T), "c": (T,)}.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.integer("timesteps", timesteps, 1)
    fires = firing(threshold=threshold, surrogate=surrogate, width=width)
    return _matrix(timesteps, fires)


@factory
def masked_psn(
    *,
    timesteps: int = 4,
    order: int = 2,
    masking: float = 1.0,
    threshold: float = 1.0,
    surrogate: str = "arctan",
    width: float = 0.5,
) -> Parallel:
    """Masked PSN (Fang et al. 2023): a spike depends on the last `order` currents alone.

    W is multiplied by masking M + (1 - masking), M[i, j] = 1 where j <= i < j + order. In the
    authors' training it rises linearly from 0 to 1 in the first eighth of the epochs: as a factor
    params["masking"], see `training.schedules`.

    Args:
      order: k, timesteps that a spike depends on, >= 1.
      masking: lambda, 0 for `psn`, 1 for a causal neuron.
      others: as for `psn`.
    Returns: as `psn`.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.integer("timesteps", timesteps, 1)
    checks.integer("order", order, 1)
    checks.between("masking", masking, 0, 1)
    fires = firing(threshold=threshold, surrogate=surrogate, width=width)
    lag = np.arange(timesteps)[:, None] - np.arange(timesteps)
    seen = ((lag >= 0) & (lag < order)).astype(np.float32)
    return _matrix(timesteps, fires, seen, masking)


@factory
def sliding_psn(
    *,
    order: int = 2,
    threshold: float = 1.0,
    surrogate: str = "arctan",
    width: float = 0.5,
) -> Parallel:
    """Sliding PSN (Fang et al. 2023): the same weights of the last `order` currents at any time.

        u[t] = sum_i w[i] I[t - order + 1 + i] + c,    z = H(u),    I = 0 before the first timestep

    Causal, and for any T. w starts as (..., 1/4, 1/2, 1).
    Source: the authors' code. Confidence: certain.

    Args:
      order: k, timesteps that a spike depends on, >= 1; 2 for the published CIFAR10-DVS result.
      others: as for `psn`.
    Returns: a `Parallel` with params {"weights": (order,), "c": ()}.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.integer("order", order, 1)
    fires = firing(threshold=threshold, surrogate=surrogate, width=width)

    def init(key):
        del key  # nothing is random
        weights = 0.5 ** jnp.arange(order - 1, -1, -1, dtype=jnp.float32)
        return {"weights": weights, "c": jnp.float32(-threshold)}

    def integrate(params, currents):
        currents = checked(currents)
        given = currents.astype(state_dtype(currents))
        timesteps = len(given)
        padded = jnp.pad(given, [(order - 1, 0)] + [(0, 0)] * (given.ndim - 1))
        mixed = sum(params["weights"][i] * padded[i : i + timesteps] for i in range(order))
        return mixed + params["c"]

    return _parallel(init, integrate, fires)
