"""Several methods under one setting: each one's learning rate is chosen, then seeds are run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lnm_jax.errors import ConfigError
from reproduction import runner, statistics
from reproduction.methods import BEST_LIF, Method
from reproduction.runner import Job, Result, Runner
from reproduction.settings import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST_TUNING_SEED = 1000  # choices are made on seeds that are not reported
RATE = "optimizer.learning_rate"


class Options(NamedTuple):
    """What the command line asks for.

    Attributes:
      scale: name in `settings.SCALES`.
      seeds: numbers, those of the runs of each row.
      tuning_seeds: runs of each value that is tried.
      directory: of the data sets, or None.
      wanted: parts of "data network method$"; a row must have one. Empty for all.
      fields: of every run, over everything else.
      unwanted: as `wanted`; a row must have none.
      recipe: name in `settings.RECIPES`.
    """

    scale: str
    seeds: Sequence[int]
    tuning_seeds: int = 0
    directory: str | None = None
    wanted: tuple[str, ...] = ()
    fields: dict = {}  # noqa: RUF012 never changed
    unwanted: tuple[str, ...] = ()
    recipe: str = "published"

    def ask_for(self, setting: Setting, method: Method) -> bool:
        """Whether the row is one that --rows names and --skip does not."""
        where, name = f" {setting.data} {setting.network} ".lower(), method.name.lower()

        def named(part):
            part = part.lower()
            if not part.endswith("$"):
                return part in where + name
            before = part.removesuffix(f"{name}$")  # TET$ is not LocalZO + TET
            return before != part and where.endswith(" " + before)

        wanted = not self.wanted or any(map(named, self.wanted))
        return wanted and not any(map(named, self.unwanted))

    def nothing(self) -> ConfigError:
        """The error that no row is one that is asked for."""
        asked = [f"--rows {','.join(self.wanted)}"] if self.wanted else []
        asked += [f"--skip {','.join(self.unwanted)}"] if self.unwanted else []
        return ConfigError(f"{' '.join(asked)}: no such data, network or method is left")


class Outcome(NamedTuple):
    """A method under a setting.

    Attributes:
      setting, method: which.
      timesteps: T.
      chosen: fields that were chosen for it, and their values.
      results: by seed, of the runs that could be finished.
      failed: last lines of those that could not, those of values that were tried included.
      others: names of methods that have the same fields here, and so are no rows of their own.
    """

    setting: Setting
    method: Method
    timesteps: int
    chosen: dict
    results: dict[int, Result]
    failed: list[str]
    others: list[str]

    @property
    def accuracies(self) -> list[float]:
        """Of the last epoch, %, by seed."""
        return [result.accuracy for result in self.results.values()]


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


def job_of(
    setting: Setting, method: Method, chosen: dict, seed: int, more: dict, what: str = "reported"
) -> Job:
    """The run of a method with the chosen fields; `what` it is for, in a word."""
    seeded = {"seed": seed} | dict.fromkeys(setting.seeded, seed)
    where = [setting.data, setting.network, method.name, words(chosen), f"seed {seed}"]
    return runner.job(
        *(setting.experiment, setting.fields, method.fields, chosen, seeded, more),
        about=f"({what}): {', '.join(filter(None, where))}",
    )


def tried(setting: Setting, method: Method, more: dict) -> dict[str, tuple]:
    """Values among which a method's best ones are chosen, by field, but for fields of every run."""
    rates = {RATE: setting.rates} if setting.rates else {}
    return {field: values for field, values in (rates | method.tries).items() if field not in more}


def candidates(setting: Setting, method: Method, more: dict) -> list[dict]:
    """Every weight learning rate that is tried, with every value of what else is."""
    tries = tried(setting, method, more)
    return [dict(zip(tries, values, strict=True)) for values in itertools.product(*tries.values())]


def count(
    setting: Setting,
    methods: Sequence[Method],
    *,
    seeds: Sequence[int],
    tuning_seeds: int,
    more: dict,
) -> int:
    """How many runs `compare` asks for."""
    groups = grouped(setting, methods, more, tuning_seeds=tuning_seeds)
    tries = (len(candidates(setting, method, more)) for method, *_ in groups)
    return len(groups) * len(seeds) + tuning_seeds * sum(n for n in tries if n > 1)


def grouped(
    setting: Setting, methods: Sequence[Method], more: dict, *, tuning_seeds: int
) -> list[list[Method]]:
    """The methods, those together that have the same configuration and values to try.

    LIF at its best decay is plain LIF where no decay is tried.
    """
    groups = {}
    for method in methods:
        tries = tried(setting, method, more) if tuning_seeds else {}
        config = job_of(setting, method, {}, 0, more).config("runs")
        groups.setdefault((config.to_json(), str(tries)), []).append(method)
    return list(groups.values())


