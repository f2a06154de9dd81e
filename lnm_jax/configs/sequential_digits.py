"""Digits pixel by pixel, three dense layers, T = 64: a small task of long sequences; no download.

python train.py --config=configs/sequential_digits.py

--config.data.name=permuted_digits has the pixels in one random order.
"""

from lnm_jax.configs import base


def get_config():
    """30 epochs of 1,437 sequences; the gradient is clipped, since T is long."""
    config = base.get_config()
    config.timesteps = 64
    config.epochs = 30
    config.neuron.decay = 0.9
    config.neuron.surrogate = "triangle"
    config.model.name = "mlp"
    config.data.name = "sequential_digits"
    config.data.batch_size = 60
    config.optimizer.learning_rate = 0.3
    config.optimizer.neuron_learning_rate = 0.003
    config.optimizer.clip_norm = 5.0
    return config
