"""Trains a spiking network: python train.py [--config=configs/x.py] [--config.field=value ...]

python train.py --resume=runs/<name> continues a run from its last checkpoint.
"""

import os
import re
import sys

from absl import flags
from ml_collections import config_flags

from lnm_jax.errors import ConfigError

HERE = os.path.dirname(os.path.abspath(__file__))
RESUME = flags.DEFINE_string("resume", None, "Run directory to continue, with its own config.")


def parse(argv: list[str]):
    """The configuration and the directory to resume, or None.

    Raises: ConfigError for anything that is not a flag, a field or a value of its type.
    """
    try:
        default = os.path.join(HERE, "configs", "digits.py")
        config = config_flags.DEFINE_config_file("config", default)
        rest = flags.FLAGS(argv)[1:]
    except (flags.Error, AttributeError, KeyError, OSError) as error:
        raise ConfigError(" ".join(str(error).split())) from None
    if rest:
        raise ConfigError(f"{rest[0]}: not a flag; fields are set by --config.field=value")
    return config.value, RESUME.value


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    try:
        config, resume = parse(argv)
        from lnm_jax.analysis import dynamics
        from lnm_jax.training import loop, run_directory, summary

        if resume:
            config = run_directory.read_config(resume, config)
        run = loop.train(config, must_resume=bool(resume))
    except ConfigError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    dynamics.save_picture(run)
    summary.write(run)
    print(summary.as_text(run, {"dynamics": dynamics.PICTURE}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
