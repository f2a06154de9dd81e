"""A spiking layer's neuron as plain numbers and arrays, for readers without JAX."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from lnm_jax import neurons
from lnm_jax.errors import ConfigError
from lnm_jax.neurons import Neuron

ENTRIES = 256  # of the look-up table: one byte addresses them


def describe(neuron: Neuron, fields: Mapping, params: Mapping) -> tuple[dict, dict]:
    """What one layer's neuron is, for readers without JAX: (facts, arrays).

    f as `neurons.Drift.describe` has it, its bound, "update" (`neurons.lnm`), threshold and reset.
    Arrays end in an axis of channels if the parameters do. "table" is f at 256 evenly spaced
    potentials: over the bound, or, where f has none, up to two thresholds.

    Args:
      neuron: of every layer.
      fields: of `config.neuron`.
      params: of the layer, numbers as trained.
    Raises: ConfigError for a neuron that does not describe itself.
    """
    if not _exportable(neuron):
        known = (kind for kind in neurons.NEURONS if _exportable(neurons.build(kind)))
        raise ConfigError(
            f"config.neuron.kind {fields['kind']} can't be exported: only neurons of one variable "
            f"can ({', '.join(known)})"
        )
    facts = {
        "bound": "none",
        "limit": float(fields["clip"]),
        "update": "sum",
        "threshold": float(fields["threshold"]),
        "reset": fields["reset"],
        "v_reset": float(fields["v_reset"]),
    }
    own, arrays = neuron.facts.drift.describe(params)
    facts |= own
    arrays["table"], facts["table"] = _table(neuron, params, facts)
    return facts, {name: np.asarray(x, np.float32) for name, x in arrays.items()}


def _exportable(neuron) -> bool:
    drift = neuron.facts.drift
    return neurons.one_variable(neuron) and drift is not None and drift.describe is not None


def _table(neuron, params, facts) -> tuple[np.ndarray, dict]:
    """f at `ENTRIES` potentials, and where they are."""
    wide = max(1.0, 2 * facts["threshold"])
    limit = {"clip": facts["limit"], "linear": 2 * facts["limit"], "tanh": 3.0}
    high = limit.get(facts["bound"], wide)
    u = np.linspace(-high, high, ENTRIES, dtype=np.float32)
    channels = _channels(neuron, params)
    u = np.broadcast_to(u.reshape(-1, *(1,) * len(channels)), (ENTRIES, *channels))
    values = np.asarray(neurons.drift_of(neuron, params, u))
    return values, {"low": -high, "high": high, "entries": ENTRIES}


def _channels(neuron, params) -> tuple[int, ...]:
    """(C,) if every channel has parameters of its own, else ()."""
    own = jax.tree.leaves(jax.eval_shape(neuron.init, jax.random.key(0)))
    leaves = jax.tree.leaves(params)
    return leaves[0].shape[own[0].ndim :] if own else ()
