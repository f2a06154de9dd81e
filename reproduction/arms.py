"""What is compared: neurons, each with the fields of a configuration that make it."""

from __future__ import annotations

from typing import NamedTuple


class Arm(NamedTuple):
    """One row of a comparison.

    Attributes:
      name: as the tables print it.
      fields: dotted fields of a configuration and their values.
      tries: other fields, with values among which the best one is chosen, after the learning
        rate; the first is used while that is chosen.
      method: its name in the paper's tables, None if it is not there.
    """

    name: str
    fields: dict
    tries: dict[str, tuple] = {}  # noqa: RUF012 never changed
    method: str | None = None


def _lnm(degree: int, method: str | None = None) -> Arm:
    fields = {"neuron.kind": "lnm", "neuron.degree": degree}
    return Arm(f"LNM, degree {degree}", fields, method=method)


LIF = Arm("LIF", {"neuron.kind": "lif"}, method="LIF")
# A gain of LNM over a decay that nobody chose is no gain of learning the dynamics.
BEST_LIF = LIF._replace(
    name="LIF, best decay", tries={"neuron.decay": (0.25, 0.5, 0.75, 0.9, 1.0)}, method=None
)
PLIF = Arm("PLIF", {"neuron.kind": "plif"})
LNM = _lnm(3, "LNM")
DEGREES = tuple(_lnm(degree, "LNM" if degree == 3 else None) for degree in (1, 2, 3, 4, 5))
# Every comparison of accuracies has these.
FIVE = (LIF, BEST_LIF, PLIF, DEGREES[0], LNM)
# Table 5.
BOUNDS = (
    Arm("Tanh", {**LNM.fields, "neuron.bound": "tanh"}, method="Tanh"),
    Arm("Clip [-5, 5]", {**LNM.fields, "neuron.clip": 5.0}, method="Clip [-5, 5]"),
    Arm("Clip [-1, 1]", dict(LNM.fields), method="Clip [-1, 1]"),
)
