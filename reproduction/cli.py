"""Tables and figures: trains what they need, prints the published numbers beside the measured.

python reproduce.py table1                              digits, half an hour
python reproduce.py table1 --scale=small --data-dir=D   what one machine does in a night
python reproduce.py table1 --scale=paper --data-dir=D   Table 4 as published
python reproduce.py compare --recipe=fast --scale=small --data-dir=D   all methods, fast recipe

Scales: smoke is digits, small the narrow networks of one machine, paper the published recipes.
--data-dir has CIFAR-10 (a folder of images, or for TensorFlow Datasets), CIFAR10DVS and so on.

Runs are kept in --directory: one that is complete is not repeated, one that was stopped goes on.
docs/results.md has what was measured.
"""

from __future__ import annotations

import argparse
import ast
import csv
import inspect
import os
import re
import shlex
import signal
import sys

from lnm_jax.errors import ConfigError, Interrupted, ReportedError, missing_extra
from reproduction import comparison, settings, tables
from reproduction.comparison import Made, Options
from reproduction.runner import Runner

# Fields that tell runs of a table apart: set for all of them, several rows would be one run.
OWN = {
    "seed": "use --first-seed and --seeds",
    "data.seed": "use --first-seed and --seeds",
    "name": "runs of a comparison name themselves",
    "directory": "use --directory",
    "data.directory": "use --data-dir",
    "epochs": "use --epochs",
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="reproduce.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    lines = [
        f"{name}: {inspect.getdoc(do).splitlines()[0]}"
        for name, do in sorted(tables.COMMANDS.items())
    ]
    made.add_argument("command", choices=sorted(tables.COMMANDS), help="\n".join(lines))
    made.add_argument("--scale", choices=settings.SCALES, default="smoke")
    made.add_argument(
        "--recipe", choices=settings.RECIPES, default="published",
        help="of images and recordings: the paper's, or the fast one",
    )  # fmt: skip
    made.add_argument("--seeds", type=int, default=3, help="runs of each row (3)")
    made.add_argument(
        "--first-seed", type=int, default=0, help="seeds are this one and those after it (0)"
    )
    made.add_argument(
        "--tuning-seeds", type=int,
        help="runs of each value that is tried; 0 keeps the experiment's own\n"
        "(1, at the paper's scale 0)",
    )  # fmt: skip
    made.add_argument("--data-dir", help="where CIFAR, ImageNet or CIFAR10DVS is")
    made.add_argument(
        "--rows",
        "--methods",
        default="",
        help="only rows with such a part in 'data network method';\n"
        "several with commas and no space; LIF$ is the method of that name alone",
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


def from_root(path: str | None) -> str | None:
    """The path from the root, since runs start in another folder; an address stays as it is."""
    return path if not path or "://" in path else os.path.abspath(os.path.expanduser(path))


def parts(text: str) -> tuple[str, ...]:
    """What --rows and --skip name; a comma before a space is one of a method's name."""
    return tuple(filter(None, re.split(r",(?! )", text)))


def fields(arguments: argparse.Namespace) -> dict:
    """Fields of a configuration that every run gets.

    Raises: ConfigError for a --set without a value, or of a field in `OWN`.
    """
    given = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: must be FIELD=VALUE")
        if name in OWN:
            raise ConfigError(f"--set {name}: {OWN[name]}")
        try:
            given[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            given[name] = value
    return given


def options_of(arguments: argparse.Namespace) -> Options:
    """What the command line asks for.

    Raises: ConfigError for a number or field that cannot be.
    """
    tuning = arguments.tuning_seeds
    if tuning is None:  # the paper's scale is its published recipe
        tuning = 0 if arguments.scale == "paper" else 1
    for option, value, least in (
        ("seeds", arguments.seeds, 1),
        ("jobs", arguments.jobs, 1),
        ("first-seed", arguments.first_seed, 0),
        ("tuning-seeds", tuning, 0),
    ):
        if value < least:
            raise ConfigError(f"--{option} must be at least {least}")
    first = comparison.FIRST_TUNING_SEED
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    if set(seeds) & set(range(first, first + tuning)):
        raise ConfigError(
            f"seeds {seeds[0]} to {seeds[-1]}: values are chosen on those from {first} on, and may "
            "not be judged on them"
        )
    return Options(
        scale=arguments.scale,
        seeds=seeds,
        tuning_seeds=tuning,
        directory=from_root(arguments.data_dir),
        wanted=parts(arguments.rows),
        unwanted=parts(arguments.skip),
        fields=fields(arguments),
        recipe=arguments.recipe,
    )


def markdown(made: Made, line: str) -> str:
    """Title, table, remarks and the command line that made them.

    A column whose cells are all empty is left out.
    """
    keys = [key for key in _columns(made) if any(str(row.get(key, "")) for row in made.rows)]
    lines = [[*keys], ["---"] * len(keys)]
    lines += [[str(row.get(key, "")).replace("|", "\\|") for key in keys] for row in made.rows]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return "\n\n".join([f"## {made.title}", table, *made.remarks, f"`{line}`"]) + "\n"


def _columns(made):
    """Of all rows, in the order in which they are met: settings may have other columns."""
    return list(dict.fromkeys(key for row in made.rows for key in row))


def write(made: Made, line: str, path: str) -> list[str]:
    """Writes `path`.md, .csv and, with a figure, .png; returns their paths.

    Raises: ConfigError if the folder cannot be written.
    """
    written = [f"{path}.md", f"{path}.csv"]
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(written[0], "w", encoding="utf-8") as file:
            file.write(markdown(made, line))
        with open(written[1], "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, _columns(made), restval="")
            table.writeheader()
            table.writerows(made.rows)
        if made.figure:
            from lnm_jax.analysis import drawing

            written.append(f"{path}.png")
            with open(written[-1], "wb") as file:
                file.write(drawing.png(made.figure))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
    return written


def main(argv: list[str], runner: type[Runner] = Runner) -> int:
    """Runs the command line; returns the exit status.

    Args:
      runner: what trains.
    """
    arguments = parser().parse_args(argv)
    try:
        options = options_of(arguments)
        runs = runner(arguments.directory, jobs=arguments.jobs)
        made = tables.COMMANDS[arguments.command](runs, options)
        if runs.failed and not runs.finished:
            reasons = "; ".join(dict.fromkeys(runs.failed.values()))
            refused = runs.failed.keys() <= runs.refused
            raise ConfigError(reasons) if refused else ReportedError(f"no run ended: {reasons}")
        line = shlex.join(["python", "reproduce.py", *argv])
        parts_of_name = [arguments.command, arguments.scale]
        parts_of_name += [options.recipe] if options.recipe != "published" else []
        out = arguments.out or f"{arguments.directory}/{'-'.join(parts_of_name)}"
        print("\n" + markdown(made, line))
        print("\n".join(write(made, line, out)))
    except ReportedError as error:
        print(f"reproduce.py: {error}", file=sys.stderr)
        return error.status
    except ModuleNotFoundError as error:
        line = missing_extra(error)
        if not line:
            raise
        print(f"reproduce.py: {line}", file=sys.stderr)
        return ConfigError.status
    return 1 if runs.failed else 0


def command() -> int:
    """`python reproduce.py`; SIGTERM stops it as Ctrl-C does."""

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        return main(sys.argv[1:])
    except KeyboardInterrupt:
        print("reproduce.py: stopped; the same command goes on", file=sys.stderr)
        return Interrupted.status
