"""Simulated event recordings of moving digits, VGGSNN with few channels, T = 10; no download.

python train.py --config=configs/digits_dvs.py
"""

from lnm_jax.configs import base


def get_config():
    """The event path from end to end on a CPU."""
    config = base.get_config()
    config.timesteps = 10
    config.epochs = 20
    config.model.name = "vggsnn"
    config.model.widths = ((8, 16), (32,), (32,))
    config.data.name = "digits_dvs"
    config.data.image_size = 16
    config.data.batch_size = 32
    config.data.crop_padding = 1
    config.optimizer.learning_rate = 0.05
    return config
