"""What is compared: methods, each with the fields of a configuration that make it."""

from __future__ import annotations

from typing import NamedTuple

from reproduction.settings import PUBLISHED


class Method(NamedTuple):
    """One row of a comparison.

    Attributes:
      name: as the tables print it.
      fields: dotted fields of a configuration and their values.
      tries: other fields, with values among which the best one is chosen, with the learning rate.
      paper_name: its name in the paper's tables, None if it is not there.
    """

    name: str
    fields: dict
    tries: dict[str, tuple] = {}  # noqa: RUF012 never changed
    paper_name: str | None = None


LIF = Method("LIF", {"neuron.kind": "lif"}, paper_name="LIF")
# A gain of LNM over a decay that nobody chose is no gain of learning the dynamics.
BEST_LIF = LIF._replace(
    name="LIF, best decay", tries={"neuron.decay": (0.25, 0.5, 0.75, 0.9, 1.0)}, paper_name=None
)
PLIF = Method("PLIF", {"neuron.kind": "plif"}, paper_name="PLIF")
DEGREES = tuple(
    Method(
        f"LNM, degree {degree}",
        {"neuron.kind": "lnm", "neuron.degree": degree},
        paper_name="LNM" if degree == 3 else None,
    )
    for degree in (1, 2, 3, 4, 5)
)
LNM = DEGREES[2]
# Every comparison of accuracies has these.
FIVE = (LIF, BEST_LIF, PLIF, DEGREES[0], LNM)
FORMS = (
    *FIVE,
    DEGREES[4],
    Method("LNM, one f a channel", LNM.fields | {"spiking.sharing": "channel"}),
    Method("LNM of two variables", {"neuron.kind": "lnm_two_variable"}),
)
# How fast f is learned: within one epoch the experiments' own rate, 0.01, hardly changes it.
RATES = tuple(
    Method(f"LNM, f's rate {rate}", LNM.fields | {"optimizer.neuron_learning_rate": rate})
    for rate in (0.1, 1.0, 0.01)
)
# Table 5.
BOUNDS = (
    Method("Tanh", {**LNM.fields, "neuron.bound": "tanh"}, paper_name="TanH"),
    Method("Clip [-5, 5]", {**LNM.fields, "neuron.clip": 5.0}, paper_name="Clip [-5, 5]"),
    Method("Clip [-1, 1]", dict(LNM.fields), paper_name="Clip [-1, 1]"),
)


def _with(base: Method, name: str, fields: dict, paper_name: str | None = None) -> Method:
    """The method with more fields, under another name."""
    return Method(name, base.fields | fields, paper_name=paper_name)


