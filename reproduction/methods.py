"""Every compared method under one recipe and one network (`reproduce.py compare`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lnm_jax import paper
from reproduction import arms, comparison, costs, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reproduction.commands import Options
    from reproduction.comparison import Outcome
    from reproduction.settings import Setting

SIDE = {"model.side_heads": (1, 3), "model.side_features": 16}


def where(options: Options) -> list[Setting]:
    """The networks: at least three blocks each, which IM-Loss and side heads need."""
    scale, directory = options.scale, options.directory
    if scale == "smoke":
        return [settings.DIGITS.at({"model.blocks": (2, 2)})._replace(rates=())]
    images = settings.images(scale, directory)[0]
    events = settings.events(scale, directory)[-1]
    if scale == "small":
        events = events.at({"model.blocks": (2, 2)})
    return [setting._replace(rates=()) for setting in (events, images)]


def fitted(method: arms.Arm, setting: Setting, scale: str) -> arms.Arm:
    """The method with what depends on the network."""
    if method.fields.get("loss.name") not in ("surrogate_module", "shortcuts_variant"):
        return method
    deep = setting.experiment.endswith("resnet19")
    side = SIDE | ({"model.side_heads": (3, 6)} if deep else {})
    if scale == "paper":
        side["model.side_features"] = 256  # the authors'
    return method._replace(fields=method.fields | side)


def rows(outcomes: Sequence[Outcome], options: Options) -> list[dict]:
    """The table's rows: accuracy, and what each method costs beside LIF."""
    table = comparison.rows(outcomes, options.scale, published)
    jobs = {
        outcome.arm.name: comparison.job_of(
            outcome.setting, outcome.arm, outcome.chosen, 0, options.fields
        )
        for outcome in outcomes
        if outcome.results
    }
    found = costs.measure_steps(jobs, rounds=5) if outcomes[0].results else {}
    base = found.get(outcomes[0].arm.name)
    for row in table:
        own = found.get(row["method"])
        row["step time / LIF"] = _ratio(own and own.training.median, base and base.training.median)
        row["evaluation / LIF"] = _ratio(
            own and own.evaluation.median, base and base.evaluation.median
        )
        row["memory / LIF"] = _ratio(own and own.mebibytes, base and base.mebibytes)
    return table


def _ratio(ours, theirs):
    return f"{ours / theirs:.2f}" if ours and theirs else ""


def published(outcome: Outcome) -> str:
    """All that the paper prints of the method on that data set, with network and T."""
    return "; ".join(
        f"{row.published} (T = {row.timesteps}, {row.network}{', *' if row.footnote else ''})"
        for row in quoted(outcome)
    )


def quoted(outcome: Outcome) -> list[paper.Accuracy]:
    """Rows of Tables 1 and 2 of the method on the data set that the setting stands for."""
    if outcome.setting.stands_for is None or outcome.arm.method is None:
        return []
    return [
        row
        for row in paper.TABLE_1 + paper.TABLE_2
        if (row.dataset, row.method) == (outcome.setting.stands_for[0], outcome.arm.method)
    ]


def remarks(compared: Sequence[Sequence[Outcome]]) -> tuple[str, ...]:
    """Footnotes of the published numbers, and what is quoted only."""
    notes = [
        f"{row.method}, {row.dataset}: {row.footnote}"
        for outcomes in compared
        for outcome in outcomes
        for row in quoted(outcome)
        if row.footnote
    ]
    kept = [
        f"{row.dataset} {row.published} (T = {row.timesteps}, {row.network})"
        for row in paper.TABLE_1 + paper.TABLE_2
        if row.method == "IM-LIF"
    ]
    quote = f"IM-LIF has no public definition and is quoted only: {'; '.join(kept)}."
    stars = [f"\\* {note}" for note in dict.fromkeys(notes)]
    return (
        "All methods have the recipe of the experiment: nothing was tuned for any of them. "
        "Published numbers are of other recipes.",
        quote,
        *stars,
    )
