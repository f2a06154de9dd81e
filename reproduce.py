"""The paper's tables and figures: trains what they need, prints both numbers side by side.

python reproduce.py table1                              digits, minutes on two cores
python reproduce.py table1 --scale=small --data-dir=D   what one machine does in a night
python reproduce.py table1 --scale=paper --data-dir=D   Table 4 as published

Runs are kept in --directory: one that is complete is not repeated, one that was stopped goes on.
docs/results.md has what was measured.
"""

import argparse
import ast
import shlex
import signal
import sys

from lnm_jax import launch
from lnm_jax.errors import ConfigError, Interrupted, ReportedError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from reproduction import commands, settings

    made = argparse.ArgumentParser(
        prog="reproduce.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("command", choices=sorted(commands.COMMANDS))
    made.add_argument("--scale", choices=settings.SCALES, default="smoke")
    made.add_argument("--seeds", type=int, default=3, help="runs of each row (3)")
    made.add_argument(
        "--tuning-seeds", type=int, default=1,
        help="runs of each learning rate that is tried; 0 keeps the experiment's own (1)",
    )  # fmt: skip
    made.add_argument("--data-dir", help="where CIFAR, ImageNet or CIFAR10DVS is")
    made.add_argument(
        "--rows",
        "--methods",
        default="",
        help="parts of data, network or method, with commas: only such rows; a $ ends a name",
    )
    made.add_argument("--skip", default="", help="likewise: no such rows")
    made.add_argument("--epochs", type=int, help="of every run, in place of the scale's")
    made.add_argument("--jobs", type=int, default=1, help="runs at once (1)")
    made.add_argument("--directory", default="runs/reproduce", help="where all runs are kept")
    made.add_argument("--out", help="path of the result without its ending")
    made.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of every run"
    )
    return made


def fields(arguments) -> dict:
    """Fields of a configuration that every run gets.

    Raises: ConfigError for a --set without a value.
    """
    found = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: must be FIELD=VALUE")
        try:
            found[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            found[name] = value
    return found


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    arguments = parser().parse_args(argv)
    from reproduction import campaign, commands, writing

    for name in ("seeds", "jobs"):
        if getattr(arguments, name) < 1:
            print(f"reproduce.py: --{name} must be at least 1", file=sys.stderr)
            return 2
    options = None
    try:
        options = commands.Options(
            scale=arguments.scale,
            seeds=arguments.seeds,
            tuning_seeds=arguments.tuning_seeds,
            directory=arguments.data_dir,
            wanted=tuple(filter(None, arguments.rows.split(","))),
            unwanted=tuple(filter(None, arguments.skip.split(","))),
            fields=fields(arguments),
        )
        runs = campaign.Campaign(arguments.directory, jobs=arguments.jobs)
        made = commands.COMMANDS[arguments.command](runs, options)
        if not made.rows:
            raise ConfigError(f"--rows {arguments.rows}: no such data, network or method")
        line = shlex.join(["python", "reproduce.py", *argv])
        out = arguments.out or f"{arguments.directory}/{arguments.command}-{arguments.scale}"
        written = writing.write(made, line, out)
        print("\n" + writing.markdown(made, line))
        print("\n".join(written))
    except ReportedError as error:
        print(f"reproduce.py: {error}", file=sys.stderr)
        return error.status
    return 1 if runs.failed else 0


def _stop(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    launch.use_huge_pages()
    launch.use_compilation_cache()
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("reproduce.py: stopped; the same command goes on", file=sys.stderr)
        sys.exit(Interrupted.status)
