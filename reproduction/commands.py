"""Each table and figure: what is trained for it, and what is made of the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lnm_jax.errors import ConfigError
from reproduction import arms, comparison, costs, methods, published, settings, statistics
from reproduction.arms import Arm
from reproduction.comparison import Outcome
from reproduction.settings import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reproduction.campaign import Campaign


class Options(NamedTuple):
    """What the command line asks for.

    Attributes:
      scale: name in `settings.SCALES`.
      seeds: numbers, those of the runs of each row.
      tuning_seeds: runs of each value that is tried.
      directory: of the data sets, or None.
      wanted: parts of "data network method$"; a row must have one. Empty for all.
      unwanted: likewise; a row must have none.
      fields: of every run, over everything else.
    """

    scale: str
    seeds: Sequence[int]
    tuning_seeds: int
    directory: str | None
    wanted: tuple[str, ...]
    fields: dict
    unwanted: tuple[str, ...] = ()


class Made(NamedTuple):
    """What a command gives.

    Attributes:
      title: of the table.
      rows: of the table.
      figure: or None.
      remarks: lines below the table.
    """

    title: str
    rows: list[dict]
    figure: Figure | None = None
    remarks: tuple[str, ...] = ()


def _outcomes(
    runs: Campaign, options: Options, found: Sequence[tuple[Setting, Sequence[Arm]]]
) -> list[list[Outcome]]:
    """The outcomes of each setting's methods, of which the first is there to be compared with.

    Raises: ConfigError if no row is one that is asked for, or --set has a field that makes a row.
    """
    asked = []
    for setting, those in found:
        named = [method for method in those if asked_for(options, setting, method)]
        if named:
            asked.append((setting, named if those[0] in named else [those[0], *named]))
    if not asked:
        raise ConfigError(_nothing(options))
    for method in (method for _, those in asked for method in those):
        if given := options.fields.keys() & method.fields.keys():
            raise ConfigError(f"--set {min(given)}: it is what makes the row {method.name!r}")
    return [
        comparison.compare(
            runs,
            # At the paper's scale rates are the published ones.
            setting._replace(rates=()) if options.scale == "paper" else setting,
            those,
            seeds=options.seeds,
            tuning_seeds=options.tuning_seeds,
            more=options.fields,
        )
        for setting, those in asked
    ]


def _each(found: Sequence[Setting], *those: Arm) -> list[tuple[Setting, Sequence[Arm]]]:
    """Every setting with the same methods."""
    return [(setting, those) for setting in found]


def asked_for(options: Options, setting: Setting, method: Arm) -> bool:
    """Whether the row is one that --rows names and --skip does not."""
    where, name = f" {setting.data} {setting.network} ".lower(), method.name.lower()

    def named(part):
        part = part.lower()
        if not part.endswith("$"):
            return part in where + name
        before = part.removesuffix(f"{name}$")  # TET$ is not LocalZO + TET
        return before != part and where.endswith(" " + before)

    wanted = not options.wanted or any(map(named, options.wanted))
    return wanted and not any(map(named, options.unwanted))


def _nothing(options):
    asked = [f"--rows {','.join(options.wanted)}"] if options.wanted else []
    asked += [f"--skip {','.join(options.unwanted)}"] if options.unwanted else []
    return f"{' '.join(asked)}: no such data, network or method is left"


def _published(outcome: Outcome) -> str:
    """The paper's accuracy of the row that the outcome stands for."""
    if outcome.setting.stands_for is None or outcome.arm.method is None:
        return ""
    dataset, network, timesteps = outcome.setting.stands_for
    found = published.accuracy(dataset, outcome.arm.method, network, timesteps)
    return f"{found.percent} ({dataset}, {network}, T = {timesteps})" if found else ""


def _rows(compared, options, quoted=_published):
    return [
        row for outcomes in compared for row in comparison.rows(outcomes, options.scale, quoted)
    ]


def _accuracies(title: str, where: Callable, those: Sequence[Arm]) -> Callable:
    """The command of a table of accuracies, whose help is the title."""

    def command(runs: Campaign, options: Options) -> Made:
        found = where(options.scale, options.directory)
        compared = _outcomes(runs, options, _each(found, *those))
        return Made(title, _rows(compared, options), remarks=_remarks(compared, options))

    command.__doc__ = f"{title}."
    return command


def _remarks(compared, options) -> tuple[str, ...]:
    """How fields were chosen, and which methods are no row of their own."""
    tried, left = {}, []
    for outcomes in compared:
        setting = outcomes[0].setting
        where = f"{setting.data}, {setting.network}, T = {outcomes[0].timesteps}"
        values = {}  # of a field: which methods had these tried
        for outcome in outcomes:
            found = comparison.tried(setting, outcome.arm, options.fields)
            for field in outcome.chosen:
                line = f"{where}: {field} {', '.join(map(str, found[field]))}"
                values.setdefault(line, []).append(outcome.arm.name)
            left += [
                f'{where}: "{name}" has the fields of the row "{outcome.arm.name}", '
                "as nothing else is tried for it."
                for name in outcome.others
            ]
        for line, names in values.items():
            tried[line + ("" if len(names) == len(outcomes) else f" ({'; '.join(names)})")] = None
    if not tried:
        return tuple(left)
    return (
        "Each method has those values of the tried fields that were best together on other seeds, "
        f"from {comparison.FIRST_TUNING_SEED}. Tried:\n\n- " + "\n- ".join(tried),
        *left,
    )


