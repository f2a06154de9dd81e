"""CIFAR10-DVS, ResNet-19, T = 10, as Table 4 has it.

python train.py --config=configs/cifar10dvs_resnet19.py --config.data.directory=D
D holds CIFAR10DVS/<class>/*.aedat4.

Published (Table 2): 81.39 +- 0.25 %. Not measured here yet.
"""

from lnm_jax.configs import cifar10dvs_vggsnn


def get_config():
    """VGGSNN's recipe for another network."""
    config = cifar10dvs_vggsnn.get_config()
    config.model.name = "resnet19"
    return config
