"""The table and the plot of an ablation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from promptless import evaluation
from promptless.evaluation import Evaluation
from promptless.evaluation import Row as Figure
from promptless.io.atomic import replacing
from promptless.io.scores import figure_with_canvas, write_table
from promptless.train.arms import Row

Key = tuple[str, str]
"""A rule and the name of one of its figures."""
SHOWN = {
    ("pixel", "Dice (F1) by image"): "Dice",
    ("pixel", "IoU by image"): "IoU",
    ("pixel", "Dice (F1) pooled"): "Dice pooled",
    ("aji+", "AJI+"): "AJI+",
    ("stardist", "PQ@0.50 pooled"): "PQ",
    ("stardist", "AP@0.50 pooled"): "AP .5",
    ("msa", "mSA"): "mSA",
    ("nnunet", "Dice"): "Dice nnU-Net",
    ("deepmind", "Dice"): "Dice mean",
    ("deepmind", "NSD at 1 mm"): "NSD 1 mm",
    ("deepmind", "HD95 mm"): "HD95 mm",
}
"""The figures in the table, by rule and name, and their headings; the CSV has all of them."""
OF_CLASSES = ("deepmind", "Dice")
"""The figure in the table that is shown of each class, too."""
HEADS = ("arm", "trains (M)", "steps", "minutes", "peak GiB", "TFLOP")
GIB = 2**30


def write(rows: Sequence[Row], reference: str, folder: Path, split: str, x_label: str = "") -> list[Path]:
    """Write `SPLIT.csv`, `SPLIT.md` and, where matplotlib is there, `SPLIT.png`; return what was written.

    Where arms have an `x`, `SPLIT_curve.png` has their scores against it.
    """
    header = (
        *("arm", "rule", "figure", "value", "low", "high", "less_reference", "less_low", "less_high"),
        *("trainings", "spread"),
    )
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
    """Yield every figure of every arm with its interval, how much it is above the reference's, paired, and its spread.

    All are means over the trainings of an arm; the spread is their standard deviation.
    """
    base = scores_of(rows, reference)
    for row in rows:
        paired, trials = differences(row, base), by_training(row)
        for figure in evaluation.means(row.scores):
            key = figure.rule, figure.figure
            less, among = paired[key], trials[key]
            known = (figure.value, figure.low, figure.high, less.value, less.low, less.high)
            yield (row.arm.name, *key, *known, len(among), spread(among))


def scores_of(rows: Sequence[Row], name: str) -> tuple[Evaluation, ...]:
    """Return the scores of an arm by its name."""
    return next(row.scores for row in rows if row.arm.name == name)


def differences(row: Row, base: Sequence[Evaluation]) -> dict[Key, Figure]:
    """Return by how much each figure of an arm is above the reference's, paired by image."""
    return {(less.rule, less.figure): less for less in evaluation.mean_differences(row.scores, base)}


def by_training(row: Row) -> dict[Key, list[float]]:
    """Return each figure of an arm, a value for each time that it was trained."""
    values = dict[Key, list[float]]()
    for scores in row.scores:
        for figure in scores.rows(draws=1):
            values.setdefault((figure.rule, figure.figure), []).append(figure.value)
    return values


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation of a figure over trainings, NaN of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 and np.isfinite(values).all() else float("nan")


def shown_of(rows: Sequence[Row]) -> dict[Key, str]:
    """Return which figures the table has, those of every class among them, and their headings."""
    found = dict[Key, str]()
    (scores, *_) = rows[0].scores
    for rule in scores.rules:
        for figure in rule.figures:
            known, title = SHOWN.get((rule.name, scores.title(figure))), scores.title(figure)
            if known is not None:
                found[rule.name, title] = known
            elif (rule.name, figure.name) == OF_CLASSES:
                found[rule.name, title] = f"{figure.name} {scores.class_name(figure)}"
    order = list(SHOWN)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def heads(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the headings of the table's columns."""
    return (*HEADS, f"s/{rows[0].words.noun}", *shown_of(rows).values())


def markdown(rows: Sequence[Row], reference: str) -> str:
    """Return the table: an arm per line, its cost, its scores, each with its paired difference to the reference."""
    columns, keys = heads(rows), list(shown_of(rows))
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    base = scores_of(rows, reference)
    for row in rows:
        cells = [row.arm.name, *cost(row), *("<br>".join(told(score)) for score in scored(row, base, keys))]
        lines.append("| " + " | ".join(cells) + " |")
    noun = rows[0].words.noun
    note = (
        f"{counted(rows)} Below each score: its difference to {reference}, paired by {noun}, with the 95 % bootstrap "
        f"interval over {noun}s. TFLOP: {rows[0].words.look}."
    )
    return "\n".join([*lines, "", note, *abouts(rows)])


def plain(rows: Sequence[Row], reference: str) -> str:
    """Return the table for a terminal: aligned columns, the differences in lines of their own, without intervals."""
    base, keys, columns = scores_of(rows, reference), list(shown_of(rows)), heads(rows)
    table = [[head.partition(" ")[0] for head in columns], [head.partition(" ")[2] for head in columns]]
    for row in rows:
        scores = scored(row, base, keys)
        table.append([row.arm.name, *cost(row), *(f"{value} " for value, _ in scores)])
        table.append([""] * (len(columns) - len(keys)) + [starred(less) for _, less in scores])
    wide = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join([f"{line[0]:{wide[0]}}", *(f"{cell:>{n}}" for cell, n in zip(line[1:], wide[1:], strict=True))])
        for line in table
        if any(line)
    ]
    note = (
        f"{counted(rows)} Below each score: its difference to {reference}, paired by {rows[0].words.noun}; * where the "
        f"95 % interval leaves out 0.\nTFLOP: {rows[0].words.look}."
    )
    return "\n".join([*(line.rstrip() for line in lines), "", note, *abouts(rows)])


