"""A run list for the minutes that one has a GPU: the most valuable first, done before they end.

python -m benchmarks gpu --minutes 12 --data D

D holds CIFAR-10 as train/<class>/* and test/<class>/*. First the recipe of configs/cifar10_fast.py
at the published width, LIF and LNM: 8 epochs of three seeds, 24 epochs, 60 epochs; then the
training steps of `gpu_steps`, beside SpikingJelly's where it is installed. An entry that is
complete leaves a small file in results/gpu/ and is not run again: another machine goes on with the
entries that are left. One that is cut off leaves nothing. Programs are compiled side by side in
threads while others train, which may slow the first of them.
"""

from __future__ import annotations

import json
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax

from benchmarks import gpu_steps
from lnm_jax import data
from lnm_jax.configs import cifar10_fast
from lnm_jax.errors import ConfigError
from lnm_jax.training import experiment, parallel

MARGIN = 20.0  # seconds before the end in which nothing is begun
COMPILING = 60.0  # seconds that an entry's programs take, side by side
STEPS_NEED = 240.0  # seconds of the last entry, which is not cut off once it is begun
RATE = 9000.0  # training images a second, until it is measured
GOAL = 94.0  # %, whose time is reported
# What differs from configs/cifar10_fast.py, by the epochs of the schedule.
SCHEDULES = {
    8: {"optimizer.learning_rate": 0.05},
    24: {"optimizer.learning_rate": 0.04, "data.cutout": 8},
    60: {"optimizer.learning_rate": 0.03, "data.cutout": 16},
}
LARGE = {"data.batch_size": 512, "data.eval_batch_size": 1000, "compute_dtype": "bfloat16"}
TINY = {
    "model.stem": 4, "model.widths": (4,), "model.blocks": (1,), "data.crop_padding": 1,
    "data.batch_size": 512, "data.eval_batch_size": 360, "compute_dtype": "bfloat16",
}  # fmt: skip


class Training(NamedTuple):
    """An entry of the list: a whole schedule."""

    kind: str
    epochs: int
    seed: int

    @property
    def name(self) -> str:
        """Of the file that it leaves."""
        return f"fast-{self.epochs}-{self.kind}-{self.seed}"


STEPS = "steps"
RUNS = (
    *(Training(kind, 8, seed) for seed in (0, 1, 2) for kind in ("lif", "lnm")),
    *(Training(kind, epochs, 0) for epochs in (24, 60) for kind in ("lif", "lnm")),
)


def build(entry: Training, dataset: data.Dataset, fields: dict) -> experiment.Experiment:
    """The experiment of an entry."""
    config = cifar10_fast.get_config()
    config.neuron.kind, config.epochs, config.seed = entry.kind, entry.epochs, entry.seed
    config.update_from_flattened_dict(fields | SCHEDULES[entry.epochs])
    return experiment.build(config, dataset)


def compile_ahead(built: experiment.Experiment) -> float:
    """Compiles a training and an evaluation step into the compilation cache; returns seconds."""
    start, fields = time.monotonic(), built.config.data
    state = parallel.replicate(built.init())
    batch = next(data.train_batches(built.dataset.train, 0, fields.batch_size, 0, 1))
    built.train_step.lower(state, batch).compile()
    batch = next(data.eval_batches(built.dataset.test, fields.eval_batch_size))
    built.eval_step.lower(state.variables, batch).compile()
    return time.monotonic() - start


def train(built: experiment.Experiment, deadline: float = float("inf")) -> dict | None:
    """A whole schedule; None if the deadline came first.

    Returns: accuracy of the last epoch, %; the curve, [epoch, accuracy, seconds of training steps
      until then, compilation and evaluation left out], after epochs that are powers of 2 or
      multiples of 6 and the last; images/s.
    """
    config, seconds, curve = built.config, 0.0, []
    state = parallel.replicate(built.init())
    size, last = config.data.batch_size, built.steps_until(config.epochs)
    ends = {built.steps_until(epoch): epoch for epoch in range(1, config.epochs + 1)}
    batches = data.train_batches(built.dataset.train, config.seed, size, 0, last)
    begun = None
    for step, batch in enumerate(batches, 1):
        state, _ = built.train_step(state, batch)
        if step % 50 == 0:  # so that the clock sees what is done
            jax.block_until_ready(state)
        if step != last and time.monotonic() > deadline:
            return None
        if begun is None:  # the first step compiles, or reads the cache
            jax.block_until_ready(state)
            begun = time.monotonic()
        epoch = ends.get(step)
        if epoch is None:
            continue
        jax.block_until_ready(state)
        seconds += time.monotonic() - begun
        if epoch & (epoch - 1) == 0 or epoch % 6 == 0 or step == last:
            accuracy = experiment.evaluate(built, state.variables)["accuracy"]
            curve.append([epoch, accuracy, round(seconds, 1)])
        begun = time.monotonic()
    return {
        "accuracy": curve[-1][1],
        "seconds": round(seconds, 1),
        "images/s": round((last - 1) * size / seconds),
        f"seconds to {GOAL:g} %": next((s for _, accuracy, s in curve if accuracy >= GOAL), None),
        "curve": curve,
    }


