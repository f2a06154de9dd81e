"""Unknown neurons from their spikes: 16 QIF neurons behind unknown weights, T = 100.

python train.py --config=configs/identify.py
python train.py --config=configs/identify.py --config.data.teacher=eif

Accuracy is the F1 score of the predicted spikes, where the neurons reset as recorded.
"""

from lnm_jax.configs import base


def get_config():
    """800 steps of Adam on 200 trials; no label smoothing, no weight decay."""
    config = base.get_config()
    config.timesteps = 100
    config.epochs = 200
    config.model.name = "recorded_layer"
    config.loss.name = "spike_trains"
    config.data.name = "identify"
    config.data.batch_size = 50
    config.data.eval_batch_size = 200
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 0.01
    config.optimizer.neuron_learning_rate = 0.01
    config.optimizer.weight_decay = 0.0
    config.checkpoint.every_epochs = 50
    return config
