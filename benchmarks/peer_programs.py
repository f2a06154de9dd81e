"""What other libraries run: SpikingJelly's and Spyx's neurons, ResNet-19 and a NIR file.

Run by a Python that has them (benchmarks/README.md says how to make one); imports nothing of this
project. `benchmarks.peers` starts programs, and each line it writes asks for a run, whose seconds
are the answer.

python benchmarks/peer_programs.py nir NETWORK.nir BUNDLE IMAGES.npy

reads an exported NIR file by SpikingJelly's importer; BUNDLE is one of the same run, whose reader
says what the network is to give. Prints how many classes and logits agree.
"""

import importlib.util
import json
import os
import sys
import time
from importlib.metadata import version


def _leaky(kind="lif"):
    """The paper's LIF or a PLIF: threshold 0.5, decay 0.25, hard reset without gradient."""
    from spikingjelly.activation_based import neuron, surrogate

    fields = {
        "decay_input": False,
        "v_threshold": 0.5,
        "v_reset": 0.0,
        "surrogate_function": surrogate.Rect(alpha=1.0),
        "detach_reset": True,
        "step_mode": "m",
    }
    if kind == "plif":
        return neuron.ParametricLIFNode(init_tau=4 / 3, **fields)
    return neuron.LIFNode(tau=4 / 3, **fields)


def _lnm():
    """Our degree-3 LNM: v_in = v + f(clip(v)) + I, spike at 0.5, hard reset without gradient."""
    import torch
    from spikingjelly.activation_based import neuron, surrogate

    spiking = surrogate.Rect(alpha=1.0).forward  # FlexSN refuses a module that is captured

    def step(current, v, first, second, third):
        u = v.clamp(-1.0, 1.0)
        v_in = v + u * (first + u * (second + u * third)) + current
        spike = spiking(v_in - 0.5)
        return spike, v_in * (1.0 - spike.detach())

    theta = tuple(torch.nn.Parameter(torch.tensor(x)) for x in (-0.75, 0.0, 0.0))
    return neuron.FlexSN(step, num_states=1, static_inputs=theta, step_mode="m")


def spikingjelly_neuron(shape, kind):
    """One spiking layer: "lif", "plif", or our LNM's step by FlexSN."""
    import torch

    torch.manual_seed(0)
    node = _lnm() if kind == "lnm" else _leaky(kind)
    currents = 0.2 + 0.6 * torch.randn(shape)
    cotangent = torch.randn(shape)

    def forward():
        node.reset()
        with torch.no_grad():
            node(currents)

    def both():
        node.reset()
        inputs = currents.detach().requires_grad_()
        node(inputs).backward(cotangent)

    versions = {"torch": torch.__version__, "spikingjelly": version("spikingjelly")}
    return versions, {"forward": forward, "both": both}


def spyx_neuron(shape):
    """One layer of Spyx's LIF on jax."""
    import jax
    import jax.numpy as jnp
    import spyx.axn
    import spyx.nn
    from flax import nnx

    rectangle = spyx.axn.custom(bwd=lambda x: (jnp.abs(x) < 0.5).astype(x.dtype))
    node = spyx.nn.LIF(
        tuple(shape[2:]), beta=0.25, threshold=0.5, activation=rectangle, rngs=nnx.Rngs(0)
    )
    graph, params = nnx.split(node)
    currents = 0.2 + 0.6 * jax.random.normal(jax.random.key(0), shape)
    cotangent = jax.random.normal(jax.random.key(1), shape)

    @jax.jit
    def forward(params, currents):
        return spyx.nn.run(nnx.merge(graph, params), currents)[0]

    @jax.jit
    def both(params, currents, cotangent):
        spikes, pullback = jax.vjp(forward, params, currents)
        return spikes, pullback(cotangent)

    return {"jax": jax.__version__, "spyx": version("spyx")}, {
        "forward": lambda: jax.block_until_ready(forward(params, currents)),
        "both": lambda: jax.block_until_ready(both(params, currents, cotangent)),
    }


