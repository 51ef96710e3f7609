"""The card of an adapter: what it is, what it was trained on, how good it is, how to use it."""

from __future__ import annotations

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
| thresholds | foreground {foreground:g}, min_score {min_score:g}, chosen on dev |

## Figures

Before is `{base}` as it ships. Thresholds were chosen on dev; test was used for nothing but this table.
Differences are paired by image, with 95 % bootstrap intervals over images.

{table}

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
        foreground=config.proposals.foreground,
        min_score=config.min_score,
        base=BASE,
        table=table(report),
    )


def table(report: Report) -> str:
    """Return the figures as a Markdown table."""
    rows = (HEADER, ("---",) * len(HEADER), *report.rows())
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
