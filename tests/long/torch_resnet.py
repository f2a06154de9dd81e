"""Spiking ResNet-19 in plain PyTorch, from the paper's equations: what lnm_jax is compared with.

It does everything the slow way, and shares no code with lnm_jax: frames go through every layer
at every timestep, neurons are a loop over time, and autograd keeps it all. Modules have the
names that Flax gives theirs, so that weights can be copied by name. Data are (T, B, C, H, W).
"""

import torch
from torch import nn

THRESHOLD = 0.5


class Spike(torch.autograd.Function):
    """Forward, 1 from the threshold on (Eq. 5); backward, the rectangle of width 1 (Eq. 8)."""

    @staticmethod
    def forward(context, above):
        context.save_for_backward(above)
        return (above >= 0).to(above.dtype)

    @staticmethod
    def backward(context, gradient):
        (above,) = context.saved_tensors
        return gradient * (above.abs() < 0.5)


class Neuron(nn.Module):
    """LIF with decay 0.25 (Algorithm 2) or, of a degree above 0, LNM (Algorithm 1).

    After a call, `potentials` holds v_in and `spikes` the spikes, shaped like the currents.
    """

    def __init__(self, degree):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(degree)) if degree else None

    def kept(self, v):
        """What a timestep leaves of the potential, before the current is added."""
        if self.theta is None:
            return 0.25 * v
        u = v.clamp(-1, 1)
        return v + sum(theta * u**k for k, theta in enumerate(self.theta, 1))

    def forward(self, currents):
        v, potentials, spikes = torch.zeros_like(currents[0]), [], []
        for current in currents:
            v_in = self.kept(v) + current
            spike = Spike.apply(v_in - THRESHOLD)
            v = v_in * (1 - spike.detach())  # Algorithm 1, line 15: the gate is a constant
            potentials.append(v_in.detach())
            spikes.append(spike)
        self.potentials, spikes = torch.stack(potentials), torch.stack(spikes)
        self.spikes = spikes.detach()
        return spikes


class ConvNorm(nn.Module):
    """Convolution without bias and BatchNorm over batch, time and space.

    After a call, `samples` is how many values of each channel BatchNorm has seen.
    """

    def __init__(self, inputs, features, kernel=3, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, features, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(features)

    def forward(self, x):
        y = self.conv(x.flatten(0, 1))
        self.samples = y[:, 0].numel()
        return self.norm(y).unflatten(0, x.shape[:2])


class Block(nn.Module):
    """conv-BN-spike-conv-BN, add the shortcut, spike (Zheng et al. 2021)."""

    def __init__(self, inputs, features, stride, degree):
        super().__init__()
        self.conv_1 = ConvNorm(inputs, features, stride=stride)
        self.spike_1 = Neuron(degree)
        self.conv_2 = ConvNorm(features, features)
        self.spike_2 = Neuron(degree)
        same = inputs == features and stride == 1
        self.shortcut = nn.Identity() if same else ConvNorm(inputs, features, 1, stride)

    def forward(self, x):
        y = self.conv_2(self.spike_1(self.conv_1(x)))
        return self.spike_2(y + self.shortcut(x))


class ResNet19(nn.Module):
    """17 convolutions and 2 dense layers; (T, B, C, H, W) to logits (B, K).

    Args:
      inputs: channels of the data.
      stem, widths, head: channels of the stem, of the three stages, of the spiking dense layer.
      num_classes: K.
      degree: of the neurons' polynomials, 0 for LIF.
    """

    def __init__(self, *, inputs, stem, widths, head, num_classes, degree):
        super().__init__()
        self.stem, self.stem_spike = ConvNorm(inputs, stem), Neuron(degree)
        self.blocks = []
        features = stem
        for stage, (width, count) in enumerate(zip(widths, (3, 3, 2), strict=True), 1):
            for block in range(1, count + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                self.blocks.append(Block(features, width, stride, degree))
                self.add_module(f"stage_{stage}_block_{block}", self.blocks[-1])
                features = width
        self.head, self.head_spike = nn.Linear(features, head), Neuron(degree)
        self.classifier = nn.Linear(head, num_classes)

    def forward(self, x):
        x = self.stem_spike(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = self.head_spike(self.head(x.mean((3, 4))))
        return self.classifier(x).mean(0)  # Eq. 6
