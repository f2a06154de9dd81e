"""The report's page: self-contained HTML of sections, figures and tables."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

STYLE = """
:root { color-scheme: light; --ink: #1d2329; --soft: #5c6670; --line: #dfe3e7; --blue: #1f5fa8; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 Georgia, "Times New Roman",
  "DejaVu Serif", serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1, h2, h3, nav, table, figcaption, .facts { font-family: system-ui, "Helvetica Neue", Arial,
  "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 3.2rem 0 .6rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.8rem 0 .4rem; }
p { max-width: 44rem; margin: .5rem 0; }
a { color: var(--blue); }
nav { font-size: .88rem; margin: 1.2rem 0 0; line-height: 1.9; }
nav { display: flex; flex-wrap: wrap; column-gap: 1.3rem; }
nav a { text-decoration: none; }
.lead { color: var(--soft); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem;
  margin: 1.6rem 0; padding: 0; }
.facts div { border-top: 2px solid var(--ink); padding-top: .35rem; }
.facts dt { font-size: .78rem; color: var(--soft); }
.facts dd { margin: 0; font-size: 1.1rem; font-weight: 600; overflow-wrap: anywhere; }
figure { margin: 1.2rem 0; }
figcaption { font-size: .86rem; color: var(--soft); max-width: 44rem; margin-top: .4rem; }
.wide + .wide { margin-top: 1.6rem; }
.wide { overflow-x: auto; -webkit-overflow-scrolling: touch; }
.wide img { display: block; width: 100%; min-width: 36rem; height: auto; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .32rem .9rem .32rem 0; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; border-bottom-color: var(--ink); vertical-align: bottom; }
th.text, td.text { text-align: left; }
td.text { min-width: 6rem; }
code { font-size: .88em; }
@media (max-width: 40rem) { main { padding: 1.5rem 1rem 3rem; } h1 { font-size: 1.35rem; } }
@media print { .wide img { min-width: 0; } h2 { break-after: avoid; } }
"""


class Section(NamedTuple):
    """One section of the page.

    Attributes:
      title: its heading.
      before: HTML before the pictures.
      pictures: PNGs by name.
      captions: by the pictures' names.
      tables: rows by the name of their CSV.
      after: HTML after the pictures.
    """

    title: str
    before: str
    pictures: dict[str, bytes]
    captions: dict[str, str]
    tables: dict[str, list[dict]]
    after: str = ""


def number(value) -> str:
    """A table's entry as text: floats with four digits, or whole where those are more."""
    if isinstance(value, float):
        if abs(value) >= 1e4:
            return f"{value:.0f}"
        return f"{value:.4g}" if value == value else "n/a"
    return str(value).replace(" ± ", "\u00a0±\u00a0")  # no line between the two


def paragraph(text: str, *, lead: bool = False) -> str:
    """Plain text as a paragraph."""
    return f"<p{' class=lead' if lead else ''}>{html.escape(text)}</p>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Short facts beside each other: (name, value)."""
    items = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in pairs
    )
    return f'<dl class="facts">{items}</dl>'


def image(png: bytes, alt: str, caption: str) -> str:
    """A figure with its picture inside the page."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure><div class="wide"><img alt="{html.escape(alt, quote=True)}" '
        f'src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _is_number(value) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def without_empty(rows: Sequence[dict]) -> list[dict]:
    """The rows without the columns in which no row has an entry."""
    return [
        {key: value for key, value in row.items() if any(other[key] != "" for other in rows)}
        for row in rows
    ]


def table(rows: Sequence[dict], caption: str = "") -> str:
    """Rows of equal keys; a column of numbers, also written ones, is set to the right."""
    if not rows:
        return ""
    numeric = {key: all(row[key] == "" or _is_number(row[key]) for row in rows) for key in rows[0]}

    def cells(tag, values):
        return "".join(
            f"<{tag}{'' if numeric[key] else ' class=text'}>{html.escape(number(value))}</{tag}>"
            for key, value in values
        )

    head = cells("th", [(key, key) for key in rows[0]])
    body = "".join(f"<tr>{cells('td', row.items())}</tr>" for row in rows)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def page(title: str, lead: str, sections: Sequence[tuple[str, str]], head: str = "") -> str:
    """The whole page.

    Args:
      title: of the page.
      lead: a sentence below it.
      sections: (heading, HTML).
      head: HTML between lead and sections.
    """
    links = "\n".join(
        f'<a href="#s{place}">{html.escape(name)}</a>'
        for place, (name, _) in enumerate(sections, 1)
    )
    body = "".join(
        f'<section id="s{place}"><h2>{html.escape(name)}</h2>{content}</section>\n'
        for place, (name, content) in enumerate(sections, 1)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main><h1>{html.escape(title)}</h1>{paragraph(lead, lead=True)}\n"
        f"{head}<nav>{links}</nav>\n{body}</main></body></html>\n"
    )
