"""A page of text, figures and tables: self-contained HTML, and the PNGs and CSVs behind it."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Iterable, Sequence

from lnm_jax.analysis import drawing
from lnm_jax.analysis.drawing import Figure

NARROW = 640  # pixels of a screen, up to which panels are stacked
STYLE = """
body { max-width: 60rem; margin: auto; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; }
h1, dd { overflow-wrap: anywhere; }
h2 { margin-top: 3rem; padding-top: .8rem; border-top: 1px solid #ddd; }
p, figcaption { max-width: 44rem; }
figcaption, dt { color: #555; font-size: .875rem; text-align: left; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem 1.5rem; }
dd { margin: 0; }
nav a { margin-right: 1rem; white-space: nowrap; }
figure { margin: 1.2rem 0; }
.wide { overflow-x: auto; }
img { width: 100%; height: auto; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem 1rem .3rem 0; text-align: right; border-bottom: 1px solid #ddd; }
.text { text-align: left; }
"""


class Page:
    """A page that is written from top to bottom.

    Attributes:
      files: PNGs and CSVs behind it, by name.
    """

    def __init__(self, title: str):
        self.files: dict[str, bytes] = {}
        self._title = title
        self._sections: list[tuple[str, list[str]]] = [("", [])]

    def section(self, heading: str) -> None:
        """Begins a section; what is added before the first one stands below the title."""
        self._sections.append((heading, []))

    def _add(self, content: str) -> None:
        self._sections[-1][1].append(content)

    def paragraph(self, text: str) -> None:
        """Adds plain text."""
        self._add(f"<p>{html.escape(text)}</p>")

    def facts(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Adds short facts: (name, value)."""
        rows = (f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in pairs)
        self._add(f"<dl>{''.join(rows)}</dl>")

    def picture(self, name: str, drawn: Figure, caption: str, rows: Sequence[dict] = ()) -> None:
        """Adds a figure, and the files name.png and, of what it shows, name.csv.

        On narrow screens its panels are one below another, as they are in `drawn` from then on.
        """
        self.files[f"{name}.png"] = png = drawing.png(drawn)
        drawing.stack(drawn)
        alt = html.escape(f"{self._sections[-1][0]}: {name}")
        self._add(
            f'<figure><picture><source media="(max-width: {NARROW}px)" '
            f'srcset="{_address(drawing.png(drawn))}"><img alt="{alt}" src="{_address(png)}">'
            f"</picture><figcaption>{html.escape(caption)}</figcaption></figure>"
        )
        if rows:
            self.csv(name, rows)

    def table(self, rows: Sequence[dict], caption: str = "", *, file: str = "") -> None:
        """Adds a table of rows with the same keys, and the file file.csv if that has a name.

        Entries of "" or None are empty; a column of nothing else is left out, and one of numbers,
        also written ones, is set to the right.
        """
        entries = {key: [number(row[key]) for row in rows] for key in rows[0]}
        columns = {
            key: "" if all(map(_is_number, column)) else " class=text"
            for key, column in entries.items()
            if any(column)
        }

        def line(tag, texts):
            cells = zip(columns.values(), map(html.escape, texts), strict=True)
            return f"<tr>{''.join(f'<{tag}{of}>{text}</{tag}>' for of, text in cells)}</tr>"

        head = line("th", columns)
        body = "".join(line("td", texts) for texts in zip(*map(entries.get, columns), strict=True))
        title = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        self._add(
            f'<figure>{title}<div class="wide"><table><thead>{head}</thead>'
            f"<tbody>{body}</tbody></table></div></figure>"
        )
        if file:
            self.csv(file, rows)

    def csv(self, name: str, rows: Sequence[dict]) -> None:
        """Adds the file name.csv alone; its columns are those of all rows, as they appear."""
        text = io.StringIO()
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.files[f"{name}.csv"] = text.getvalue().encode()

    def html(self) -> str:
        """The whole page."""
        title = html.escape(self._title)
        (_, head), *sections = self._sections
        links = "\n".join(
            f'<a href="#s{place}">{html.escape(heading)}</a>'
            for place, (heading, _) in enumerate(sections, 1)
        )
        body = "".join(
            f'<section id="s{place}"><h2>{html.escape(heading)}</h2>{"".join(content)}</section>\n'
            for place, (heading, content) in enumerate(sections, 1)
        )
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{STYLE}</style></head>\n"
            f"<body><h1>{title}</h1>{''.join(head)}\n<nav>{links}</nav>\n{body}</body></html>\n"
        )


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def number(value) -> str:
    """A table's entry as text: floats with four digits, or whole where those are more."""
    if isinstance(value, float):
        if abs(value) >= 1e4:
            return f"{value:.0f}"
        return f"{value:.4g}" if value == value else "n/a"
    return "" if value is None else str(value)


def _is_number(text: str) -> bool:
    """Whether a column with this entry is one of numbers; an empty one does not decide."""
    try:
        float(text or 0)
    except ValueError:
        return text == "n/a"
    return True
