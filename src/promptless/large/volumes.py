"""The story of a volume larger than memory: crop by crop, its labels written plane by plane when no crop reaches them.

::

    look      planes as deep as a crop, read from the file at the model's spacing, with the intensities that it knows
    slide     crops of them -> logits, averaged where crops overlap (`voxels`, as for scans)
    draw      the likeliest class of every voxel, a layer of chunks at a time; which are done is written down
    shrink    smaller copies
    tell      the table of structures, layer by layer
    publish   into place, the manifest last
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import reduce
from itertools import count
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from promptless import voxels
from promptless.config import VOXELS, Intensity, ModelConfig
from promptless.image import Image
from promptless.intensity import LOOKED_AT, WINDOW, window_of
from promptless.io import lazy, ngff, tables
from promptless.io.atomic import replacing
from promptless.io.lazy.pyramid import Plane, Stack, Volume
from promptless.io.readers import memory
from promptless.io.readers.choice import STACK
from promptless.large import runs, store
from promptless.large.bench import DRAWN, OUT
from promptless.large.plan import FEW, PLAN, PLANES, fingerprint
from promptless.large.runs import NEW, RESUME
from promptless.large.segmenting import Progress, Summary, relative
from promptless.loading import load
from promptless.model import Model, VoxelModel
from promptless.record import Steps, of_scan
from promptless.registry import model_hash
from promptless.structures import Tally, described, tallied

NAME = "structures"
"""What the label image is called inside of its store."""
KINDS = ("structures", "crops")
"""What is found in a volume, and what is looked at."""
TABLE = "_volumes.csv"
SEEN = "seen"
"""The step that is told of every crop."""
AT_ONCE = 2**24
"""About how many voxels are read at once to tell dark from bright."""


@dataclass(frozen=True)
class Request:
    """What is asked of a volume, as the user said it."""

    model_hash: str
    channel: int | str | None = None
    tile: int | None = None
    flips: bool | None = None
    version: str = "0.5"


def segment_volume(  # noqa: PLR0913  as `segment` of planes
    source: str | Path,
    out: str | Path,
    model: str | Path | VoxelModel,
    *,
    channel: int | str | None = None,
    tile: int | None = None,
    flips: bool | None = None,
    threads: int | None = None,
    loaded: Model | VoxelModel | None = None,
    begin: str = NEW,
    version: str = "0.5",
    progress: Progress = lambda step, done, total: None,
) -> Summary:
    """Find the class of every voxel of a z-stack that need not fit in memory; write OME-Zarr labels and a table.

    `source` is OME-Zarr or TIFF with the axes z, y and x, `model` one for volumes. The labels are those of
    `promptless.segment` of the whole array, whose arguments `tile` and `flips` are; the others are those of
    `promptless.large.segment`. Held are planes as deep as one crop.
    """
    source, out = Path(source), Path(out)
    if loaded is None:
        loaded = load(model, threads=threads) if isinstance(model, str | Path) else model
    if loaded.config.output != VOXELS:
        raise ValueError(f"{loaded.config.name} is for planes; large.segment takes it")
    if not runs.is_store(out):
        raise ValueError(f"{out} holds one plane; labels of a volume are written as .ome.zarr")
    able = voxels.for_volumes(loaded)
    asked = Request(model_hash(able.config), channel, tile, flips, version)
    with runs.unfinished(out, begin) as parts, opened(source, channel, able.config) as image:
        before = runs.vouched(parts, out, asked, source) if begin == RESUME else None
        if before is not None:
            return summary(before, runs.written(before, out))
        planned = voxels.plan(image, able.config, tile, flips)
        check_room(planned, image, able)
        begun(parts, out, source, asked, begin)
        steps = Steps()
        draw(parts, out, source, image, planned, able, version, steps, progress)
        with steps.timed("tell"):
            table = tell(parts, image, able.config)
        arguments = {"tile": tile, "flips": flips, "channel": channel}
        record = of_scan(image, able.config, arguments, planned.n_crops, steps)
        record["input"] = {"name": source.name, "fingerprint": fingerprint(source)}
        record["n_objects"] = int((table["voxels"] > 0).sum())
        paths = publish(parts, out, table, record, asked)
        shutil.rmtree(parts)
    return summary(record, paths)


def summary(record: dict[str, Any], paths: dict[str, Path]) -> Summary:
    """Return what came of a run, by its manifest."""
    notes = tuple(record["image"]["notes"])
    return Summary(paths, record["n_objects"], record["tiles"], record["tiles"], notes=notes, kinds=KINDS)


@contextmanager
def opened(source: Path, channel: int | str | None, config: ModelConfig) -> Iterator[Image]:
    """Open a z-stack as a volume whose voxels are read when they are sliced."""
    with lazy.opened(source, STACK, channel) as pyramid:
        if pyramid.depth == 1:
            raise ValueError(f"{source} is one plane, and {config.name} is for volumes; take a model for planes")
        if pyramid.voxel is None and (voxels.of_volume(config).spacing or voxels.of_volume(config).extent):
            raise ValueError(
                f"{source} does not say how large a voxel is along z, y and x, and {config.name} needs that; give its "
                "axes units and a scale (OME-Zarr: coordinateTransformations)"
            )
        volume = Volume(Stack(cast("Plane", pyramid.levels[0].pixels), pyramid.depth))
        yield Image(cast("NDArray[np.generic]", volume), pyramid.voxel, "um", origin=pyramid.origin)


def check_room(planned: voxels.Plan, image: Image, model: VoxelModel) -> None:
    """Refuse crops of which a layer over the whole plane does not fit in memory."""
    depth = planned.crop[0]
    layer = replace(planned, own=(depth, *planned.own[1:]), seen=(depth, *planned.seen[1:]))
    lack = voxels.lacking(layer, image, model)
    if lack:
        rows, columns = planned.seen[1:]
        raise ValueError(
            f"crops of {depth} planes of {rows} x {columns} voxels take {lack}; --tile N makes crops smaller, and "
            f"{memory.VARIABLE} sets the memory that there is, in GB"
        )


def begun(parts: Path, out: Path, source: Path, asked: Request, begin: str) -> None:
    """Write down what is asked, or go on with what was."""
    plan = {"fingerprint": fingerprint(source), **asdict(asked)}
    if runs.goes_on(parts, out, begin):
        before = json.loads((parts / PLAN).read_text(encoding="utf-8"))
        runs.same(out, [name for name, value in plan.items() if before.get(name) != value])
    with replacing(parts / PLAN) as temporary:
        temporary.write_text(json.dumps(plan), encoding="utf-8")


def draw(
    parts: Path,
    out: Path,
    source: Path,
    image: Image,
    planned: voxels.Plan,
    model: VoxelModel,
    version: str,
    steps: Steps,
    progress: Progress,
) -> None:
    """Write the label image and its smaller copies, beginning with the first layer of chunks that is not done."""
    path, folder = parts / OUT, parts / DRAWN
    folder.mkdir(exist_ok=True)
    done = store.done(folder)
    if not done:
        shutil.rmtree(path, ignore_errors=True)
        create(path, out, source, image, model.config, planned, version)
    layer = ngff.chunked(image.shape)[0]
    begin = next(number for number in count() if number not in done)
    if begin * layer < image.shape[0]:
        with steps.timed("look"):
            window = window_in(image, voxels.of_volume(model.config).intensity)
        seen = voxels.Passing(image.data[0], planned, window)
        target = ngff.level(path, NAME, 0)
        slabs = voxels.labelled(
            seen, planned, model, steps, lambda done, total: progress(SEEN, done, total), begin * layer
        )
        for number, planes in enumerate(layers(slabs, layer), start=begin):
            with steps.timed("draw"):
                target[number * layer : number * layer + len(planes)] = planes
            store.write_nothing(folder, number)
    with steps.timed("draw"):
        ngff.shrink(path, NAME)


def create(
    path: Path, out: Path, source: Path, image: Image, config: ModelConfig, planned: voxels.Plan, version: str
) -> None:
    """Make the empty store, with the names of the classes."""
    pitch, unit = ((1.0,) * 3, None) if image.spacing is None else (image.spacing, ngff.UM)
    ngff.create(
        path,
        NAME,
        image.shape,
        voxels.label_type(planned),
        pitch=pitch,
        units=(unit,) * 3,
        version=version,
        source=relative(source, ngff.path_of(out, NAME)),
        names=dict(enumerate(config.classes, start=1)),
    )


def layers(slabs: Iterable[NDArray[np.integer]], depth: int) -> Iterator[NDArray[np.integer]]:
    """Yield planes in layers of `depth`, the last of what is left."""
    held: list[NDArray[np.integer]] = []
    for slab in slabs:
        held.append(slab)
        while sum(map(len, held)) >= depth:
            planes = np.concatenate(held)
            yield planes[:depth]
            held = [planes[depth:]]
    if sum(map(len, held)):
        yield np.concatenate(held)


def window_in(image: Image, rule: Intensity) -> Intensity:
    """Return the rule as the window that it means for a volume, as `window_of` does for one in memory."""
    return rule if rule.rule == WINDOW else window_of(sampled(image), rule)


def sampled(image: Image) -> NDArray[np.generic]:
    """Return evenly spaced voxels, those that `window_of` looks at; of a large volume, those of some planes."""
    depth, *plane = image.shape
    if prod(image.shape) > FEW:
        chosen = np.linspace(0, depth - 1, min(PLANES, depth)).round().astype(int).tolist()
        step = max(1, len(chosen) * prod(plane) // LOOKED_AT)
        return np.concatenate([image.data[0][z : z + 1].reshape(-1)[::step] for z in chosen])
    step = max(1, prod(image.shape) // LOOKED_AT)
    parts = []
    for planes in voxels.slabs_of(depth, max(1, AT_ONCE // prod(plane))):
        parts.append(image.data[0][planes].reshape(-1)[-planes.start * prod(plane) % step :: step])
    return np.concatenate(parts)


def tell(parts: Path, image: Image, config: ModelConfig) -> dict[str, NDArray[Any]]:
    """Return the table of structures, counted layer by layer."""
    labels, n = ngff.level(parts / OUT, NAME, 0), len(config.classes)
    slabs, values = voxels.slabs_of(image.shape[0], ngff.chunked(image.shape)[0]), image.data[0]
    counted = (tallied(labels[planes], values[planes], n, planes.start) for planes in slabs)
    return described(reduce(Tally.joined, counted), image, config.classes)


def publish(
    parts: Path, out: Path, table: dict[str, NDArray[Any]], record: dict[str, Any], asked: Request
) -> dict[str, Path]:
    """Put everything in its place, the manifest last; return the paths by kind."""
    runs.beside(out, runs.MANIFEST).unlink(missing_ok=True)
    path = runs.beside(out, TABLE)
    with replacing(path) as temporary:
        tables.write(table, temporary)
    shutil.rmtree(parts / DRAWN)  # a run that is killed from here on draws again
    runs.put(parts / OUT, NAME, out, None)
    return runs.vouch(out, {"labels": out, "volumes": path}, record, asked)
