"""What a training came to: curves, the worst images, a table before and after."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from promptless.config import ModelConfig
from promptless.data.prepared import Facts
from promptless.data.sample import Sample
from promptless.io import overlay
from promptless.io.atomic import replacing
from promptless.io.scores import figure_with_canvas, read_numbers
from promptless.train.choosing import Choice
from promptless.train.looks import SCORES
from promptless.train.measuring import DECIDES, Labels, Line, evaluation, figures, image_of
from promptless.train.run import LOG, SECONDS

FOLDER, REPORT, CURVES, WORST = "report", "report.json", "curves.png", "worst"
N_WORST = 6
BASE = "nuclei"
"""What an adapter is compared with: the model that ships, which is what there was before."""
HEADER = ("images", "figure", BASE, "adapter", "difference, 95 % interval")


@dataclass(frozen=True)
class Report:
    """All that is told of a training; `tables` by part: dev, by which thresholds were chosen, and test, unused."""

    config: ModelConfig
    facts: Facts
    ids: Mapping[str, Sequence[str]]
    n_objects: int  # that were learned from
    n_parameters: int  # that train
    phases: tuple[str, ...]
    choice: Choice
    tables: Mapping[str, Sequence[Line]]

    @property
    def decides(self) -> str:
        """The name of the figure that decides."""
        return DECIDES[self.config.output].name

    @property
    def score(self) -> float:
        """What the adapter scores on dev by the figure that decides."""
        return next(line.after for line in self.tables["dev"] if line.measure == self.decides)

    @property
    def verdict(self) -> str:
        """Whether the adapter is better than `BASE` by the figure that decides, on test, or else on dev."""
        part = "test" if self.tables.get("test") else "dev"
        line = next(line for line in self.tables[part] if line.measure == self.decides)
        images = f"{line.n_images} {part} images" if line.n_images > 1 else f"one {part} image, which shows little,"
        told = f"{line.measure} {shown(line.after)} against {shown(line.before)}"
        flatters = "" if part == "test" else "; there are no test images, and figures on dev flatter"
        return f"on the {images} the adapter is {compared(line)} {BASE}: {told}{flatters}"

    def as_json(self) -> dict[str, Any]:
        """Return the report as `report.json` has it; a number that is not defined is null."""
        content = {
            "model": {"name": self.config.name, "version": self.config.version, "output": self.config.output},
            "adapter": asdict(self.config.adapter) if self.config.adapter else None,
            "data": {"name": self.facts.name, "licence": self.facts.licence, "source": self.facts.source},
            "split": {part: list(names) for part, names in self.ids.items()},
            "objects": self.n_objects,
            "trainable_parameters": self.n_parameters,
            "phases": list(self.phases),
            "pixel_size_um": self.config.kind.pixel_size,
            "chosen_on_dev": asdict(self.choice),
            "decides": self.decides,
            "before": BASE,
            "figures": {part: [asdict(line) for line in lines] for part, lines in self.tables.items()},
        }
        defined: dict[str, Any] = without_nan(content)
        return defined

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table as text, a tuple per row, without the header."""
        return [
            (
                f"{part} ({line.n_images})",
                line.measure,
                shown(line.before),
                shown(line.after),
                f"{line.difference:+.3f} [{line.low:+.3f}, {line.high:+.3f}]" if not math.isnan(line.low) else "-",
            )
            for part, lines in self.tables.items()
            for line in lines
        ]


def compared(line: Line) -> str:
    """Return how the adapter compares by a measure: by its interval, which one image does not give."""
    if line.n_images > 1 and line.low > 0:
        return "better than"
    if line.n_images > 1 and line.high < 0:
        return "WORSE than"
    return "not shown to differ from"


def write(report: Report, run: Path, samples: Sequence[Sample], found: Mapping[str, Labels]) -> list[str]:
    """Write curves, the worst of `samples` and the figures into `run`/report; return what could not be, and why.

    `found` are the adapter's label images of the samples.
    """
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    notes = drawn(run, folder / CURVES, report)
    write_worst(report, folder / WORST, samples, found)
    with replacing(folder / REPORT) as temporary:
        temporary.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
    return notes


