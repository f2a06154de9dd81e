"""The command lines: each parses, calls the library and prints."""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict, config_flags

from lnm_jax import checks, configs, launch
from lnm_jax.errors import ConfigError, ReportedError, missing_extra

HELP = """Trains a spiking network.

python train.py                            learnable neurons on handwritten digits
python train.py --config.neuron.kind=lif   any field of lnm_jax/configs/base.py can be set so
python train.py --config=configs/x.py      another experiment; cifar10_resnet19 and the others of
                                           lnm_jax/configs by their names alone
python train.py --resume=runs/<name>       continues a run from its last checkpoint; with
                                           --config.epochs=N a finished one for more epochs
python train.py --config.init_from=runs/x  starts with the weights of another run

Exit status: 0 done, others are in docs/runs.md (75: saved and stopped after a signal).
"""


def _preset(name: str) -> str:
    """The path of the experiment of that name in `lnm_jax.configs`, or else the name."""
    folder = os.path.dirname(configs.__file__)
    names = sorted(file.removesuffix(".py") for file in os.listdir(folder) if file[0].isalpha())
    if name.isidentifier() and not os.path.exists(name):
        try:
            checks.one_of("--config", name, [*names, "or the path of a file"])
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return os.path.join(folder, f"{name}.py")
    return name