def _ablated(options: Options) -> list[Setting]:
    """Where the ablations are made: CIFAR-100 at T = 4 in the paper."""
    if options.scale == "paper":
        return [settings.cifar100(options.directory)]
    return [
        setting._replace(stands_for=("CIFAR-100", "ResNet-19", 4))
        for setting in settings.images(options.scale, options.directory)
    ]


def table_5(runs: Campaign, options: Options) -> Made:
    """Bounds of f's argument. The first row, which the others are compared with, is ours."""
    *others, clip = arms.BOUNDS
    compared = _outcomes(runs, options, _each(_ablated(options), clip, *others))

    def bounding(outcome):
        return f"{published.TABLE_5[outcome.arm.method]} (CIFAR-100, ResNet-19, T = 4)"

    title = "Table 5: bounds of the argument of f"
    remarks = _remarks(compared, options)
    return Made(title, _rows(compared, options, bounding), remarks=remarks)


def figure_1(runs: Campaign, options: Options) -> Made:
    """Accuracy over the degree, with LIF."""
    compared = _outcomes(runs, options, _each(_ablated(options), arms.LIF, *arms.DEGREES))
    from lnm_jax.analysis import drawing

    drawn = drawing.figure(3.0)
    axes = drawn.subplots(1, max(1, len(compared)), squeeze=False)[0]
    for axis, outcomes in zip(axes, compared, strict=False):
        _draw_degrees(axis, outcomes, drawing)
    return Made(
        "Figure 1: degree of f",
        _rows(compared, options),
        drawn,
        (
            "The paper's values are in its picture alone (Figure 1 and section 5.1).",
            *_remarks(compared, options),
        ),
    )


def _draw_degrees(axis, outcomes, drawing):
    done = [outcome for outcome in outcomes if outcome.results]
    for place, outcome in enumerate(done):
        mean, deviation = statistics.moments(outcome.accuracies)
        axis.errorbar(
            place, mean, deviation, fmt="o", capsize=3,
            color=drawing.LEARNED if place else drawing.REFERENCE,
        )  # fmt: skip
        axis.plot(
            [place] * len(outcome.results), outcome.accuracies, "_", color=drawing.ACCENT, alpha=0.6
        )
    names = [outcome.arm.name.removeprefix("LNM, ") for outcome in done]
    axis.set_xticks(range(len(done)), names, fontsize=8)
    axis.set_ylabel("test accuracy, %", fontsize=8)
    setting = outcomes[0].setting
    axis.set_title(
        f"{setting.data}, {setting.network}: mean ± standard deviation, each seed a line",
        fontsize=8, loc="left",
    )  # fmt: skip
    drawing.plain(axis)


def table_3(runs: Campaign, options: Options) -> Made:
    """Energy by Eq. 17, from the rates of the trained runs."""
    found = settings.images(options.scale, options.directory)
    found += settings.events(options.scale, options.directory)[-1:]
    compared = _outcomes(runs, options, _each(found, arms.LIF, arms.LNM))
    return Made("Table 3: energy of an inference", costs.energies(compared, options.scale))


def figure_2(runs: Campaign, options: Options) -> Made:
    """Learned f of every layer and what it resembles, of LNM's first seed."""
    found = settings.images(options.scale, options.directory)[-1:]
    first = options._replace(seeds=options.seeds[:1])
    compared = _outcomes(runs, first, _each(found, arms.LNM))
    rows, drawn = costs.learned(compared[0], options.scale)
    return Made("Figure 2: what the layers have learned", rows, drawn)


def overhead(runs: Campaign, options: Options) -> Made:
    """Time of LNM over LIF, training and inference, in one process and in turn, without training.

    Raises: ConfigError if no row is one that is asked for.
    """
    found = [
        setting
        for setting in settings.images(options.scale, options.directory)
        if any(asked_for(options, setting, arm) for arm in (arms.LIF, arms.LNM))
    ]
    if not found:
        raise ConfigError(_nothing(options))
    rows = []
    for setting in found:
        jobs = {
            arm.method: comparison.job_of(setting, arm, {}, 0, options.fields)
            for arm in (arms.LIF, arms.LNM)
        }
        rows.append(costs.overhead(setting, jobs, options.scale))
    return Made("Section 5.4: run time of LNM over LIF", rows)


def compare(runs: Campaign, options: Options) -> Made:
    """Every method of docs/comparators.md in the same harness."""
    found = [
        (
            setting,
            [
                methods.fitted(arm, setting, options.scale)
                for arm in arms.METHODS
                if methods.fits(arm, setting)
            ],
        )
        for setting in methods.where(options)
    ]
    compared = _outcomes(runs, options, found)
    rows = [row for outcomes in compared for row in methods.rows(outcomes, options)]
    remarks = methods.remarks(compared) + _remarks(compared, options)
    return Made("Methods under one recipe", rows, remarks=remarks)


TITLES = {
    "table1": "Table 1: static images",
    "table2": "Table 2: event recordings",
    "interval": "Time between two pulses",
    "identify": "Unknown neurons from their spikes",
    "recipe": "The fast recipe, and with each ingredient taken away",
}
COMMANDS = {
    "table1": _accuracies(TITLES["table1"], settings.images, arms.FIVE),
    "table2": _accuracies(TITLES["table2"], settings.events, arms.FIVE),
    "table3": table_3,
    "table5": table_5,
    "figure1": figure_1,
    "figure2": figure_2,
    "overhead": overhead,
    "compare": compare,
    "interval": _accuracies(TITLES["interval"], settings.interval, arms.FIVE),
    "identify": _accuracies(TITLES["identify"], settings.identify, arms.FIVE),
    "recipe": _accuracies(TITLES["recipe"], settings.fast, arms.INGREDIENTS),
}
