"""The table and the plot of an ablation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from promptless import evaluation
from promptless.evaluation import Evaluation
from promptless.evaluation import Row as Difference
from promptless.io.atomic import replacing
from promptless.io.scores import figure_with_canvas, write_table
from promptless.train.ablation import Row

SHOWN = {
    ("pixel", "Dice (F1) by image"): "Dice",
    ("pixel", "IoU by image"): "IoU",
    ("pixel", "Dice (F1) pooled"): "Dice pooled",
    ("aji+", "AJI+"): "AJI+",
    ("stardist", "PQ@0.50 pooled"): "PQ",
    ("stardist", "AP@0.50 pooled"): "AP .5",
    ("msa", "mSA"): "mSA",
}
"""The figures in the table, by rule and name, and their headings; the CSV has all of them."""
HEADS = ("arm", "trains (M)", "minutes", "peak GiB", "TFLOP", "s/image", *SHOWN.values())
GIB = 2**30


def write(rows: Sequence[Row], reference: str, folder: Path, split: str, x_label: str = "") -> list[Path]:
    """Write `SPLIT.csv`, `SPLIT.md` and, where matplotlib is there, `SPLIT.png`; return what was written.

    Where arms have an `x`, `SPLIT_curve.png` has their scores against it.
    """
    header = ("arm", "rule", "figure", "value", "low", "high", "less_reference", "less_low", "less_high")
    table, text, plot = (folder / f"{split}{suffix}" for suffix in (".csv", ".md", ".png"))
    write_table(table, header, every_figure(rows, reference))
    with replacing(text) as temporary:
        temporary.write_text(markdown(rows, reference) + "\n", encoding="utf-8")
    curve = sorted((row for row in rows if row.arm.x is not None), key=place_of)
    try:
        draw(rows, reference, plot)
        if curve:
            draw_curve(curve, x_label, folder / f"{split}_curve.png")
    except ImportError:
        return [table, text]
    return [table, text, plot] + ([folder / f"{split}_curve.png"] if curve else [])


def every_figure(rows: Sequence[Row], reference: str) -> Iterator[tuple[str | float, ...]]:
    """Yield every figure of every arm with its interval, and by how much it is above the reference's, paired."""
    base = scores_of(rows, reference)
    for row in rows:
        paired = {(d.rule, d.figure): d for d in evaluation.differences(row.scores, base)}
        for figure in row.scores.rows():
            less = paired[figure.rule, figure.figure]
            known = (figure.value, figure.low, figure.high, less.value, less.low, less.high)
            yield (row.arm.name, figure.rule, figure.figure, *known)


def scores_of(rows: Sequence[Row], name: str) -> Evaluation:
    """Return the scores of an arm by its name."""
    return next(row.scores for row in rows if row.arm.name == name)


def markdown(rows: Sequence[Row], reference: str) -> str:
    """Return the table: an arm per line, its cost, its scores, each with its paired difference to the reference."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    base = scores_of(rows, reference)
    for row in rows:
        cells = [row.arm.name, *cost(row), *("<br>".join(told(*score(row, base, *key))) for key in SHOWN)]
        lines.append("| " + " | ".join(cells) + " |")
    note = (
        f"{counted(rows)}. Below each score: its difference to {reference}, paired by image, with the 95 % bootstrap "
        "interval over images. TFLOP: of one look at 1024 x 1024 pixels, prompts apart."
    )
    return "\n".join([*lines, "", note, *abouts(rows)])


def plain(rows: Sequence[Row], reference: str) -> str:
    """Return the table for a terminal: aligned columns, the differences in lines of their own, without intervals."""
    base = scores_of(rows, reference)
    table = [[head.partition(" ")[0] for head in HEADS], [head.partition(" ")[2] for head in HEADS]]
    for row in rows:
        scores = [score(row, base, *key) for key in SHOWN]
        table.append([row.arm.name, *cost(row), *(f"{shown(value)} " for value, _ in scores)])
        table.append([""] * (len(HEADS) - len(SHOWN)) + [starred(less) for _, less in scores])
    wide = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join([f"{line[0]:{wide[0]}}", *(f"{cell:>{n}}" for cell, n in zip(line[1:], wide[1:], strict=True))])
        for line in table
        if any(line)
    ]
    note = (
        f"{counted(rows)}. Below each score: its difference to {reference}, paired by image; * where the 95 % interval "
        "leaves out 0.\nTFLOP: of one look at 1024 x 1024 pixels, prompts apart."
    )
    return "\n".join([*(line.rstrip() for line in lines), "", note, *abouts(rows)])


def counted(rows: Sequence[Row]) -> str:
    """Return how many images were compared."""
    n = len(rows[0].scores.names)
    return "1 image" if n == 1 else f"{n} images"


def abouts(rows: Sequence[Row]) -> list[str]:
    """Return what is said of the arms, a line each."""
    return [f"- {row.arm.name}: {row.arm.about}" for row in rows if row.arm.about]


def cost(row: Row) -> list[str]:
    """Return what an arm took."""
    running = [f"{row.operations / 1e12:.2f}", f"{row.seconds:.2f}"]
    if row.arm.model is not None:
        return ["", "", "", *running]
    trainable, minutes = row.cost.trainable / 1e6, row.cost.seconds / 60
    return [f"{trainable:.2f}", f"{minutes:.1f}", f"{row.cost.memory_bytes / GIB:.1f}", *running]


def score(row: Row, base: Evaluation, rule: str, figure: str) -> tuple[float | None, Difference | None]:
    """Return a score and its difference to the reference's; None is what there is not."""
    if rule not in row.scores.counts:
        return None, None
    value = next(r.value for r in row.scores.rows(draws=1) if (r.rule, r.figure) == (rule, figure))
    if row.scores is base or math.isnan(value):
        return value, None
    less = next(d for d in evaluation.differences(row.scores, base) if (d.rule, d.figure) == (rule, figure))
    return value, None if math.isnan(less.value) else less


