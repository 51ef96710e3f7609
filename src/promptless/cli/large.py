"""`promptless segment IMAGE -o OUT.ome.zarr`: images larger than memory."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from promptless.cli.edge import Exit, bar, reporting, threads_from_environment
from promptless.config import VOXELS

if TYPE_CHECKING:
    from promptless.config import ModelConfig
    from promptless.large import Summary
    from promptless.large.plan import Plan

PLANAR = {
    "page": "--page",
    "mpp": "--mpp",
    "min_score": "--min-score",
    "halo": "--halo",
    "roi": "--roi",
    "only": "--tissue",
}
"""Arguments that only models for planes take, and how they are written."""
STEPS = {"seen": "seeing", "found": "finding", "settled": "settling", "told": "measuring", "drawn": "drawing"}


@dataclass(frozen=True)
class Asked:
    """The options that only large images have."""

    roi: str | None = None
    tissue: bool = False
    max_memory: str | None = None
    workers: int | None = None
    scheduler: str | None = None
    resume: bool = False
    dry_run: bool = False
    ome_zarr: str | None = None

    def given(self) -> list[str]:
        """Return the options that were given, as they are written."""
        return [f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value]


@dataclass(frozen=True)
class Manner:
    """How a command goes about it."""

    threads: int | None
    device: str
    overwrite: bool
    as_json: bool
    quiet: bool
    verbose: bool


def is_large(output: Path) -> bool:
    """Return whether an output is that of an image of any size, and not a folder."""
    return output.name.endswith((".zarr", ".ome.tif", ".ome.tiff"))


def refuse(names: list[str], why: str) -> None:
    """Say that options do not go with an output."""
    if names:
        raise typer.BadParameter(why, param_hint=", ".join(names))


def spare(output: Path, **others: object) -> None:
    """Refuse options that only images have that are segmented whole."""
    names = [f"--{name.replace('_', '-')}" for name, value in others.items() if value]
    refuse(names, f"it does not go with {output.name}")


def run(images: list[Path], output: Path, model: str, asked: Asked, manner: Manner, **options: Any) -> None:
    """Segment one image into a store, and leave with the code that says how it went."""
    if len(images) > 1:
        raise typer.BadParameter(f"{output.name} is the output of one image, but there are {len(images)}")
    if asked.workers and asked.scheduler:
        raise typer.BadParameter("they exclude each other", param_hint="--workers, --scheduler")
    if asked.resume and manner.overwrite:
        raise typer.BadParameter("they exclude each other", param_hint="--resume, --overwrite")
    options |= {"roi": None if asked.roi is None else region(asked.roi), "only": "tissue" if asked.tissue else None}
    with reporting(manner.verbose, "interrupted; what was finished is kept: --resume goes on"):
        from promptless import large
        from promptless.loading import load

        threads = manner.threads or threads_from_environment()
        loaded = load(model, threads=threads, device=manner.device)
        fitting(images[0], output, loaded.config, asked, options)
        if asked.max_memory is not None:
            options["tile"] = shrunk(loaded.config, options, asked)
        if asked.dry_run:
            plan = large.preview(images[0], loaded, **planar(options))
            typer.echo(json.dumps(shown(plan)) if manner.as_json else "\n".join(in_words(plan)))
            return
        begin = "resume" if asked.resume else "overwrite" if manner.overwrite else "new"
        with pace(shown=not manner.quiet and sys.stderr.isatty()) as progress:
            how = {"loaded": loaded, "threads": threads, "begin": begin, "progress": progress}
            summary = segmented(images[0], output, model, asked, options, how | {"version": asked.ome_zarr or "0.5"})
    told(images[0], summary, manner.as_json, manner.quiet)


def segmented(
    image: Path, output: Path, model: str, asked: Asked, options: dict[str, Any], how: dict[str, Any]
) -> Summary:
    """Segment planes or a volume, whichever the model is for."""
    from promptless import large

    if how["loaded"].config.output == VOXELS:
        own = {name: options[name] for name in ("channel", "tile", "flips")}
        return large.segment_volume(image, output, model, **own, **how)
    how |= {"workers": asked.workers, "scheduler": asked.scheduler}
    return large.segment(image, output, model, **planar(options), **how)


def planar(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that models for planes take."""
    return {name: value for name, value in options.items() if name != "flips"}


