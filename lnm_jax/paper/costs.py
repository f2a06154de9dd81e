"""Energy of an inference (Table 3) and run time (5.4).

Table 3 publishes energies only. Spike rates and operation counts, from which Eq. 17 makes them,
are not published.
"""

from typing import NamedTuple

from lnm_jax.paper.published import Published, same
from lnm_jax.paper.settings import DEGREE

_45_NM = "32-bit floating point, 45 nm"
MAC = Published(4.6, None, "pJ", 1, "Section 5.4, E_MAC", _45_NM)
ACCUMULATE = Published(0.9, None, "pJ", 1, "Section 5.4, E_AC", _45_NM)

_APPROXIMATE = "'Approximately', of degree 3 over LIF, across all experiments, on GPUs."
TRAINING_OVERHEAD = Published(42.0, None, "%", 0, "Section 5.4, run time", _APPROXIMATE)
INFERENCE_OVERHEAD = Published(4.0, None, "%", 0, "Section 5.4, run time", _APPROXIMATE)
# "Between 2-5.5%", of degree 3 over LIF.
ENERGY_OVERHEADS = (
    Published(2.0, None, "%", 0, "Section 5.4, energy", "Lower end."),
    Published(5.5, None, "%", 1, "Section 5.4, energy", "Upper end."),
)
# Multiply-accumulates of a neuron's update (5.4); those of an LNM are its degree.
LIF_MACS = 1


class Energy(NamedTuple):
    """A row of Table 3, for one inference.

    Attributes:
      dataset, network: as the paper calls them; networks are those of the caption.
      timesteps: T.
      lif, lnm: in mJ, at equal spike rates; LNM of degree 3.
      overhead: of `lnm` over `lif`, %.
    """

    dataset: str
    network: str
    timesteps: int
    lif: Published
    lnm: Published
    overhead: Published

    @property
    def difference(self) -> float:
        """Energy of LNM less that of LIF, mJ; each is rounded to 0.001."""
        return round(self.lnm.value - self.lif.value, self.lnm.digits)

    @property
    def neurons(self) -> tuple[float, float]:
        """Fewest and most neurons that `difference` can stand for, given its rounding.

        By 5.4 it is 3 - 1 MACs a neuron and timestep. **It does not fit the networks**: at T = 2,
        CIFAR's 0.023 mJ are 1.20 to 1.30 million neurons; ResNet-19 has 1,442,048 at 32x32, which
        make 0.0265 mJ. CIFAR10-DVS's 0.257 mJ are 2.78 to 2.80 million of 3,244,288 at 48x48.
        ImageNet's 0.295 mJ are 7.99 to 8.04 million; ResNet-34 has 3,562,496 at 224x224, which
        make 0.131 mJ. The text does not explain it.
        """
        one = (DEGREE - LIF_MACS) * self.timesteps * MAC.value * 1e-9
        rounding = 10.0**-self.lnm.digits  # half a digit of each of the two
        return (self.difference - rounding) / one, (self.difference + rounding) / one


def _row(dataset, network, timesteps, lif, lnm, overhead):
    where = f"Table 3, row {dataset}"
    return Energy(
        dataset,
        network,
        timesteps,
        Published(lif, None, "mJ", 3, f"{where}, column LIF Energy"),
        Published(lnm, None, "mJ", 3, f"{where}, column LNM Energy"),
        Published(overhead, None, "%", 2, f"{where}, column LNM Overhead"),
    )


TABLE_3 = (
    _row("CIFAR-10", "ResNet-19", 2, 0.547, 0.570, 4.20),
    _row("CIFAR-100", "ResNet-19", 2, 0.649, 0.672, 3.54),
    _row("CIFAR-10 DVS", "ResNet-19", 10, 4.758, 5.015, 5.40),
    _row("ImageNet", "ResNet-34", 4, 13.725, 14.020, 2.15),
)


def energy(dataset: str, network: str, timesteps: int) -> Energy | None:
    """The row of Table 3 of these, None if there is none. Args as in `scores.row`."""
    for found in TABLE_3:
        names = same(dataset, found.dataset) and same(network, found.network)
        if names and timesteps == found.timesteps:
            return found
    return None
