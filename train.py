"""Trains a spiking network.

python train.py                            learnable neurons on handwritten digits
python train.py --config.neuron.kind=lif   any field of configs/base.py can be set so
python train.py --config=configs/x.py      another experiment
python train.py --resume=runs/<name>       continues a run from its last checkpoint

Exit status: 0 done, others are in docs/reliability.md (75: saved and stopped after a signal).
"""

import os
import re
import sys

from absl import flags
from ml_collections import config_flags

from lnm_jax import launch
from lnm_jax.errors import ConfigError, ReportedError

HERE = os.path.dirname(os.path.abspath(__file__))


def parse(argv):
    """The configuration that the command line asks for, and the run to resume or None.

    Raises: ConfigError for anything that is not a flag, a field or a value of its type.
    """
    values = flags.FlagValues()
    default = os.path.join(HERE, "configs", "digits.py")
    try:
        flags.DEFINE_string("resume", None, "run directory to continue", flag_values=values)
        config = config_flags.DEFINE_config_file(
            "config", default, flag_values=values, sys_argv=argv
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


def main(argv):
    """Runs the command line; returns the exit status."""
    if {"--help", "-h"} & set(argv):
        print(__doc__)
        return 0
    try:
        config, resume = parse(argv)
        from lnm_jax.analysis import dynamics
        from lnm_jax.training import loop, parallel, run_directory, summary

        if resume:
            config = run_directory.read_config(resume, config)
        run = loop.train(config, must_resume=bool(resume))
    except ReportedError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return error.status
    if parallel.is_first():
        pictures = {"dynamics": dynamics.PICTURE} if dynamics.save_picture(run) else {}
        summary.write(run)
        print(summary.as_text(run, pictures))
    return 0


if __name__ == "__main__":
    launch.use_huge_pages()
    launch.use_compilation_cache()
    sys.exit(main(sys.argv))
