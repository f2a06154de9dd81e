"""Every compared method under one recipe and one network (`reproduce.py compare`)."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import jax
import numpy as np

from lnm_jax import neurons
from lnm_jax.training import losses
from reproduction import comparison, costs, published, runner, settings
from reproduction.comparison import Options, Outcome
from reproduction.methods import METHODS, Method
from reproduction.settings import Setting

SIDE = {"model.side_heads": (1, 3), "model.side_features": 16}
RATIOS = ("step time / LIF", "evaluation / LIF", "memory / LIF")
NEURON_RATES = {"optimizer.neuron_learning_rate": (0.003, 0.1)}


def where(options: Options) -> list[Setting]:
    """Recordings and images under one recipe; at the small scale also the task of long intervals.

    There neurons start with a leak that can do the task (LIF's own 0.25 forgets within
    timesteps), and each method has its learning rates, since none suit all; likewise on images
    under the fast recipe.
    """
    scale, directory = options.scale, options.directory
    if options.recipe == "fast":
        rates = settings.images(scale, directory, options.recipe)[0].rates
        return [settings.narrowest(scale, directory, options.recipe)._replace(rates=rates)]
    if scale == "smoke":
        return [settings.DIGITS.at({"model.blocks": (2, 2)})._replace(rates=())]
    images = settings.images(scale, directory)[0]
    events = settings.events(scale, directory)[-2]
    one_recipe = [setting._replace(rates=()) for setting in (events, images)]
    if scale == "paper":
        return one_recipe
    note = "decay 0.9, learned ones at first"
    return [*one_recipe, settings.INTERVAL._replace(note=note)]


def wanted(options: Options) -> list[tuple[Setting, list[Method]]]:
    """The methods that suit each setting."""
    return [
        (setting, [fitted(each, setting, options.scale) for each in METHODS if fits(each, setting)])
        for setting in where(options)
    ]


def fits(method: Method, setting: Setting) -> bool:
    """Whether the method is defined for the network: some losses need a ResNet's blocks."""
    config = _config(setting, method)
    return config.model.name.startswith("resnet") or not losses.build(config).collections


def _config(setting, method):
    return comparison.job_of(setting, method, {}, 0, {}).config("runs")


def fitted(method: Method, setting: Setting, scale: str) -> Method:
    """The method with what depends on data and network."""
    if setting.experiment == "interval":
        kind = method.fields["neuron.kind"]
        order = {"neuron.order": 30} if "order" in neurons.fields(kind) else {}  # all timesteps
        tries = NEURON_RATES if _neuron_learns(method) else {}
        return method._replace(fields=method.fields | order, tries=method.tries | tries)
    if "side_logits" not in losses.build(_config(setting, method)).collections:
        return method
    deep = setting.experiment.endswith("resnet19")
    side = SIDE | ({"model.side_heads": (3, 6)} if deep else {})
    if scale == "paper":
        side["model.side_features"] = 256  # the authors'
    return method._replace(fields=method.fields | side)


def _neuron_learns(method):
    """Whether its neuron has parameters."""
    parts = {tuple(name.split(".")): value for name, value in method.fields.items()}
    own = {field: value for (group, field), value in parts.items() if group == "neuron"}
    neuron = neurons.build(**own, timesteps=2)
    # Traced alone: an array would start the card that the runs need.
    return bool(jax.tree.leaves(jax.eval_shape(lambda: neuron.init(jax.random.key(0)))))


def rows(outcomes: Sequence[Outcome], options: Options) -> list[dict]:
    """The table's rows, the most accurate first: accuracy, and what a method costs beside LIF."""
    table = comparison.rows(outcomes, options.scale, quoted)
    ratios = _ratios(outcomes, options) if outcomes[0].results else {}
    for row in table:
        row |= dict(zip(RATIOS, ratios.get(row["method"], [""] * 3), strict=True))
    accuracy = {x.method.name: np.mean(x.accuracies) if x.results else 0.0 for x in outcomes}
    return sorted(table, key=lambda row: -accuracy[row["method"]])


def _ratios(outcomes, options):
    """Each method's step, evaluation and memory over the first one's, by name.

    It runs in turn with the first one alone, and is forgotten: programs take a GiB each on CPUs.
    """
    runner.to_stderr("measuring each method's steps, compiled anew: many minutes")
    ratios, base = {}, None
    for outcome in outcomes:
        if not outcome.results:
            continue
        job = comparison.job_of(outcome.setting, outcome.method, outcome.chosen, 0, options.fields)
        own = costs.programs_of(job, base and base.dataset)
        if base is None:
            base, ratios[outcome.method.name] = own, ["1.00"] * 3
            continue
        times = costs.measure({"ours": own, "theirs": base}, rounds=5)
        parts = [one["ours"].median / one["theirs"].median for one in times]
        parts.append(own.mebibytes / base.mebibytes)
        ratios[outcome.method.name] = [f"{part:.2f}" for part in parts]
        del own
        jax.clear_caches()
        gc.collect()
    return ratios


def _published(outcome: Outcome) -> list[published.Accuracy]:
    """Rows of Tables 1 and 2 of the method on the data set that the setting stands for."""
    if outcome.setting.paper_row is None:
        return []
    asked = (outcome.setting.paper_row[0], outcome.method.paper_name)
    every = published.TABLE_1 + published.TABLE_2
    return [row for row in every if (row.dataset, row.method) == asked]


def quoted(outcome: Outcome) -> str:
    """All that the paper prints of the method on that data set, with network and T."""
    return "; ".join(
        f"{row.percent} (T = {row.timesteps}, {row.network}{', *' if row.footnote else ''})"
        for row in _published(outcome)
    )


def remarks(compared: Sequence[Sequence[Outcome]]) -> tuple[str, ...]:
    """Footnotes of the published numbers, and what is quoted only."""
    notes = [
        f"\\* {row.method}, {row.dataset}: {row.footnote}"
        for outcomes in compared
        for outcome in outcomes
        for row in _published(outcome)
        if row.footnote
    ]
    im_lif = "; ".join(
        f"{row.dataset} {row.percent} (T = {row.timesteps}, {row.network})"
        for row in published.TABLE_1 + published.TABLE_2
        if row.method == "IM-LIF"
    )
    left_out = [
        f"{setting.data}, {setting.network}: without {', '.join(names)}, which need a ResNet's "
        "blocks."
        for setting in (outcomes[0].setting for outcomes in compared)
        if (names := [method.name for method in METHODS if not fits(method, setting)])
    ]
    return (
        "All methods have the recipe of the experiment; what was tuned for a method is in the "
        'column "chosen", which is left out if nothing was. Published numbers are of other '
        "recipes.",
        *left_out,
        f"IM-LIF has no public definition and is quoted only: {im_lif}.",
        *dict.fromkeys(notes),
    )
