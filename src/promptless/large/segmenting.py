"""The story of a large image: found tile by tile, settled between neighbours, numbered, told and drawn."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from promptless.io import geojson, ngff
from promptless.io.atomic import replacing
from promptless.large import runs, store
from promptless.large.bench import DRAWN, FIRST, FOUND, NAME, OUT, REACH, SETTLED, STEPS, TOLD, Bench, header
from promptless.large.crew import Crew, Outcome, crew
from promptless.large.plan import Plan, Request, fingerprint, planned
from promptless.large.runs import NEW, RESUME
from promptless.loading import load
from promptless.model import Model
from promptless.prompts import Prompts
from promptless.record import Steps, manifest
from promptless.registry import model_hash, names

Progress = Callable[[str, int, int], None]
UNSIZED = "the pixel size is not known: pixels are taken as the model's own, or small objects seen doubled; give --mpp"


@dataclass(frozen=True)
class Failure:
    """A tile that was given up: its place (start, stop) per axis in pixels of the label image, and why."""

    number: int
    region: tuple[tuple[int, int], ...]
    message: str


@dataclass(frozen=True)
class Summary:
    """What came of a run: how much was looked at and found, and where it was written."""

    paths: dict[str, Path]
    n_objects: int
    n_tiles: int
    n_looked_at: int
    failures: tuple[Failure, ...] = ()
    tissue: float | None = None
    notes: tuple[str, ...] = ()
    kinds: tuple[str, str] = ("objects", "tiles")  # what was found, and looked at


def segment(  # noqa: PLR0913  the one door, and every argument of it optional
    source: str | Path,
    out: str | Path,
    model: str | Path | Model = "nuclei",
    *,
    channel: int | str | None = None,
    page: int | None = None,
    mpp: float | None = None,
    min_score: float | None = None,
    tile: int | None = None,
    halo: int | None = None,
    roi: tuple[int, ...] | None = None,
    only: str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    threads: int | None = None,
    loaded: Model | None = None,
    begin: str = NEW,
    version: str = "0.5",
    progress: Progress = lambda step, done, total: None,
) -> Summary:
    """Find every object of an image that need not fit in memory; write OME-Zarr labels, table, GeoJSON, prompts.

    `source` is a file or an OME-Zarr folder, read at the level nearest to the model's pixel size; of a z-stack without
    a `page` every plane is segmented, each by itself. `out` ends in `.ome.zarr` or `.zarr`, or in `.ome.tif` for one
    plane as a pyramidal TIFF, and the other files are called after it. Most arguments are those of
    `promptless.segment`. `roi` (y, x, height, width in pixels of the largest level) and `only="tissue"` leave out
    what lies elsewhere. `workers` processes, or a Dask cluster at the address `scheduler`, share the work; they load
    `model` by its name or folder; `loaded` is that model where it is open already. `begin` says what becomes of what
    is there: "new" refuses, "resume" goes on with an unfinished run, "overwrite" begins anew. `version` is that of
    OME-Zarr, 0.5 or 0.4. `progress(step, done, total)` is told of every tile.
    """
    source, out = Path(source), Path(out)
    ngff.form_of(version)
    if loaded is None:
        loaded = load(model, threads=threads) if isinstance(model, str | Path) else model
    name = known_as(model) if isinstance(model, str | Path) else None
    asked = Request(name, model_hash(loaded.config), channel, page, mpp, min_score, tile, halo, roi, only)
    with runs.unfinished(out, begin) as parts:
        before = finished(parts, out, asked, source) if begin == RESUME else None
        if before is not None:
            return before
        plan = plan_of(parts, out, source, loaded, asked, begin)
        with crew(parts, loaded, workers, scheduler, threads) as (hands, bench):
            steps = Steps()
            failures = find(hands, bench, steps, progress)
            n_objects = settle(hands, bench, steps, progress)
            tell(hands, bench, steps, progress)
            draw(hands, bench, out, n_objects, version, steps, progress)
            paths = publish(bench, out, n_objects, failures, steps)
        if not failures:
            shutil.rmtree(parts)
    notes = (*bench.view(0).image.origin.notes, *([UNSIZED] if plan.spacing is None else []))
    return Summary(paths, n_objects, bench.n_tiles, len(plan.tiles), failures, plan.tissue, notes)


def known_as(model: str | Path) -> str:
    """Return what workers, wherever they run, load a model by: its name, or the path of its folder."""
    return str(model) if str(model) in names() else str(Path(model).resolve())


def preview(source: str | Path, model: Model, **options: Any) -> Plan:
    """Return how an image would be segmented with these options of `segment`, and write nothing."""
    return planned(Path(source), "", model, Request(None, model_hash(model.config), **options))


def finished(parts: Path, out: Path, request: Request, source: Path) -> Summary | None:
    """Return what a run came to that is asked for again when it is finished, None where it is not."""
    record = runs.vouched(parts, out, request, source)
    if record is None or record["failed"]:
        return None
    paths = runs.written(record, out)
    return Summary(paths, record["n_objects"], record["tiles"], record["looked_at"], tissue=record["image"]["tissue"])


def plan_of(parts: Path, out: Path, source: Path, model: Model, request: Request, begin: str) -> Plan:
    """Return the plan of a run: a new one, or that of the run that is resumed, if it is of the same image."""
    told = fingerprint(source)
    if not runs.goes_on(parts, out, begin):
        plan = planned(source, told, model, request)
        if plan.depth > 1 and not runs.is_store(out):
            raise ValueError(f"{out} holds one plane, but {source} has {plan.depth} along z; write .ome.zarr")
    else:
        before = Plan.read(parts)
        runs.same(out, before.other(request, told))
        plan = replace(before, source=str(source.resolve()), request=request)
    plan.write(parts)
    return plan


def find(hands: Crew, bench: Bench, steps: Steps, progress: Progress) -> tuple[Failure, ...]:
    """Find the objects of every tile; return the tiles that were given up.

    What was made of an earlier find, from which tiles were missing, is made again.
    """
    plan, counted = bench.plan, bench.parts / FOUND / REACH
    if counted.exists() and set(plan.tiles) - store.done(bench.parts / FOUND):
        for later in (SETTLED, TOLD, DRAWN, OUT):
            shutil.rmtree(bench.parts / later, ignore_errors=True)
        counted.unlink()
    with hands.ahead(steps) as found:
        failed = taken(hands, bench, FOUND, plan.tiles, steps, progress, found)
    if failed and len(failed) == len(plan.tiles):
        raise ValueError(f"every tile failed, the first of them since {failed[0].error}")
    return tuple(Failure(o.number, region(bench, o.number), o.error) for o in sorted(failed, key=lambda o: o.number))


def region(bench: Bench, number: int) -> tuple[tuple[int, int], ...]:
    """Return which pixels of the label image a tile answers for, as (start, stop) per axis."""
    z, tile = bench.place(number)
    plane = [] if bench.plan.depth == 1 else [(z, z + 1)]
    return (*plane, *((s.start, s.stop) for s in tile.core))


def settle(hands: Crew, bench: Bench, steps: Steps, progress: Progress) -> int:
    """Decide which objects are kept, and give each tile's the labels after those of the tiles before it.

    From here on tiles without objects cost nothing.
    """
    numbers = np.flatnonzero(write_reaches(bench, FOUND)).tolist()
    complete(taken(hands, bench, SETTLED, numbers, steps, progress))
    counts = write_reaches(bench, SETTLED)
    first = 1 + np.cumsum(counts) - counts
    save(bench.parts / SETTLED / FIRST, first)
    return int(counts.sum())


def tell(hands: Crew, bench: Bench, steps: Steps, progress: Progress) -> None:
    """Measure and outline the objects of every tile."""
    complete(taken(hands, bench, TOLD, sorted(store.done(bench.parts / SETTLED)), steps, progress))


def draw(hands: Crew, bench: Bench, out: Path, n_objects: int, version: str, steps: Steps, progress: Progress) -> None:
    """Write the label image, which will be part of `out`, then each smaller copy of it from the one above."""
    plan, path = bench.plan, bench.parts / OUT
    if not store.done(bench.parts / DRAWN):
        shutil.rmtree(path, ignore_errors=True)
        pitch, units = scale(plan)
        dtype = np.dtype(np.uint16 if n_objects <= np.iinfo(np.uint16).max else np.uint32)
        image = relative(Path(plan.source), ngff.path_of(out, NAME))
        ngff.create(
            path,
            NAME,
            plan.labelled,
            dtype,
            pitch=pitch,
            units=units,
            version=version,
            source=image,
            chunks=plan.chunks,
        )
    first = 0
    for shape in ngff.shapes(plan.labelled, plan.chunks):
        stop = first + len(ngff.blocks(shape, plan.chunks))
        complete(taken(hands, bench, DRAWN, range(first, stop), steps, progress))
        first = stop


def scale(plan: Plan) -> tuple[tuple[float, ...], ngff.Units]:
    """Return the size of a pixel of the label image and its unit, along each axis."""
    sizes = plan.downsample if plan.spacing is None else plan.spacing
    units: ngff.Units = (None if plan.spacing is None else ngff.UM,) * len(sizes)
    if plan.depth == 1:
        return sizes, units
    return (plan.pitch or 1.0, *sizes), (None if plan.pitch is None else ngff.UM, *units)


def relative(source: Path, label: Path) -> str | None:
    """Return the way from a label image to the OME-Zarr image that it is of, None where that is another file."""
    return Path(os.path.relpath(source, label.resolve())).as_posix() if source.is_dir() else None


def publish(bench: Bench, out: Path, n_objects: int, failures: tuple[Failure, ...], steps: Steps) -> dict[str, Path]:
    """Put everything in its place, the manifest last; return the paths by kind."""
    vouching = runs.beside(out, runs.MANIFEST)
    vouching.unlink(missing_ok=True)
    paths = {"labels": out}
    with ExitStack() as files:
        tables = {}
        for suffix, frame in frames(bench).items():
            path = paths[suffix.strip("_.").partition(".")[0]] = runs.beside(out, suffix)
            tables[suffix] = files.enter_context(table(path, *frame))
        for number in sorted(store.done(bench.parts / TOLD)):
            for suffix, lines in store.read_lines(bench.parts / TOLD, number).items():
                tables[suffix](lines)
    shutil.rmtree(bench.parts / DRAWN)  # a run that is killed from here on draws again
    runs.put(bench.parts / OUT, NAME, out, bench.plan.spacing)
    record = recorded(bench, steps) | {"n_objects": n_objects, "failed": [asdict(failure) for failure in failures]}
    return runs.vouch(out, paths, record, bench.plan.request)


@contextmanager
def table(path: Path, head: str, between: str, tail: str) -> Iterator[Callable[[str], None]]:
    """Write a table; yield what takes the lines of one tile after the other."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(head)
        before = chain([""], repeat(between))

        def add(lines: str) -> None:
            file.write(next(before) + lines)

        yield add
        file.write(tail)


