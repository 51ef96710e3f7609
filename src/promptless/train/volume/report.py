"""What a training on volumes came to: curves, every case's figures, tables with intervals, and the model's card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from promptless.config import ModelConfig, VolumeConfig
from promptless.data.prepared import Facts
from promptless.evaluation import Evaluation
from promptless.io.atomic import replacing
from promptless.io.scores import write_table
from promptless.train.report import CURVES, FOLDER, REPORT, draw_curves, shown, without_nan
from promptless.train.schedule import Schedule
from promptless.train.volume.measuring import DECIDES, FIGURES, MEAN, TOLERANCE, Line, by_case, score
from promptless.train.volume.recipe import TRAIN

CARD, SCORES = "README.md", "scores.csv"
HEADER = ("scans", "structure", *FIGURES)
TEXT = """\
# {name}

A model for promptless that gives a class to every voxel of a scan: {classes}.

```
promptless segment SCAN --model THIS_FOLDER -o results
```

| | |
|---|---|
| network | {network} |{teacher}
| parameters that were trained | {parameters:,} |
| data | {data}: {scans} scans |
| licence of the data | {data_licence} |
| licence of the model | {licence} |
| voxels | {spacing} |
| crops | {crop} voxels |
| made for | {extent} |

## Figures

Means over scans, with 95 % bootstrap intervals over them. NSD is at {tolerance:g} mm (DeepMind's surface Dice), HD95 in
mm. Nothing was chosen on test.

{table}

Research use; not a medical device.
"""


@dataclass(frozen=True)
class Report:
    """All that is told of a training; `tables` by part, dev and test."""

    config: ModelConfig
    facts: Facts
    ids: Mapping[str, Sequence[str]]
    n_parameters: int  # that train
    schedule: Schedule
    tables: Mapping[str, Sequence[Line]]

    @property
    def score(self) -> float:
        """What the model scores on dev by the figure that decides."""
        return score(self.tables["dev"])

    @property
    def verdict(self) -> str:
        """How good the model is by the figure that decides, on test, or else on dev."""
        part = "test" if self.tables.get("test") else "dev"
        line = next(line for line in self.tables[part] if (line.structure, line.figure) == (MEAN, FIGURES[0]))
        scans = f"{line.n} {part} scans" if line.n > 1 else f"one {part} scan, which shows little,"
        flatters = "" if part == "test" else "; there are no test scans, and figures on dev flatter"
        return f"on the {scans} the model has a {DECIDES} of {with_interval(line)}{flatters}"

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table as text, a tuple per row, without the header."""
        rows = []
        for part, lines in self.tables.items():
            for structure in (*self.config.classes, MEAN):
                cells = [with_interval(line) for line in lines if line.structure == structure]
                rows.append((f"{part} ({len(self.ids[part])})", structure, *cells))
        return rows

    def as_json(self) -> dict[str, Any]:
        """Return the report as `report.json` has it; a number that is not defined is null."""
        content = {
            "model": asdict(self.config),
            "data": {"name": self.facts.name, "licence": self.facts.licence, "source": self.facts.source},
            "split": {part: list(names) for part, names in self.ids.items()},
            "trainable_parameters": self.n_parameters,
            "schedule": asdict(self.schedule),
            "nsd_tolerance_mm": TOLERANCE,
            "figures": {part: [asdict(line) for line in lines] for part, lines in self.tables.items()},
        }
        defined: dict[str, Any] = without_nan(content)
        return defined


@dataclass(frozen=True)
class Told:
    """A report, and the figures of every case that it is made of."""

    report: Report
    evaluations: Mapping[str, Evaluation]


def with_interval(line: Line) -> str:
    """Return a figure as a table shows it."""
    return f"{shown(line.value)} [{shown(line.low)}, {shown(line.high)}]"


def write(told: Told, run: Path) -> list[str]:
    """Write curves, scores of every case and figures into `run`/report; return what could not be, and why."""
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / REPORT) as temporary:
        temporary.write_text(json.dumps(told.report.as_json(), indent=1) + "\n", encoding="utf-8")
    write_table(folder / SCORES, ("part", "scan", "structure", *FIGURES), scores(told))
    try:
        draw_curves(run, (TRAIN,), folder / CURVES, DECIDES)
    except ImportError as error:
        return [f"{CURVES} was not drawn: {error}"]
    return []


def scores(told: Told) -> list[tuple[str | float, ...]]:
    """Return a row for every class of every case."""
    names = told.report.config.classes
    return [
        (part, case, name, *map(float, figures))
        for part, evaluation in told.evaluations.items()
        for case, of_case in zip(evaluation.names, by_case(evaluation, len(names)), strict=True)
        for name, figures in zip(names, of_case, strict=True)
    ]


def card(report: Report) -> str:
    """Return the card, in Markdown."""
    config, facts, volume = report.config, report.facts, report.config.volume
    assert volume is not None
    rows = (HEADER, ("---",) * len(HEADER), *report.rows())
    return TEXT.format(
        name=config.name,
        classes=", ".join(config.classes),
        network=network(config, volume),
        teacher=taught(config),
        parameters=report.n_parameters,
        data=f"{facts.name} ({facts.source})" if facts.source else facts.name,
        scans=", ".join(f"{part} {len(names)}" for part, names in report.ids.items()),
        data_licence=facts.licence or "unknown",
        licence=config.licence,
        spacing="as they are" if volume.spacing is None else f"{lengths(volume.spacing)} mm (z, y, x)",
        crop=lengths(volume.crop),
        extent="scans of any size" if volume.extent is None else f"boxes of at most {lengths(volume.extent)} mm",
        tolerance=TOLERANCE,
        table="\n".join("| " + " | ".join(row) + " |" for row in rows),
    )


def network(config: ModelConfig, volume: VolumeConfig) -> str:
    """Return what a model is made of, in words."""
    if config.inflates is None:
        return volume.network
    return f"{volume.network} on {config.inflates.backbone}, sha256 {config.inflates.sha256}"


def taught(config: ModelConfig) -> str:
    """Return the row of a card on who taught a model, with the line break before it; nothing where nobody did."""
    teacher = config.teacher
    if teacher is None:
        return ""
    return f"\n| teacher | {teacher.name}, sha256 {teacher.sha256}; its share of the loss was {teacher.weight:g} |"


def lengths(values: Sequence[float]) -> str:
    """Return lengths for a table."""
    return " x ".join(f"{value:g}" for value in values)