IMP = {"spiking.start": "learned"}
TET = {"loss.name": "tet"}
TDBN = {"model.tdbn": 0.5}  # the threshold
LOCALZO = {"neuron.surrogate": "localzo", "neuron.width": 0.5}
DSPIKE = {"neuron.surrogate": "dspike"}
# A sample of the first layer's weights, two forward passes each: all of them, as published, would
# cost a narrow network's epoch about as much again, or more.
SEARCH = {"adaptation.temperature": True, "adaptation.weights": 64}
SGD = {"optimizer.name": "sgd", "optimizer.learning_rate": 0.1, "optimizer.nesterov": False}
SPIKE_SHORTCUTS = {"model.shortcut": "projection"}
RECTANGLE = {"neuron.surrogate": "rectangle"}
HEAD = {"model.head": 256}
COSINE = {"optimizer.decay": "cosine"}
NO_TDBN = {"model.tdbn": 0.0}
PAPER_NETWORK = SPIKE_SHORTCUTS | RECTANGLE | HEAD
PAPER = PAPER_NETWORK | PUBLISHED | SGD
# The fast recipe (configs/cifar10_fast.py), then with one ingredient taken away or another neuron.
INGREDIENTS = (
    LIF,
    LNM,
    _with(LIF, "SGD", SGD)._replace(tries={"optimizer.learning_rate": (0.1, 0.3)}),
    _with(LIF, "normalised steps, not orthogonal", {"optimizer.newton_schulz": 0}),
    _with(LIF, "Muon without fixed norms", {"optimizer.fixed_norm": False}),
    _with(LIF, "BatchNorm's scales from 1", NO_TDBN),
    _with(LIF, "spike shortcuts", SPIKE_SHORTCUTS),
    _with(LIF, "rectangle", RECTANGLE),
    _with(LIF, "spiking head", HEAD),
    _with(LIF, "cosine decay", COSINE),
    _with(LIF, "no label smoothing", {"label_smoothing": 0.0}),
    _with(LIF, "crop", {"data.crop_padding": 1}),
    _with(LIF, "T = 1", {"timesteps": 1}),
    _with(LIF, "the paper's network, with Muon and tdBN", PAPER_NETWORK),
    _with(LIF, "the paper's network and recipe", PAPER),
    BEST_LIF,
    _with(LIF, "T = 4", {"timesteps": 4}),
)
# Every method of docs/comparators.md, on the same LIF where it is no neuron itself. In a row's
# order they are trained, seed after seed.
METHODS = (
    LIF,
    BEST_LIF,
    LNM,
    PLIF,
    Method("GLIF", {"neuron.kind": "glif", "spiking.sharing": "channel"}, paper_name="GLIF"),
    Method("CLIF", {"neuron.kind": "clif"}),
    Method("Ternary spike", {"neuron.kind": "ternary"}, paper_name="Ternary Spike"),
    Method("DIET-SNN neuron", {"neuron.kind": "diet"}),
    Method("TC-LIF", {"neuron.kind": "tc_lif"}),
    Method("TS-LIF", {"neuron.kind": "ts_lif", "spiking.sharing": "channel"}),
    Method("PSN", {"neuron.kind": "psn"}),
    Method("masked PSN", {"neuron.kind": "masked_psn", "adaptation.masking": 0.125}),
    Method("sliding PSN", {"neuron.kind": "sliding_psn"}, paper_name="PSN"),
    Method("LSG", {"neuron.kind": "lsg", **TDBN}, paper_name="LSG"),  # its width assumes that norm
    _with(LIF, "IMP", IMP),
    _with(LIF, "TET", TET, "TET"),
    _with(LIF, "LTS", {"loss.name": "last_step"}),
    _with(LIF, "IMP + LTS", IMP | {"loss.name": "last_step"}, "IMP + LTS"),
    _with(LIF, "IM-Loss", {"loss.name": "im_loss"}, "IM-Loss"),
    _with(LIF, "tdBN", TDBN),
    _with(LIF, "TEBN", {"model.norm": "tebn"}),
    _with(LIF, "MPBN", {"spiking.membrane_norm": True, "neuron.gate_gradient": True}, "MPBN"),
    _with(LIF, "Dspike", DSPIKE),
    _with(LIF, "Dspike, searched", DSPIKE | SEARCH),
    _with(LIF, "LocalZO", LOCALZO),
    _with(LIF, "LocalZO + TET", LOCALZO | TET, "LocalZO + TET"),
    _with(LIF, "LocalZO's mean", LOCALZO | {"neuron.surrogate": "gaussian"}),
    _with(LIF, "Surrogate module", {"loss.name": "surrogate_module"}, "Surrogate Module"),
    _with(
        LIF,
        "Backpropagation shortcuts, our variant",
        {"loss.name": "shortcuts_variant"},
        "Backpropagation Shortcuts",
    ),
    _with(LNM, "LNM + TET", TET),
    _with(LNM, "LNM + tdBN", TDBN),
    _with(LNM, "LNM + IMP", IMP),
)
# Those that lead where the past must be kept, as between two pulses.
SEQUENTIAL = (*FIVE, *(each for each in METHODS if each.name in ("PSN", "TC-LIF", "TS-LIF")))