def told(value: float | None, less: Difference | None) -> list[str]:
    """Return a score, and its difference with the interval; where there is a single image, it has none."""
    if less is None:
        return [shown(value)]
    interval = "-" if math.isnan(less.low) else f"[{less.low:+.3f}, {less.high:+.3f}]"
    return [shown(value), f"{less.value:+.3f} {interval}"]


def starred(less: Difference | None) -> str:
    """Return a difference, with a star where its interval leaves out 0."""
    if less is None:
        return ""
    return f"{less.value:+.3f}" + ("*" if less.low > 0 or less.high < 0 else " ")


def shown(value: float | None) -> str:
    """Return a score as a table shows it."""
    if value is None:
        return ""
    return "-" if math.isnan(value) else f"{value:.3f}"


def draw(rows: Sequence[Row], reference: str, path: Path) -> None:
    """Draw every score of the table with its interval, a panel per figure, an arm per line; the reference in orange."""
    shown = [key for key in SHOWN if key[0] in rows[0].scores.counts]
    figure = figure_with_canvas((2.2 * len(shown) + 1.5, 0.35 * len(rows) + 1.2))
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    names = [f"{row.arm.name} (reference)" if row.arm.name == reference else row.arm.name for row in rows]
    for panel, key in zip(panels, shown, strict=True):
        for place, row in enumerate(rows):
            found = next(r for r in row.scores.rows() if (r.rule, r.figure) == key)
            panel.plot([found.low, found.high], [place, place], color="0.6")
            panel.plot(found.value, place, "o", color="tab:orange" if row.arm.name == reference else "tab:blue")
            if row.arm.name == reference:
                panel.axvline(found.value, color="tab:orange", linewidth=0.8, linestyle=":")
        panel.set_title(SHOWN[key], fontsize="medium")
        panel.grid(axis="x", alpha=0.3)
        panel.set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def draw_curve(rows: Sequence[Row], x_label: str, path: Path) -> None:
    """Draw every score of the table with its interval against `x` of the arms, a panel per figure."""
    shown = [key for key in SHOWN if key[0] in rows[0].scores.counts]
    figure = figure_with_canvas((2.2 * len(shown) + 1.5, 2.6))
    places = [place_of(row) for row in rows]
    for panel, key in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        found = [next(r for r in row.scores.rows() if (r.rule, r.figure) == key) for row in rows]
        panel.fill_between(places, [r.low for r in found], [r.high for r in found], color="0.9")
        panel.plot(places, [r.value for r in found], "o-", color="tab:blue")
        if places[0] > 0:
            panel.set_xscale("log", base=2)  # who amplifies, doubles
        panel.set_xticks(sorted(set(places)), [f"{place:g}" for place in sorted(set(places))], fontsize="small")
        panel.set_title(SHOWN[key], fontsize="medium")
        panel.set_xlabel(x_label)
        panel.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def place_of(row: Row) -> float:
    """Return the place of an arm on the axis of the curve; the first where it has none."""
    return row.arm.x or 0.0
