"""Handwritten digits (embedded in scikit-learn), a small ResNet of 5 spiking layers, T = 4.

python train.py
"""

from configs import base


def get_config():
    """The default experiment: learned neurons on real data in about a minute and a half."""
    config = base.get_config()
    config.epochs = 45
    config.data.batch_size = 32
    config.data.crop_padding = 1
    config.optimizer.learning_rate = 0.05
    return config
