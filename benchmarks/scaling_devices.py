"""Training steps on the devices that XLA was told to imitate, for `benchmarks.scaling`.

A line on its standard input asks for one step; its seconds are the answer.
"""

import json
import sys
import time

import jax
import numpy as np

from lnm_jax import data
from lnm_jax.configs import digits
from lnm_jax.training import experiment, parallel


def main(options):
    """Answers each line of standard input."""
    config = digits.get_config()
    config.data.batch_size, config.timesteps = options["batch"], options["T"]
    rng = np.random.default_rng(0)
    size, count = options["size"], 2 * options["batch"]
    images = rng.integers(0, 255, (count, size, size, 3)).astype(np.uint8)
    split = data.Split(images, (np.arange(count) % 10).astype(np.int32))
    moments = np.full(3, 120, np.float32), np.full(3, 60, np.float32)
    this = experiment.build(config, data.Dataset(split, split, 10, *moments, "random"))
    batch = next(data.train_batches(split, 0, options["batch"], 0, 1))
    state = parallel.replicate(this.init())
    state, _ = this.train_step(state, batch)
    print(json.dumps({"devices": jax.device_count()}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        state, metrics = this.train_step(state, batch)
        jax.block_until_ready((state, metrics))
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
