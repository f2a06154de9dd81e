"""What the learned neurons of Figure 2 look like, by section 5.3.

ResNet-34 on ImageNet, T = 4, threshold 0.5, one f in each of 33 spiking layers. The names were
given by eye: the text has no rule. The curves themselves are in the picture only.
"""

from typing import NamedTuple


class Resemblance(NamedTuple):
    """Layers of Figure 2 that 5.3 gives one name.

    Attributes:
      name: in the words of 5.3.
      family: as `analysis.naming` calls it.
      layers: numbered from 1 in the order they run.
      known: whether 5.3 relates it to a known neuron model; of the others it says that they
        resemble none.
      where: in the paper.
    """

    name: str
    family: str
    layers: tuple[int, ...]
    known: bool
    where: str = "Section 5.3"


FIGURE_2 = (
    Resemblance("LIF", "LIF", (8, 10, 19, 21, 23, 25), True),
    Resemblance("QIF", "QIF", (6, 12, 14, 20, 22, 24, 26), True),
    Resemblance("negative QIF", "negative QIF", (2, 7, 9, 11, 13, 15), True),
    Resemblance("negative ExLIF", "negative EIF", (18, 28, 30, 32), True),
    Resemblance("sinusoidal", "sinusoidal", (4,), False),
    Resemblance("cubic", "cubic", (1, 3, 5, 29, 31, 33), False),
    Resemblance("logarithmic", "logarithmic", (16, 17, 27), False),
)


def resembles(layer: int) -> Resemblance | None:
    """What a layer of Figure 2 looks like; None for a number that is no spiking layer.

    Args:
      layer: from 1 to 33.
    """
    return next((found for found in FIGURE_2 if layer in found.layers), None)
