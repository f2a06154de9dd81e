"""Tables as Markdown and CSV, figures as PNG."""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING

from lnm_jax.errors import ConfigError

if TYPE_CHECKING:
    from reproduction.commands import Made


def markdown(made: Made, command: str) -> str:
    """Title, table, remarks and the command that made them.

    A column whose cells are all empty is left out.
    """
    keys = [key for key in _columns(made) if any(str(row.get(key, "")) for row in made.rows)]
    lines = [[*keys], ["---"] * len(keys)]
    lines += [[str(row.get(key, "")).replace("|", "\\|") for key in keys] for row in made.rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n\n".join([f"## {made.title}", table, *made.remarks, f"`{command}`"]) + "\n"


def _columns(made):
    """Of all rows, in the order in which they are met: settings may have other columns."""
    return list(dict.fromkeys(key for row in made.rows for key in row))


def write(made: Made, command: str, path: str) -> list[str]:
    """Writes `path`.md, .csv and, with a figure, .png; returns their paths.

    Raises: ConfigError if the folder cannot be written.
    """
    written = [f"{path}.md", f"{path}.csv"]
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(written[0], "w", encoding="utf-8") as file:
            file.write(markdown(made, command))
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
