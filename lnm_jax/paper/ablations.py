"""Ablations: the bound on f's argument (Table 5) and the degree of f (Figure 1)."""

from typing import NamedTuple

from lnm_jax.paper.published import Published


class Bounding(NamedTuple):
    """A row of Table 5: LNM on CIFAR-100, ResNet-19, T = 4.

    Attributes:
      bound: as `config.neuron.bound` names it.
      clip: end of the interval, `config.neuron.clip`; None for tanh, which has none.
      published: accuracy, %.
    """

    bound: str
    clip: float | None
    published: Published


def _of(name, value, deviation):
    return Published(value, deviation, "%", 2, f"Table 5, row {name}")


TABLE_5 = (
    Bounding("tanh", None, _of("TanH", 80.52, 0.08)),
    Bounding("clip", 5.0, _of("Clip [-5, 5]", 80.61, 0.09)),
    Bounding("clip", 1.0, _of("Clip [-1, 1]", 80.70, 0.14)),
)


def bounding(bound: str, clip: float) -> Published | None:
    """The accuracy of Table 5, %, or None. Args: as in a configuration's `neuron`."""
    for found in TABLE_5:
        if bound == found.bound and found.clip in (None, clip):
            return found.published
    return None


class DegreeAblation(NamedTuple):
    """What the text says about Figure 1.

    Attributes:
      dataset, network, timesteps: of all its points.
      runs: independent trainings a degree.
      chosen: degree.
      plateau_beyond: degree after which the mean "starts to plateau".
      least_stable: degree of the largest deviation.
      where: in the paper.
      note: what is open.
    """

    dataset: str
    network: str
    timesteps: int
    runs: int
    chosen: int
    plateau_beyond: int
    least_stable: int
    where: str
    note: str


FIGURE_1 = DegreeAblation(
    dataset="CIFAR-100",
    network="ResNet-19",
    timesteps=4,
    runs=3,
    chosen=3,
    plateau_beyond=3,
    least_stable=2,
    where="Figure 1 and section 5.1",
    note="Accuracies and the degrees tried are in the picture only. Degree 2 has a 'slightly "
    "higher mean accuracy' than a degree that is not named. Table 1 has degree 3 and LIF in this "
    "setting.",
)
