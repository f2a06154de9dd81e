"""Every field of a configuration, with its unit and default. Experiments state differences.

Any field can be set on the command line: python train.py --config.optimizer.learning_rate=0.05
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """The default configuration, locked: setting an unknown field raises."""
    config = ConfigDict()
    config.name = ""  # directory of the run below `directory`; "" derives one from the fields
    config.directory = "runs"  # where run directories are made
    # Directory of a run whose weights this one starts with, as far as they fit (fine-tuning).
    config.init_from = config_dict.placeholder(str)
    config.init_parts = "all"  # of it: all, neurons (their parameters alone)
    config.seed = 0  # of parameters, data order and augmentation
    config.timesteps = 4  # T; static images are shown T times
    config.compute_dtype = "float32"  # of convolutions and spikes: float32, bfloat16
    config.epochs = 30  # passes over the training set
    config.label_smoothing = 0.1  # share of the target spread over all classes
    config.log_every = 10  # training steps a line of metrics.jsonl averages over
    config.stop_after_non_finite = 20  # steps in a row left out for numbers that aren't finite
    config.progress = True  # progress bar on the terminal

    config.neuron = ConfigDict()
    # lnm, lnm_two_variable, if, lif, plif, qif, eif, adex, and of docs/comparators.md: glif, clif,
    # ternary, diet, tc_lif, ts_lif, lsg, psn, masked_psn, sliding_psn. A kind uses those fields
    # that it has.
    config.neuron.kind = "lnm"
    config.neuron.degree = 3  # lnm: N of the polynomial
    config.neuron.family = "polynomial"  # lnm: polynomial, chebyshev, spline, mlp
    config.neuron.knots = 7  # lnm: of the spline
    config.neuron.hidden = 4  # lnm: width of the mlp
    config.neuron.bound = "clip"  # lnm: on the argument of f: clip, tanh, linear, none
    config.neuron.clip = 1.0  # limit of the bound; qif, eif, adex: of the argument of f
    config.neuron.update = "sum"  # lnm: sum (Eq. 10), fold (Eq. 16)
    config.neuron.decay = 0.25  # share of the potential kept per timestep (learned: initially)
    config.neuron.decay_input = True  # plif: scale the current by the learned rate as well
    config.neuron.w_decay = 0.9  # lnm_two_variable: share of w kept per timestep, initially
    config.neuron.w_gain = 0.1  # lnm_two_variable: share of v that enters w, initially
    config.neuron.a_0 = 0.75  # qif: curvature, per timestep and unit of potential
    config.neuron.v_c = 0.25  # qif: critical potential
    config.neuron.delta_t = 0.1  # eif, adex: sharpness of the onset, in units of the potential
    config.neuron.v_t = 0.2  # eif, adex: rheobase threshold
    config.neuron.a = 0.05  # adex: subthreshold adaptation, current per potential
    config.neuron.b = 0.1  # adex: jump of the adaptation at a spike, in units of the current
    config.neuron.tau_w = 5.0  # adex: time constant of the adaptation, in timesteps
    config.neuron.learn_amplitude = False  # ternary: multiply spikes by a learned number
    # tc_lif, ts_lif: what a spike takes from the dendrite, in units of the potential
    config.neuron.dendrite_reset = 0.5
    config.neuron.order = 2  # masked_psn, sliding_psn: timesteps that a spike depends on
    config.neuron.masking = 1.0  # masked_psn: 0 for psn, 1 for a causal neuron
    config.neuron.surrogate_gain = 1.0  # diet: factor of the surrogate; published 0.3
    config.neuron.threshold = 0.5  # v_th, in units of the input current
    # rectangle, triangle, sigmoid, arctan, fast_sigmoid, piecewise_quadratic, dspike, gaussian,
    # localzo
    config.neuron.surrogate = "rectangle"
    config.neuron.width = 1.0  # of the surrogate, in units of the potential
    config.neuron.reset = "hard"  # after a spike: hard, soft
    config.neuron.v_reset = 0.0  # potential at the start and after a hard reset
    config.neuron.gate_gradient = False  # gradient through the reset's gate

    config.spiking = ConfigDict()
    config.spiking.sharing = "layer"  # one set of neuron parameters a layer, or a channel
    config.spiking.window = 0.0  # surrogate width in deviations of v_in; 0: neuron.width
    config.spiking.start = "reset"  # membrane potential before the first timestep: reset, learned
    config.spiking.membrane_norm = False  # MPBN: BatchNorm of the potential before firing
    config.spiking.backend = "auto"  # scan, fused, auto

    config.model = ConfigDict()
    # resnet_small, resnet19, resnet34, vggsnn, mlp, recorded_layer
    config.model.name = "resnet_small"
    # Unset (None) leaves a field to the model.
    config.model.stem = config_dict.placeholder(int)  # channels of the first convolution
    config.model.stem_kernel = config_dict.placeholder(int)  # side of its kernel
    config.model.stem_stride = config_dict.placeholder(int)
    config.model.stem_pool = config_dict.placeholder(str)  # after the stem: max, average, none
    config.model.widths = config_dict.placeholder(tuple)  # channels of each stage or group
    config.model.blocks = config_dict.placeholder(tuple)  # blocks of each stage
    # average, max; resnets: over space before the head, vggsnn: between its groups
    config.model.pooling = config_dict.placeholder(str)
    # resnets: projection, padding; membrane: shortcuts of currents, spikes before convolutions
    config.model.shortcut = config_dict.placeholder(str)
    config.model.side_heads = config_dict.placeholder(tuple)  # resnets: blocks with one, from 1
    config.model.side_features = config_dict.placeholder(int)  # resnets: channels of side heads
    config.model.head = config_dict.placeholder(int)  # spiking dense layer, 0 for none
    # of what to keep only the input for the backward pass: none, block, stage
    config.model.remat = "none"
    # of the convolutions' kernels: he_fan_out, he_fan_in, glorot, torch
    config.model.initialisation = "he_fan_out"
    config.model.momentum = 0.9  # share of BatchNorm's running statistics kept per step
    config.model.epsilon = 1e-5  # added to BatchNorm's variance
    config.model.norm = "batch"  # after convolutions: batch, tebn (a learned scale a timestep)
    config.model.tdbn = 0.0  # BatchNorm scales start at this threshold (Zheng et al. 2021); 0: 1

    config.loss = ConfigDict()
    # cross_entropy of the mean logits, tet (of every timestep), last_step (LTS: of the last one),
    # im_loss, surrogate_module and shortcuts_variant (with model.side_heads), spike_trains (of
    # recorded spikes)
    config.loss.name = "cross_entropy"
    config.loss.tet_weight = 1e-3  # tet: lambda, share of the term that draws logits to a mean
    config.loss.tet_mean = 1.0  # tet: that mean
    config.loss.im_weight = 5e-3  # im_loss: of the term that centres the blocks' currents
    config.loss.side_weight = 0.5  # the two with side heads: of the side heads' cross-entropy
    config.loss.distillation = 0.9  # surrogate_module: share of the divergences
    config.loss.temperature = 3.0  # surrogate_module: of the divergences
    config.loss.sharpness = 0.05  # spike_trains: units of the potential that one logit is

    config.adaptation = ConfigDict()  # of numbers that change from epoch to epoch
    # masked_psn: share of the epochs in which masking rises from 0 to 1; published 0.125
    config.adaptation.masking = 0.0
    config.adaptation.temperature = False  # dspike: search the temperature in every epoch
    config.adaptation.change = 0.2  # of the temperature in an epoch, to either side
    config.adaptation.epsilon = 0.1  # step of its differences, in root mean squares of the weights
    config.adaptation.weights = 0  # how many weights of the first layer are moved; 0: all

    config.data = ConfigDict()
    # digits, sequential_digits, permuted_digits, digits_dvs, interval, identify, cifar10, cifar100,
    # cifar10dvs, imagenet2012, folder, folder_dvs, events (recordings), "tonic:NMNIST" or another
    # set of tonic's, or the import path of your own loader, "package.module:function"
    config.data.name = "digits"
    # Where the data set is; those from digits to identify need none. A set uses the fields it has.
    config.data.directory = config_dict.placeholder(str)
    # Pixels a side, to resize to; events, tonic: of a frame's longer side
    # Go on with a data set that has changed since the run began, and record it in data.json.
    config.data.accept_changes = False
    config.data.image_size = config_dict.placeholder(int)
    # interval, identify: of the examples; folder, events, tonic: of a split that is drawn
    config.data.seed = 0
    config.data.test_share = 0.2  # of each class, where a split is drawn
    config.data.sensor_size = config_dict.placeholder(tuple)  # events, tonic: width, height; pixels
    # events, tonic: microseconds from the first event that are used; unset: the whole recording
    config.data.time_window = config_dict.placeholder(int)
    config.data.columns = "xytp"  # events: of arrays (N, 4)
    config.data.examples = config_dict.placeholder(int)  # how many to train on; unset: all
    config.data.teacher = "qif"  # identify: kind of the recorded neurons: qif, eif, lif
    config.data.skip_corrupt = False  # leave out images that can't be decoded, and count them
    config.data.workers = 0  # processes that read from disk; 0 for threads
    # GiB; folder: of decoded images, above which it is streamed; events, tonic: of frames, at most
    config.data.memory_limit = 4.0
    config.data.batch_size = 64  # images a training step, over all devices
    config.data.eval_batch_size = 360  # images an evaluation step, over all devices
    # Augmentation, in this order; streamed images are cropped and flipped when they are read.
    config.data.crop_padding = 0  # pixels of zeros around the image before a random crop
    config.data.flip = False  # left to right, with probability 1/2
    config.data.auto_augment = False  # AutoAugment's policy for CIFAR-10
    config.data.cutout = 0  # side of a square set to the mean, pixels
    config.data.test_flip = False  # report accuracy with mirrored test images as well, apart

    config.optimizer = ConfigDict()
    # sgd, adam, adamw; muon: orthogonal updates of kernels, SGD for all else
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1  # of weights, BatchNorm and biases; muon: of kernels
    config.optimizer.sgd_learning_rate = 0.05  # muon: of BatchNorm, biases and classifier
    config.optimizer.neuron_learning_rate = 0.01  # of neuron parameters; the same schedule
    config.optimizer.decay = "cosine"  # of the rates, to 0: cosine, linear
    config.optimizer.momentum = 0.9  # sgd, muon
    config.optimizer.nesterov = False  # sgd, muon
    config.optimizer.newton_schulz = 5  # muon: iterations; 0: normalised, not orthogonal updates
    config.optimizer.fixed_norm = True  # muon: hold kernels at a norm, in place of weight decay
    config.optimizer.weight_decay = 5e-4  # on kernels only
    config.optimizer.neuron_weight_decay = 0.0  # on neuron parameters
    config.optimizer.clip_norm = 0.0  # largest norm of the whole gradient; 0: any
    config.optimizer.warmup_epochs = 0.0  # linear increase from 0 before the decay

    config.checkpoint = ConfigDict()
    config.checkpoint.every_epochs = (
        1  # epochs between checkpoints; the last and each best are saved
    )
    config.checkpoint.every_steps = 0  # training steps between checkpoints within epochs; 0: none
    config.checkpoint.every_minutes = 10.0  # at most this long without one; 0: no limit
    config.checkpoint.keep = 2  # latest checkpoints kept, beside the best

    config.distributed = ConfigDict()
    config.distributed.enabled = False  # several processes train as one; else local devices only
    # Unset on Slurm, TPU pods and other clusters that jax knows.
    config.distributed.address = config_dict.placeholder(str)  # host:port of the first process
    config.distributed.processes = config_dict.placeholder(int)  # how many
    config.distributed.process = config_dict.placeholder(int)  # number of this one, from 0
    config.distributed.timeout = 300  # seconds to wait for the others at the start
    return config.lock()
