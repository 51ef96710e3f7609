"""`promptless evaluate`."""

from __future__ import annotations

import csv
import json
import math
import sys
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptless.cli.edge import Exit, Quiet, Verbose, bar, chatter, fail, names_in, reporting, writable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from promptless.evaluation import Evaluation, Row
    from promptless.io.pairs import Pairing


def evaluate(
    truth: Annotated[Path, typer.Argument(help="True label images: a folder, or a file.", metavar="TRUTH")],
    predicted: Annotated[Path, typer.Argument(help="Predicted label images, of the same names.", metavar="PRED")],
    rules: Annotated[
        str | None,
        typer.Option(help="Rules by name, with commas between; 'objects' and 'classes' are all of a kind."),
    ] = None,
    by: Annotated[Path | None, typer.Option(help="CSV with the columns name and category.", metavar="FILE.csv")] = None,
    nsd_tolerance: Annotated[float, typer.Option(min=0, help="Tolerance of surface Dice, in mm.", metavar="MM")] = 1.0,
    spacing: Annotated[
        str | None, typer.Option(help="Size of a voxel in mm where files do not say.", metavar="Z,Y,X")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Names of the classes 1, 2, ... where files do not say.", metavar="NAME,..."),
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Another prediction to compare with.", metavar="OTHER")] = None,
    table: Annotated[Path | None, typer.Option("--csv", help="Write every image's figures.", metavar="FILE")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw AP and F1 against IoU.", metavar="FILE.png")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as JSON lines.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score predicted label images under the rules of published codes, with 95 % intervals over images."""
    chatter(quiet, verbose)
    size, names = voxel_size(spacing), named(rules)
    called = None if classes is None else names_in(classes)
    if plot is not None and names and "stardist" not in names:
        raise typer.BadParameter("it shows what the rule stardist counts; add that to --rules", param_hint="--plot")
    with reporting(verbose, "interrupted; nothing was written"):
        from promptless.evaluation import differences
        from promptless.io import pairs
        from promptless.io.scores import figure_with_canvas

        for file in (table, plot):
            if file is not None:
                writable(file.parent)
        if plot is not None:
            figure_with_canvas()  # without matplotlib, fail now and not after the work
        pairing = paired(pairs.pair(truth, predicted), quiet)
        rival = None if against is None else paired(pairs.pair(truth, against), quiet)
        chosen = names or fitting(pairing)
        categories = read_categories(by, list(pairing.pairs), quiet) if by else {}
        score = partial(scored, rules=chosen, tolerance=nsd_tolerance, spacing=size, classes=called, quiet=quiet)
        evaluation = score(pairing)
        rows = evaluation.rows(categories)
        if plot is not None:
            write_plot(evaluation, plot)
        if table is not None:
            write_images(evaluation, categories, table)
        tell(rows, evaluation.absent, as_json)
        if rival is not None and against is not None:
            tell_differences(differences(evaluation, score(rival)), predicted, against, as_json)
    left_out = pairing.only_true or (rival is not None and rival.only_true)
    raise typer.Exit(Exit.PARTIAL if left_out else Exit.OK)


def voxel_size(text: str | None) -> tuple[float, ...] | None:
    """Return `--spacing` as numbers."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a size; give mm per axis, as 2.5,0.8,0.8") from None


def named(rules: str | None) -> list[str]:
    """Return the rules that were asked for by name, none where nothing was."""
    from promptless.metrics import rules as known

    kinds = {"objects": known.OBJECT_RULES, "classes": known.CLASS_RULES}
    words = [word.strip() for word in (rules or "").split(",") if word.strip()]
    names = [name for word in words for name in kinds.get(word, (word,))]
    try:
        known.find(names)
    except ValueError as error:
        raise typer.BadParameter(f"{error}; or objects, classes", param_hint="--rules") from None
    return names


def fitting(pairing: Pairing) -> tuple[str, ...]:
    """Return the rules for classes where files are NIfTI, for objects elsewhere."""
    from promptless.io.label_files import suffix
    from promptless.metrics import rules as known

    first = next(iter(pairing.pairs.values()))[0]
    return known.DEFAULT_CLASS_RULES if ".nii" in suffix(first) else known.DEFAULT_OBJECT_RULES


def paired(pairing: Pairing, quiet: bool) -> Pairing:
    """Say which files have no partner, and fail where none has."""
    sides = (("truth without prediction", pairing.only_true), ("prediction without truth", pairing.only_predicted))
    for what, alone in sides:
        if alone and not quiet:
            typer.echo(f"{what}, left out: {', '.join(path.name for path in alone)}", err=True)
    if not pairing.pairs:
        fail("no true file has a prediction of the same stem (NAME.png and NAME_labels.tif belong together)")
    return pairing


def scored(
    pairing: Pairing,
    *,
    rules: Sequence[str],
    tolerance: float,
    spacing: tuple[float, ...] | None,
    classes: Sequence[str] | None,
    quiet: bool,
) -> Evaluation:
    """Evaluate pairs of files with a progress bar."""
    from promptless.evaluation import evaluate as compare

    truth = {name: pair[0] for name, pair in pairing.pairs.items()}
    predicted = {name: pair[1] for name, pair in pairing.pairs.items()}
    with bar(len(truth), shown=not quiet and sys.stderr.isatty()) as advance:
        return compare(truth, predicted, rules, tolerance=tolerance, spacing=spacing, classes=classes, progress=advance)


def read_categories(path: Path, images: Sequence[str], quiet: bool) -> dict[str, str]:
    """Return the category of each of some images from a CSV, which names them as files do or without `_labels`."""
    from promptless.io.pairs import core, stem

    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = {"name", "category"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path} lacks the column {' and '.join(sorted(missing))}; it needs name and category")
        named = [(Path(row["name"]), row["category"]) for row in reader]
    told = {entry: kind for name, kind in named for entry in (core(name), stem(name), str(name))}
    found = {image: told.get(image, told.get(core(Path(image)))) for image in images}
    without = [image for image, kind in found.items() if kind is None]
    if len(without) == len(images):
        raise ValueError(f"{path} has no category for any of the {len(images)} images, such as {images[0]}")
    if without and not quiet:
        typer.echo(f"without a category in {path}: {', '.join(without)}", err=True)
    return {image: kind for image, kind in found.items() if kind is not None}


def write_plot(evaluation: Evaluation, path: Path) -> None:
    """Draw AP and F1 against IoU."""
    from promptless.io.scores import draw_curves
    from promptless.metrics.instances import THRESHOLDS

    draw_curves(path, THRESHOLDS, evaluation.curves())


def write_images(evaluation: Evaluation, categories: Mapping[str, str], path: Path) -> None:
    """Write the figures of every image as CSV."""
    from promptless.io.scores import write_table

    rows = ((row[0], categories.get(row[0], ""), *row[1:]) for row in evaluation.images())
    write_table(path, ("name", "category", "rule", "figure", "class_name", "value"), rows)


def tell(rows: list[Row], absent: Sequence[str], as_json: bool) -> None:
    """Print figures on stdout, group by group, and which classes have none."""
    if as_json:
        for row in rows:
            typer.echo(as_line(row))
        return
    for group, members in groupby(rows, key=lambda row: (row.group, row.n_images)):
        typer.echo(f"{group[0]} ({group[1]} image{'s' if group[1] != 1 else ''}), 95 % bootstrap intervals over images")
        show(list(members))
        typer.echo("")
    if absent:
        typer.echo(f"in neither truth nor prediction of any image: {', '.join(absent)}")


def show(rows: list[Row]) -> None:
    """Print figures line by line, and those of single classes as a table."""
    for row in rows:
        if not row.class_name:
            typer.echo(as_text(row))
    of_classes = [row for row in rows if row.class_name]
    if of_classes:
        typer.echo("")
        for line in as_table(of_classes):
            typer.echo(line)


def as_table(rows: list[Row]) -> list[str]:
    """Return the figures of classes as lines: a class per line, a figure per column, and how many images have one."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        title = f"{row.rule} {row.figure.removesuffix(f' of {row.class_name}')}"
        found.setdefault(row.class_name, {})[title] = row
    titles = list(dict.fromkeys(title for figures in found.values() for title in figures))
    width = max(len(name) for name in ("class", *found))
    lines = [f"  {'class':<{width}}  {'  '.join(titles)}  images"]
    for name, figures in found.items():
        cells = [
            f"{figures[title].value:{len(title)}.3f}" if title in figures else " " * len(title) for title in titles
        ]
        n = max(row.n_images - row.n_undefined for row in figures.values())
        lines.append(f"  {name:<{width}}  {'  '.join(cells)}  {n:6}")
    return lines


def tell_differences(rows: list[Row], ours: Path, other: Path, as_json: bool) -> None:
    """Print how much higher the figures are than those of the other prediction."""
    if as_json:
        for row in rows:
            typer.echo(as_line(row, against=str(other)))
        return
    typer.echo(f"{ours} less {other} ({rows[0].n_images} images in common), paired by image")
    show(rows)


def as_text(row: Row) -> str:
    """Return a figure as a line for a person."""
    between = "" if math.isnan(row.low) else f"[{row.low:.3f}, {row.high:.3f}]"
    undefined = f"undefined in {row.n_undefined}" if row.n_undefined else ""
    return f"  {row.rule:<16} {row.figure:<22} {row.value:7.3f}  {between:<16} {undefined}".rstrip()


def as_line(row: Row, **more: str) -> str:
    """Return a figure as a line of JSON; what is not defined or infinite is null."""
    entry = asdict(row) | more
    return json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()})