def _from_file(path: str):
    """What the file's get_config() returns.

    Raises: ConfigError with the file's line for whatever goes wrong in it.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"--config={path}: no such file")
    try:
        module = runpy.run_path(path)
        if "get_config" not in module:
            raise ConfigError(f"--config={path}: has no function get_config")
        config = module["get_config"]()
        if not isinstance(config, ConfigDict):
            found = type(config).__name__
            raise ConfigError(f"--config={path}: get_config must return a ConfigDict, got {found}")
        return config
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # whatever somebody's own code raises
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == path]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else 1)
        # ml_collections lists all fields there are.
        reason = re.sub(r"Other fields present: .*?}\"", "", " ".join(str(error).split()))
        raise ConfigError(f"{path}, line {line}: {type(error).__name__}: {reason}") from None


def _names(config, prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields and sections."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if hasattr(value, "items"):
            yield from _names(value, f"{prefix}{key}.")


def _overridden(config, argv: list[str]) -> tuple[Any, list[str], str | None]:
    """(config with the fields of the command line, arguments that are left, --resume's).

    Raises: ConfigError for an unknown field or a value of another type.
    """
    values = flags.FlagValues()
    flags.DEFINE_string("resume", None, "run directory to continue", flag_values=values)
    known = list(_names(config))
    for argument in (argument for argument in argv[1:] if argument.startswith("--")):
        name = re.match(r"(?:no(?=config\.))?([^=\[]*)", argument[2:])[1]
        field = name.removeprefix("config.")
        if hasattr(config.get(field), "items"):
            raise ConfigError(f"{argument}: a section; its fields are config.{field}.*")
        if name != "resume" and (field not in known or field == name):
            near = difflib.get_close_matches(field, known, n=1)
            near = near or [one for one in known if one.rpartition(".")[2] == field]
            hint = f"; did you mean --config.{near[0]}?" if near else ""
            raise ConfigError(f"{argument}: no such field{hint}")
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        rest = values(argv)[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).removeprefix("flag ")
        reason = re.sub(r"invalid literal for int.*", "must be an integer", reason)
        reason = re.sub(r"\('Non-boolean argument.*", "must be true or false", reason)
        reason = re.sub(r"could not convert string to float.*", "must be a number", reason)
        raise ConfigError(reason) from None
    return values["config"].value, rest, values["resume"].value


def parse(argv: list[str]):
    """The configuration that the command line asks for, and the run to resume or None.

    Raises: ConfigError for anything that is not a flag, a field or a value of its type.
    """
    files = [arg.removeprefix("--config=") for arg in argv if arg.startswith("--config=")]
    argv = [arg for arg in argv if not arg.startswith("--config=")]
    config = _from_file(_preset(os.path.expanduser(files[-1]) if files else "digits"))
    config, rest, resume = _overridden(config, argv)
    if rest:
        raise ConfigError(f"{rest[0]}: not a flag; fields are set by --config.field=value")
    if resume is not None:
        from lnm_jax.training import configuration

        if not resume:
            raise ConfigError("--resume= must be a run directory, got ''")

        resume = os.path.expanduser(resume)
        if files:
            raise ConfigError(f"--config={files[-1]}: --resume continues a run with its own")
        wanted, given = configuration.flatten(config), {}
        for argument in (arg for arg in argv if arg.startswith("--config")):
            field = argument.removeprefix("--config.").partition("=")[0]
            if field not in configuration.RESUMED_FIELDS:
                raise ConfigError(
                    f"{argument}: --resume continues a run with its own configuration; beside it "
                    f"may be {', '.join(configuration.RESUMED_FIELDS)}"
                )
            given[field] = wanted[field]
        own = configuration.read(resume)
        if given.get("epochs", own.epochs) < own.epochs:
            raise ConfigError(
                f"--config.epochs={given['epochs']}: the run has {own.epochs}; more can be added"
            )
        config = configuration.changed(own, **given)
    return config, resume


def _status(name: str, command: Callable[[list], str], arguments: list[str] | None) -> int:
    """Prints what a command returns, or the one line of its error; returns the exit status.

    Args:
      name: before the error.
      command: takes the arguments; raises a ReportedError.
      arguments: None for those of this process.
    """
    sys.path.append(os.getcwd())  # for neurons, nets and data sets by import path
    if arguments is None:
        launch.use_compilation_cache()
        arguments = sys.argv[1:]
    try:
        text = command(arguments)
    except ReportedError as error:
        print(_shown(f"{name}: {error}"), file=sys.stderr)
        return _leave(error.status) if error.alone else error.status
    except ModuleNotFoundError as error:
        line = missing_extra(error)
        if not line:
            raise
        print(f"{name}: {line}", file=sys.stderr)
        return ConfigError.status
    except Exception as error:
        if not getattr(error, "alone", False):
            raise
        traceback.print_exc()
        _leave(1)
    _print(text)
    return 0


def _print(text: str) -> None:
    """To a reader that may have gone, as `| head` does: nothing more is written then."""
    try:
        if text:
            print(_shown(text), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave(status: int) -> NoReturn:
    """Ends this process of several at once, without jax's wait for the others."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _shown(text: str) -> str:
    """With ? for what is no UTF-8 in a path."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def main(argv: list[str]) -> int:
    """Runs train.py's command line; returns the exit status."""
    if {"--help", "-h"} & set(argv):
        _print(HELP)
        return 0
    return _status("train.py", _train, argv)


def _train(argv) -> str:
    config, resume = parse(argv)
    from lnm_jax.analysis import dynamics
    from lnm_jax.training import loop, parallel
    from lnm_jax.training.run import SUMMARY, as_text, write_summary

    run = loop.train(config, must_resume=bool(resume))
    if not parallel.is_first():
        return ""
    if run.steps or not os.path.exists(
        os.path.join(run.directory, SUMMARY)
    ):  # else it was finished before, and is only shown
        try:
            dynamics.save_picture(run)
        except ModuleNotFoundError as error:  # it is trained all the same
            logging.warning("no %s: %s", dynamics.PICTURE, missing_extra(error) or error)
        write_summary(run)
    return as_text(run)


_path = os.path.expanduser  # the shell leaves ~ alone behind an =


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in the one line of a `ConfigError`."""

    def __init__(self, **settings):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message):
        raise ConfigError(f"{message}; --help says what there is")


ANALYSIS = """Looks at trained runs.

python -m lnm_jax.analysis report runs/<name> [--output DIR] [--examples N] [--loss POINTS]
    writes report.html, and the PNGs and CSVs behind it, into DIR (default: report/ in the run's
    directory). Test examples seen: N, 1000 by default, 0 for all. POINTS of accuracy are what a
    lower degree may cost.

python -m lnm_jax.analysis health runs/<name> [--examples N]
    why a network does not learn: rate, dead and saturated neurons and the surrogate's window of
    every spiking layer, norm, gradient and update of every kernel, a sentence for each illness.

python -m lnm_jax.analysis check runs/<name>
    whether its numbers hold: data, last and best checkpoint evaluated again, examples in both
    splits, operations. A line each; status 1 if one does not.
"""


def analysis(arguments: list[str] | None = None) -> int:
    """Runs the command line of `python -m lnm_jax.analysis`; None: this process's."""
    return _status("lnm_jax.analysis", _analyse, arguments)


def _analyse(arguments) -> str:
    parser = _Parser(prog="python -m lnm_jax.analysis", description=ANALYSIS)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in (
        ("report", "report.html of a run"),
        ("health", "why a network does not learn"),
        ("check", "whether a run's numbers hold"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument(
            "run", nargs="+" if name == "report" else 1, type=_path, help="run directory"
        )
        if name != "check":
            command.add_argument(
                "--examples", type=int, default=1000, help="of the test set; 0 for all"
            )
        if name == "report":
            command.add_argument("--output", type=_path, help="folder for the report")
            command.add_argument("--loss", type=float, default=0.5, help="percentage points")
    given = parser.parse_args(arguments)
    directory, *others = given.run
    if others:
        raise ConfigError(
            f"a report is of one run, got {len(given.run)}: make one of each; "
            "reproduce.py compares methods over seeds"
        )
    if given.command == "check":
        from lnm_jax.analysis import verification

        found = verification.verify(directory)
        text = "\n".join(f"{'holds' if holds else 'FAILS'}  {words}" for holds, words in found)
        if failed := [words for holds, words in found if not holds]:
            print(text)
            raise ReportedError(f"{directory}: {len(failed)} of {len(found)} do not hold")
        return text
    if given.examples < 0:
        raise ConfigError(f"--examples must be 0 (all) or more, got {given.examples}")
    if given.command == "report":
        from lnm_jax.analysis import report

        return report.write(
            directory, output=given.output, examples=given.examples, loss=given.loss
        )
    from lnm_jax.training import health
    from lnm_jax.training.run import load

    run = load(directory)
    found = health.measure(run.experiment, run.state, examples=given.examples)
    return health.summary(found, health.illnesses(run.experiment.config, found))


EXPORT = """
bundle     a folder that a reader of NumPy alone runs: graph.json, arrays.npz, reader.py
nir        a file of the Neuromorphic Intermediate Representation
stablehlo  a file that jax.export.deserialize reads

Writes runs/<name>/bundle, network.nir or network.stablehlo, unless --output says where. The
weights are those of the newest checkpoint, or with --best of the one with the best accuracy.
"""
OUTPUTS = {"bundle": "bundle", "nir": "network.nir", "stablehlo": "network.stablehlo"}


def export(arguments: list[str] | None = None) -> int:
    """Runs the command line of `lnm-export`, or `python -m lnm_jax.export`."""
    return _status("export", _export, arguments)


def _export(arguments) -> str:
    parser = _Parser(
        prog="python -m lnm_jax.export", description="A trained network, exported.", epilog=EXPORT
    )
    parser.add_argument("run", type=_path, help="directory of the run")
    parser.add_argument("--format", choices=OUTPUTS, required=True)
    parser.add_argument("--output", type=_path, help="where to write")
    parser.add_argument("--int8", action="store_true", help="bundle: weights of 8 bits")
    parser.add_argument("--best", action="store_true", help="the checkpoint of the best accuracy")
    given = parser.parse_args(arguments)
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
    return "\n".join(lines + [f"{names[k]}: {facts[k]:.2f} %" for k in names if k in facts])


PREDICTION = """Classes of images, of recordings, or of arrays of examples (.npy).

An image is turned as its EXIF says and brought to the size and the channels of the data set: the
short side is resized, the centre cut out. No data set is needed.
"""


def _predict(arguments) -> str:
    parser = _Parser(prog="lnm-predict", description=PREDICTION)
    parser.add_argument("run", type=_path, help="directory of the run")
    parser.add_argument("file", nargs="+", type=_path, help="an image, or a .npy file")
    parser.add_argument("--top", type=int, default=3, help="classes shown; 3 unless told")
    parser.add_argument("--best", action="store_true", help="the checkpoint of the best accuracy")
    given = parser.parse_args(arguments)
    if given.top < 1:
        raise ConfigError(f"--top must be 1 or more, got {given.top}")
    from lnm_jax.data import crops, recordings
    from lnm_jax.training.run import load

    run = load(given.run, best=given.best)
    for path in given.file:
        try:
            if run.config.data.name == "events":
                example = recordings.read_example(path, run.config.data, run.config.timesteps)
            else:
                example = crops.read_example(path, run.experiment.info)
            said = run.predict(example)
        except ConfigError as error:
            raise ConfigError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
        rows = said.probabilities.reshape(-1, said.probabilities.shape[-1])
        for number, row in enumerate(rows):
            best = row.argsort()[::-1][: given.top]
            names = [said.classes[k] if said.classes else str(k) for k in best]
            shown = ", ".join(
                f"{x} ({100 * row[k]:.1f} %)" for x, k in zip(names, best, strict=True)
            )
            print(_shown(f"{path}{f'[{number}]' if len(rows) > 1 else ''}: {shown}"))
    return ""


def predict(arguments: list[str] | None = None) -> int:
    """Runs the command line of `lnm-predict`."""
    return _status("lnm-predict", _predict, arguments)


def train() -> None:
    """The command `train.py`, or `lnm-train` where the package is installed."""
    launch.use_huge_pages()
    launch.use_compilation_cache()
    sys.exit(main(sys.argv))


def report() -> int:
    """The command `lnm-report`: `python -m lnm_jax.analysis report`."""
    launch.use_compilation_cache()
    return analysis(["report", *sys.argv[1:]])
