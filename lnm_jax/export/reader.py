"""Runs an exported spiking network. Needs NumPy and nothing else; may be copied anywhere.

python reader.py BUNDLE IMAGES.npy     prints the class of every image

Images are (B, H, W, C), event frames (B, T, H, W, C), in the data set's unit; see docs/export.md.
"""

import json
import math
import os
import sys
from typing import NamedTuple

import numpy as np


class Result(NamedTuple):
    """Of B images. Rounding by less than an image's margin changes none of its spikes."""

    logits: np.ndarray  # (B, K)
    spikes: dict  # (T, B, ...) of each spiking layer by name
    margin: np.ndarray  # (B,), distance of the closest potential to a threshold


def windows(x, size, stride, padding, fill=0):
    """What element (i, j) of every window of (N, H, W, C) sees, for its size**2 elements."""
    x = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)), constant_values=fill)
    h, w = (n - size + 1 for n in x.shape[1:3])
    return [x[:, i : i + h : stride, j : j + w : stride] for i, j in np.ndindex(size, size)]


def drift(neuron, own, u):
    """f(u) per timestep; neuron holds the facts and own the arrays of one layer."""
    if neuron["drift"] == "exponential":
        v_t, delta = neuron["v_t"], neuron["delta_t"]
        return neuron["leak"] * (delta * math.exp(-v_t / delta) * np.expm1(u / delta) - u)
    if neuron["drift"] == "mlp":
        terms = zip(own["in"], own["bias"], own["out"], strict=True)
        soft = lambda x: x / (1 + np.abs(x))  # noqa: E731
        return sum((o * (soft(w * u + b) - soft(b)) for w, b, o in terms), -neuron["leak"] * u)
    theta, f = own["theta"], np.zeros_like(u)
    inner = len(theta) - 3 if neuron["drift"] == "spline" else 0
    for coefficient in theta[: len(theta) - inner][::-1]:
        f = (f + coefficient) * u
    for j in range(inner):  # cubes that start at the inner knots and grow outward
        knot = -neuron["limit"] + 2 * neuron["limit"] * (j + 1) / (inner + 1)
        f = f + theta[3 + j] * np.maximum(u - knot if knot >= 0 else knot - u, 0) ** 3
    return f


def run_neuron(neuron, own, currents, lookup):
    """(spikes (T, B, ...), margin (B,)): v_in = v + f(v) + I, a spike at the threshold, reset."""
    threshold, limit = neuron["threshold"], neuron["limit"]
    spikes, margin, channel = np.zeros_like(currents), np.inf, np.arange(currents.shape[-1])
    v = start = np.full_like(currents[0], neuron["v_reset"])
    for t, current in enumerate(currents * own["gain"] if "gain" in own else currents):
        clipped = np.clip(v, -limit, limit)
        bounded = {"clip": clipped, "tanh": np.tanh(v)}.get(neuron["bound"], v)
        if lookup:
            low, high = neuron["table"]["low"], neuron["table"]["high"]
            index = (np.clip(v, low, high) - low) / (high - low) * (len(own["table"]) - 1)
            f = own["table"][(np.rint(index).astype(int), channel)[: own["table"].ndim]]
        elif neuron["bound"] == "linear":
            slope = np.where(v < 0, *own["slopes"])
            f = drift(neuron, own, clipped) + slope * (v - clipped)
        else:
            f = drift(neuron, own, bounded)
        v_in = (bounded if neuron["update"] == "fold" else v) + f + current
        spikes[t] = v_in >= threshold
        soft = v_in - (threshold - neuron["v_reset"]) * spikes[t]
        v = soft if neuron["reset"] == "soft" else np.where(spikes[t], start, v_in)
        margin = np.minimum(margin, np.abs(v_in - threshold).reshape(len(v), -1).min(1))
    return spikes, margin


class Network:
    """A network read from a bundle; a call runs it. ValueError says what a bundle lacks."""

    def __init__(self, directory):
        try:
            with open(os.path.join(directory, "graph.json")) as file:
                self.graph = json.load(file)
            with np.load(os.path.join(directory, "arrays.npz"), allow_pickle=False) as file:
                self.arrays = {name: file[name] for name in file.files}
            wanted = {name: tuple(shape) for name, shape in self.graph["arrays"].items()}
        except Exception as error:  # whatever foreign bytes do to a parser
            raise ValueError(f"{directory}: not a bundle ({error}); export it again") from None
        for name, shape in wanted.items():
            found = self.arrays[name].shape if name in self.arrays else "missing"
            if found != shape:
                raise ValueError(f"{directory}: array {name} is {found}, not {shape}; export again")

    def __call__(self, images, lookup=False):
        """The `Result` for images; lookup takes f from the tables of 256 entries."""
        results, spikes, margin, x = {}, {}, np.inf, np.asarray(images, np.float32)
        if x.shape[1:] != tuple(self.graph["example"]):
            raise ValueError(f"images must be (B, *{self.graph['example']}), got {x.shape}")
        if not np.isfinite(x).all():  # which would have a class all the same
            raise ValueError("images must be finite, got NaN or infinity")
        x = (x - np.float32(self.graph["mean"])) / np.float32(self.graph["std"])
        for node in self.graph["nodes"]:
            kind, name = node["kind"], node["name"]
            own = {key[len(name) + 1 :]: self.arrays[key] for key in node.get("arrays", [])}
            if kind == "input":
                y = x[None] if x.ndim == 4 else x.swapaxes(0, 1)
            elif kind == "spiking":
                y, near = run_neuron(node["neuron"], own, results[node["inputs"][0]], lookup)
                spikes[name], margin = y, np.minimum(margin, near)
            else:
                y = self._apply(node, own, *(results[key] for key in node["inputs"]))
            results[name] = y
        return Result(y, spikes, margin)

    def _apply(self, node, own, x, other=None):
        kind, folded = node["kind"], x.reshape(-1, *x.shape[2:])
        space = [node.get(key) for key in ("size", "stride", "padding")]
        if kind in ("convolution", "dense"):
            kernel = own["kernel"].astype(np.float32)  # integers, if there is a scale
            parts, kernels = [folded], [kernel]
            if kind == "convolution":
                parts, kernels = windows(folded, len(kernel), *space[1:]), np.concatenate(kernel)
            y = sum(map(np.matmul, parts, kernels)) * own.get("scale", 1) + own["bias"]
        elif kind == "average_pool":
            y = sum(windows(folded, *space)) / np.float32(node["size"] ** 2)
        elif kind == "max_pool":
            y = np.max(windows(folded, *space, -np.inf), 0)
        elif kind == "subsample":
            y = folded[:, :: node["stride"], :: node["stride"]]
        elif kind == "pad_channels":
            y = np.pad(folded, ((0, 0),) * 3 + ((0, node["shape"][-1] - x.shape[-1]),))
        else:
            return {
                "add": lambda: x + other,
                "repeat": lambda: np.repeat(x, node["timesteps"], 0),
                "flatten": lambda: x.reshape(*x.shape[:2], *node["shape"]),
                "average_space": lambda: x.mean((2, 3)),
                "max_space": lambda: x.max((2, 3)),
                "average_time": lambda: x.mean(0),
            }[kind]()
        return y.reshape(*x.shape[:2], *y.shape[1:])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        network, images = Network(sys.argv[1]), np.load(sys.argv[2], mmap_mode="r")
        for start in range(0, len(images), 16):  # a large network takes 30 MB an image and more
            print(*network(images[start : start + 16]).logits.argmax(-1), sep="\n")
    except (OSError, ValueError) as error:
        sys.exit(f"reader.py: {error}")
