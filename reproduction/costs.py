"""Energy, learned neurons and run time of trained networks, as rows and figures."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax

from benchmarks import timing
from lnm_jax import data, paper
from lnm_jax.analysis import dynamics, energy, names, recording
from lnm_jax.training import experiment, finished, parallel
from reproduction import statistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
                run = finished.load(result.directory, dataset=dataset)
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
    run = finished.load(next(iter(outcome.results.values())).directory)
    seen = recording.record(run, examples=EXAMPLES)
    _, drawn = dynamics.picture(run, seen)
    found = names.name_layers(run, seen)
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


def overhead(setting: Setting, jobs: Sequence[Job], scale: str) -> dict:
    """Time of a training step and an evaluation step of LNM over LIF's, measured in turn.

    Args: jobs, of LIF and of LNM.
    """
    train, evaluate, dataset = {}, {}, None
    for name, job in zip(("LIF", "LNM"), jobs, strict=True):
        config = job.config("")
        this = experiment.build(config, dataset)
        dataset = this.dataset
        batches = data.train_batches(dataset.train, 0, config.data.batch_size, 0, 1)
        train[name] = _repeated(this.train_step, parallel.replicate(this.init()), next(batches))
        tested = next(iter(data.eval_batches(dataset.test, config.data.eval_batch_size)))
        variables = parallel.replicate(this.init()).variables
        evaluate[name] = functools.partial(this.eval_step, variables, tested)
    times = {what: timing.interleaved(x, ROUNDS) for what, x in (("t", train), ("e", evaluate))}
    return {
        "data": setting.data,
        "network": setting.network,
        "batch": config.data.batch_size,
        "LIF step, ms": f"{1e3 * times['t']['LIF'].median:.1f}",
        "LNM step, ms": f"{1e3 * times['t']['LNM'].median:.1f}",
        "training overhead, %": _over(times["t"]),
        "published, training": str(paper.TRAINING_OVERHEAD),
        "LIF evaluation, ms": f"{1e3 * times['e']['LIF'].median:.1f}",
        "LNM evaluation, ms": f"{1e3 * times['e']['LNM'].median:.1f}",
        "inference overhead, %": _over(times["e"]),
        "published, inference": str(paper.INFERENCE_OVERHEAD),
        "largest spread": f"{max(t.spread for x in times.values() for t in x.values()):.2f}",
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


def _over(times):
    return f"{100 * (times['LNM'].median / times['LIF'].median - 1):+.1f}"
