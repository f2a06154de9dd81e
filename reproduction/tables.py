"""Each table and figure: what is trained for it, and what is made of the runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from lnm_jax.errors import ConfigError, ReportedError
from reproduction import compare, comparison, costs, methods, published, settings, statistics
from reproduction.comparison import Made, Options, Outcome
from reproduction.methods import Method
from reproduction.runner import Runner
from reproduction.settings import Setting


def outcomes_of(
    runs: Runner, options: Options, wanted: Sequence[tuple[Setting, Sequence[Method]]]
) -> list[list[Outcome]]:
    """The outcomes of each setting's methods, of which the first is there to be compared with.

    Raises: ConfigError if no row is one that is asked for, --set has a field that makes a row, or
      data are not there.
    """
    asked = []
    for setting, those in wanted:
        if options.scale == "paper":  # rates are the published ones
            setting = setting._replace(rates=())
        named = [method for method in those if options.ask_for(setting, method)]
        if named:
            asked.append((setting, named if those[0] in named else [those[0], *named]))
    every = [(setting, method) for setting, those in wanted for method in those]
    for part in options.wanted:
        alone = options._replace(wanted=(part,), unwanted=())
        if not any(alone.ask_for(setting, method) for setting, method in every):
            raise alone.nothing()
    if not asked:
        raise options.nothing()
    for method in (method for _, those in asked for method in those):
        if given := options.fields.keys() & method.fields.keys():
            raise ConfigError(f"--set {min(given)}: it is what makes the row {method.name!r}")
    for setting, _ in asked:
        settings.look_for_data(setting)
    each = {
        "seeds": options.seeds, "tuning_seeds": options.tuning_seeds, "more": options.fields
    }  # fmt: skip
    runs.expect(sum(comparison.count(setting, those, **each) for setting, those in asked))
    return [comparison.compare(runs, setting, those, **each) for setting, those in asked]


def _each(those: Sequence[Setting], *methods: Method) -> list[tuple[Setting, Sequence[Method]]]:
    """Every setting with the same methods."""
    return [(setting, methods) for setting in those]


def _accuracy(outcome: Outcome) -> str:
    """The paper's accuracy of the row that the outcome stands for."""
    if outcome.setting.paper_row is None or outcome.method.paper_name is None:
        return ""
    dataset, network, timesteps = outcome.setting.paper_row
    row = published.accuracy(dataset, outcome.method.paper_name, network, timesteps)
    return f"{row.percent} ({dataset}, {network}, T = {timesteps})" if row else ""


def _table(title, compared, options, quoted=_accuracy) -> Made:
    """Accuracies of what was compared, beside what is quoted of the paper."""
    rows = [row for those in compared for row in comparison.rows(those, options.scale, quoted)]
    return Made(title, rows, remarks=_remarks(compared, options))


def _accuracies(title: str, where: Callable, those: Sequence[Method]) -> Callable:
    """The command of a table of accuracies, whose help is the title."""

    def command(runs: Runner, options: Options) -> Made:
        each = _each(where(options.scale, options.directory, options.recipe), *those)
        return _table(title, outcomes_of(runs, options, each), options)

    command.__doc__ = f"{title}."
    return command


def rates(runs: Runner, options: Options) -> Made:
    """The rate of f's coefficients, and how far it takes f from its start."""
    where = settings.narrowest(options.scale, options.directory, options.recipe)
    compared = outcomes_of(runs, options, _each([where], methods.LIF, *methods.RATES))
    made = _table("The rate of f's coefficients", compared, options)
    for row, outcome in zip(made.rows, compared[0], strict=True):
        row["f moved"] = costs.moved(outcome)
    remark = "f moved: largest change of f on [-1, threshold], mean over layers and seeds."
    return made._replace(remarks=(remark, *made.remarks))


def transfer(runs: Runner, options: Options) -> Made:
    """Whether learned dynamics help weights that are trained anew around them, frozen.

    f is that of LNM's run of the first seed, on the time between two pulses.
    """
    where = settings.interval(options.scale, options.directory, options.recipe)
    if not options.ask_for(where[0], methods.LNM):
        raise ConfigError(f"transfer needs the row {methods.LNM.name!r}, see --rows and --skip")
    [outcomes] = outcomes_of(runs, options, _each(where, *methods.FIVE[:2], methods.LNM))
    learned = outcomes[-1]
    result = learned.results.get(options.seeds[0])
    if result is None:
        raise ReportedError("LNM's run of the first seed did not end")
    fixed = {**methods.LNM.fields, **learned.chosen, "optimizer.neuron_learning_rate": 0.0}
    start = fixed | {"init_from": os.path.abspath(result.directory), "init_parts": "neurons"}
    frozen = (
        comparison.Method("LNM, f as at the start, frozen", fixed),
        comparison.Method(f"LNM, f of seed {options.seeds[0]}, frozen", start),
    )
    each = _each([where[0]._replace(rates=())], *frozen)
    [others] = outcomes_of(runs, options._replace(wanted=(), unwanted=()), each)
    made = _table("Learned dynamics, frozen", [[*outcomes, *others]], options)
    remark = f"Seed {options.seeds[0]} of the last row starts with weights of the run that f is of."
    return made._replace(remarks=(remark, *made.remarks))


def _fast(scale, directory, recipe):
    """The first images under the fast recipe, whichever was asked for, at its own rate."""
    return [settings.images(scale, directory, "fast")[0]._replace(rates=())]


