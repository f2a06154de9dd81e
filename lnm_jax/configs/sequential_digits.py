"""Digits pixel by pixel, three dense layers, T = 64: a small task of long sequences; no download.

python train.py --config=configs/sequential_digits.py

--config.data.name=permuted_digits has the pixels in one random order.
"""

from lnm_jax.configs import interval


def get_config():
    """30 epochs of 1,437 sequences, as `interval` in all else."""
    config = interval.get_config()
    config.timesteps = 64
    config.epochs = 30
    config.data.name = "sequential_digits"
    config.data.batch_size = 60
    config.data.eval_batch_size = 360
    return config