def run(
    short: bool,
    *,
    minutes: float,
    directory: str | None,
    results: pathlib.Path,
    where: dict,
    say: Callable = print,
) -> Iterator[dict]:
    """Rows of the entries that were run; each has left its file in `results`/gpu before.

    Args:
      short: digits and tiny networks, one entry of each kind.
      minutes: after which it has ended; what would take longer is not begun.
      directory: of CIFAR-10; None leaves the training out.
      results: folder of results.
      where: facts of this machine, for the files.
      say: is called with a line of progress.
    Raises: ConfigError for minutes that are not positive, no GPU, or as the data set does.
    """
    if not minutes > 0:
        raise ConfigError(f"--minutes must be positive, got {minutes:g}")
    if not short and jax.default_backend() == "cpu":
        raise ConfigError("gpu needs a GPU, found none; --short shows on a CPU that it runs")
    deadline, rate = time.monotonic() + 60 * minutes - (0 if short else MARGIN), RATE
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp())
    folder = results / "gpu"
    entries = RUNS[:2] if short else RUNS if directory else ()
    todo = [entry for entry in entries if not (folder / f"{entry.name}.json").exists()]
    if len(todo) < len(entries):
        done = f"{len(entries) - len(todo)} of {len(entries)} schedules"
        say(f"{done} are in {folder} and not run again")
    if not directory and not short:
        say("without --data nothing is trained")
    dataset = None
    if todo:
        dataset = data.load("digits") if short else data.load("folder", directory=directory)

    def keep(name, row):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(where | row, indent=1) + "\n")

    def left():
        return deadline - time.monotonic()

    def time_of(entry):
        return 5 + 1.1 * entry.epochs * len(dataset.train.labels) / rate  # with evaluation

    with ThreadPoolExecutor(4) as pool:
        fields = TINY if short else LARGE
        built = {entry: build(entry, dataset, fields) for entry in todo}
        compiling, planned = {}, COMPILING
        for entry in todo:  # seeds share their programs
            planned += time_of(entry)
            if planned < left() and (key := entry[:2]) not in compiling:
                compiling[key] = pool.submit(compile_ahead, built[entry])
        for entry in todo:
            key = entry[:2]
            needed = time_of(entry) + (0 if key in compiling else COMPILING)
            if needed > left():
                say(f"{entry.name}: needs {needed:.0f} s and is not begun, {left():.0f} s are left")
                continue
            if key not in compiling:  # training was faster than was planned
                compiling[key] = pool.submit(compile_ahead, built[entry])
            seconds = compiling[key].result()
            result = train(built[entry], deadline) if time_of(entry) < left() else None
            if result is None:
                say(f"{entry.name}: no time is left")
                continue
            rate, curve = result["images/s"], result.pop("curve")
            row = entry._asdict() | result | {"compile seconds": round(seconds, 1)}
            keep(entry.name, row | {"fields": fields | SCHEDULES[entry.epochs], "curve": curve})
            say(f"{entry.name}: {result['accuracy']:.2f} % in {result['seconds']:.0f} s")
            yield {"entry": entry.name} | row
    if (folder / f"{STEPS}.json").exists():
        say(f"{STEPS}: in {folder} and not run again")
        return
    needed = 0 if short else STEPS_NEED
    if left() < needed:
        say(f"{STEPS}: needs {needed:.0f} s and is not begun, {left():.0f} s are left")
        return
    rows = list(gpu_steps.run(short, alone=True))
    keep(STEPS, {"rows": rows})
    yield from ({"entry": STEPS} | row for row in rows)
