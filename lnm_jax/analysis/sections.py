"""The sections of a report on one run: pictures, tables, and a sentence on what each is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lnm_jax.analysis import activity, drawing, firing, page, sections_costs, sections_learned
from lnm_jax.analysis.curves import Group
from lnm_jax.training import health
from lnm_jax.training.experiment import SATURATED

if TYPE_CHECKING:
    from lnm_jax.analysis.recording import Recording
    from lnm_jax.training.run import Run


def summary(run: Run, recorded: Recording, groups: Sequence[Group]) -> str:
    """Facts at the head of the page."""
    config = run.experiment.config
    step, last = int(run.state.step), run.experiment.steps_until(config.epochs)
    facts = [
        ("data", config.data.name),
        ("network", config.model.name),
        ("neurons", ", ".join(dict.fromkeys(g.runs[0].experiment.config.neuron.kind
                                            for g in groups))),
        ("timesteps", str(recorded.timesteps)),
        ("spiking layers", str(len(recorded.layers))),
        ("test examples seen", str(recorded.examples)),
    ]  # fmt: skip
    if sum(len(group.runs) for group in groups) == 1:
        facts.append(("accuracy on them", f"{recorded.accuracy:.2f} %"))
        facts.append(("checkpoint", f"step {step} of {last}"))
    return page.facts(facts)


def training(groups: Sequence[Group], png: bytes) -> str:
    """The training curves."""
    if not any(len(group.epochs) for group in groups):
        return page.paragraph("No evaluation is recorded in metrics.jsonl yet.")
    return page.image(
        png,
        "accuracy and loss over training",
        "Accuracy and loss on the whole test set after every epoch, and the training loss, from "
        "metrics.jsonl. Lines are means over seeds, bands one sample standard deviation.",
    )


def of_run(run: Run, recorded: Recording, examples: int, loss: float) -> list[page.Section]:
    """All sections on one run; `examples` and `loss` as in `report.write`."""
    return [
        sections_learned.dynamics_of(run, recorded),
        sections_learned.names_of(run, recorded),
        _firing(run, recorded),
        _activity(run, recorded),
        _health(run, examples),
        sections_costs.energy_of(run, recorded),
        sections_costs.degrees_of(run, recorded, examples, loss),
    ]


def _firing(run, recorded):
    curves, drawn = firing.f_i_curves(run, recorded)
    traces, over_time = firing.traces(run, recorded)
    rows = [
        {"path": path, "current": float(current), "rate": float(np.mean(rate))}
        for path, rates in curves.rates.items()
        for current, rate in zip(curves.currents, rates, strict=True)
    ]
    steps = [
        {
            "path": path,
            "neuron": n + 1,
            "timestep": t + 1,
            "current": float(trace.currents[t, n]),
            "potential": float(trace.potentials[t, n]),
            "spike": int(trace.spikes[t, n]),
        }
        for path, trace in traces.items()
        for t in range(trace.spikes.shape[0])
        for n in range(trace.spikes.shape[1])
    ]
    captions = {
        "f_i_curves": "Spikes per timestep under a constant current from the reset state, over "
        f"{firing.TIMESTEPS} timesteps; in discrete time rates are 1/k. Pale: currents that the "
        "layer received on the test examples.",
        "traces": "Some neurons on currents that they received, chosen to spike at about a third "
        "of the timesteps. The potential is that compared with the threshold, before the reset.",
    }
    pictures = {"f_i_curves": drawing.png(drawn), "traces": drawing.png(over_time)}
    return page.Section("Firing", "", pictures, captions, {"f_i_curves": rows, "traces": steps})


def _health(run, examples):
    found = health.measure(run.experiment, run.state, examples=examples)
    sentences = health.illnesses(run.experiment.config, found)
    layers = [{"path": path} | layer._asdict() for path, layer in found.layers.items()]
    kernels = [{"path": path} | kernel._asdict() for path, kernel in found.kernels.items()]
    before = "".join(map(page.paragraph, sentences or ["Nothing is clearly ill."]))
    after = page.table(
        layers,
        "Spiking layers on test examples: spikes per neuron and timestep, and shares of neurons "
        "that never spiked and nearly always did, and of potentials inside the surrogate's window",
    ) + page.table(
        kernels,
        "Kernels: norm, over that at the start (or that Muon holds), gradient of one training "
        "batch, and size of a step at the highest learning rate over the kernel's",
    )
    tables = {"health_layers": layers, "health_kernels": kernels}
    return page.Section("Health", before, {}, {}, tables, after)


def _activity(run, recorded):
    facts, drawn = activity.picture(run, recorded)
    rows = [
        {
            "layer": number,
            "path": path,
            "spike rate": facts.rate[path],
            "dead, %": 100 * facts.dead[path],
            "saturated, %": 100 * facts.saturated[path],
        }
        for number, path in enumerate(facts.rate, 1)
    ]
    columns = ("spike rate", "dead, %", "saturated, %")
    history = [
        {"path": path, "epoch": int(epoch)}
        | {name: float(x) for name, x in zip(columns, values, strict=True) if np.isfinite(x)}
        for path in facts.history
        for epoch, *values in zip(
            facts.epochs,
            facts.history[path],
            100 * facts.dead_history[path],
            100 * facts.saturated_history[path],
            strict=True,
        )
    ]
    silent = [str(row["layer"]) for row in rows if row["dead, %"] == 100]
    before = ""
    if silent:
        before = page.paragraph(
            f"No neuron of layer {', '.join(silent)} spiked: the layers after it see nothing of it."
        )
    caption = (
        f"Left: {'activity' if facts.has_shares else 'spike rates'} on the whole test set after "
        f"every epoch. Right: on the {recorded.examples} examples of this report. Dead is the "
        "share of a layer's neurons that never spiked, saturated of those that spiked in "
        f"{SATURATED:.0%} of the timesteps or more."
    )
    if facts.has_shares:
        caption += (
            " Over training, thin lines are layers, bold ones their mean, and the layer with the "
            "largest share in the end has its number. On fewer examples more neurons never spike."
        )
    return page.Section(
        "Activity", before, {"activity": drawing.png(drawn)}, {"activity": caption},
        {"activity": rows, "activity_over_training": history}, page.table(rows),
    )  # fmt: skip
