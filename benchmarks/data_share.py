"""What sets in memory cost a training step: time of the host's batch and of augmentation.

Medians over steps of the host's share (indexing a batch), of the augmentation compiled by
itself (inside a step it is fused with what follows) and of the whole step. Contents are random;
shapes and fields are those of the configuration that is named, narrower where it says so.
"""

import statistics
import time

import jax
import numpy as np

from lnm_jax import data
from lnm_jax.configs import cifar10_resnet19, cifar100_resnet19, digits, digits_dvs
from lnm_jax.training import experiment, parallel


def _random(shape, dtype) -> data.Dataset:
    """Random examples of that shape and type."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, shape).astype(dtype)
    split = data.Split(images, (np.arange(len(images)) % 10).astype(np.int32))
    channels = shape[-1]
    mean, std = np.full(channels, 120, np.float32), np.full(channels, 60, np.float32)
    return data.Dataset(split, split, 10, mean, std, "random")


def _median(function, rounds: int) -> float:
    """Milliseconds."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def _share(name: str, config, dataset: data.Dataset, rounds: int) -> dict:
    this = experiment.build(config, dataset)
    size = config.data.batch_size
    stream = data.train_batches(dataset.train, 0, size, 0, 10 * rounds)
    host = _median(lambda: next(stream)["label"], 5 * rounds)
    batch = next(stream)
    keys = jax.random.split(jax.random.key(0), size)
    change = jax.jit(jax.vmap(experiment.augmentation(config.data, dataset)))
    change(keys, batch["image"])
    augment = _median(lambda: change(keys, batch["image"]), rounds)
    state = [parallel.replicate(this.init())]

    def step():
        state[0], metrics = this.train_step(state[0], batch)
        return metrics

    step()
    whole = _median(step, rounds)
    return {
        "what": name,
        "batch": size,
        "host ms": host,
        "augmentation ms": augment,
        "step ms": whole,
        "host %": 100 * host / whole,
        "host + augmentation %": 100 * (host + augment) / whole,
    }


def run(short: bool) -> list[dict]:
    """A row for each configuration."""
    rounds, images = (2, 64) if short else (15, 10_000)
    cases = []
    for name, get_config, width in (
        ("cifar10_resnet19, width 16", cifar10_resnet19.get_config, 16),
        ("cifar100_resnet19, width 16", cifar100_resnet19.get_config, 16),
    ):
        config = get_config()
        config.model.stem, config.model.widths = width, (width, 2 * width, 4 * width)
        cases.append((name, config, (images, 32, 32, 3), np.uint8))
    cases.append(("digits", digits.get_config(), (1437, 8, 8, 1), np.uint8))
    dvs = digits_dvs.get_config()
    cases.append(("digits_dvs", dvs, (1437, 10, 16, 16, 2), np.float16))
    rows = []
    for name, config, shape, dtype in cases[:1] if short else cases:
        if short:
            config.data.batch_size = 8
            config.model.stem, config.model.widths, config.model.blocks = 4, (4,), (1,)
        rows.append(_share(name, config, _random(shape, dtype), rounds))
    return rows
