"""`promptless segment`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer

from promptless.cli import large
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
    Quiet,
    SeriesName,
    TileSide,
    Verbose,
    bar,
    chatter,
    fail,
    listed,
    one_of,
    only,
    reporting,
    threads_from_environment,
    writable,
)
from promptless.config import DIRECT, VOXELS

if TYPE_CHECKING:
    from promptless.batch import Job, Outcome
    from promptless.config import ModelConfig
    from promptless.model import AnyModel, Model
    from promptless.revise import Pointed, Revision


def segment(
    images: Annotated[
        list[Path],
        typer.Argument(help="Image files, scans (NIfTI, DICOM folder or .zip), or folders.", metavar="IMAGE_OR_FOLDER"),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the outputs; or OUT.ome.zarr, for an image of any size.")
    ],
    model: ModelName = "nuclei",
    channel: Channel = None,
    page: Page = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Enter the folders in folders, too.")] = False,
    mpp: Mpp = None,
    min_score: Annotated[float | None, typer.Option(min=0, max=1, help="Leave out objects scored below this.")] = None,
    tile: TileSide = None,
    halo: Halo = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Decode what was edited in a prompts file (one image).")
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="Y,X", help="There is an object here; in a scan Z,Y,X=CLASS (one image)."),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option(metavar="Y,X", help="This is not part of the object here; in a scan Z,Y,X (one image)."),
    ] = None,
    points: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="What is where, of what was wrong in a scan (one scan).")
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Where the model lies that decodes prompts for a student of one pass.", metavar="FOLDER"),
    ] = None,
    keep_embedding: Annotated[
        bool, typer.Option("--keep-embedding", help="Keep what the encoder saw, for quick edits (512 B per 16 pixels).")
    ] = False,
    frame: Frame = None,
    series: SeriesName = None,
    flips: Flips = None,
    save_probabilities: Annotated[
        bool, typer.Option("--save-probabilities", help="Keep the probability of every class of a scan.")
    ] = False,
    save_prompt: Annotated[
        bool, typer.Option("--save-prompt", help="Draw where the model prompted itself in a scan.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")] = None,
    device: Device = "auto",
    also: Annotated[
        list[str] | None, typer.Option(help="More outputs: roi, coco, classes, parquet.", metavar="KIND,...")
    ] = None,
    overlay: Annotated[
        str | None, typer.Option(help="Draw outlines (the default), or prompts on them.", metavar="STYLE")
    ] = None,
    roi: Annotated[
        str | None, typer.Option(metavar="Y,X,H,W", help="Only what lies in this region (OUT.ome.zarr).")
    ] = None,
    tissue: Annotated[bool, typer.Option("--tissue", help="Pass over glass (OUT.ome.zarr, bright field).")] = False,
    max_memory: Annotated[
        str | None, typer.Option(metavar="2GB", help="Tiles so small that all processes fit (OUT.ome.zarr).")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that share the work (OUT.ome.zarr).")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="tcp://HOST:PORT", help="A Dask cluster that does it (OUT.ome.zarr).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run (OUT.ome.zarr).")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done (OUT.ome.zarr).")] = False,
    ome_zarr: Annotated[
        str | None, typer.Option("--ome-zarr", metavar="0.5|0.4", help="Version to write (OUT.ome.zarr).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do images again whose outputs are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON lines.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find every nucleus of an image, or every structure of a scan; write labels, table, picture, manifest and more."""
    chatter(quiet, verbose)
    if min_score is not None and math.isnan(min_score):
        raise typer.BadParameter("it must be a number from 0 to 1", param_hint="--min-score")
    asked_large = large.Asked(roi, tissue, max_memory, workers, scheduler, resume, dry_run, ome_zarr)
    if large.is_large(output):
        large.spare(
            output,
            prompts=prompts,
            point=point,
            negative=negative,
            points=points,
            also=also,
            overlay=overlay,
            recursive=recursive,
            keep_embedding=keep_embedding,
            teacher=teacher,
            frame=frame is not None,
            series=series,
            save_probabilities=save_probabilities,
            save_prompt=save_prompt,
        )
        large.run(
            images,
            output,
            model,
            asked_large,
            large.Manner(threads, device, overwrite, as_json, quiet, verbose),
            channel=channel,
            page=page,
            mpp=mpp,
            min_score=min_score,
            tile=tile,
            halo=halo,
            flips=flips,
        )
        return
    large.refuse(asked_large.given(), "it needs an output that ends in .ome.zarr")
    from promptless.io import outputs

    more = listed(also or [], outputs.ON_REQUEST, "--also")
    one_of(overlay or outputs.PLAIN, outputs.OVERLAYS, "--overlay")
    planar: dict[str, Any] = {"channel": channel, "page": page, "mpp": mpp, "min_score": min_score, "halo": halo}
    planar |= {"also": more or None, "overlay": overlay, "keep_embedding": keep_embedding, "teacher": teacher}
    given = Given(prompts, points, point or [], negative or [])
    of_scans: dict[str, Any] = {"frame": frame, "series": series, "flips": flips}
    of_scans |= {"save_probabilities": save_probabilities, "save_prompt": save_prompt}
    with reporting(verbose, "interrupted; what was finished is kept, and skipped next time"):
        threads = threads or threads_from_environment()
        from promptless import batch
        from promptless.loading import load

        loaded = load(model, threads=threads, device=device)
        only(loaded.config, planar | {"prompts": prompts}, of_scans | {"points": points})
        todo = work(images, recursive, output, loaded.config)
        options = chosen(loaded.config, planar, of_scans, tile) | {"overwrite": overwrite}
        writable(output)
        others = passed_over(images, recursive, output, loaded.config)
        outcomes: list[Outcome] = []
        if any(given):
            if loaded.config.output != VOXELS:
                options["teacher"] = taught(loaded.config, teacher, threads, device)
            outcomes.append(edited(todo, loaded, given, output, quiet, as_json, options))
            typer.echo(as_line(outcomes[0]) if as_json else as_text(outcomes[0]))
            finish(outcomes, 0, quiet)
        with bar(len(todo), shown=not quiet and sys.stderr.isatty()) as advance:
            done = batch.segment_all(todo, loaded, output, keep_embedding=keep_embedding, progress=advance, **options)
            for outcome in done:
                outcomes.append(outcome)
                typer.echo(
                    as_line(outcome) if as_json else as_text(outcome), err=outcome.state == "failed" and not as_json
                )
    finish(outcomes, others, quiet)


