"""Writes the tables of docs/performance.md from the results that are kept.

Each table stands between `<!-- benchmark NAME -->` and `<!-- end -->`, what is written by hand
outside; it is the latest run of that benchmark, with where and when it was measured.
"""

import json
import pathlib
import re

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "performance.md"
PLACE = re.compile(r"(<!-- benchmark (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def latest(lines: list[str], keys: tuple[str, ...]) -> tuple[dict, list[dict]]:
    """(environment, rows) of the last run in a file of results.

    Args:
      lines: JSON, one a row, in the order they were written.
      keys: of the environment, which is the same in all rows of a run.
    """
    rows = [json.loads(line) for line in lines]
    environment = {key: rows[-1].get(key) for key in keys}
    run = []
    for row in reversed(rows):
        if {key: row.get(key) for key in keys} != environment:
            break
        run.insert(0, {key: value for key, value in row.items() if key not in keys})
    return environment, run


def written(text: str, results: pathlib.Path, keys: tuple[str, ...], table) -> str:
    """The page's text with its tables written anew."""

    def block(match):
        file = results / f"{match[2]}.jsonl"
        if not file.exists():
            return f"{match[1]}Not measured with the present code.\n{match[3]}"
        lines = file.read_text().splitlines()
        environment, rows = latest(lines, keys)
        words = ", ".join(f"{key} {value}" for key, value in environment.items() if value)
        return f"{match[1]}{table(rows)}\n\n`python -m benchmarks {match[2]}`: {words}\n{match[3]}"

    return PLACE.sub(block, text)