def frames(bench: Bench) -> dict[str, tuple[str, str, str]]:
    """Return what stands before, between and after the lines of each table, by its suffix."""
    empty = Prompts(bench.plan.shape).to_json()
    opening, closing = empty.split("\n\n")
    return {
        "_objects.csv": (header(bench), "", ""),
        ".geojson": (geojson.HEAD, ",\n", geojson.TAIL),
        "_prompts.json": (f"{opening}\n", ",\n", f"\n{closing}"),
    }


def recorded(bench: Bench, steps: Steps) -> dict[str, Any]:
    """Return the record of the run."""
    plan = bench.plan
    chosen = {**asdict(plan.request), "tile": plan.tile, "halo": plan.halo, "min_score": plan.min_score}
    del chosen["model"], chosen["model_hash"]
    record = manifest(bench.model, bench.view(0), chosen, steps)
    record["input"] = {"name": Path(plan.source).name, "fingerprint": plan.fingerprint, "level": plan.level}
    record["image"] |= {"downsample": list(plan.downsample), "tissue": plan.tissue, "planes": plan.depth}
    return record | {"tiles": bench.n_tiles, "looked_at": len(plan.tiles)}


def unheard(number: int) -> None:
    """Take no notice of what is done."""


def taken(
    hands: Crew,
    bench: Bench,
    step: str,
    numbers: Any,
    steps: Steps,
    progress: Progress,
    done: Callable[[int], None] = unheard,
) -> list[Outcome]:
    """Take a step for those of `numbers` that are not done yet; return those that failed, and tell `done` of others."""
    assert step in STEPS
    folder = bench.parts / step
    folder.mkdir(exist_ok=True)
    before = store.done(folder)
    todo = [number for number in numbers if number not in before]
    seconds: Counter[str] = Counter()
    failed: list[Outcome] = []
    for i, outcome in enumerate(hands.each(step, todo), start=1):
        seconds.update(outcome.seconds)
        if outcome.error:
            failed.append(outcome)
        else:
            done(outcome.number)
        progress(step, len(numbers) - len(todo) + i, len(numbers))
    steps.add(seconds)
    return failed


def complete(failed: list[Outcome]) -> None:
    """Raise where a step failed that must not: it takes no model, so it is the disk or the image that is at fault."""
    if failed:
        raise OSError(f"{len(failed)} parts could not be done, the first since {failed[0].error}; --resume goes on")


def write_reaches(bench: Bench, kind: str) -> Any:
    """Write the box around the objects of every tile, and return how many each has."""
    folder, n = bench.parts / kind, bench.n_tiles
    reaches = np.zeros((n, len(bench.plan.shape), 2), np.int64)
    counts = np.zeros(n, np.int64)
    for number in store.done(folder):
        found = store.header(folder, number)
        if found is not None:
            counts[number], reaches[number] = found
    save(folder / REACH, reaches)
    return counts


def save(path: Path, array: Any) -> None:
    """Keep an array."""
    with replacing(path) as temporary:
        np.save(temporary, array)