def drawn(run: Path, path: Path, report: Report) -> list[str]:
    """Draw the curves; where matplotlib is missing, return the line that says how to get it."""
    try:
        draw_curves(run, report.phases, path, report.decides)
    except ImportError as error:
        return [f"{CURVES} was not drawn: {error}"]
    return []


def draw_curves(run: Path, phases: Sequence[str], path: Path, decides: str) -> None:
    """Draw the losses of every phase over its steps, and what dev scored on the way, as a PNG."""
    logs = {name: columns(run / name / LOG) for name in phases}
    looks = {name: read_numbers(run / name / SCORES) for name in logs}
    figure = figure_with_canvas()
    figure.set_size_inches(6 * len(logs) + 5, 4)
    before, begins, steps, scores = 0, dict[str, int](), list[int](), list[float]()
    for place, (name, log) in enumerate(logs.items(), start=1):
        axes = figure.add_subplot(1, len(logs) + 1, place, title=name, xlabel="step", ylabel="loss", yscale="log")
        for title in [title for title in log if title not in ("step", "rate", SECONDS)]:
            total = {"linewidth": 2.5, "color": "black", "zorder": 3} if title == "loss" else {"linewidth": 1}
            axes.plot(log["step"], smoothed(log[title]), label=title, **total)
        axes.plot(log["step"], log["loss"], color="0.8", linewidth=0.5, zorder=0)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        begins[name] = before
        steps += [before + step for step in looks[name]]
        scores += looks[name].values()
        before += int(log["step"][-1])
    axes = figure.add_subplot(1, len(logs) + 1, len(logs) + 1, xlabel="step of all", ylabel=decides)
    axes.plot(steps, scores, marker="o")
    for name, start in begins.items():
        axes.axvline(start, color="0.6", linestyle=":")
        axes.text(start, 1.01, name, transform=axes.get_xaxis_transform(), fontsize="small", color="0.4")
    axes.set_title("dev", pad=18)
    axes.grid(alpha=0.3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def columns(log: Path) -> dict[str, np.ndarray]:
    """Return the columns of a log."""
    with log.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the mean of each value and those just before it."""
    width = max(1, len(values) // 50)
    sums = np.cumsum(values)
    sums[width:] -= sums[:-width].copy()
    return np.asarray(sums / np.minimum(np.arange(1, len(values) + 1), width))


def write_worst(report: Report, folder: Path, samples: Sequence[Sample], found: Mapping[str, Labels]) -> None:
    """Write pictures of the samples on which the adapter does worst, the worst first."""
    folder.mkdir(exist_ok=True)
    part_of = {name: part for part, names in report.ids.items() for name in names}
    scores = by_image(report.config, samples, found)
    ordered = sorted(samples, key=lambda sample: (scores[sample.id], sample.id))[:N_WORST]
    for place, sample in enumerate(ordered, start=1):
        title = (
            f"{sample.id} ({part_of[sample.id]}), {report.decides} {shown(scores[sample.id])}: "
            "true green, found magenta, both yellow"
        )
        picture = overlay.comparison(image_of(sample), sample.labels, found[sample.id], title)
        PillowImage.fromarray(picture).save(folder / f"{place}_{sample.id}.png")


def by_image(config: ModelConfig, samples: Sequence[Sample], found: Mapping[str, Labels]) -> dict[str, float]:
    """Return the figure that decides, of each image; one where it is not defined counts as perfect."""
    decides = DECIDES[config.output]
    each = {s.id: figures(evaluation([s], found, (decides,)), (decides,))[decides.name] for s in samples}
    return {name: 1.0 if math.isnan(value) else value for name, value in each.items()}


def shown(value: float) -> str:
    """Return a figure as a table shows it."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def without_nan(value: Any) -> Any:
    """Return JSON with null for what is no number, or infinite."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
