"""CIFAR10-DVS, VGGSNN, T = 10, as Table 4 has it.

python train.py --config=configs/cifar10dvs_vggsnn.py --config.data.directory=D
D holds CIFAR10DVS/<class>/*.aedat4.

Published (Table 2): 82.95 +- 0.69 %. Not measured here yet.
"""

from lnm_jax.configs import base


def get_config():
    """200 epochs on one GPU; frames of 48x48, crop and flip (A.1). Batch size not published."""
    config = base.get_config()
    config.timesteps = 10
    config.epochs = 200
    config.label_smoothing = 0.01
    config.neuron.surrogate = "triangle"
    config.neuron.width = 0.5  # half the window [-0.5, 0.5]
    config.model.name = "vggsnn"
    config.data.name = "cifar10dvs"
    config.data.image_size = 48
    config.data.batch_size = 64
    config.data.eval_batch_size = 100
    config.data.crop_padding = 4
    config.data.flip = True
    config.optimizer.neuron_learning_rate = 1e-3
    return config
