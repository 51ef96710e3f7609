"""The card of an adapter: what it is, what it was trained on, how good it is, how to use it."""

from __future__ import annotations

from promptless.config import SEMANTIC, ModelConfig
from promptless.train.report import BASE, HEADER, Report

CARD = "README.md"
TEXT = """\
# {name}

An adapter for promptless on the backbone {backbone}.

```
promptless segment IMAGE... --model THIS_FOLDER -o results
```

| | |
|---|---|
| gives | {output} |
| backbone | {backbone}, sha256 {sha256} |
| parameters that were trained | {parameters:,} |
| data | {data}: {images} images, {objects:,} objects learned from |
| licence of the data | {data_licence} |
| licence of the adapter | {licence} |
| pixel size | {pixel_size:g} um, to which images of known pixel size are brought |
| objects | {low:g} to {high:g} pixels across |
| thresholds | {thresholds} |

## Figures

Before is `{base}` as it ships. What was chosen was chosen on dev; test was used for nothing but this table.
Differences are paired by image, with 95 % bootstrap intervals over images.

{table}

{verdict}.

Research use; not a medical device.
"""


def card(report: Report) -> str:
    """Return the card, in Markdown."""
    config, facts = report.config, report.facts
    assert config.adapter is not None
    low, high = config.kind.object_px
    return TEXT.format(
        name=config.name,
        output=config.output,
        backbone=config.adapter.backbone,
        sha256=config.adapter.sha256,
        parameters=report.n_parameters,
        data=f"{facts.name} ({facts.source})" if facts.source else facts.name,
        images=", ".join(f"{part} {len(names)}" for part, names in report.ids.items()),
        objects=report.n_objects,
        data_licence=facts.licence or "unknown",
        licence=config.licence,
        pixel_size=config.kind.pixel_size,
        low=low,
        high=high,
        thresholds=thresholds(config),
        base=BASE,
        table=table(report),
        verdict=report.verdict[:1].upper() + report.verdict[1:],
    )


def thresholds(config: ModelConfig) -> str:
    """Return the thresholds that matter for what a model gives."""
    if config.output == SEMANTIC:
        points = f"points where the foreground's probability is above {config.points.threshold:g}"
        return f"{points}, the mask where its own is above {config.proposals.foreground:g}, chosen on dev"
    return f"foreground {config.proposals.foreground:g}, min_score {config.min_score:g}, chosen on dev"


def table(report: Report) -> str:
    """Return the figures as a Markdown table."""
    rows = (HEADER, ("---",) * len(HEADER), *report.rows())
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
