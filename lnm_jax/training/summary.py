"""The closing summary of a run."""

from __future__ import annotations

import json
import os

import jax

from lnm_jax import launch
from lnm_jax.training import parallel, run_directory
from lnm_jax.training.loop import Run

FILE = "summary.json"


def summarise(run: Run) -> dict:
    """Accuracy, spike rates and time of a run, as numbers; see summary.json."""
    tests = [record for record in run.records if record["split"] == "test"]
    best = max(tests, key=lambda record: record["accuracy"])
    order = run.experiment.spiking_layers()
    return {
        "accuracy_last": tests[-1]["accuracy"],
        "accuracy_best": best["accuracy"],
        "epoch_best": best["epoch"],
        **{key: tests[-1][key] for key in ("accuracy_flip",) if key in tests[-1]},
        "epochs": tests[-1]["epoch"],
        "rates": {path: tests[-1]["rates"][path] for path in order},
        "seconds": round(run.seconds, 1),
        "devices": f"{parallel.device_count()} {jax.devices()[0].device_kind}",
        "images_per_second": run.images_per_second and round(run.images_per_second, 1),
    }


def write(run: Run) -> None:
    """Writes summary.json into the run's directory; a run that was only read keeps its own."""
    if run.images_per_second is None and os.path.exists(os.path.join(run.directory, FILE)):
        return
    run_directory.write(run.directory, FILE, json.dumps(summarise(run), indent=2) + "\n")


def as_text(run: Run, pictures: dict[str, str]) -> str:
    """The summary as lines for the screen.

    Args:
      pictures: what other files hold, path by description.
    """
    facts = summarise(run)
    config = run.experiment.config
    data = run.experiment.dataset
    speed = f", {facts['images_per_second']:.0f} images/s" if facts["images_per_second"] else ""
    if facts["images_per_second"]:
        took = f"{facts['seconds']:.0f} s with compilation{speed} in training steps"
    else:
        took = f"{facts['seconds']:.0f} s to read it; no step was left to do"
    flip = []
    if "accuracy_flip" in facts:
        flip = [f"                last {facts['accuracy_flip']:.2f} % with mirrored images as well"]
    width = max(map(len, facts["rates"]))
    lines = [
        f"{config.neuron.kind} on {config.data.name}: {len(data.train.labels)} training and "
        f"{len(data.test.labels)} test images, {data.split}; T = {config.timesteps}",
        f"test accuracy   last {facts['accuracy_last']:.2f} %, "
        f"best {facts['accuracy_best']:.2f} % (epoch {facts['epoch_best']} of {facts['epochs']})",
        *flip,
        f"time            {took}",
        f"allocator       {launch.allocator()}",
        "mean spike rate of each layer, spikes per neuron and timestep",
    ]
    lines += [f"  {path:<{width}}  {rate:.3f}" for path, rate in facts["rates"].items()]
    places = {
        "configuration": "config.json",
        "metrics": "metrics.jsonl",
        "TensorBoard": f"tensorboard --logdir {run.directory}",
        "checkpoints": "checkpoints/",
    } | pictures
    lines += [f"in {run.directory}/"]
    lines += [f"  {what:<14}{where}" for what, where in places.items()]
    return "\n".join(lines)
