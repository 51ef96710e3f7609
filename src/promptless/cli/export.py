"""`promptless export`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from promptless.cli.edge import Quiet, Verbose, chatter, listed, reporting, writable

PLANAR = ("geojson", "roi", "coco")
"""Formats of outlines and masks in a plane."""


def export(
    sources: Annotated[list[Path], typer.Argument(help="Label images, or GeoJSON files.", metavar="LABELS")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the outputs; made where it is missing.")],
    to: Annotated[
        list[str],
        typer.Option(help="Formats: labels, objects, geojson, roi, coco, classes, parquet.", metavar="KIND,..."),
    ],
    shape: Annotated[
        str | None, typer.Option(help="Height and width of the image that GeoJSON files belong to.", metavar="H,W")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the objects of label images, or of GeoJSON edited in QuPath, in other formats."""
    chatter(quiet, verbose)
    from promptless.io import labelled, outputs

    kinds = listed(to, outputs.FROM_LABELS, "--to")
    size = None if shape is None else height_and_width(shape)
    with reporting(verbose, "interrupted; what was written is kept"):
        writers = outputs.checked(kinds, outputs.FROM_LABELS)
        writable(output)
        targets = {source: outputs.paths(output, labelled.name(source), writers) for source in sources}
        free([path for paths in targets.values() for path in paths.values()], sources, overwrite)
        for source in sources:
            segmentation = labelled.read(source, size)
            planar(source, segmentation.labels.shape, kinds)
            for path in outputs.save(segmentation, output, labelled.name(source), writers).values():
                typer.echo(f"{path}")


def planar(source: Path, shape: tuple[int, ...], kinds: Iterable[str]) -> None:
    """Fail where a volume is to be written as what holds a plane."""
    flat = [kind for kind in kinds if kind in PLANAR]
    if flat and len(shape) != 2:
        raise ValueError(
            f"{source} has {len(shape)} axes {shape}, and {', '.join(flat)} hold a plane; export one plane at a time"
        )


def height_and_width(text: str) -> tuple[int, int]:
    """Return the two whole numbers in "H,W"."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise typer.BadParameter(f"{text!r} is not a height and a width, as in 1024,768", param_hint="--shape")
    return int(parts[0]), int(parts[1])


def free(targets: list[Path], sources: list[Path], overwrite: bool) -> None:
    """Fail before the work where an output would replace a file that it must not."""
    read = {source.resolve() for source in sources}
    seen: set[Path] = set()
    for path in targets:
        if path.resolve() in read | seen:
            raise FileExistsError(f"{path} would replace what is read, or another output; choose another folder")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} is there; --overwrite replaces it, another folder keeps both")
        seen.add(path.resolve())
