"""python -m lnm_jax.export runs/<name> --format bundle|nir|stablehlo: a trained network, exported.

bundle     a folder that a reader of NumPy alone runs: graph.json, arrays.npz, reader.py
nir        a file of the Neuromorphic Intermediate Representation
stablehlo  a file that jax.export.deserialize reads

Writes runs/<name>/bundle, network.nir or network.stablehlo, unless --output says where. The
weights are those of the newest checkpoint, or with --best of the one with the best accuracy.
"""

from __future__ import annotations

import argparse
import os
import sys

from lnm_jax import launch
from lnm_jax.errors import ConfigError, ReportedError

OUTPUTS = {"bundle": "bundle", "nir": "network.nir", "stablehlo": "network.stablehlo"}


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line's arguments."""
    first, _, rest = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m lnm_jax.export",
        description=first.rpartition(": ")[2],
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="directory of the run")
    parser.add_argument("--format", choices=OUTPUTS, required=True)
    parser.add_argument("--output", help="where to write")
    parser.add_argument("--int8", action="store_true", help="bundle: weights of 8 bits")
    parser.add_argument("--best", action="store_true", help="the checkpoint of the best accuracy")
    return parser.parse_args(argv)


def export(given: argparse.Namespace) -> list[str]:
    """Writes what was asked for; returns the lines that say what it is.

    Raises: ConfigError for a run or a network that can't be exported so.
    """
    if given.int8 and given.format != "bundle":
        raise ConfigError("--int8 is for --format bundle")
    from lnm_jax.export import bundle, network, nir_graph, stablehlo
    from lnm_jax.training.run import load

    run = load(given.run, best=given.best)
    exported = network.prepare(run)
    output = given.output or os.path.join(given.run, OUTPUTS[given.format])
    facts = {"step": int(run.state.step), "accuracy_float32": network.accuracy(exported)}
    if given.format == "bundle":
        if given.int8:
            facts["accuracy_int8"] = network.accuracy(bundle.with_int8_weights(exported))
        bundle.write(exported, output, int8=given.int8, facts=facts)
    elif given.format == "nir":
        facts |= nir_graph.write(exported, output)
    else:
        stablehlo.write(exported, output)
    names = {
        "accuracy_float32": "test accuracy of the run's network",
        "accuracy_int8": "with int8 weights",
        "accuracy_lif": "as it is exported, with LIF neurons fitted",
    }
    lines = [f"{given.run}: step {facts['step']} written to {output}"]
    return lines + [f"{names[key]}: {facts[key]:.2f} %" for key in names if key in facts]


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    given = parse(argv)
    try:
        lines = export(given)
    except ReportedError as error:
        print(f"export: {error}", file=sys.stderr)
        return error.status
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    launch.use_compilation_cache()
    sys.exit(main(sys.argv[1:]))
