"""`promptless prompts`."""

from __future__ import annotations

import sys
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
    Quiet,
    TileSide,
    Verbose,
    bar,
    chatter,
    reporting,
    threads_from_environment,
    writable,
)


def prompts(
    image: Annotated[Path, typer.Argument(help="Image file.", metavar="IMAGE")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Prompts file to write.", metavar="FILE.json")],
    model: ModelName = "nuclei",
    channel: Channel = None,
    page: Page = None,
    mpp: Mpp = None,
    tile: TileSide = None,
    halo: Halo = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")] = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file where it is there.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find a prompt for every object and write them to a file, decoding none; `segment --prompts FILE` does that."""
    chatter(quiet, verbose)
    if output.suffix != ".json":
        raise typer.BadParameter(f"{output} is no prompts file; name it FILE.json", param_hint="--output")
    with reporting(verbose, "interrupted; nothing was written"):
        from dataclasses import replace

        from promptless.io.atomic import replacing
        from promptless.io.hashes import sha256
        from promptless.loading import load
        from promptless.pipeline import prompt

        if output.exists() and not overwrite:
            raise FileExistsError(f"{output} is there; --overwrite replaces it")
        writable(output.parent)
        loaded = load(model, threads=threads or threads_from_environment(), device=device)
        with bar(1, shown=not quiet and sys.stderr.isatty()) as advance:
            found = prompt(
                image,
                loaded,
                channel=channel,
                page=page,
                mpp=mpp,
                tile=tile,
                halo=halo,
                progress=lambda done, total: advance(done / total, image.name),
            )
        with replacing(output) as temporary:
            replace(found, image=sha256(image)).save(temporary)
    typer.echo(f"{image.name}: {len(found)} prompts, {output}")
