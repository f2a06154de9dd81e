"""Handwritten digits (embedded in scikit-learn), a small ResNet of 5 spiking layers, T = 4.

python train.py
"""

from lnm_jax.configs import base


def get_config():
    """The default experiment: learned neurons on real data, by the recipe of docs/learning.md."""
    config = base.get_config()
    config.epochs = 8
    config.neuron.surrogate = "triangle"
    config.model.tdbn = 0.5
    config.data.batch_size = 32
    config.data.crop_padding = 1
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 0.05
    config.optimizer.nesterov = True
    config.optimizer.decay = "linear"
    return config
