"""Sections of a report on what was learned: the dynamics and their names."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lnm_jax import neurons
from lnm_jax.analysis import drawing, dynamics, names, page

if TYPE_CHECKING:
    from lnm_jax.analysis.recording import Recording
    from lnm_jax.training.run import Run


def dynamics_of(run: Run, recorded: Recording) -> page.Section:
    """Figure 2 with visits, threshold and fixed points."""
    facts, drawn = dynamics.picture(run, recorded)
    fields = run.experiment.config.neuron
    table, rest = [], []
    for number, (path, layer) in enumerate(recorded.layers.items(), 1):
        beyond = facts.extrapolated[path]
        table.append(
            {
                "layer": number,
                "path": path,
                "lowest u": layer.low,
                "highest u": layer.high,
                "u = 0, %": 100 * layer.at_zero,
                "beyond the bound, %": "" if beyond is None else 100 * beyond,
                "fixed points": _points(run, facts.rest[path]),
            }
        )
        rest += [{"layer": number, "path": path} | p._asdict() for p in facts.rest[path] or []]
    curves = [
        {"path": path, "channel": "" if curve.ndim == 1 else channel, "u": u, "f": value}
        for path, curve in facts.f.items()
        for channel, column in enumerate(curve.reshape(len(facts.u), -1).T)
        for u, value in zip(facts.u.tolist(), column.tolist(), strict=True)
    ]
    visits = [
        {"path": path, "u": u, "visits": int(count)}
        for path, layer in recorded.layers.items()
        for u, count in zip(layer.centres.tolist(), layer.visits, strict=True)
        if count
    ]
    notes = ""
    if not neurons.one_variable(run.experiment.neuron):
        notes += page.paragraph(
            "These neurons have two variables: f is shown with the second one at its start, and "
            "fixed points of the pair are not searched."
        )
    if run.experiment.config.spiking.sharing == "channel":
        notes += page.paragraph(
            "Every channel has a neuron of its own: thin lines are channels, the bold line is "
            f"their mean; fixed points are those of at most {dynamics.MOST_CHANNELS} channels."
        )
    if recorded.timesteps == 1:
        notes += page.paragraph(
            "T = 1: f is only ever evaluated at the starting potential, so it cannot matter."
        )
    caption = (
        "f of every spiking layer, numbered in the order they run (the paper's Figure 2), over "
        f"the LIF line with decay {fields.decay:g}. The pale histogram counts the potentials at "
        "which f was evaluated on the test examples, without exact zeros; f is bold where 99.9 % "
        "of them are, and extrapolates where it is thin. A fixed point is where f(u) = 0; it is "
        "stable if |1 + f'(u)| < 1."
    )
    return page.Section(
        "Learned dynamics", notes, {"dynamics": drawing.png(drawn)}, {"dynamics": caption},
        {"dynamics": table, "fixed_points": rest, "drifts": curves, "visits": visits},
        page.table(page.without_empty(table)),
    )  # fmt: skip


def _points(run, points):
    if points is None:
        one = neurons.one_variable(run.experiment.neuron)
        return "f is 0 on an interval" if one else "not searched"
    if any(point.channel is not None for point in points):
        counts = Counter("stable" if p.stable else "unstable" for p in points if p.reachable)
        return ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return ", ".join(
        f"{point.u + 0.0:.2f} {'stable' if point.stable else 'unstable'}"
        for point in points
        if point.reachable
    )


def names_of(run: Run, recorded: Recording) -> page.Section:
    """The nearest family of every layer (5.3)."""
    found, drawn = names.picture(run, recorded)
    rows = names.table(found)
    tally = Counter(name.name for channels in found.values() for name in channels)
    before = page.paragraph(
        "By name: " + ", ".join(f"{count} {name}" for name, count in tally.most_common()) + "."
    )
    if len(rows) > len(found):  # a tally a layer; the CSV has every channel
        shown = [
            {
                "layer": number,
                "path": path,
                "names of its channels": ", ".join(
                    f"{count} {name}"
                    for name, count in Counter(name.name for name in channels).most_common()
                ),
            }
            for number, (path, channels) in enumerate(found.items(), 1)
        ]
    else:
        columns = ["layer", "path", "name", "formula", "parameters", "r2"]
        columns += ["reason"] if any(row["reason"] for row in rows) else []
        shown = [{key: row[key] for key in columns} for row in rows]
    caption = (
        "Section 5.3 by a rule: each family is fitted by least squares weighted by the visits; the "
        f"nearest has the fewest parameters within {names.TOLERANCE:g} of the best R2, and names "
        f"the layer if its R2 is at least {names.LEAST:g}. The paper named its layers by eye."
        + (" Drawn: each layer's first channel." if len(rows) > len(found) else "")
    )
    return page.Section(
        "Names", before, {"names": drawing.png(drawn)}, {"names": caption}, {"names": rows},
        page.table(shown),
    )  # fmt: skip