def refuse_for_student(config: ModelConfig, keep_embedding: bool, teacher: Path | None) -> None:
    """Refuse what does not go with a student that decodes nothing, or with any other model."""
    if config.output == DIRECT and keep_embedding:
        raise typer.BadParameter(
            f"{config.name} makes none; what its teacher sees for an edit is kept then", param_hint="--keep-embedding"
        )
    if config.output != DIRECT and teacher is not None:
        raise typer.BadParameter(f"{config.name} decodes prompts itself", param_hint="--teacher")


def taught(config: ModelConfig, teacher: Path | None, threads: int | None, device: str) -> Model | None:
    """Return the model that decodes prompts for a student of one pass, None for any other model."""
    from promptless.loading import teacher_of

    return teacher_of(config, teacher, threads=threads, device=device) if config.output == DIRECT else None


def work(images: list[Path], recursive: bool, output: Path | None, config: ModelConfig) -> list[Job]:
    """Return the jobs that there are for a model; where there is none for it, say what is read, and by what."""
    from promptless import batch
    from promptless.io import scans
    from promptless.registry import for_volumes

    todo = batch.jobs(images, recursive, output, config.output)
    where = ", ".join(map(str, images))
    if config.output == VOXELS:
        return todo or fail(f"there is no scan in {where}; NIfTI, and DICOM as a folder, file or .zip, are read")
    if all(scans.is_scan(path) for path in [job.source for job in todo] or images):
        fail(f"{where} holds scans, and {config.name} is for planes; {for_volumes()}")
    deeper = "" if recursive else "; --recursive enters folders in folders"
    return todo or fail(f"there is no image in {where}; PNG, JPEG, BMP, WebP, TIFF and NPY are read{deeper}")


def passed_over(images: list[Path], recursive: bool, output: Path, config: ModelConfig) -> int:
    """Return how many files in folders are no images; what lies beside scans is not counted."""
    from promptless.io.readers.folders import others_in

    return 0 if config.output == VOXELS else others_in(images, recursive, output)


def chosen(config: ModelConfig, planar: dict[str, Any], of_scans: dict[str, Any], tile: int | None) -> dict[str, Any]:
    """Return the options of `segment_all` for a model."""
    from promptless.io.outputs import SCANS_ON_REQUEST
    from promptless.view import tiling

    if config.output == VOXELS:
        also = tuple(kind for kind in SCANS_ON_REQUEST if of_scans[f"save_{kind}"])
        return {**{name: of_scans[name] for name in ("frame", "series", "flips")}, "tile": tile, "also": also}
    refuse_for_student(config, planar["keep_embedding"], planar["teacher"])
    tile, halo = tiling(config, tile, planar["halo"])
    kept = {name: value for name, value in planar.items() if name not in ("keep_embedding", "teacher")}
    return {**kept, "tile": tile, "halo": halo, "also": planar["also"] or ()}


