"""`promptless seams`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from promptless.cli.edge import (
    Channel,
    Device,
    Halo,
    ModelName,
    Mpp,
    Page,
    TileSide,
    Verbose,
    chatter,
    reporting,
    threads_from_environment,
)
from promptless.cli.large import region


def seams(
    image: Annotated[Path, typer.Argument(help="An image of any size, OME-Zarr included.")],
    model: ModelName = "nuclei",
    channel: Channel = None,
    page: Page = None,
    mpp: Mpp = None,
    tile: TileSide = None,
    halo: Halo = None,
    roi: Annotated[
        str | None, typer.Option(metavar="Y,X,H,W", help="Region to look at; 2,048 pixels in the middle by default.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Segment a region under two grids of tiles, and say how well the results agree."""
    chatter(False, verbose)
    part = None if roi is None else region(roi)
    with reporting(verbose, "interrupted"):
        from promptless.large import seams as story
        from promptless.loading import load

        loaded = load(model, threads=threads or threads_from_environment(), device=device)
        options = {"channel": channel, "page": page, "mpp": mpp, "tile": tile, "halo": halo, "roi": part}
        found = story.seams(image, loaded, **options)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    one, two = found.n_objects
    typer.echo(f"{image.name}: {one} and {two} objects in {found.n_tiles[0]} and {found.n_tiles[1]} tiles")
    typer.echo(f"  agreement     {found.agreement:.4f} at IoU .5, {found.strict:.4f} at .9 (TP / (TP + FP + FN))")
    typer.echo(f"  cut           {found.cut_per_1000:.1f} of 1,000 objects reach an edge of what the model saw")
