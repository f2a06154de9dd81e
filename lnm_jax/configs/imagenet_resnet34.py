"""ImageNet, ResNet-34, T = 4, as Table 4 has it.

python train.py --config=configs/imagenet_resnet34.py --config.data.directory=D
D holds imagenet2012 as TensorFlow Datasets prepares it, or train/<wnid>/*.JPEG and val/<wnid>/.

Published (Table 1): 70.91 +- 0.03 %. Not measured here yet.
"""

from lnm_jax.configs import base


def get_config():
    """350 epochs on four GPUs, 5 of warm-up; random resized crop and flip. Batch not published."""
    config = base.get_config()
    config.timesteps = 4
    config.epochs = 350
    config.label_smoothing = 0.0
    config.log_every = 100
    config.model.name = "resnet34"
    config.data.name = "imagenet2012"
    config.data.image_size = 224
    config.data.workers = 16
    config.data.batch_size = 256
    config.data.eval_batch_size = 200
    config.optimizer.learning_rate = 1.0
    config.optimizer.weight_decay = 5e-5
    config.optimizer.warmup_epochs = 5.0
    return config
