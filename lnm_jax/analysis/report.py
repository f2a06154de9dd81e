"""report.html: everything that a trained network's neurons have learned, on one page."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lnm_jax import files
from lnm_jax.analysis import curves, degrees, drawing, page, recording, runs, sections, side_by_side
from lnm_jax.errors import ConfigError

if TYPE_CHECKING:
    from lnm_jax.training.run import Run

FILE = "report.html"
FOLDER = "report"  # in the first run's directory, unless another is asked for
EXAMPLES = 1000


class Report(NamedTuple):
    """A report in memory.

    Attributes:
      html: of the page.
      files: PNGs and CSVs behind it, by name.
    """

    html: str
    files: dict[str, bytes]


def write(
    directories: Sequence[str],
    *,
    output: str | None = None,
    examples: int = EXAMPLES,
    loss: float = degrees.LOSS,
) -> str:
    """Makes a report of one run, or of several of one architecture, and writes it.

    Nothing is written before all of it is made; report.html comes last.

    Args:
      directories: of the runs.
      output: folder for the report; None for "report" in the first run's directory.
      examples: of the test set to run the networks on; 0 for all.
      loss: percentage points of accuracy that a lower degree may cost.
    Returns: the page's path.
    Raises: ConfigError for runs that cannot be read or compared, or a folder that cannot be
      written.
    """
    if examples < 0:
        raise ConfigError(f"--examples must be 0 (all) or more, got {examples}")
    if not loss >= 0:
        raise ConfigError(f"--loss must be 0 or more percentage points, got {loss}")
    output = output or os.path.join(directories[0], FOLDER)
    if os.path.exists(output) and not os.path.isdir(output):
        raise ConfigError(f"{output}: exists and is not a directory; choose another --output")
    report = make(runs.load_all(directories), examples=examples, loss=loss)
    path = os.path.join(output, FILE)
    with files.writing(output):
        os.makedirs(output, exist_ok=True)
        for name, content in (report.files | {FILE: report.html.encode()}).items():
            _write(os.path.join(output, name), content)
    return path


def make(loaded: Sequence[Run], *, examples: int = EXAMPLES, loss: float = degrees.LOSS) -> Report:
    """The report of runs; of each configuration's first seed in detail. Args as in `write`.

    Raises: ConfigError for runs of different architectures, or the same run twice.
    """
    names = [runs.name_of(run) for run in loaded]
    if len({os.path.realpath(run.directory) for run in loaded}) < len(loaded):
        raise ConfigError("the same run was given twice; give each run once")
    runs.check_same_architecture(loaded)
    recorded = {run.directory: recording.record(run, examples=examples) for run in loaded}
    groups, drawn = curves.picture(loaded)
    files = {"curves.png": drawing.png(drawn), "curves.csv": _csv(_curve_rows(groups))}
    parts = [("Training", sections.training(groups, files["curves.png"]))]
    if len(loaded) > 1:
        parts.append(("Side by side", _compared(groups, recorded, files)))
    for group in groups:
        run = group.runs[0]
        # Files of each detailed run have a name of their own where there are several.
        prefix = f"{runs.name_of(run)}-" if len(groups) > 1 else ""
        for section in sections.of_run(run, recorded[run.directory], examples, loss):
            heading = f"{section.title}: {group.label}" if len(groups) > 1 else section.title
            content = section.before
            for name, png in section.pictures.items():
                files[f"{prefix}{name}.png"] = png
                content += page.image(png, heading, section.captions[name])
            for name, rows in section.tables.items():
                files[f"{prefix}{name}.csv"] = _csv(rows)
            parts.append((heading, content + section.after))
    first = loaded[0]
    title = names[0] if len(loaded) == 1 else f"{len(loaded)} runs: {', '.join(names)}"
    lead = (
        "What the neurons of a trained spiking network have learned. Figures and tables are also "
        "files beside this page; the method of each is in docs/analysis.md."
    )
    head = sections.summary(first, recorded[first.directory], groups)
    return Report(page.page(title, lead, parts, head), files)


def _compared(groups, recorded, files):
    rows = side_by_side.table(groups, recorded)
    _, drifts = side_by_side.drifts(groups)
    _, rates = side_by_side.rates(groups, recorded)
    files["side_by_side.csv"] = _csv(rows)
    files["side_by_side_dynamics.png"] = drawing.png(drifts)
    files["side_by_side_rates.png"] = drawing.png(rates)
    return (
        page.paragraph(
            "Runs whose configurations differ in nothing but the seed are one row: mean ± sample "
            "standard deviation over its runs."
        )
        + page.table(rows)
        + page.image(
            files["side_by_side_dynamics.png"],
            "f of every layer, all runs",
            "f(u) of every layer, a line a run, a colour a configuration; dotted: the threshold.",
        )
        + page.image(
            files["side_by_side_rates.png"],
            "spike rates, all runs",
            "Spike rate of every layer on the test examples; bars are means over seeds, whiskers "
            "one sample standard deviation.",
        )
    )


def _curve_rows(groups):
    for group in groups:
        accuracy = curves.mean_and_deviation(group.accuracy)
        loss = curves.mean_and_deviation(group.loss)
        for place, epoch in enumerate(group.epochs):
            yield {
                "configuration": group.label,
                "runs": len(group.runs),
                "epoch": int(epoch),
                "accuracy": accuracy[0][place],
                "accuracy deviation": accuracy[1][place],
                "loss": loss[0][place],
                "loss deviation": loss[1][place],
            }


def _csv(rows) -> bytes:
    """Rows as CSV; the columns are those of all rows, in order of appearance."""
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _write(path: str, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with open(path + ".tmp", "wb") as file:
        file.write(content)
    os.replace(path + ".tmp", path)
