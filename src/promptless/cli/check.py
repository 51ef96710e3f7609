"""`promptless check`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptless.cli.edge import (
    Channel,
    Device,
    Exit,
    Flips,
    Frame,
    Halo,
    ModelName,
    Mpp,
    Page,
    SeriesName,
    TileSide,
    Verbose,
    chatter,
    only,
    reporting,
    threads_from_environment,
)
from promptless.cli.segment import work
from promptless.config import VOXELS
from promptless.errors import reason

if TYPE_CHECKING:
    from promptless.check import Report, ScanReport

TOWARDS = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "head", "I": "feet"}


def check(
    images: Annotated[
        list[Path],
        typer.Argument(help="Image files, scans (NIfTI, DICOM folder or .zip), or folders.", metavar="IMAGE_OR_FOLDER"),
    ],
    model: ModelName = "nuclei",
    channel: Channel = None,
    page: Page = None,
    mpp: Mpp = None,
    tile: TileSide = None,
    halo: Halo = None,
    frame: Frame = None,
    series: SeriesName = None,
    flips: Flips = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Enter the folders in folders, too.")] = False,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON per image.")] = False,
    verbose: Verbose = False,
) -> None:
    """Say what would be read and done for each image or scan, and what time and memory it would take; write nothing."""
    chatter(False, verbose)
    planar: dict[str, Any] = {"channel": channel, "page": page, "mpp": mpp, "halo": halo}
    of_scans: dict[str, Any] = {"frame": frame, "series": series, "flips": flips}
    with reporting(verbose, "interrupted"):
        from promptless import check as story
        from promptless.loading import load

        loaded = load(model, threads=threads_from_environment(), device=device)
        only(loaded.config, planar, of_scans)
        scans = loaded.config.output == VOXELS
        works = []
        for path in (job.source for job in work(images, recursive, None, loaded.config)):
            try:
                report = (
                    story.check_scan(path, loaded, tile=tile, **of_scans)
                    if scans
                    else story.check(path, loaded, tile=tile, **planar)
                )
            except (ValueError, OSError, MemoryError) as error:
                works.append(False)
                refusal = {"source": str(path), "works": False, "message": reason(error)}
                typer.echo(json.dumps(refusal) if as_json else f"{path.name}: would fail: {reason(error)}")
                continue
            works.append(True)
            typer.echo(json.dumps({"works": True, **asdict(report)}) if as_json else "\n".join(in_words(report)))
    if not all(works):
        raise typer.Exit(Exit.PARTIAL if any(works) else Exit.ERROR)


def of_scan(report: ScanReport) -> Iterator[str]:
    """Yield what the report of a scan says."""
    z, y, x = report.shape
    size = "not known"
    if report.spacing is not None:
        lengths = " x ".join(f"{n * s:.0f}" for n, s in zip(report.shape, report.spacing, strict=True))
        size = f"{' x '.join(f'{s:g}' for s in report.spacing)} {report.unit}; the scan spans {lengths} {report.unit}"
    seen = "taken as it is" if report.seen == report.shape else f"resampled to {' x '.join(map(str, report.seen))}"
    yield f"{Path(report.source).name}: would be segmented"
    yield f"  file          {report.origin.axes}; its axes run {', '.join(TOWARDS[c] for c in report.orientation)}"
    yield from (f"  note          {note}" for note in report.origin.notes)
    yield f"  scan          {z} x {y} x {x} voxels (z, y, x), {report.dtype}"
    yield f"  voxel size    {size}"
    yield f"  structures    {len(report.structures)}: {', '.join(report.structures)}"
    yield f"  seen          {seen}, in {report.crops} crops of {' x '.join(map(str, report.crop))}" + (
        f", each in {report.views} mirrored views" if report.views > 1 else ""
    )
    yield f"  estimates     {duration(report.seconds)}, {report.memory_bytes / 2**30:.1f} GB of memory"


def in_words(report: Report | ScanReport) -> Iterator[str]:
    """Yield what a report says, in lines for a person."""
    from promptless.check import ScanReport

    return of_scan(report) if isinstance(report, ScanReport) else of_image(report)


def of_image(report: Report) -> Iterator[str]:
    """Yield what the report of an image says."""
    y, x = report.shape
    yield f"{Path(report.source).name}: would be segmented"
    yield f"  file          {report.origin.axes}" + (f"; {report.origin} is read" if str(report.origin) else "")
    yield f"  image         {y} x {x} pixels, {kind(report)}, {report.dtype}, {shown(report)}"
    yield f"  pixel size    {pixel_size(report)}"
    yield f"  objects       {objects(report)}"
    yield f"  tiles         {report.tiles}, of up to {report.tile} model pixels per side and {report.halo} around them"
    yield f"  estimates     {duration(report.seconds)}, {report.memory_bytes / 2**30:.1f} GB of memory"


def kind(report: Report) -> str:
    """Return whether the image is grey or coloured."""
    return "one channel" if report.channels == 1 else f"{report.channels} channels seen as colours"


def shown(report: Report) -> str:
    """Return the range of intensities."""
    low, high = report.intensity_range
    return "all alike" if low == high else f"{low:g} seen as black, {high:g} as white"


def pixel_size(report: Report) -> str:
    """Return the pixel size, and what follows from it."""
    if report.spacing is not None:
        size = " x ".join(f"{length:g}" for length in report.spacing)
        return f"{size} {report.unit}; seen {report.zoom:g} times as large by the model"
    seen = "; small objects, so it would be seen doubled" if report.zoom != 1 else ", so it would be seen as it is"
    return f"not known (--mpp gives it){seen}"


def objects(report: Report) -> str:
    """Return how large objects are, and how large they should be."""
    low, high = report.model_object_px
    good = f"the model was trained on {low:.0f} to {high:.0f}"
    if report.object_px is None:
        return f"none in the middle of the image; {good} pixels across"
    warning = "" if low <= report.object_px <= high else ": --mpp may be wrong, or another model needed"
    return f"about {report.object_px:.0f} pixels across in the middle; {good}{warning}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
