"""Energy, learned neurons and run time of trained networks, as rows and figures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from lnm_jax import data, neurons
from lnm_jax.analysis import dynamics, energy, naming, recording
from lnm_jax.training import configuration, experiment, parallel
from lnm_jax.training.run import load
from reproduction import published, timing
from reproduction.comparison import Outcome
from reproduction.runner import Job
from reproduction.settings import Setting
from reproduction.statistics import as_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lnm_jax.data import Dataset

EXAMPLES = 1000  # of the test set, on which rates are measured
ROUNDS = 7


def energies(compared: Sequence[Sequence[Outcome]], scale: str) -> list[dict]:
    """A row a method of each setting: energy, and LNM's overhead at equal rates (Table 3)."""
    rows = []
    for outcomes in compared:
        dataset = None
        for outcome in outcomes:
            measured = []
            for result in outcome.results.values():
                run = load(result.directory, dataset=dataset)
                dataset = run.experiment.dataset
                measured.append(energy.compare(run, recording.record(run, examples=EXAMPLES)))
            if measured:
                rows.append(_energy_row(outcome, measured, scale))
    return rows


def _energy_row(outcome, measured, scale):
    overheads = [one.overhead for one in measured]
    return {
        "data": outcome.setting.data,
        "network": outcome.setting.network,
        "method": outcome.method.name,
        "MACs a neuron": measured[0].macs,
        "seeds": len(measured),
        "energy, mJ": as_text([one.own.operations for one in measured], ".3g", ".2g"),
        "LIF at equal rates, mJ": as_text([one.lif.operations for one in measured], ".3g", ".2g"),
        "overhead, %": as_text([one.operations for one in overheads]),
        "overhead with memory, %": as_text([one.with_memory for one in overheads]),
        "overhead, u = 0 free, %": as_text([one.skipping_zeros for one in overheads]),
        "published": _published(outcome),
        "T": outcome.timesteps,
        "scale": scale,
        "note": outcome.setting.note,
    }


def _published(outcome):
    """What Table 3 has of the network that the setting stands for."""
    row = outcome.setting.paper_row and published.energy(*outcome.setting.paper_row)
    if not row:
        return ""
    learned = outcome.method.paper_name == "LNM"
    own, more = (row.lnm, f", overhead {row.overhead}") if learned else (row.lif, "")
    return f"{own}{more} ({row.dataset}, {row.network}, T = {row.timesteps})"


def learned(outcome: Outcome, scale: str) -> tuple[list[dict], Figure | None]:
    """What each layer's f resembles, and Figure 2, of the first seed's run."""
    if not outcome.results:
        return [{"layer": "", "note": "; ".join(outcome.failed)}], None
    run = load(next(iter(outcome.results.values())).directory)
    seen = recording.record(run, examples=EXAMPLES)
    _, drawn = dynamics.picture(run, seen)
    rows = []
    for number, (path, named) in enumerate(naming.name_layers(run, seen).items(), 1):
        near = named[0].nearest
        rows.append(
            {
                "#": number,
                "layer": path,
                "resembles": named[0].name,
                "R2": f"{near.r2:.3f}" if near else "",
                "reason": named[0].reason,
                "published (ResNet-34, by eye)": published.FIGURE_2.get(number, ""),
                "data": outcome.setting.data,
                "network": outcome.setting.network,
                "scale": scale,
            }
        )
    return rows, drawn


def moved(outcome: Outcome) -> str:
    """How far training took f from its start, see `tables.rates`; "" for neurons without one."""
    changes = []
    for result in outcome.results.values():
        run = load(result.directory)
        neuron = run.experiment.neuron
        start = neuron.init(jax.random.key(0))
        if not jax.tree.leaves(start):
            return ""
        u = np.linspace(-1, run.experiment.threshold, 61, dtype=np.float32)
        before = neurons.drift_of(neuron, start, u)
        for path in run.experiment.spiking_layers():
            params = recording.neuron_params(run.state.params, path)
            changes.append(np.abs(neurons.drift_of(neuron, params, u) - before).max())
    return f"{np.mean(changes):.3f}" if changes else ""


class Programs(NamedTuple):
    """Steps of a job, ready to run. They hold much memory on CPUs, where programs are large.

    Attributes:
      train, evaluate: functions of nothing that run a step.
      mebibytes: temporary memory of a training step, by XLA's analysis.
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
    config = job.config("runs")
    configuration.validate(config)
    built = experiment.build(config, dataset)
    batch = next(data.train_batches(built.dataset.train, 0, config.data.batch_size, 0, 1))
    state = parallel.replicate(built.init())
    compiled = built.train_step.lower(state, batch).compile()
    tested = next(iter(data.eval_batches(built.dataset.test, config.data.eval_batch_size)))
    variables = parallel.replicate(built.init()).variables

    def train():
        nonlocal state  # the step before gave its own away
        state, metrics = built.train_step(state, batch)
        return metrics

    return Programs(
        train,
        functools.partial(built.eval_step, variables, tested),
        compiled.memory_analysis().temp_size_in_bytes / 2**20,
        built.dataset,
    )


def measure(programs: Mapping[str, Programs], rounds: int = ROUNDS) -> tuple[dict, dict]:
    """Seconds of each job's training steps and of its evaluation steps; programs run in turn."""
    train = timing.interleaved({name: own.train for name, own in programs.items()}, rounds)
    test = timing.interleaved({name: own.evaluate for name, own in programs.items()}, rounds)
    return train, test


def overhead(setting: Setting, lif: Job, lnm: Job, scale: str) -> dict:
    """Time of a training step and an evaluation step of LNM over LIF's."""
    programs = {"lif": programs_of(lif), "lnm": programs_of(lnm)}
    train, test = measure(programs)
    return {
        "data": setting.data,
        "network": setting.network,
        "batch": lif.config("runs").data.batch_size,
        "LIF step, ms": f"{1e3 * train['lif'].median:.1f}",
        "LNM step, ms": f"{1e3 * train['lnm'].median:.1f}",
        "training overhead, %": _over(train["lnm"].median, train["lif"].median),
        "published, training": published.TRAINING_OVERHEAD,
        "LIF evaluation, ms": f"{1e3 * test['lif'].median:.1f}",
        "LNM evaluation, ms": f"{1e3 * test['lnm'].median:.1f}",
        "inference overhead, %": _over(test["lnm"].median, test["lif"].median),
        "published, inference": published.INFERENCE_OVERHEAD,
        "memory overhead, %": _over(programs["lnm"].mebibytes, programs["lif"].mebibytes),
        "largest spread": f"{max(t.spread for t in (*train.values(), *test.values())):.2f}",
        "scale": scale,
        "device": f"{parallel.device_count()} {jax.devices()[0].device_kind}",
        "note": setting.note,
    }


def _over(ours, theirs):
    return f"{100 * (ours / theirs - 1):+.1f}"
