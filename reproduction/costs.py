"""Energy, learned neurons and run time of trained networks, as rows and figures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax

from benchmarks import timing
from lnm_jax import data, paper
from lnm_jax.analysis import dynamics, energy, naming, recording
from lnm_jax.training import configuration, experiment, parallel
from lnm_jax.training.run import load
from reproduction import statistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lnm_jax.data import Dataset
    from reproduction.campaign import Job
    from reproduction.comparison import Outcome
    from reproduction.settings import Setting

EXAMPLES = 1000  # of the test set, on which rates are measured
ROUNDS = 7


def energies(compared: Sequence[Sequence[Outcome]], scale: str) -> list[dict]:
    """A row a method of each setting: energy, and LNM's overhead at equal rates (Table 3)."""
    rows = []
    for outcomes in compared:
        dataset = None
        for outcome in outcomes:
            found = []
            for result in outcome.results.values():
                run = load(result.directory, dataset=dataset)
                dataset = run.experiment.dataset
                found.append(energy.compare(run, recording.record(run, examples=EXAMPLES)))
            if found:
                rows.append(_energy_row(outcome, found, scale))
    return rows


def _energy_row(outcome, found, scale):
    stands_for = outcome.setting.stands_for
    published = paper.energy(*stands_for) if stands_for else None
    learned = outcome.arm.method == "LNM"
    text = ""
    if published:
        own = published.lnm if learned else published.lif
        more = f", overhead {published.overhead}" if learned else ""
        text = f"{own}{more} ({published.dataset}, {published.network}, T = {published.timesteps})"
    return {
        "data": outcome.setting.data,
        "network": outcome.setting.network,
        "method": outcome.arm.name,
        "MACs a neuron": found[0].macs,
        "seeds": len(found),
        "energy, mJ": _joules([one.own.operations for one in found]),
        "LIF at equal rates, mJ": _joules([one.lif.operations for one in found]),
        "overhead, %": statistics.spread([one.overhead.operations for one in found]),
        "overhead with memory, %": statistics.spread([one.overhead.with_memory for one in found]),
        "overhead, u = 0 free, %": statistics.spread(
            [one.overhead.skipping_zeros for one in found]
        ),
        "published": text,
        "T": outcome.timesteps,
        "scale": scale,
        "note": outcome.setting.note,
    }


def _joules(values):
    mean, deviation = statistics.moments(values)
    return f"{mean:.3g}" if len(values) < 2 else f"{mean:.3g} ± {deviation:.2g}"


def learned(outcomes: Sequence[Outcome], scale: str) -> tuple[list[dict], Figure | None]:
    """What each layer's f resembles, and Figure 2 of the first seed's run."""
    outcome = outcomes[0]
    if not outcome.results:
        return [{"layer": "", "note": "; ".join(outcome.failed)}], None
    run = load(next(iter(outcome.results.values())).directory)
    seen = recording.record(run, examples=EXAMPLES)
    _, drawn = dynamics.picture(run, seen)
    found = naming.name_layers(run, seen)
    rows = []
    for number, (path, named) in enumerate(found.items(), 1):
        near, published = named[0].nearest, paper.resembles(number)
        rows.append(
            {
                "#": number,
                "layer": path,
                "resembles": named[0].name,
                "R2": f"{near.r2:.3f}" if near else "",
                "reason": named[0].reason,
                "published (ResNet-34, by eye)": published.name if published else "",
                "data": outcome.setting.data,
                "network": outcome.setting.network,
                "scale": scale,
            }
        )
    return rows, drawn


class Steps(NamedTuple):
    """What a method costs on this machine.

    Attributes:
      training, evaluation: seconds of a step, medians of interleaved runs, and their spreads.
      mebibytes: temporary memory of a training step, by XLA's analysis.
    """

    training: timing.Time
    evaluation: timing.Time
    mebibytes: float


class Programs(NamedTuple):
    """Steps of a job, ready to run. They hold much memory on CPUs, where programs are large.

    Attributes:
      train, evaluate: functions of nothing that run a step.
      mebibytes: temporary memory of a training step.
      dataset: that they run on.
    """

    train: Callable
    evaluate: Callable
    mebibytes: float
    dataset: Dataset


def programs_of(job: Job, dataset: Dataset | None = None) -> Programs:
    """The job's steps on the first batch of its data.

    Args:
      dataset: of a job with the same data, to load it once.
    Raises: ConfigError for a configuration that is not allowed.
    """
    config = job.config("")
    configuration.validate(config)
    this = experiment.build(config, dataset)
    batch = next(data.train_batches(this.dataset.train, 0, config.data.batch_size, 0, 1))
    state = parallel.replicate(this.init())
    compiled = this.train_step.lower(state, batch).compile()
    tested = next(iter(data.eval_batches(this.dataset.test, config.data.eval_batch_size)))
    variables = parallel.replicate(this.init()).variables
    return Programs(
        _repeated(this.train_step, state, batch),
        functools.partial(this.eval_step, variables, tested),
        compiled.memory_analysis().temp_size_in_bytes / 2**20,
        this.dataset,
    )


def measure_steps(programs: dict[str, Programs], rounds: int = ROUNDS) -> dict[str, Steps]:
    """Costs of each job's steps, by name; programs run in turn."""
    train = {name: own.train for name, own in programs.items()}
    evaluate = {name: own.evaluate for name, own in programs.items()}
    times = [timing.interleaved(these, rounds) for these in (train, evaluate)]
    return {name: Steps(times[0][name], times[1][name], programs[name].mebibytes) for name in train}


def overhead(setting: Setting, jobs: dict[str, Job], scale: str) -> dict:
    """Time of a training step and an evaluation step of LNM over LIF's.

    Args: jobs, "LIF" and "LNM".
    """
    costs = measure_steps({name: programs_of(job) for name, job in jobs.items()})
    lif, lnm = costs["LIF"], costs["LNM"]
    return {
        "data": setting.data,
        "network": setting.network,
        "batch": jobs["LIF"].config("").data.batch_size,
        "LIF step, ms": f"{1e3 * lif.training.median:.1f}",
        "LNM step, ms": f"{1e3 * lnm.training.median:.1f}",
        "training overhead, %": _over(lnm.training, lif.training),
        "published, training": str(paper.TRAINING_OVERHEAD),
        "LIF evaluation, ms": f"{1e3 * lif.evaluation.median:.1f}",
        "LNM evaluation, ms": f"{1e3 * lnm.evaluation.median:.1f}",
        "inference overhead, %": _over(lnm.evaluation, lif.evaluation),
        "published, inference": str(paper.INFERENCE_OVERHEAD),
        "memory overhead, %": f"{100 * (lnm.mebibytes / lif.mebibytes - 1):+.1f}",
        "largest spread": f"{max(t.spread for one in (lif, lnm) for t in one[:2]):.2f}",
        "scale": scale,
        "device": f"{parallel.device_count()} {jax.devices()[0].device_kind}",
        "note": setting.note,
    }


def _repeated(step, state, batch):
    """A function that trains another step each time; the step before gave its state away."""
    held = [state]

    def once():
        held[0], found = step(held[0], batch)
        return found

    return once


def _over(ours, theirs):
    return f"{100 * (ours.median / theirs.median - 1):+.1f}"