def counted(rows: Sequence[Row]) -> str:
    """Return how many images were compared, and how often arms were trained where that was more than once."""
    n, trainings = len(rows[0].scores[0].names), max(len(row.scores) for row in rows)
    images = f"{n} {rows[0].words.noun}{'' if n == 1 else 's'}."
    if trainings == 1:
        return images
    return f"{images} Means over {trainings} trainings of each arm, ± their standard deviation."


def abouts(rows: Sequence[Row]) -> list[str]:
    """Return what is said of the arms, a line each."""
    return [f"- {row.arm.name}: {row.arm.about}" for row in rows if row.arm.about]


def cost(row: Row) -> list[str]:
    """Return what an arm took."""
    running = [f"{row.operations / 1e12:.2f}", f"{row.seconds:.2f}"]
    if row.arm.model is not None:
        return ["", "", "", "", *running]
    trainable, minutes = row.cost.trainable / 1e6, row.cost.seconds / 60
    return [
        f"{trainable:.2f}",
        f"{row.cost.steps}",
        f"{minutes:.1f}",
        f"{row.cost.memory_bytes / GIB:.1f}",
        *running,
    ]


def scored(row: Row, base: Sequence[Evaluation], keys: Sequence[Key]) -> list[tuple[str, Figure | None]]:
    """Return scores as the table has them, and the difference of each to the reference's; None where there is none."""
    means = {(figure.rule, figure.figure): figure.value for figure in evaluation.means(row.scores, draws=1)}
    trials = by_training(row)
    paired = {} if row.scores is base else differences(row, base)
    return [
        (
            with_spread(means.get(key, float("nan")), spread(trials.get(key, []))),
            None if key not in paired or math.isnan(paired[key].value) else paired[key],
        )
        for key in keys
    ]


def with_spread(value: float, among: float) -> str:
    """Return a score, and how much it differs between trainings where there were several."""
    return shown(value) if math.isnan(among) else f"{shown(value)} ± {shown(among)}"


def told(score: tuple[str, Figure | None]) -> list[str]:
    """Return a score, and its difference with the interval; where there is a single image, it has none."""
    value, less = score
    if less is None:
        return [value]
    interval = "-" if math.isnan(less.low) else f"[{less.low:+.3f}, {less.high:+.3f}]"
    return [value, f"{less.value:+.3f} {interval}"]


def starred(less: Figure | None) -> str:
    """Return a difference, with a star where its interval leaves out 0."""
    if less is None:
        return ""
    return f"{less.value:+.3f}" + ("*" if less.low > 0 or less.high < 0 else " ")


def shown(value: float) -> str:
    """Return a score as a table shows it."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def draw(rows: Sequence[Row], reference: str, path: Path) -> None:
    """Draw every score of the table with its interval, a panel per figure, an arm per line; the reference in orange.

    Small dots are the trainings of an arm that was trained several times.
    """
    keys = shown_of(rows)
    figure = figure_with_canvas((2.2 * len(keys) + 1.5, 0.35 * len(rows) + 1.2))
    panels = figure.subplots(1, len(keys), sharey=True, squeeze=False)[0]
    names = [f"{row.arm.name} (reference)" if row.arm.name == reference else row.arm.name for row in rows]
    means, trials = [means_of(row) for row in rows], [by_training(row) for row in rows]
    for panel, key in zip(panels, keys, strict=True):
        for place, row in enumerate(rows):
            found, among = means[place][key], trials[place][key]
            colour = "tab:orange" if row.arm.name == reference else "tab:blue"
            panel.plot([found.low, found.high], [place, place], color="0.6")
            panel.plot(among, [place] * len(among), ".", color=colour, alpha=0.5)
            panel.plot(found.value, place, "o", color=colour)
            if row.arm.name == reference:
                panel.axvline(found.value, color="tab:orange", linewidth=0.8, linestyle=":")
        panel.set_title(keys[key], fontsize="medium")
        panel.grid(axis="x", alpha=0.3)
        panel.set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def means_of(row: Row) -> dict[Key, Figure]:
    """Return each figure of an arm with its interval over images."""
    return {(figure.rule, figure.figure): figure for figure in evaluation.means(row.scores)}


def draw_curve(rows: Sequence[Row], x_label: str, path: Path) -> None:
    """Draw every score of the table with its interval against `x` of the arms, a panel per figure."""
    keys = shown_of(rows)
    figure = figure_with_canvas((2.2 * len(keys) + 1.5, 2.6))
    places, means = [place_of(row) for row in rows], [means_of(row) for row in rows]
    for panel, key in zip(figure.subplots(1, len(keys), squeeze=False)[0], keys, strict=True):
        found = [mean[key] for mean in means]
        panel.fill_between(places, [r.low for r in found], [r.high for r in found], color="0.9")
        panel.plot(places, [r.value for r in found], "o-", color="tab:blue")
        if places[0] > 0:
            panel.set_xscale("log", base=2)  # who amplifies, doubles
        panel.set_xticks(sorted(set(places)), [f"{place:g}" for place in sorted(set(places))], fontsize="small")
        panel.set_title(keys[key], fontsize="medium")
        panel.set_xlabel(x_label)
        panel.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def place_of(row: Row) -> float:
    """Return the place of an arm on the axis of the curve; the first where it has none."""
    return row.arm.x or 0.0
