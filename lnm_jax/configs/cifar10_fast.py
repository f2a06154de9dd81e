"""CIFAR-10, ResNet-19, T = 2, by a recipe that learns within minutes; docs/learning.md has why.

python train.py --config=configs/cifar10_fast.py --config.data.directory=D

Small, on a CPU core, with CIFAR-10 (JPEG) as a folder of images: --config.data.name=folder
--config.data.image_size=16 --config.model.stem=16 --config.model.widths="(16,32,64)"
--config.data.crop_padding=0 --config.epochs=1

Measured at that small size after one epoch (2026-11-28, seeds 0, 1, 2): LNM 58.9, 58.9, 59.9 %,
LIF 58.9, 60.2, 59.2 %; the paper's network and recipe with LIF 33.8, 35.3, 35.4 %. The published
width was not measured with this code.
"""

from lnm_jax.configs import base


def get_config():
    """Muon, tdBN's scales, membrane shortcuts, a triangle and a linear decay; 8 epochs."""
    config = base.get_config()
    config.timesteps = 2
    config.epochs = 8
    config.neuron.surrogate = "triangle"
    config.model.name = "resnet19"
    config.model.shortcut = "membrane"
    config.model.tdbn = 0.5
    config.model.head = 0
    config.data.name = "cifar10"
    config.data.batch_size = 128
    config.data.eval_batch_size = 200
    config.data.crop_padding = 2
    config.data.flip = True
    config.data.test_flip = True
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 0.05
    config.optimizer.nesterov = True
    config.optimizer.decay = "linear"
    return config