class Given(NamedTuple):
    """The options by which a user says what is wrong in one image."""

    prompts: Path | None
    points: Path | None
    point: list[str]
    negative: list[str]


def edited(
    todo: list[Job], model: AnyModel, given: Given, output: Path, quiet: bool, as_json: bool, options: dict[str, Any]
) -> Outcome:
    """Edit the one image that options about prompts and points may be given with, under a progress bar of its own.

    What goes wrong is raised, or with `as_json` an outcome, for a line of its own.
    """
    from promptless import revise
    from promptless.batch import BatchProgress, Outcome
    from promptless.errors import reason

    if len(todo) > 1:
        hint = "--prompts, --point(s)"
        raise typer.BadParameter(f"it speaks of one image, but there are {len(todo)}", param_hint=hint)
    of_scan = model.config.output == VOXELS
    story: Callable[..., Outcome] = revise.corrected if of_scan else revise.revise
    wanted, job = clicked(given) if of_scan else asked(given), todo[0]
    with bar(1, shown=not quiet and sys.stderr.isatty()) as advance:
        told = BatchProgress(advance, 0, job.source.name)
        try:
            return story(job, model, output, wanted, progress=told, **options)
        except (OSError, ValueError) as error:
            if not as_json:
                raise
            return Outcome(job, "failed", message=reason(error))


def asked(given: Given) -> Revision:
    """Return what the options about prompts want of an image."""
    from promptless.revise import Revision

    return Revision(
        given.prompts,
        [position(text, "--point") for text in given.point],
        [position(text, "--negative") for text in given.negative],
    )


def clicked(given: Given) -> Pointed:
    """Return what the options about points say of a scan."""
    from promptless.clicks import NOTHING, Click
    from promptless.revise import Pointed

    clicks = []
    for text in given.point:
        place, _, name = text.partition("=")
        if not name:
            raise typer.BadParameter(f"{text!r} names no class; write it as Z,Y,X=CLASS", param_hint="--point")
        clicks.append(Click(position(place, "--point", IN_SCAN), name))
    clicks += [Click(position(text, "--negative", IN_SCAN), NOTHING) for text in given.negative]
    return Pointed(given.points, clicks)


IN_PLANE, IN_SCAN = "Y,X", "Z,Y,X"


def position(text: str, option: str, axes: str = IN_PLANE) -> tuple[float, ...]:
    """Return the pixel position "Y,X", or voxel "Z,Y,X"."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    enough = len(values) >= 2 if axes == IN_PLANE else len(values) == 3
    if not enough or not all(math.isfinite(value) for value in values):
        raise typer.BadParameter(f"{text!r} is not a position; write it as {axes}, counted from 0", param_hint=option)
    return values


def as_text(outcome: Outcome) -> str:
    """Return an outcome as a line for a person."""
    source = outcome.job.source
    if outcome.state == "failed":
        return f"{source.name}: failed: {outcome.message}"
    paths = outcome.paths or {}
    if outcome.state == "skipped":
        return f"{source.name}: skipped, {paths['manifest']} is there (--overwrite does it again)"
    of = f" in {outcome.origin}" if str(outcome.origin) else ""
    told = "".join(f" ({note})" for note in (outcome.message, *outcome.origin.notes) if note)
    what = ("structure" if "volumes" in paths else "object") + "s" * (outcome.n_objects != 1)
    return f"{source.name}: {outcome.n_objects} {what}{of}{told}, {paths['overlay']}"


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
        files = "file that is no image" if others == 1 else "files that are no images"
        passed = f"; {others} {files} passed over" if others else ""
        typer.echo(f"{done} segmented, {skipped} skipped, {failed} failed{passed}", err=True)
    unsized = sum(not outcome.sized for outcome in outcomes)
    if unsized and not quiet:
        every = unsized == len(outcomes)
        which = "the image" if len(outcomes) == 1 else f"{unsized}{'' if every else f' of {len(outcomes)}'} images"
        typer.echo(f"note: the pixel size of {which} is not known, so it was judged by eye; --mpp gives it", err=True)
    if not failed:
        raise typer.Exit(Exit.OK)
    raise typer.Exit(Exit.ERROR if failed == len(outcomes) else Exit.PARTIAL)