def fitting(image: Path, output: Path, config: ModelConfig, asked: Asked, options: dict[str, Any]) -> None:
    """Refuse a scan, whose labels belong on its own grid, and options that do not go with a model."""
    from promptless.io import scans

    if image.is_file() and scans.is_scan(image):
        raise typer.BadParameter(
            f"{image.name} is a scan, whose labels belong on its own grid, as NIfTI; name a folder",
            param_hint="-o",
        )
    if config.output != VOXELS:
        refuse(["--flips"] if options["flips"] is not None else [], f"{config.name} is for planes")
        return
    given = [option for name, option in PLANAR.items() if options[name] is not None]
    others = [name for name in ("max_memory", "workers", "scheduler", "dry_run") if getattr(asked, name)]
    given += [f"--{name.replace('_', '-')}" for name in others]
    refuse(given, f"{config.name} is for volumes, which one process goes through, crop by crop")


def region(text: str) -> tuple[int, ...]:
    """Return the region "Y,X,HEIGHT,WIDTH"."""
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 4 or min(values) < 0 or min(values[2:]) < 1:
        raise typer.BadParameter(
            f"{text!r} is not a region; write it as Y,X,HEIGHT,WIDTH in pixels of the full image", param_hint="--roi"
        )
    return values


def shrunk(config: Any, options: dict[str, Any], asked: Asked) -> int:
    """Return the side of tiles that fit into the memory allowed; say so where it is smaller than it would be."""
    from promptless.large import memory
    from promptless.view import tiling

    assert asked.max_memory is not None
    limit = memory.parsed(asked.max_memory) // (asked.workers or 1)
    side = memory.fitting(config, options["tile"], options["halo"], limit)
    if side < tiling(config, options["tile"], options["halo"])[0]:
        typer.echo(f"tiles of {side} pixels, so that each process stays below {limit / memory.MIB:.0f} MB", err=True)
    return side


def in_words(plan: Plan) -> Iterator[str]:
    """Yield what a plan says, in lines for a person."""
    y, x = plan.shape
    size = "not known (--mpp gives it): pixels are taken as they are" if plan.spacing is None else f"{plan.spacing} um"
    yield f"{Path(plan.source).name}: would be segmented"
    if plan.depth > 1:
        yield f"  planes        {plan.depth} along z, one by one"
    yield f"  level         {plan.level}, {y} x {x} pixels, each {plan.downsample[0]:g} of the largest level"
    yield f"  pixel size    {size}; seen {plan.zoom:g} times as large by the model"
    yield f"  black, white  {plan.low:g}, {plan.high:g}"
    yield f"  tiles         {len(plan.tiles)} of {plan.tile} model pixels per side and {plan.halo} around them"
    if plan.tissue is not None:
        yield f"  tissue        {plan.tissue:.1%} of the image"


def shown(plan: Plan) -> dict[str, Any]:
    """Return what a plan says as JSON values."""
    names = ("source", "level", "shape", "spacing", "downsample", "zoom", "tile", "halo", "tissue", "depth")
    return {name: getattr(plan, name) for name in names} | {"tiles": len(plan.tiles)}


@contextmanager
def pace(shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each step, with tiles per second."""
    began: dict[str, tuple[float, int]] = {}
    with bar(1, shown) as advance:

        def progress(step: str, done: int, total: int) -> None:
            start, first = began.setdefault(step, (time.perf_counter(), done))
            rate = (done - first) / max(1e-9, time.perf_counter() - start)
            advance(done / total, f"{STEPS[step]} {done} of {total}" + (f", {rate:.1f}/s" if done > first else ""))

        yield progress


def told(source: Path, summary: Summary, as_json: bool, quiet: bool) -> None:
    """Print what came of a run, and leave with its code."""
    paths = {kind: str(path) for kind, path in summary.paths.items()}
    failures = [{"region": failure.region, "message": failure.message} for failure in summary.failures]
    if as_json:
        entry: dict[str, Any] = {"source": str(source), "state": "done", "n_objects": summary.n_objects}
        entry |= {"tiles": summary.n_tiles, "looked_at": summary.n_looked_at}
        typer.echo(json.dumps(entry | {"tissue": summary.tissue, "failed": failures, "outputs": paths}))
    else:
        share = "" if summary.tissue is None else f", {summary.tissue:.1%} tissue"
        found, looked_at = summary.kinds
        seen = f"{summary.n_looked_at} of {summary.n_tiles} {looked_at}{share}"
        typer.echo(f"{summary.n_objects} {found} in {seen}: {paths['labels']}")
    for note in () if quiet else summary.notes:
        typer.echo(f"note: {note}", err=True)
    for failure in summary.failures:
        axes = "zyx"[-len(failure.region) :]
        place = ", ".join(f"{axis} {a} to {b}" for axis, (a, b) in zip(axes, failure.region, strict=True))
        typer.echo(f"not segmented: {place}: {failure.message}", err=True)
    if summary.failures:
        typer.echo(f"{len(summary.failures)} tiles failed and are empty; --resume tries them again", err=True)
        raise typer.Exit(Exit.PARTIAL)
