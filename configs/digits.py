"""Handwritten digits (embedded), small ResNet, T = 4.  python train.py"""

from configs import base


def get_config():
    """The default experiment."""
    config = base.get_config()
    config.epochs = 3
    return config
