"""CIFAR-10, ResNet-19, T = 2, by a recipe that learns within minutes.

python train.py --config=configs/cifar10_fast.py --config.data.directory=D
"""

from configs import base


def get_config():
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
