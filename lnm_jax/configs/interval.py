"""Time between two pulses: six classes, three dense layers, T = 30; seconds on a CPU.

python train.py --config=configs/interval.py

At this task a neuron that keeps what it received has an advantage over a leaky one: the decay is
0.9. A leaky one does best at a learning rate of 1, a learned one at 0.3, with 0.003 for f: at 0.1
two runs of fifteen collapse (docs/results.md).
"""

from lnm_jax.configs import base


def get_config():
    """15 epochs of 4,000 drawn examples; the gradient is clipped, since T is long."""
    config = base.get_config()
    config.timesteps = 30
    config.epochs = 15
    config.neuron.decay = 0.9
    config.neuron.surrogate = "triangle"
    config.model.name = "mlp"
    config.data.name = "interval"
    config.data.batch_size = 100
    config.data.eval_batch_size = 1000
    config.optimizer.learning_rate = 0.3
    config.optimizer.neuron_learning_rate = 0.003
    config.optimizer.clip_norm = 5.0
    return config
