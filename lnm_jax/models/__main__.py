"""python -m lnm_jax.models [name ...]: the table of counts of each model."""

import sys

from lnm_jax import models, neurons


def table(name: str) -> str:
    """A line a layer and the sums, for one example and timestep of the model's own input."""
    model = models.build(name, neuron=neurons.lnm(), num_classes=10, timesteps=1)
    shape = models.INPUTS[name]
    rows = models.counts(model, (1, *shape))
    lines = [f"{name} on {'x'.join(map(str, shape))}, 10 classes, one timestep"]
    header = ("#", "layer", "kind", "result", "weights", "neurons", "MACs")
    lines.append("{:>3}  {:<34}{:<12}{:>12}{:>13}{:>12}{:>15}".format(*header))
    number = 0
    for row in rows:
        number += row.kind == "spiking"
        lines.append(
            f"{number if row.kind == 'spiking' else '':>3}  {row.path:<34}{row.kind:<12}"
            f"{'x'.join(map(str, row.shape)):>12}"
            f"{row.weights:>13,}{row.neurons:>12,}{row.macs:>15,}"
        )
    convolutions = sum(row.weights for row in rows if row.kind == "convolution")
    lines.append(
        f"sum: {convolutions:,} convolution weights, {sum(r.weights for r in rows):,} weights, "
        f"{number} spiking layers, {sum(r.neurons for r in rows):,} neurons, "
        f"{sum(r.macs for r in rows):,} MACs"
    )
    return "\n".join(lines)


def main(names: list[str]) -> int:
    """Prints the tables; returns the exit status."""
    unknown = set(names) - set(models.MODELS)
    if unknown:
        print(
            f"no such model: {unknown.pop()}; there are {', '.join(models.MODELS)}", file=sys.stderr
        )
        return 2
    print("\n\n".join(table(name) for name in names or models.MODELS))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
