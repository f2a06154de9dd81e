"""Several methods under one setting: each one's learning rate is chosen, then seeds are run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reproduction import campaign, statistics
from reproduction.arms import BEST_LIF, Arm
from reproduction.campaign import Campaign, Job, Result
from reproduction.settings import Setting

FIRST_TUNING_SEED = 1000  # choices are made on seeds that are not reported
RATE = "optimizer.learning_rate"


class Outcome(NamedTuple):
    """A method under a setting.

    Attributes:
      setting, arm: which.
      timesteps: T.
      chosen: fields that were chosen for it, and their values.
      results: by seed, of the runs that could be finished.
      failed: last lines of those that could not, those of values that were tried included.
      others: names of arms that have the same fields here, and so are no rows of their own.
    """

    setting: Setting
    arm: Arm
    timesteps: int
    chosen: dict
    results: dict[int, Result]
    failed: list[str]
    others: list[str]

    @property
    def accuracies(self) -> list[float]:
        """Of the last epoch, %, by seed."""
        return [result.accuracy for result in self.results.values()]


def job_of(setting: Setting, arm: Arm, chosen: dict, seed: int, more: dict) -> Job:
    """The run of an arm with the chosen fields."""
    seeded = {"seed": seed} | dict.fromkeys(setting.seeded, seed)
    return campaign.job(setting.experiment, setting.fields, arm.fields, chosen, seeded, more)


def tried(setting: Setting, arm: Arm, more: dict) -> dict[str, tuple]:
    """Values among which an arm's best ones are chosen, by field, but for fields of every run."""
    rates = {RATE: setting.rates} if setting.rates else {}
    return {field: values for field, values in (rates | arm.tries).items() if field not in more}


def grouped(
    setting: Setting, arms: Sequence[Arm], more: dict, *, tuning_seeds: int
) -> list[list[Arm]]:
    """The arms, those together that have the same fields and values to try.

    LIF at its best decay is plain LIF where no decay is tried.
    """
    found = {}
    for arm in arms:
        tries = tried(setting, arm, more) if tuning_seeds else {}
        found.setdefault((job_of(setting, arm, {}, 0, more), str(tries)), []).append(arm)
    return list(found.values())


def choose(
    runs: Campaign, setting: Setting, arms: Sequence[Arm], seeds: Sequence[int], more: dict
) -> tuple[dict[str, dict], dict[str, list[str]]]:
    """The fields under which each arm's mean accuracy of the last epoch was highest.

    Every weight learning rate is tried with every value of what else the arm tries.
    Returns: both by the arm's name, those fields, and what could not be tried and why.
    """
    candidates = {}
    for arm in arms:
        tries = tried(setting, arm, more) if seeds else {}
        candidates[arm.name] = [
            dict(zip(tries, values, strict=True)) for values in itertools.product(*tries.values())
        ]
    jobs = {
        (arm.name, place, seed): job_of(setting, arm, fields, seed, more)
        for arm in arms
        if len(candidates[arm.name]) > 1
        for place, fields in enumerate(candidates[arm.name])
        for seed in seeds
    }
    results = runs.run(jobs.values())
    lost = {arm.name: [] for arm in arms}
    for (name, place, _), job in jobs.items():  # a candidate that fails is no run that failed
        if reason := runs.failed.pop(job, ""):
            runs.refused.discard(job)
            lost[name].append(f"not chosen from, {words(candidates[name][place])}: {reason}")

    def mean(name, place):
        if len(candidates[name]) < 2:
            return 0
        found = [results.get(jobs[name, place, seed]) for seed in seeds]
        # A candidate that can't be trained with a seed is no candidate.
        return np.mean([result.accuracy if result else -np.inf for result in found])

    chosen = {
        arm.name: max(
            enumerate(candidates[arm.name]), key=lambda pair, n=arm.name: mean(n, pair[0])
        )[1]
        for arm in arms
    }
    return chosen, lost


def words(chosen: dict) -> str:
    """Chosen fields as text."""
    return ", ".join(f"{field.split('.')[-1]} {value}" for field, value in chosen.items())


def compare(
    runs: Campaign,
    setting: Setting,
    arms: Sequence[Arm],
    *,
    seeds: Sequence[int],
    tuning_seeds: int,
    more: dict,
) -> list[Outcome]:
    """Chooses, then trains every arm with the seeds; of those that are `grouped`, the first.

    Args:
      more: fields of every run, such as fewer epochs.
    """
    groups = grouped(setting, arms, more, tuning_seeds=tuning_seeds)
    arms = [group[0] for group in groups]
    tuning = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + tuning_seeds)
    chosen, lost = choose(runs, setting, arms, tuning, more)
    jobs = {
        (arm.name, seed): job_of(setting, arm, chosen[arm.name], seed, more)
        for seed in seeds
        for arm in arms
    }
    results = runs.run(jobs.values())
    outcomes = []
    for arm, *others in groups:
        mine = {seed: jobs[arm.name, seed] for seed in seeds}
        outcomes.append(
            Outcome(
                setting,
                arm,
                next(iter(mine.values())).config(runs.directory).timesteps,
                chosen[arm.name],
                {seed: results[job] for seed, job in mine.items() if job in results},
                lost[arm.name] + [runs.failed[job] for job in mine.values() if job in runs.failed],
                [other.name for other in others],
            )
        )
    return outcomes


def rows(outcomes: Sequence[Outcome], scale: str, published) -> list[dict]:
    """A row an outcome; differences are over the seeds that both have.

    They are to the first outcome, and to LIF at its best decay where that is among them.

    Args:
      published: (outcome) -> the paper's number as text, "" without one.
    """
    tuned = [outcome for outcome in outcomes if outcome.arm.name == BEST_LIF.name]
    bases = list({outcome.arm.name: outcome for outcome in (outcomes[0], *tuned)}.values())
    table = []
    for outcome in outcomes:
        done = list(outcome.results.values())
        row = {
            "data": outcome.setting.data,
            "network": outcome.setting.network,
            "method": outcome.arm.name,
            "chosen": words(outcome.chosen),
            "seeds": len(done),
            "accuracy, %": statistics.spread(outcome.accuracies) if done else "failed",
            "best epoch, %": statistics.spread([r.best for r in done]) if done else "",
            **{f"minus {base.arm.name}": _difference(outcome, base) for base in bases},
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
    return str(
        statistics.paired(
            [outcome.results[seed].accuracy for seed in both],
            [base.results[seed].accuracy for seed in both],
        )
    )