def _remarks(compared, options) -> tuple[str, ...]:
    """How fields were chosen, and which methods are no row of their own."""
    tried, left = {}, []
    for outcomes in compared:
        setting = outcomes[0].setting
        where = f"{setting.data}, {setting.network}, T = {outcomes[0].timesteps}"
        values = {}  # of a field: which methods had these tried
        for outcome in outcomes:
            tries = comparison.tried(setting, outcome.method, options.fields)
            for field in outcome.chosen:
                line = f"{where}: {field} {', '.join(map(str, tries[field]))}"
                values.setdefault(line, []).append(outcome.method.name)
            left += [
                f'{where}: "{name}" has the fields of the row "{outcome.method.name}", '
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
        setting._replace(paper_row=("CIFAR-100", "ResNet-19", 4)) for setting in _images(options)
    ]


def _images(options):
    return settings.images(options.scale, options.directory, options.recipe)


def table_5(runs: Runner, options: Options) -> Made:
    """Bounds of f's argument. The first row, which the others are compared with, is ours."""
    *others, clip = methods.BOUNDS
    compared = outcomes_of(runs, options, _each(_ablated(options), clip, *others))

    def quoted(outcome):
        return f"{published.TABLE_5[outcome.method.paper_name]} (CIFAR-100, ResNet-19, T = 4)"

    return _table("Table 5: bounds of the argument of f", compared, options, quoted)


def figure_1(runs: Runner, options: Options) -> Made:
    """Accuracy over the degree, with LIF."""
    compared = outcomes_of(runs, options, _each(_ablated(options), methods.LIF, *methods.DEGREES))
    from lnm_jax.analysis import drawing

    drawn = drawing.figure(3.0)
    axes = drawn.subplots(1, len(compared), squeeze=False)[0]
    for axis, outcomes in zip(axes, compared, strict=True):
        _draw_degrees(axis, outcomes, drawing)
    made = _table("Figure 1: degree of f", compared, options)
    remark = "The paper's values are in its picture alone (Figure 1 and section 5.1)."
    return made._replace(figure=drawn, remarks=(remark, *made.remarks))


def _draw_degrees(axis, outcomes, drawing):
    done = [outcome for outcome in outcomes if outcome.results]
    for place, outcome in enumerate(done):
        mean, deviation = statistics.mean_std(outcome.accuracies)
        axis.errorbar(
            place, mean, deviation, fmt="o", capsize=3,
            color=drawing.LEARNED if place else drawing.REFERENCE,
        )  # fmt: skip
        axis.plot(
            [place] * len(outcome.results), outcome.accuracies, "_", color=drawing.ACCENT, alpha=0.6
        )
    names = [outcome.method.name.removeprefix("LNM, ") for outcome in done]
    axis.set_xticks(range(len(done)), names, fontsize=8)
    setting = outcomes[0].setting
    title = f"{setting.data}, {setting.network}: mean ± standard deviation, each seed a line"
    drawing.plain(axis, y="test accuracy, %", title=title)


def table_3(runs: Runner, options: Options) -> Made:
    """Energy by Eq. 17, from the rates of the trained runs."""
    those = _images(options)
    those += settings.events(options.scale, options.directory, options.recipe)[-1:]
    compared = outcomes_of(runs, options, _each(those, methods.LIF, methods.LNM))
    return Made("Table 3: energy of an inference", costs.energies(compared, options.scale))


def figure_2(runs: Runner, options: Options) -> Made:
    """Learned f of every layer and what it resembles, of LNM's first seed."""
    those = _images(options)[-1:]
    first = options._replace(seeds=options.seeds[:1])
    [[outcome]] = outcomes_of(runs, first, _each(those, methods.LNM))
    rows, drawn = costs.learned(outcome, options.scale)
    return Made("Figure 2: what the layers have learned", rows, drawn)


def overhead(runs: Runner, options: Options) -> Made:
    """Time of LNM over LIF, training and inference, in one process and in turn, without training.

    Raises: ConfigError if no row is one that is asked for.
    """
    both = (methods.LIF, methods.LNM)
    those = [
        setting
        for setting in _images(options)
        if any(options.ask_for(setting, method) for method in both)
    ]
    if not those:
        raise options.nothing()
    rows = []
    for setting in those:
        jobs = [comparison.job_of(setting, method, {}, 0, options.fields) for method in both]
        rows.append(costs.overhead(setting, *jobs, options.scale))
    return Made("Section 5.4: run time of LNM over LIF", rows)


def every_method(runs: Runner, options: Options) -> Made:
    """Every method of docs/comparators.md in the same harness."""
    compared = outcomes_of(runs, options, compare.wanted(options))
    rows = [row for outcomes in compared for row in compare.rows(outcomes, options)]
    remarks = compare.remarks(compared) + _remarks(compared, options)
    return Made("Methods under one recipe", rows, remarks=remarks)


COMMANDS = {
    "table1": _accuracies("Table 1: static images", settings.images, methods.FIVE),
    "table2": _accuracies("Table 2: event recordings", settings.events, methods.FIVE),
    "table3": table_3,
    "table5": table_5,
    "figure1": figure_1,
    "figure2": figure_2,
    "overhead": overhead,
    "compare": every_method,
    "interval": _accuracies("Time between two pulses", settings.interval, methods.FIVE),
    "identify": _accuracies("Unknown neurons from their spikes", settings.identify, methods.FIVE),
    "sequential": _accuracies("Digits pixel by pixel", settings.sequential, methods.SEQUENTIAL),
    "timesteps": _accuracies("Accuracy over T", settings.timesteps, (methods.LIF, methods.LNM)),
    "transfer": transfer,
    "rates": rates,
    "forms": _accuracies("Forms of f, and how it is shared", settings.narrow, methods.FORMS),
    "recipe": _accuracies(
        "The fast recipe, and with each ingredient taken away",
        _fast,
        methods.INGREDIENTS,
    ),
}
