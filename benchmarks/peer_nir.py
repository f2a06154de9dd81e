"""Reads an exported NIR file by SpikingJelly's importer, in an environment of its own.

python benchmarks/peer_nir.py NETWORK.nir BUNDLE IMAGES.npy

BUNDLE is one of the same run, whose reader says what the network is to give. Prints how many
classes and logits agree. Not part of the tests: it needs torch, spikingjelly, nir and nirtorch.
"""

import importlib.util
import os
import sys

import nir
import numpy as np
import torch


def run(path, frames):
    """Logits of frames (T, B, C, H, W) by SpikingJelly's importer, averaged over time."""
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    network, state, outputs = import_from_nir(path, dt=1e-4), None, []
    for frame in frames:
        y, state = network(frame, state)
        outputs.append(y)
    return torch.stack(outputs).mean(0)


def main(path, bundle, images):
    """Prints the agreement."""
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
    with torch.no_grad():
        theirs = run(path, frames).numpy()
    same = (ours.argmax(-1) == theirs.argmax(-1)).sum()
    close = (np.abs(ours - theirs).max(-1) < 1e-4).sum()
    print(
        f"SpikingJelly: {same} of {len(ours)} classes equal, {close} images' logits within 1e-4, "
        f"largest difference {np.abs(ours - theirs).max():.2g}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
