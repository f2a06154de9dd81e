"""Sections of a report on what inference costs: energy, and lower degrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lnm_jax.analysis import degrees, drawing, energy, page

if TYPE_CHECKING:
    from lnm_jax.analysis.recording import Recording
    from lnm_jax.training.run import Run


def energy_of(run: Run, recorded: Recording) -> page.Section:
    """Energy by layer, against LIF."""
    rows, drawn = energy.picture(run, recorded)
    costs, kind = energy.Costs(), run.experiment.config.neuron.kind
    found = energy.compare(run, recorded)
    lines = {
        "operations (Eq. 17)": "operations",
        "operations, no MAC for u = 0": "skipping_zeros",
        "operations and memory traffic": "with_memory",
    }
    # Large networks in the paper's unit.
    factor, unit = (1, "mJ") if found.lif.operations >= 0.1 else (1e3, "µJ")
    ours = [
        {
            "counted": label,
            f"LIF, {unit}": factor * getattr(found.lif, field),
            f"{kind} ({found.macs} MACs), {unit}": factor * getattr(found.own, field),
            "overhead, %": getattr(found.overhead, field),
        }
        for label, field in lines.items()
    ]
    layers = [
        row._asdict()
        | {"operations mJ": row.operations(costs), "memory mJ": row.memory(costs)}
        for row in rows
    ]  # fmt: skip
    caption = (
        "Energy of one inference by layer: multiply-accumulates of the first layer and of the "
        f"neurons ({costs.mac} pJ each), accumulates of the others times their input's spike rate "
        f"({costs.ac} pJ each; 32 bits, 45 nm: section 5.4, Horowitz 2014). Memory traffic is a "
        f"model: {costs.word} pJ a 32-bit word; {costs.words_per_mac} words a MAC of the first "
        f"layer, {costs.words_per_ac} an accumulate, {costs.words_per_update} a neuron's update."
    )
    after = page.table(ours, "This network, with its own neurons and with LIF at equal rates")
    after += page.paragraph(
        "The line without MACs at u = 0 is a lower bound: f(0) = 0, so hardware that updates only "
        "active neurons need not evaluate f there. T passes of the first layer are counted, as "
        "Eq. 17 does, also for static images."
    )
    return page.Section(
        "Energy", "", {"energy": drawing.png(drawn)}, {"energy": caption},
        {"energy": layers, "energy_sums": ours}, after,
    )  # fmt: skip


def degrees_of(run: Run, recorded: Recording, examples: int, loss: float) -> page.Section:
    """Lower degrees (4.2.3), or why there is none."""
    reason = degrees.refusal(run)
    if reason:
        return page.Section("Lower degrees", page.paragraph(reason), {}, {}, {})
    found, drawn = degrees.reduce(run, recorded, examples=examples, loss=loss)
    rows = [
        {
            "degree": one.degree,
            "accuracy, %": one.accuracy,
            "changed spikes, mean of layers, %": 100 * float(np.mean(list(one.changed.values()))),
            "in the worst layer, %": 100 * max(one.changed.values()),
            "energy (Eq. 17), µJ": 1e3 * one.energy.operations,
        }
        for one in found.degrees
    ]
    layers = [
        {"degree": one.degree, "path": path, "changed": one.changed[path], "error": one.error[path]}
        for one in found.degrees
        for path in one.changed
    ]
    before = page.paragraph(
        f"The smallest degree that costs at most {loss:g} percentage points of accuracy on these "
        f"{recorded.examples} examples is {found.smallest}, of {found.degrees[0].degree}. One "
        f"example is {100 / recorded.examples:.2g} points."
    )
    caption = (
        "Section 4.2.3: f of every layer is replaced by the polynomial of lower degree that is "
        "nearest by least squares over the potentials visited; nothing is trained again. Changed "
        "spikes are counted on the currents that each layer received in the trained network; "
        "energy is at the trained network's rates."
    )
    return page.Section(
        "Lower degrees", before, {"degrees": drawing.png(drawn)}, {"degrees": caption},
        {"degrees": rows, "degrees_by_layer": layers}, page.table(rows),
    )  # fmt: skip
