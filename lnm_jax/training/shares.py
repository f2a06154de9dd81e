"""Shares of a layer's neurons that never spike, or nearly always do; of evaluation and report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SATURATED = 0.95  # a neuron is saturated if it spikes in this share of its updates or more


def dead(spikes: np.ndarray) -> float:
    """Share of neurons that never spiked.

    Args:
      spikes: of each neuron, over all examples and timesteps.
    """
    return float((spikes == 0).mean())


def saturated(spikes: np.ndarray, updates: int) -> float:
    """Share of neurons that spiked in `SATURATED` of their updates or more.

    Args:
      spikes: as for `dead`.
      updates: of each neuron: examples times timesteps.
    """
    return float((spikes >= SATURATED * updates).mean())
