"""What all figures share: colours, a grid of one axis a layer, and a figure as bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # annotations resolve without matplotlib, which is imported to draw
    Axes = Figure = Any

LEARNED = "#1f5fa8"
REFERENCE = "0.45"
VISITED = "#c9d6e6"
ACCENT = "#b5482a"
# Of several configurations; told apart without seeing hues, too (Okabe and Ito 2008).
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
WIDTH = 9.0  # inches of every figure, so that text is equally large in all of them
NARROW = 3.5  # likewise, of one whose panels are stacked


def figure(height: float) -> Figure:
    """An empty figure of that many inches, for the Agg canvas."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def layer_axes(
    titles: Sequence[str], *, height: float = 2.1, x: str, y: str, share_y: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure with an axis a layer, in reading order, numbered from 1 as Figure 2 numbers them.

    Args:
      titles: paths of the layers.
      height: of a row, inches.
      x, y: labels of all axes.
      share_y: one scale for all layers.
    """
    columns = {1: 1, 2: 2, 4: 2}.get(len(titles), 3 if len(titles) <= 9 else 4)
    rows = math.ceil(len(titles) / columns)
    drawn = figure(height * rows + 0.6)
    axes = drawn.subplots(rows, columns, sharex=True, sharey=share_y, squeeze=False)
    for axis in axes.flat[len(titles) :]:
        axis.remove()
    used = list(axes.flat[: len(titles)])
    for number, (axis, title) in enumerate(zip(used, titles, strict=True), 1):
        plain(axis, title=f"{number}  {title}")
        axis.locator_params("x", nbins=6)  # more would touch each other
    for axis in used[max(0, len(used) - columns) :]:  # the lowest of each column
        axis.tick_params(labelbottom=True)
    drawn.supxlabel(x, fontsize=8)
    drawn.supylabel(y, fontsize=8)
    return drawn, used


def plain(axis: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Small labels and ticks, no frame above and to the right."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=7)
    axis.set_xlabel(x, fontsize=8)
    axis.set_ylabel(y, fontsize=8)
    axis.set_title(title, fontsize=8, loc="left")


def note(axis: Axes, text: str) -> None:
    """Small text in the lower left corner."""
    axis.text(0.03, 0.04, text, transform=axis.transAxes, fontsize=7)


def lif(axis: Axes, x: np.ndarray, y: np.ndarray, decay: float) -> None:
    """The line of the LIF that learned neurons start from."""
    label = f"LIF, decay {decay:g}"
    axis.plot(x, y, color=REFERENCE, linestyle="--", linewidth=1.1, label=label)


def learned(axis: Axes, x: np.ndarray, y: np.ndarray, **line: Any) -> np.ndarray:
    """Draws and returns a layer's curve (N,), or the mean over thin ones of channels (N, C)."""
    if y.ndim == 2:
        axis.plot(x, y, color=LEARNED, linewidth=0.4, alpha=0.35)
        y = y.mean(1)
    axis.plot(x, y, color=LEARNED, **line)
    return y


def legend(drawn: Figure, axis: Axes, columns: int) -> None:
    """One legend above all axes, of what one axis shows."""
    _legend(drawn, *axis.get_legend_handles_labels(), columns)


def _legend(drawn, handles, labels, columns):
    drawn.legend(
        handles, labels, loc="outside upper center", ncols=columns, fontsize=8, frameon=False
    )


def stack(drawn: Figure) -> None:
    """Puts the panels of a figure one below another, each as tall as it was, for a narrow screen.

    In the order in which they were added; twins stay on each other.
    """
    drawn.canvas.draw()  # lays it out
    panels = {}
    for axis in drawn.axes:
        place = axis.get_subplotspec()
        panels.setdefault((place.num1, place.num2), []).append(axis)
    heights = [axes[0].get_position().height * drawn.get_figheight() for axes in panels.values()]
    grid = drawn.add_gridspec(len(panels), 1, height_ratios=heights)
    for place, axes in zip(grid, panels.values(), strict=True):
        for axis in axes:
            axis.set_subplotspec(place)
            axis.tick_params(labelleft=True, labelbottom=True)  # shared ones were hidden
    for wide in list(drawn.legends):
        wide.remove()
        _legend(drawn, wide.legend_handles, [text.get_text() for text in wide.get_texts()], 2)
    drawn.set_size_inches(NARROW, sum(heights) + 0.5 * (len(heights) + len(drawn.legends)))


def png(drawn: Figure, *, dpi: int = 150) -> bytes:
    """The figure as a PNG file's bytes; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, dpi=dpi, format="png", metadata={"Software": None})
    return buffer.getvalue()
