"""`promptless segment`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from promptless.cli.edge import (
    Exit,
    Quiet,
    Verbose,
    bar,
    chatter,
    fail,
    listed,
    one_of,
    reporting,
    threads_from_environment,
    writable,
)

if TYPE_CHECKING:
    from promptless.batch import Outcome


def segment(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", metavar="IMAGE_OR_FOLDER")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the outputs; made where it is missing.")],
    model: Annotated[
        str, typer.Option("-m", "--model", help="Name of a model that ships, or a model folder.")
    ] = "nuclei",
    channel: Annotated[int | None, typer.Option(min=0, help="Use this channel only, counted from 0.")] = None,
    mpp: Annotated[float | None, typer.Option(help="Size of a pixel in micrometres.")] = None,
    min_score: Annotated[float | None, typer.Option(min=0, max=1, help="Leave out objects scored below this.")] = None,
    tile: Annotated[int, typer.Option(min=64, help="Pixels per side that are segmented at once.")] = 1024,
    halo: Annotated[int, typer.Option(min=0, help="Pixels of context around a tile, on each side.")] = 128,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="More outputs: roi, coco, classes, parquet.", metavar="KIND,...")
    ] = None,
    overlay: Annotated[str, typer.Option(help="Draw outlines, or outlines and prompts.")] = "outlines",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do images again whose outputs are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON lines.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find and outline every nucleus; write labels, table, prompts, GeoJSON, overlay and manifest for each image."""
    chatter(quiet, verbose)
    if mpp is not None and not 0 < mpp < math.inf:
        raise typer.BadParameter(f"{mpp} is not a pixel size; give micrometres above 0", param_hint="--mpp")
    if min_score is not None and math.isnan(min_score):
        raise typer.BadParameter("it must be a number from 0 to 1", param_hint="--min-score")
    from promptless.io import outputs

    more = listed(also or [], outputs.ON_REQUEST, "--also")
    one_of(overlay, outputs.OVERLAYS, "--overlay")
    with reporting(verbose, "interrupted; what was finished is kept, and skipped next time"):
        threads = threads or threads_from_environment()
        from promptless import batch
        from promptless.registry import load

        todo = batch.jobs(images)
        if not todo:
            fail(f"there is no image in {', '.join(map(str, images))}; PNG, JPEG, BMP, WebP and TIFF files are read")
        loaded = load(model, threads=threads)
        writable(output)
        options: dict[str, Any] = {"channel": channel, "mpp": mpp, "min_score": min_score, "tile": tile, "halo": halo}
        options |= {"also": more, "overlay": overlay, "overwrite": overwrite}
        outcomes = []
        with bar(len(todo), shown=not quiet and sys.stderr.isatty()) as advance:
            for outcome in batch.segment_all(todo, loaded, output, progress=advance, **options):
                outcomes.append(outcome)
                typer.echo(
                    as_line(outcome) if as_json else as_text(outcome), err=outcome.state == "failed" and not as_json
                )
    finish(outcomes, quiet)


def as_text(outcome: Outcome) -> str:
    """Return an outcome as a line for a person."""
    source = outcome.job.source
    if outcome.state == "failed":
        return f"{source.name}: failed: {outcome.message}"
    paths = outcome.paths or {}
    if outcome.state == "skipped":
        return f"{source.name}: skipped, {paths['manifest']} is there (--overwrite does it again)"
    return f"{source.name}: {outcome.n_objects} objects, {paths['overlay']}"


def as_line(outcome: Outcome) -> str:
    """Return an outcome as a line of JSON."""
    entry: dict[str, Any] = {"source": str(outcome.job.source), "name": outcome.job.name, "state": outcome.state}
    if outcome.state == "done":
        entry["n_objects"] = outcome.n_objects
    if outcome.state == "failed":
        entry["message"] = outcome.message
    else:
        entry["outputs"] = {kind: str(path) for kind, path in (outcome.paths or {}).items()}
    return json.dumps(entry)


def finish(outcomes: list[Outcome], quiet: bool) -> NoReturn:
    """Sum up a batch on stderr and leave with the code that says how it went."""
    states = [outcome.state for outcome in outcomes]
    done, skipped, failed = (states.count(state) for state in ("done", "skipped", "failed"))
    if len(outcomes) > 1 and not quiet:
        typer.echo(f"{done} segmented, {skipped} skipped, {failed} failed", err=True)
    if not failed:
        raise typer.Exit(Exit.OK)
    raise typer.Exit(Exit.ERROR if failed == len(outcomes) else Exit.PARTIAL)
