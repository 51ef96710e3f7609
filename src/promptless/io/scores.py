"""Scores as files: a table of images, a plot of curves."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptless.io.atomic import replacing


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str | float]]) -> None:
    """Write a CSV; a number that is not defined is an empty cell."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([cell(value) for value in row] for row in rows)


def read_numbers(path: Path) -> dict[int, float]:
    """Return the table of a whole number and a number that a CSV holds, nothing where there is none."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {int(first): float(second or "nan") for first, second in list(csv.reader(file))[1:]}


def cell(value: str | float) -> str:
    """Return a value as it stands in a table."""
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else f"{value:.9g}"


def draw_curves(path: Path, thresholds: Sequence[float], curves: Mapping[str, Sequence[float]]) -> None:
    """Draw curves over IoU thresholds, and write them as a PNG."""
    figure = figure_with_canvas()
    axes = figure.add_subplot(xlabel="IoU threshold", ylabel="score, pooled over images", ylim=(0, 1))
    for name, values in curves.items():
        axes.plot(thresholds, values, marker="o", label=name)
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)


def figure_with_canvas(size: tuple[float, float] = (5, 4)) -> Any:
    """Return an empty matplotlib figure of `size` (width, height, inches) that draws into files without a display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("a plot needs matplotlib: pip install 'promptless[plots]'") from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
