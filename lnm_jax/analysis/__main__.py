"""Looks at trained runs.

python -m lnm_jax.analysis report runs/<name> [--output DIR] [--examples N] [--loss POINTS]
    writes report.html, and the PNGs and CSVs behind it, into DIR (default: report/ in the run's
    directory). Test examples seen: N, 1000 by default, 0 for all. POINTS of accuracy are what a
    lower degree may cost.

python -m lnm_jax.analysis health runs/<name> [--examples N]
    why a network does not learn: rate, dead and saturated neurons and the surrogate's window of
    every spiking layer, norm, gradient and update of every kernel, a sentence for each illness.
"""

from __future__ import annotations

import argparse
import sys

from lnm_jax import launch
from lnm_jax.errors import ConfigError, ReportedError


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ConfigError(f"{message}; --help says what there is")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m lnm_jax.analysis",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    report = commands.add_parser("report", help="report.html of a run")
    report.add_argument("run", nargs="+", help="run directory")
    report.add_argument("--output", help="folder for the report")
    report.add_argument("--loss", type=float, default=0.5, help="percentage points")
    health = commands.add_parser("health", help="why a network does not learn")
    health.add_argument("run", nargs=1, help="run directory")
    for command in (report, health):
        command.add_argument(
            "--examples", type=int, default=1000, help="of the test set; 0 for all"
        )
    given = parser.parse_args(arguments)
    if len(given.run) > 1:
        raise ConfigError(
            f"a report is of one run, got {len(given.run)}: make one of each; "
            "reproduce.py compares methods over seeds"
        )
    if given.examples < 0:
        raise ConfigError(f"--examples must be 0 (all) or more, got {given.examples}")
    return given


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    try:
        given = _parse(arguments)
        (directory,) = given.run
        if given.command == "report":
            from lnm_jax.analysis import report

            print(
                report.write(
                    directory, output=given.output, examples=given.examples, loss=given.loss
                )
            )
            return 0
        from lnm_jax.training import health
        from lnm_jax.training.run import load

        run = load(directory)
        found = health.measure(run.experiment, run.state, examples=given.examples)
        print(health.summary(found, health.illnesses(run.experiment.config, found)))
        return 0
    except ReportedError as error:
        print(f"lnm_jax.analysis: {error}", file=sys.stderr)
        return error.status


if __name__ == "__main__":
    launch.use_compilation_cache()
    sys.exit(main(sys.argv[1:]))
