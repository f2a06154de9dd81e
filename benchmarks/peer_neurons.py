"""SpikingJelly's neurons on torch, for `benchmarks.neuron`.

Run by a Python that has torch and SpikingJelly (benchmarks/README.md says how to make one); it
imports nothing of this project. A line "forward" or "both" asks for one run without or with the
backward pass; its seconds are the answer.
"""

import json
import sys
import time
from importlib.metadata import version

import torch
from spikingjelly.activation_based import neuron, surrogate

FIELDS = {
    "decay_input": False,
    "v_threshold": 0.5,
    "v_reset": 0.0,
    "surrogate_function": surrogate.Rect(alpha=1.0),
    "detach_reset": True,
    "step_mode": "m",
}
SPIKE = surrogate.Rect(alpha=1.0)


def lnm(current, v, first, second, third):
    """Our degree-3 LNM: v_in = v + f(clip(v)) + I, spike at 0.5, hard reset without gradient."""
    u = v.clamp(-1.0, 1.0)
    v_in = v + u * (first + u * (second + u * third)) + current
    spike = SPIKE(v_in - 0.5)
    return spike, v_in * (1.0 - spike.detach())


def build(name):
    """A neuron in multi-step mode."""
    if name == "lif":
        return neuron.LIFNode(tau=4 / 3, **FIELDS)
    if name == "plif":
        return neuron.ParametricLIFNode(init_tau=4 / 3, **FIELDS)
    theta = tuple(torch.nn.Parameter(torch.tensor(x)) for x in (-0.75, 0.0, 0.0))
    return neuron.FlexSN(lnm, num_states=1, static_inputs=theta, step_mode="m")


def main(options):
    """Answers each line of standard input."""
    torch.manual_seed(0)
    node = build(options["neuron"])
    currents = 0.2 + 0.6 * torch.randn(options["shape"])
    cotangent = torch.randn(options["shape"])
    versions = {"torch": torch.__version__, "spikingjelly": version("spikingjelly")}
    print(json.dumps({"library": "SpikingJelly", **versions}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        if line.strip() == "forward":
            with torch.no_grad():
                node(currents)
        else:
            inputs = currents.detach().requires_grad_()
            node(inputs).backward(cotangent)
        seconds = time.perf_counter() - start
        node.reset()
        print(seconds, flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