def _resnet19(width, blocks, timesteps, classes):
    """The convolutions, BatchNorms, neurons and shortcuts of `lnm_jax.models.resnet19`.

    Of SpikingJelly's own layers in multi-step mode; as ours, it convolves a static image once.
    """
    from spikingjelly.activation_based import layer
    from torch import nn

    def conv_norm(inputs, outputs, kernel, stride):
        conv = layer.Conv2d(
            inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False, step_mode="m"
        )
        return nn.Sequential(conv, layer.BatchNorm2d(outputs, step_mode="m"))

    class Block(nn.Module):
        """conv-BN-spike-conv-BN, add the shortcut, spike."""

        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.first = nn.Sequential(conv_norm(inputs, outputs, 3, stride), _leaky())
            self.second, self.spike = conv_norm(outputs, outputs, 3, 1), _leaky()
            same = stride == 1 and inputs == outputs
            self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)

        def forward(self, x):
            """Spikes (T, B, C, H, W) to spikes."""
            return self.spike(self.second(self.first(x)) + self.shortcut(x))

    class ResNet19(nn.Module):
        """Logits (B, K), averaged over time, of images (B, C, H, W)."""

        def __init__(self):
            super().__init__()
            self.stem, self.stem_spike = conv_norm(3, width, 3, 1), _leaky()
            stages, inputs = [], width
            for stage, count in enumerate(blocks):
                outputs = width * 2**stage
                for block in range(count):
                    stages.append(Block(inputs, outputs, 2 if stage and not block else 1))
                    inputs = outputs
            self.stages = nn.Sequential(*stages)
            self.head = nn.Sequential(nn.Linear(inputs, 256), _leaky())
            self.classifier = nn.Linear(256, classes)

        def forward(self, images):
            """Logits."""
            x = self.stem(images[None]).repeat(timesteps, 1, 1, 1, 1)
            return self.classifier(self.head(self.stages(self.stem_spike(x)).mean((3, 4)))).mean(0)

    return ResNet19()


def spikingjelly_resnet19(timesteps, width, batch, blocks, channels_last, device="cpu"):
    """A training step of ResNet-19: SGD with momentum, on a GPU in bfloat16."""
    import torch
    from spikingjelly.activation_based import functional

    torch.manual_seed(0)
    network = _resnet19(width, blocks, timesteps, classes=10).to(device)
    images = torch.randn(batch, 3, 32, 32, device=device)
    if channels_last:
        network, images = (x.to(memory_format=torch.channels_last) for x in (network, images))
    labels = torch.arange(batch, device=device) % 10
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

    def step():
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = torch.nn.functional.cross_entropy(network(images), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        functional.reset_net(network)
        if device == "cuda":
            torch.cuda.synchronize()

    versions = {"torch": torch.__version__, "spikingjelly": version("spikingjelly")}
    return versions, {"": step}


def nir(path, bundle, images):
    """Prints how far SpikingJelly's importer agrees with the bundle's reader."""
    import nir
    import numpy as np
    import torch
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    spec = importlib.util.spec_from_file_location("reader", os.path.join(bundle, "reader.py"))
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    images = np.load(images)
    network = reader.Network(bundle)
    ours = network(images).logits
    x = (images - np.float32(network.graph["mean"])) / np.float32(network.graph["std"])
    timesteps = int(nir.read(path).metadata["timesteps"])
    x = np.broadcast_to(x, (timesteps, *x.shape)) if x.ndim == 4 else x.swapaxes(0, 1)
    frames = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 2), np.float32))
    imported, state, outputs = import_from_nir(path, dt=1e-4), None, []
    with torch.no_grad():
        for frame in frames:
            y, state = imported(frame, state)
            outputs.append(y)
    theirs = torch.stack(outputs).mean(0).numpy()
    same = (ours.argmax(-1) == theirs.argmax(-1)).sum()
    close = (np.abs(ours - theirs).max(-1) < 1e-4).sum()
    print(
        f"SpikingJelly: {same} of {len(ours)} classes equal, {close} images' logits within 1e-4, "
        f"largest difference {np.abs(ours - theirs).max():.2g}"
    )


def serve(versions, programs):
    """Says what the libraries are, then answers each line of standard input with seconds."""
    print(json.dumps(versions), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        programs[line.strip()]()
        print(time.perf_counter() - start, flush=True)


PROGRAMS = {
    "spikingjelly_neuron": spikingjelly_neuron,
    "spikingjelly_resnet19": spikingjelly_resnet19,
    "spyx_neuron": spyx_neuron,
}

if __name__ == "__main__":
    if sys.argv[1] == "nir":
        nir(*sys.argv[2:])
    else:
        serve(*PROGRAMS[sys.argv[1]](**json.loads(sys.argv[2])))
