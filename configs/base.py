"""Every field of a configuration, with its unit and default. Experiments state differences.

Any field can be set on the command line: python train.py --config.optimizer.learning_rate=0.05
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """The default configuration, locked: setting an unknown field raises."""
    config = ConfigDict()
    config.name = ""  # directory of the run below `directory`; "" derives one from the fields
    config.directory = "runs"  # where run directories are made
    config.seed = 0  # of parameters, data order and augmentation
    config.timesteps = 4  # T; static images are shown T times
    config.epochs = 30  # passes over the training set
    config.label_smoothing = 0.1  # share of the target spread over all classes
    config.log_every = 10  # training steps a line of metrics.jsonl averages over
    config.progress = True  # progress bar on the terminal

    config.neuron = ConfigDict()
    config.neuron.kind = "lnm"  # lnm, lif; fields that a kind does not have are not used
    config.neuron.degree = 3  # N of the polynomial
    config.neuron.family = "polynomial"  # of the learned drift
    config.neuron.bound = "clip"  # on the argument of f: clip, tanh
    config.neuron.clip = 1.0  # limit of the clip bound
    config.neuron.decay = 0.25  # share of the potential kept per timestep (lnm: initially)
    config.neuron.threshold = 0.5  # v_th, in units of the input current
    config.neuron.surrogate = "rectangle"  # rectangle, triangle
    config.neuron.width = 1.0  # of the surrogate, in units of the potential
    config.neuron.reset = "hard"  # after a spike: hard
    config.neuron.v_reset = 0.0  # potential at the start and after a hard reset
    config.neuron.gate_gradient = False  # gradient through the reset gate (Eq. 4)

    config.model = ConfigDict()
    config.model.name = "resnet_small"
    # Unset (None) leaves a field to the model.
    config.model.stem = config_dict.placeholder(int)  # channels of the first convolution
    config.model.widths = config_dict.placeholder(tuple)  # channels of each stage
    config.model.blocks = config_dict.placeholder(tuple)  # blocks of each stage
    config.model.head = config_dict.placeholder(int)  # spiking dense layer, 0 for none
    config.model.momentum = 0.9  # share of BatchNorm's running statistics kept per step
    config.model.epsilon = 1e-5  # added to BatchNorm's variance

    config.data = ConfigDict()
    config.data.name = "digits"
    config.data.batch_size = 64  # images a training step, over all devices
    config.data.eval_batch_size = 360  # images an evaluation step, over all devices
    config.data.crop_padding = 0  # pixels of zeros around the image before a random crop

    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 0.1  # of weights, BatchNorm and biases; decays as cosine
    config.optimizer.neuron_learning_rate = 0.01  # of neuron parameters; the same schedule
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 5e-4  # on kernels only
    config.optimizer.neuron_weight_decay = 0.0  # on neuron parameters
    config.optimizer.warmup_epochs = 0.0  # linear increase from 0 before the cosine

    config.checkpoint = ConfigDict()
    config.checkpoint.every_epochs = 1  # epochs between checkpoints; the last is always saved
    config.checkpoint.keep = 2  # latest checkpoints kept, beside the best
    return config.lock()
