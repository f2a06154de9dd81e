"""ResNet-19 training steps by SpikingJelly 2.0 on torch, for `benchmarks.side_by_side`.

Run by a Python that has torch and SpikingJelly (benchmarks/README.md says how to make one); it
imports nothing of this project. Each line on its standard input asks for one training step; its
seconds are the answer. The network is built of SpikingJelly's own layers in multi-step mode:
the same convolutions, BatchNorms, LIF neurons and shortcuts as `lnm_jax.models.resnet19`.
"""

import json
import sys
import time
from importlib.metadata import version

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn


def lif():
    """The paper's LIF: half the threshold's unit, decay 0.25, hard reset without gradient."""
    return neuron.LIFNode(
        tau=4 / 3,
        decay_input=False,
        v_threshold=0.5,
        v_reset=0.0,
        surrogate_function=surrogate.Rect(alpha=1.0),
        detach_reset=True,
        step_mode="m",
    )


def conv_norm(inputs, outputs, kernel, stride):
    """Convolution without bias and BatchNorm."""
    conv = layer.Conv2d(
        inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False, step_mode="m"
    )
    return nn.Sequential(conv, layer.BatchNorm2d(outputs, step_mode="m"))


class Block(nn.Module):
    """conv-BN-spike-conv-BN, add the shortcut, spike."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv_1, self.spike_1 = conv_norm(inputs, outputs, 3, stride), lif()
        self.conv_2, self.spike_2 = conv_norm(outputs, outputs, 3, 1), lif()
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x):
        """Spikes (T, B, C, H, W) to spikes."""
        y = self.conv_2(self.spike_1(self.conv_1(x)))
        return self.spike_2(y + self.shortcut(x))


class ResNet19(nn.Module):
    """As `lnm_jax.models.resnet19`: a static image is convolved once."""

    def __init__(self, width, blocks, timesteps, classes):
        super().__init__()
        self.timesteps = timesteps
        self.stem, self.stem_spike = conv_norm(3, width, 3, 1), lif()
        stages, inputs = [], width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage
            for block in range(count):
                stages.append(Block(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head, self.head_spike = nn.Linear(inputs, 256), lif()
        self.classifier = nn.Linear(256, classes)

    def forward(self, images):
        """Logits (B, K), averaged over time."""
        x = self.stem(images[None]).repeat(self.timesteps, 1, 1, 1, 1)
        x = self.stages(self.stem_spike(x)).mean((3, 4))
        return self.classifier(self.head_spike(self.head(x))).mean(0)


def main(options):
    """Answers each line of standard input with the seconds of one training step."""
    torch.manual_seed(0)
    network = ResNet19(options["width"], options["blocks"], options["T"], classes=10)
    device = options.get("device", "cpu")
    network, images = network.to(device), torch.randn(options["batch"], 3, 32, 32, device=device)
    if options["channels_last"]:
        network, images = (x.to(memory_format=torch.channels_last) for x in (network, images))
    labels = torch.arange(options["batch"], device=device) % 10
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    versions = {"torch": torch.__version__, "spikingjelly": version("spikingjelly")}
    print(json.dumps({"library": "SpikingJelly", **versions}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = nn.functional.cross_entropy(network(images), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        functional.reset_net(network)
        if device == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
