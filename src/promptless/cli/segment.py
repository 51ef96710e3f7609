"""`promptless segment`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from promptless.cli.edge import (
    Channel,
    Exit,
    Page,
    Quiet,
    Verbose,
    bar,
    chatter,
    fail,
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
    channel: Channel = None,
    page: Page = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Enter the folders in folders, too.")] = False,
    mpp: Annotated[float | None, typer.Option(help="Size of a pixel in micrometres.")] = None,
    min_score: Annotated[float | None, typer.Option(min=0, max=1, help="Leave out objects scored below this.")] = None,
    tile: Annotated[int, typer.Option(min=64, help="Pixels per side that are segmented at once.")] = 1024,
    halo: Annotated[int, typer.Option(min=0, help="Pixels of context around a tile, on each side.")] = 128,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")] = None,
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
    with reporting(verbose, "interrupted; what was finished is kept, and skipped next time"):
        threads = threads or threads_from_environment()
        from promptless import batch
        from promptless.io.readers.folders import others_in
        from promptless.registry import load

        todo = batch.jobs(images, recursive, output)
        if not todo:
            fail(f"there is no image in {', '.join(map(str, images))}; PNG, JPEG, BMP, WebP, TIFF and NPY are read")
        loaded = load(model, threads=threads)
        writable(output)
        options = {"channel": channel, "page": page, "mpp": mpp, "min_score": min_score, "tile": tile, "halo": halo}
        outcomes = []
        with bar(len(todo), shown=not quiet and sys.stderr.isatty()) as advance:
            for outcome in batch.segment_all(todo, loaded, output, overwrite=overwrite, progress=advance, **options):
                outcomes.append(outcome)
                typer.echo(
                    as_line(outcome) if as_json else as_text(outcome), err=outcome.state == "failed" and not as_json
                )
    finish(outcomes, others_in(images, recursive, output), quiet)


def as_text(outcome: Outcome) -> str:
    """Return an outcome as a line for a person."""
    source = outcome.job.source
    if outcome.state == "failed":
        return f"{source.name}: failed: {outcome.message}"
    paths = outcome.paths or {}
    if outcome.state == "skipped":
        return f"{source.name}: skipped, {paths['manifest']} is there (--overwrite does it again)"
    chosen = f" in {outcome.origin}" if str(outcome.origin) else ""
    return f"{source.name}: {outcome.n_objects} objects{chosen}, {paths['overlay']}"


def as_line(outcome: Outcome) -> str:
    """Return an outcome as a line of JSON."""
    entry: dict[str, Any] = {"source": str(outcome.job.source), "name": outcome.job.name, "state": outcome.state}
    if outcome.state == "done":
        entry |= {"n_objects": outcome.n_objects, "page": outcome.origin.page, "channel": outcome.origin.channel}
    if outcome.state == "failed":
        entry["message"] = outcome.message
    else:
        entry["outputs"] = {kind: str(path) for kind, path in (outcome.paths or {}).items()}
    return json.dumps(entry)


def finish(outcomes: list[Outcome], others: int, quiet: bool) -> NoReturn:
    """Sum up a batch on stderr and leave with the code that says how it went."""
    states = [outcome.state for outcome in outcomes]
    done, skipped, failed = (states.count(state) for state in ("done", "skipped", "failed"))
    if (len(outcomes) > 1 or others) and not quiet:
        passed = f"; {others} files that are no images passed over" if others else ""
        typer.echo(f"{done} segmented, {skipped} skipped, {failed} failed{passed}", err=True)
    if not failed:
        raise typer.Exit(Exit.OK)
    raise typer.Exit(Exit.ERROR if failed == len(outcomes) else Exit.PARTIAL)
