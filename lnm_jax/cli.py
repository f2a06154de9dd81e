"""The command lines: each parses, calls the library and prints."""

from __future__ import annotations

import os
import re
import sys

from absl import flags
from ml_collections import config_flags

from lnm_jax import configs, launch
from lnm_jax.errors import ConfigError, ReportedError

HELP = """Trains a spiking network.

python train.py                            learnable neurons on handwritten digits
python train.py --config.neuron.kind=lif   any field of lnm_jax/configs/base.py can be set so
python train.py --config=configs/x.py      another experiment; cifar10_resnet19 and the others of
                                           lnm_jax/configs by their names alone
python train.py --resume=runs/<name>       continues a run from its last checkpoint

Exit status: 0 done, others are in docs/runs.md (75: saved and stopped after a signal).
"""


def _preset(name: str) -> str:
    """The path of the experiment of that name in `lnm_jax.configs`, or else the name."""
    path = os.path.join(os.path.dirname(configs.__file__), f"{name}.py")
    return path if name.isidentifier() and os.path.exists(path) else name


def parse(argv: list[str]):
    """The configuration that the command line asks for, and the run to resume or None.

    Raises: ConfigError for anything that is not a flag, a field or a value of its type.
    """
    values = flags.FlagValues()
    argv = [
        f"--config={_preset(arg.removeprefix('--config='))}" if arg.startswith("--config=") else arg
        for arg in argv
    ]
    try:
        flags.DEFINE_string("resume", None, "run directory to continue", flag_values=values)
        config = config_flags.DEFINE_config_file(
            "config", _preset("digits"), flag_values=values, sys_argv=argv
        )
        rest = values(argv)[1:]
        config, resume = config.value, values["resume"].value
        config.keys()  # a file that could not be read raises here
    except AttributeError as error:  # an unknown field: 'kin' Did you mean "kind" instead of "kin"
        name = re.search(r"\w+", str(error)).group()
        near = re.search(r'mean "(\w+)"', str(error))
        argument = next((arg for arg in argv if name in re.split(r"[.=]", arg)), name)
        hint = f"; did you mean {near.group(1)}?" if near else ""
        raise ConfigError(f"{argument}: no such field{hint}") from None
    except (flags.Error, KeyError, OSError, TypeError, ValueError) as error:
        raise ConfigError(" ".join(str(error).split())) from None
    if rest:
        raise ConfigError(f"{rest[0]}: not a flag; fields are set by --config.field=value")
    if resume and (given := [arg for arg in argv if arg.startswith("--config")]):
        raise ConfigError(f"{given[0]}: --resume continues a run with its own configuration")
    return config, resume


def main(argv: list[str]) -> int:
    """Runs train.py's command line; returns the exit status."""
    if {"--help", "-h"} & set(argv):
        print(HELP)
        return 0
    try:
        config, resume = parse(argv)
        from lnm_jax.analysis import dynamics
        from lnm_jax.training import configuration, loop, parallel
        from lnm_jax.training.run import as_text, write_summary

        if resume:
            config = configuration.read(resume)
        run = loop.train(config, must_resume=bool(resume))
    except ReportedError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return error.status
    if parallel.is_first():
        pictures = {"dynamics": dynamics.PICTURE} if dynamics.save_picture(run) else {}
        write_summary(run)
        print(as_text(run, pictures))
    return 0


def train() -> None:
    """The command `train.py`, or `lnm-train` where the package is installed."""
    launch.use_huge_pages()
    launch.use_compilation_cache()
    sys.exit(main(sys.argv))
