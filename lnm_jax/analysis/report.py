"""report.html: everything that a trained network's neurons have learned, on one page."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np

from lnm_jax import files, neurons
from lnm_jax.analysis import (
    conclusion,
    confusion,
    degrees,
    dynamics,
    energy,
    facts,
    firing,
    history,
    naming,
    recording,
)
from lnm_jax.analysis.page import Page
from lnm_jax.errors import ConfigError
from lnm_jax.training import health
from lnm_jax.training.experiment import SATURATED
from lnm_jax.training.run import Run, load, losses_as_text

FILE = "report.html"
FOLDER = "report"  # in the run's directory, unless another is asked for
EXAMPLES = 1000


def write(
    run: Run | str,
    *,
    output: str | None = None,
    examples: int = EXAMPLES,
    loss: float = degrees.LOSS,
) -> str:
    """Makes the report of a run and writes it, with the PNGs and CSVs behind it.

    Nothing is written before all of it is made; report.html comes last.

    Args:
      run: a `Run`, as one of a data set of your own must be, or its directory.
      output: folder for the report; None for "report" in the run's directory.
      examples: of the test set to run the network on; 0 for all.
      loss: percentage points of accuracy that a lower degree may cost.
    Returns: the page's path.
    Raises: ConfigError for a run that cannot be read, or a folder that cannot be written.
    """
    if examples < 0:
        raise ConfigError(f"--examples must be 0 (all) or more, got {examples}")
    if not loss >= 0:
        raise ConfigError(f"--loss must be 0 or more percentage points, got {loss}")
    output = output or os.path.join(run if _is_path(run) else run.directory, FOLDER)
    if os.path.exists(output) and not os.path.isdir(output):
        raise ConfigError(f"{output}: exists and is not a directory; choose another --output")
    page = make(run, examples=examples, loss=loss)
    path = os.path.join(output, FILE)
    for name, content in (page.files | {FILE: page.html().encode(errors="replace")}).items():
        files.write(os.path.join(output, name), content)
    return path


def _is_path(run):
    return isinstance(run, str | os.PathLike)


def make(run: Run | str, *, examples: int = EXAMPLES, loss: float = degrees.LOSS) -> Page:
    """The report of a run. Args as in `write`."""
    run = load(run) if _is_path(run) else run
    page = Page(os.path.basename(os.path.normpath(run.directory)))
    # First: it says what is not finite.
    found = recording.evaluate(run, run.state.params, examples=examples)
    recorded = recording.record(run, examples=examples)
    named = naming.picture(run, recorded)
    reduced = None
    if not degrees.refusal(run):
        reduced = degrees.reduce(run, recorded, examples=examples, loss=loss)
    for sentence in conclusion.sentences(run, recorded, named[0], reduced and reduced[:2], loss):
        page.paragraph(sentence)
    _facts(page, run, recorded, found)
    _training(page, run)
    _confusion(page, run, recorded)
    _dynamics(page, run, recorded)
    _names(page, *named)
    _firing(page, run, recorded)
    _activity(page, run, recorded)
    _health(page, run, examples)
    _energy(page, run, recorded)
    _degrees(page, run, recorded, reduced, loss)
    return page


def _facts(page, run, recorded, found):
    page.facts(
        [
            ("accuracy", f"{found['accuracy']:.2f} % of {recorded.examples} test examples"),
            ("test loss", losses_as_text(found)),
            *facts.of_run(run),
            facts.of_report(),
        ]
    )
    page.paragraph(
        "Figures and tables are also files beside this page; the method of each is in "
        "docs/analysis.md."
    )


def _training(page, run):
    page.section("Training")
    rows, drawn = history.curves(run)
    if not rows:
        page.paragraph("No evaluation is recorded in metrics.jsonl yet.")
        return
    page.picture(
        "curves",
        drawn,
        "Accuracy and losses on the whole test set after every epoch, and the training loss, from "
        "metrics.jsonl. Cross-entropy is the plain one of the logits that the network predicts by; "
        "the training objective has label smoothing and the loss's own terms as well.",
        rows,
    )


def _confusion(page, run, recorded):
    if recorded.confusion is None:
        return
    page.section("Confusion")
    rows, drawn = confusion.picture(run, recorded)
    page.picture(
        "confusion",
        drawn,
        f"How many of the {recorded.examples} test examples of each class were taken for one of "
        "each; the shade is the share of the row. " + confusion.sentence(run, recorded),
        rows,
    )


def _dynamics(page, run, recorded):
    """Figure 2 with visits, threshold and fixed points."""
    page.section("Learned dynamics")
    seen, drawn = dynamics.picture(run, recorded)
    fields = run.experiment.config.neuron
    table, rest = [], []
    for number, (path, layer) in enumerate(recorded.layers.items(), 1):
        beyond = seen.extrapolated[path]
        table.append(
            {
                "layer": number,
                "path": path,
                "lowest u": layer.low,
                "highest u": layer.high,
                "u = 0, %": 100 * layer.at_zero,
                "beyond the bound, %": "" if beyond is None else 100 * beyond,
                "fixed points": _points(run, seen.rest[path]),
            }
        )
        rest += [{"layer": number, "path": path} | p._asdict() for p in seen.rest[path] or []]
    if not neurons.one_variable(run.experiment.neuron):
        page.paragraph(
            "These neurons have two variables: f is shown with the second one at its start, and "
            "fixed points of the pair are not searched."
        )
    if run.experiment.config.spiking.sharing == "channel":
        page.paragraph(
            "Every channel has a neuron of its own: thin lines are channels, the bold line is "
            f"their mean; fixed points are those of at most {dynamics.MOST_CHANNELS} channels."
        )
    if recorded.timesteps == 1:
        page.paragraph(
            "T = 1: f is only ever evaluated at the starting potential, so it cannot matter."
        )
    page.picture(
        "dynamics",
        drawn,
        "f of every spiking layer, numbered in the order they run (the paper's Figure 2), over "
        f"the LIF line with decay {fields.decay:g}. The pale histogram counts the potentials at "
        "which f was evaluated on the test examples, without exact zeros; f is bold where 99.9 % "
        "of them are, and extrapolates where it is thin. A fixed point is where f(u) = 0; it is "
        "stable if |1 + f'(u)| < 1." + _bound(run, seen),
    )
    page.table(table, file="dynamics")
    page.csv("fixed_points", rest)
    drifts = [
        {"path": path, "channel": "" if curve.ndim == 1 else channel, "u": u, "f": value}
        for path, curve in seen.f.items()
        for channel, column in enumerate(curve.reshape(len(seen.u), -1).T)
        for u, value in zip(seen.u.tolist(), column.tolist(), strict=True)
    ]
    page.csv("drifts", drifts)
    visits = [
        {"path": path, "u": u, "visits": int(count)}
        for path, layer in recorded.layers.items()
        for u, count in zip(layer.centres.tolist(), layer.visits, strict=True)
        if count
    ]
    page.csv("visits", visits)


def _bound(run, seen):
    """What "beyond the bound" means, where it is said."""
    if not any(seen.extrapolated.values()):
        return ""
    limit, fields = run.experiment.neuron.facts.drift.limit, run.experiment.config.neuron
    linear = "bound" in neurons.fields(fields.kind) and fields.bound == "linear"
    return (
        f" Beyond the bound are visits with |u| > {limit:g}: there f goes on "
        f"{'as its tangent at the bound' if linear else 'with its value at the bound'}, so that it "
        "cannot drive a potential away without limit; the potential itself is not bounded."
    )


def _points(run, points):
    if points is None:
        one = neurons.one_variable(run.experiment.neuron)
        return "f is 0 on an interval" if one else "not searched"
    points = [point for point in points if point.reachable]
    kinds = ["stable" if point.stable else "unstable" for point in points]
    if any(point.channel is not None for point in points):
        return ", ".join(f"{count} {kind}" for kind, count in Counter(kinds).items())
    return ", ".join(f"{p.u + 0.0:.2f} {kind}" for p, kind in zip(points, kinds, strict=True))


def _names(page, found, drawn):
    """The nearest family of every layer (5.3)."""
    page.section("Names")
    rows = naming.table(found)
    by_channel = len(rows) > len(found)
    page.paragraph(f"By name: {naming.tally(found.values())}.")
    page.picture(
        "names",
        drawn,
        "Section 5.3 by a rule: each family is fitted by least squares weighted by the visits; the "
        f"nearest has the fewest parameters within {naming.TOLERANCE:g} of the best R2, and names "
        f"the layer if its R2 is at least {naming.LEAST:g}. The paper named its layers by eye."
        + (" Drawn: each layer's first channel." if by_channel else ""),
        rows,
    )
    columns = ("layer", "path", "name", "formula", "parameters", "r2", "reason")
    shown = [{key: row[key] for key in columns} for row in rows]
    if by_channel:  # the CSV has every channel
        shown = [
            {"layer": number, "path": path, "names of its channels": naming.tally([names])}
            for number, (path, names) in enumerate(found.items(), 1)
        ]
    page.table(shown)


def _firing(page, run, recorded):
    page.section("Firing")
    rows, drawn = firing.f_i_curves(run, recorded)
    page.picture(
        "f_i_curves",
        drawn,
        "Spikes per timestep under a constant current from the reset state, over "
        f"{firing.TIMESTEPS} timesteps; in discrete time rates are 1/k. Pale: currents that the "
        "layer received on the test examples.",
        rows,
    )
    rows, drawn = firing.traces(run, recorded)
    page.picture(
        "traces",
        drawn,
        "Some neurons on currents that they received, chosen to spike at about a third of the "
        "timesteps. The potential is that compared with the threshold, before the reset.",
        rows,
    )
    if run.experiment.config.spiking.membrane_norm:
        page.paragraph(
            "With membrane_norm the normalised potential is compared with the threshold: the one "
            "shown is that before it, and f-I curves are of neurons without it."
        )


def _activity(page, run, recorded):
    page.section("Activity")
    rows, over_training, drawn = history.activity(run, recorded)
    has_shares = any("dead, %" in row for row in over_training)
    silent = [str(row["layer"]) for row in rows if row["dead, %"] == 100]
    if silent:
        page.paragraph(
            f"No neuron of layer {', '.join(silent)} spiked: the layers after it see nothing of it."
        )
    caption = (
        f"Over training: {'activity' if has_shares else 'spike rates'} on the whole test set after "
        f"every epoch. Now: on the {recorded.examples} examples of this report. Dead is the "
        "share of a layer's neurons that never spiked, saturated of those that spiked in "
        f"{SATURATED:.0%} of the timesteps or more."
    )
    if has_shares:
        caption += (
            " The layer with the largest share in the end has its number. On fewer examples more "
            "neurons never spike."
        )
    page.picture("activity", drawn, caption)
    page.table(rows, file="activity")
    page.csv("activity_over_training", over_training)


def _health(page, run, examples):
    page.section("Health")
    found = health.measure(run.experiment, run.state, examples=examples)
    for sentence in health.illnesses(run.experiment.config, found) or ["Nothing is clearly ill."]:
        page.paragraph(sentence)
    layers = [{"path": path} | layer._asdict() for path, layer in found.layers.items()]
    kernels = [{"path": path} | kernel._asdict() for path, kernel in found.kernels.items()]
    page.table(
        layers,
        "Spiking layers on test examples: spikes per neuron and timestep, and shares of neurons "
        "that never spiked and nearly always did, and of potentials inside the surrogate's window",
        file="health_layers",
    )
    page.table(
        kernels,
        "Kernels: norm, over that at the start (or that Muon holds), gradient of one training "
        "batch, and size of a step at the highest learning rate over the kernel's",
        file="health_kernels",
    )


def _energy(page, run, recorded):
    """Energy by layer, and against LIF."""
    page.section("Energy")
    if run.experiment.neuron.facts.macs is None:
        page.paragraph("These neurons do not say what an update takes (facts.macs).")
        return
    if missing := energy.uncounted(run):
        page.paragraph(
            "Too low: only convolutions, dense and spiking layers are counted, not "
            f"{', '.join(missing)}."
        )
    rows, drawn = energy.picture(run, recorded)
    costs, kind = energy.Costs(), run.experiment.config.neuron.kind
    found = energy.compare(run, recorded)
    lines = {
        "operations (Eq. 17)": "operations",
        "operations, no MAC for u = 0": "skipping_zeros",
        "operations and memory traffic": "with_memory",
    }
    # Large networks in the unit of the paper's Table 3.
    factor, unit = (1, "mJ") if found.lif.operations >= 0.1 else (1e3, "µJ")
    sums = [
        {
            "counted": label,
            f"LIF, {unit}": factor * getattr(found.lif, field),
            f"{kind} ({found.macs} MACs), {unit}": factor * getattr(found.own, field),
            "overhead, %": getattr(found.overhead, field),
        }
        for label, field in lines.items()
    ]
    page.picture(
        "energy",
        drawn,
        "Energy of one inference by layer: multiply-accumulates of the first layer, of the neurons "
        "and of inputs that are no spikes of 1 or -1, as averages of spikes are not "
        f"({costs.mac} pJ each); accumulates of spikes ({costs.ac} pJ each; 32 bits, 45 nm: "
        "section 5.4, Horowitz 2014). An input of 0 costs nothing behind the first layer. Memory "
        f"traffic is a model: {costs.word} pJ a 32-bit word; {costs.words_per_mac} words a MAC of "
        f"the first layer, {costs.words_per_ac} an operation of the others, "
        f"{costs.words_per_update} a neuron's update.",
    )
    page.table(
        sums,
        "This network, with its own neurons and with LIF neurons that send a 1 where these spike",
        file="energy_sums",
    )
    page.paragraph(
        "The line without MACs at u = 0 is a lower bound: where f(0) = 0, as in all built-in "
        "neurons of one variable, hardware that updates only active ones need not evaluate f "
        "there. T passes of "
        "the first layer are counted, as Eq. 17 does, also for static images."
    )
    by_layer = [
        row._asdict() | {"operations mJ": row.operations(costs), "memory mJ": row.memory(costs)}
        for row in rows
    ]
    page.csv("energy", by_layer)


def _degrees(page, run, recorded, reduced, loss):
    """Lower degrees (4.2.3), or why there is none."""
    page.section("Lower degrees")
    if reduced is None:
        page.paragraph(degrees.refusal(run))
        return
    found, smallest, drawn = reduced
    rows = [
        {
            "degree": one.degree,
            "accuracy, %": one.accuracy,
            "changed spikes, mean of layers, %": 100 * float(np.mean(list(one.changed.values()))),
            "in the worst layer, %": 100 * max(one.changed.values()),
            "energy (Eq. 17), µJ": 1e3 * one.energy.operations,
        }
        for one in found
    ]
    page.paragraph(
        f"The smallest degree that costs at most {loss:g} percentage points of accuracy on these "
        f"{recorded.examples} examples is {smallest}, of {found[0].degree}. One "
        f"example is {100 / recorded.examples:.2g} points."
    )
    page.picture(
        "degrees",
        drawn,
        "Section 4.2.3: f of every layer is replaced by the polynomial of lower degree that is "
        "nearest by least squares over the potentials visited; nothing is trained again. Changed "
        "spikes are counted on the currents that each layer received in the trained network; "
        "energy is at the trained network's rates.",
    )
    page.table(rows, file="degrees")
    degrees_by_layer = [
        {"degree": one.degree, "path": path, "changed": changed, "error": one.error[path]}
        for one in found
        for path, changed in one.changed.items()
    ]
    page.csv("degrees_by_layer", degrees_by_layer)
