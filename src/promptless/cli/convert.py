"""`promptless convert`, and `promptless export`, which is the same for several formats at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptless.cli.edge import Mpp, Quiet, Verbose, chatter, listed, reporting, writable

if TYPE_CHECKING:
    from promptless.io.labelled import Labelled

Shape = Annotated[
    str | None, typer.Option(help="Height and width of the image that outlines belong to.", metavar="H,W")
]
Like = Annotated[
    Path | None, typer.Option(help="The image that outlines belong to: its size, and its pixel size.", metavar="IMAGE")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]
KEPT = "interrupted; what was written is kept"


def convert(
    sources: Annotated[
        list[Path], typer.Argument(help="Label images, OME-Zarr, GeoJSON, ImageJ ROIs, COCO.", metavar="LABELS")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A file, whose name says the format; with --to a folder.")
    ],
    to: Annotated[
        list[str] | None,
        typer.Option(
            help="Formats: labels, ome-tiff, ome-zarr, png, npy, objects, geojson, roi, coco, classes, parquet.",
            metavar="KIND,...",
        ),
    ] = None,
    shape: Shape = None,
    like: Like = None,
    mpp: Mpp = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write labels of any format in another: label images, OME-Zarr, pyramids, outlines, annotations, tables."""
    chatter(quiet, verbose)
    from promptless.io import conversion

    if shape and like:
        raise typer.BadParameter("they exclude each other", param_hint="--shape, --like")
    size: tuple[int, ...] | None = None if shape is None else height_and_width(shape)
    kinds = listed(to or (), conversion.FORMATS, "--to")
    with reporting(verbose, KEPT):
        if kinds:
            targets = in_folder(sources, output, kinds)
        else:
            kind = named(output, sources)
            targets = {sources[0]: {kind: output}}
        spacing: tuple[float, ...] | None = None if mpp is None else (mpp, mpp)
        if like is not None:
            size, known = of_image(like)
            spacing = spacing or known
        write(targets, size, spacing, overwrite, quiet)


def export(
    sources: Annotated[list[Path], typer.Argument(help="Label images, or outlines.", metavar="LABELS")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the outputs; made where it is missing.")],
    to: Annotated[
        list[str],
        typer.Option(help="Formats: labels, objects, geojson, roi, coco, classes, parquet.", metavar="KIND,..."),
    ],
    shape: Shape = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the results of a run in the formats that a run can write; `convert --to` has more of them.

    A model is written as ONNX by `promptless models export`, or `promptless export MODEL --onnx`.
    """
    chatter(quiet, verbose)
    from promptless.io.outputs import FROM_LABELS

    kinds = listed(to, FROM_LABELS, "--to")
    size = None if shape is None else height_and_width(shape)
    with reporting(verbose, KEPT):
        write(in_folder(sources, output, kinds), size, None, overwrite, quiet)


def named(output: Path, sources: list[Path]) -> str:
    """Return the format that the name of the one output says."""
    from promptless.io import conversion

    kind = conversion.format_of(output)
    if kind is None or (output.is_dir() and not output.name.endswith(".zarr")):
        endings = ", ".join(ending for known in conversion.FORMATS.values() for ending in known.endings)
        raise typer.BadParameter(
            f"{output} does not say a format; end it in one of {endings}, or name a folder and --to", param_hint="-o"
        )
    if len(sources) > 1:
        raise typer.BadParameter(
            f"{output.name} is one file, but there are {len(sources)} sources; name a folder and --to", param_hint="-o"
        )
    return kind


Targets = dict[Path, dict[str, Path]]
"""What each source is written to, by kind."""


def in_folder(sources: list[Path], folder: Path, kinds: tuple[str, ...]) -> Targets:
    """Return the outputs of every source in a folder, called after it."""
    from promptless.io import conversion, labelled

    return {
        source: {kind: folder / f"{labelled.name(source)}{conversion.FORMATS[kind].suffix}" for kind in kinds}
        for source in sources
    }


def write(
    targets: Targets, shape: tuple[int, ...] | None, spacing: tuple[float, ...] | None, overwrite: bool, quiet: bool
) -> None:
    """Convert every source, and print what was written."""
    from promptless.io import conversion, labelled

    paths = [path for outputs in targets.values() for path in outputs.values()]
    conversion.installed({kind for outputs in targets.values() for kind in outputs})
    for folder in {path.parent for path in paths}:
        writable(folder)
    free(paths, list(targets), overwrite)
    for source, outputs in targets.items():
        known = sized(labelled.opened(source, shape), spacing)
        for note in () if quiet else known.notes:
            typer.echo(f"note: {source.name}: {note}", err=True)
        conversion.save(known, source, outputs)
        for path in outputs.values():
            typer.echo(f"{path}")


def sized(known: Labelled, spacing: tuple[float, ...] | None) -> Labelled:
    """Return labels with a pixel size that the user gives; planes of a volume keep their distance."""
    if spacing is None:
        return known
    if len(known.labels.shape) != len(spacing):
        raise ValueError(f"a pixel size of {spacing} is of a plane, but the labels have {known.labels.shape} pixels")
    return replace(known, spacing=spacing, unit="um")


def of_image(path: Path) -> tuple[tuple[int, ...], tuple[float, ...] | None]:
    """Return the size and the pixel size of an image, at its largest level."""
    from promptless.io import lazy

    with lazy.opened(path, channel=0) as pyramid:
        return pyramid.levels[0].shape, pyramid.levels[0].spacing


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
            raise FileExistsError(f"{path} would replace what is read, or another output; choose another name")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} is there; --overwrite replaces it, another name keeps both")
        seen.add(path.resolve())