def choose(
    runs: Runner, setting: Setting, methods: Sequence[Method], seeds: Sequence[int], more: dict
) -> tuple[dict[str, dict], dict[str, list[str]]]:
    """The fields under which each method's mean accuracy of the last epoch was highest.

    Returns: both by the method's name, those fields, and what could not be tried and why.
    """
    those = {
        method.name: candidates(setting, method, more) if seeds else [{}] for method in methods
    }
    jobs = {
        (method.name, place, seed): job_of(setting, method, fields, seed, more, "tuning")
        for method in methods
        if len(those[method.name]) > 1
        for place, fields in enumerate(those[method.name])
        for seed in seeds
    }
    results = runs.run(jobs.values())
    lost = {method.name: [] for method in methods}
    for (name, place, _), job in jobs.items():  # a candidate that fails is no run that failed
        if reason := runs.failed.pop(job, ""):
            runs.refused.discard(job)
            lost[name].append(f"not chosen from, {words(those[name][place])}: {reason}")

    def mean(name, place):
        tests = [results.get(jobs[name, place, seed]) for seed in seeds]
        # A candidate that can't be trained with a seed is no candidate.
        return np.mean([result.accuracy if result else -np.inf for result in tests])

    chosen = {}
    for name, own in those.items():
        means = [mean(name, place) for place in range(len(own))] if len(own) > 1 else [0]
        chosen[name] = own[int(np.argmax(means))]
    return chosen, lost


def words(chosen: dict) -> str:
    """Chosen fields as text."""
    return ", ".join(f"{field.split('.')[-1]} {value}" for field, value in chosen.items())


def compare(
    runs: Runner,
    setting: Setting,
    methods: Sequence[Method],
    *,
    seeds: Sequence[int],
    tuning_seeds: int,
    more: dict,
) -> list[Outcome]:
    """Chooses, then trains every method with the seeds; of those that are `grouped`, the first.

    Args:
      more: fields of every run, such as fewer epochs.
    """
    groups = grouped(setting, methods, more, tuning_seeds=tuning_seeds)
    methods = [group[0] for group in groups]
    tuning = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + tuning_seeds)
    chosen, lost = choose(runs, setting, methods, tuning, more)
    jobs = {
        (method.name, seed): job_of(setting, method, chosen[method.name], seed, more)
        for seed in seeds
        for method in methods
    }
    results = runs.run(jobs.values())
    outcomes = []
    for method, *others in groups:
        own = {seed: jobs[method.name, seed] for seed in seeds}
        outcomes.append(
            Outcome(
                setting,
                method,
                own[seeds[0]].config(runs.directory).timesteps,
                chosen[method.name],
                {seed: results[job] for seed, job in own.items() if job in results},
                lost[method.name]
                + [runs.failed[job] for job in own.values() if job in runs.failed],
                [other.name for other in others],
            )
        )
    return outcomes


def rows(
    outcomes: Sequence[Outcome], scale: str, published: Callable[[Outcome], str]
) -> list[dict]:
    """A row an outcome; differences are over the seeds that both have.

    They are to the first outcome, and to LIF at its best decay where that is among them.

    Args:
      published: (outcome) -> the paper's number as text, "" without one.
    """
    tuned = [outcome for outcome in outcomes[1:] if outcome.method.name == BEST_LIF.name]
    table = []
    for outcome in outcomes:
        done = list(outcome.results.values())
        row = {
            "data": outcome.setting.data,
            "network": outcome.setting.network,
            "method": outcome.method.name,
            "chosen": words(outcome.chosen),
            "seeds": len(done),
            "accuracy, %": statistics.as_text(outcome.accuracies) if done else "failed",
            "best epoch, %": statistics.as_text([r.best for r in done]) if done else "",
            **{
                f"minus {base.method.name}": _difference(outcome, base)
                for base in (outcomes[0], *tuned)
            },
            "published, %": published(outcome),
            "epochs": done[0].epochs if done else "",
            "T": outcome.timesteps,
            "scale": scale,
            "device": done[0].device if done else "",
            "note": "; ".join(filter(None, [outcome.setting.note, *outcome.failed])),
            "by seed, %": ", ".join(
                f"{seed}: {r.accuracy:.2f}" for seed, r in outcome.results.items()
            ),
        }
        table.append(row)
    return table


def _difference(outcome, base):
    both = [seed for seed in outcome.results if seed in base.results]
    if outcome is base or not both:
        return ""
    own, others = ([of.results[seed].accuracy for seed in both] for of in (outcome, base))
    return str(statistics.paired(own, others))
