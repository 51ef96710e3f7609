"""What a process needs to take part in a run, opened once: the plan, the image, the model; and the steps it takes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.image import Shape
from promptless.io import geojson, ngff
from promptless.io.atomic import replacing
from promptless.io.outputs import write_rows
from promptless.labels import Painted
from promptless.large import store
from promptless.large.finding import Look, find, owned_in
from promptless.large.plan import Plan
from promptless.large.settling import meeting, settle
from promptless.large.store import Found
from promptless.masks import Masks
from promptless.model import Model
from promptless.prompts import Prompts, to_entry
from promptless.record import Steps
from promptless.result import Part
from promptless.tiles import Region, Tile
from promptless.view import View

FOUND, SETTLED, TOLD, DRAWN = "found", "settled", "told", "drawn"
REACH, FIRST = "reach.npy", "first.npy"
OUT = "out.ome.zarr"
NAME = "nuclei"
"""What the label image is called inside of its store."""
KEPT = 64
"""Tiles whose objects are held in memory, since neighbours ask for them again."""
LEVELS = 16


@dataclass(frozen=True)
class Bench:
    """An opened run: `parts` is the folder of its files."""

    parts: Path
    plan: Plan
    view: View
    model: Model

    @cached_property
    def tiles(self) -> list[Tile]:
        """All tiles of the image, by number."""
        return self.view.tiles(self.plan.tile, self.plan.halo)

    @cached_property
    def objects(self) -> Callable[[str, int], Found]:
        """What gives the objects of a tile, as found or settled; of the last tiles they are held in memory."""
        return lru_cache(KEPT)(lambda kind, number: store.read(self.parts / kind, number))

    @cached_property
    def reach(self) -> Callable[[str], NDArray[np.int64]]:
        """What gives the boxes (tiles, ndim, 2) around the objects of every tile, as found or settled."""
        return lru_cache(2)(lambda kind: np.asarray(np.load(self.parts / kind / REACH, allow_pickle=False)))

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """The label of each tile's first object."""
        return np.asarray(np.load(self.parts / SETTLED / FIRST, allow_pickle=False))

    @cached_property
    def level(self) -> Callable[[int], Any]:
        """What gives a level of the label image, to read and write."""
        return lru_cache(LEVELS)(partial(ngff.level, self.parts / OUT, NAME))

    def settled(self, number: int) -> Found:
        """Return the objects of a tile with their labels."""
        return store.numbered(self.objects(SETTLED, number), int(self.first[number]))


@contextmanager
def opened(parts: Path, model: Model) -> Iterator[Bench]:
    """Open the run in a folder."""
    plan = Plan.read(parts)
    with plan.view() as view:
        yield Bench(parts, plan, view, model)


def find_tile(bench: Bench, number: int) -> Steps:
    """Find the objects of a tile."""
    plan = bench.plan
    look = Look.of(bench.view, bench.model, plan.tile, plan.halo, plan.min_score)
    found = find(look, bench.tiles[number])
    with look.steps.timed("store"):
        store.write(bench.parts / FOUND, number, found, len(plan.shape))
    return look.steps


def settle_tile(bench: Bench, number: int) -> Steps:
    """Decide which objects of a tile are kept, and which pixels they keep."""
    steps, plan = Steps(), bench.plan
    with steps.timed("settle"):
        kept = settle(number, bench.reach(FOUND), partial(bench.objects, FOUND))
        if plan.roi is not None:
            kept = owned_in(kept, tuple(slice(a, b) for a, b in plan.roi))
    with steps.timed("store"):
        store.write(bench.parts / SETTLED, number, kept, len(plan.shape))
    return steps


def tell_tile(bench: Bench, number: int) -> Steps:
    """Measure the objects of a tile, and write its lines of every table."""
    steps, folder = Steps(), bench.parts / TOLD
    with steps.timed("tell"):
        found = bench.settled(number)
        lines = {suffix: write(bench, found) if len(found.masks) else "" for suffix, write in LINES.items()}
    with steps.timed("store"):
        for suffix, text in lines.items():
            with replacing(folder / f"{number}{suffix}") as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
        mark(folder, number)
    return steps


def rows(bench: Bench, found: Found) -> str:
    """Return the lines of the object table."""
    text = io.StringIO()
    write_rows(part(bench, found).objects, text)
    return text.getvalue()


def header(bench: Bench) -> str:
    """Return the first line of the object table."""
    text = io.StringIO()
    csv.writer(text).writerow(part(bench, Found()).objects)
    return text.getvalue()


def features(bench: Bench, found: Found) -> str:
    """Return the lines of the GeoJSON file, in pixels of the largest level."""
    return ",\n".join(json.dumps(entry) for entry in geojson.features(part(bench, found), bench.plan.downsample))


def part(bench: Bench, found: Found) -> Part:
    """Return objects as those take them who write tables."""
    classes = {"model": {"classes": list(bench.model.config.classes)}}
    return Part(bench.view.image, found.masks, Prompts(bench.plan.shape), classes)


def prompts(bench: Bench, found: Found) -> str:
    """Return the lines of the prompts file."""
    return ",\n".join("  " + json.dumps(to_entry(prompt, bench.plan.shape)) for prompt in found.prompts)


LINES: dict[str, Callable[[Bench, Found], str]] = {"_objects.csv": rows, ".geojson": features, "_prompts.json": prompts}
"""What writes a tile's lines of each table, by the suffix of the table's file."""


def draw_block(bench: Bench, number: int) -> Steps:
    """Write a block of the label image, or of a smaller copy of it, made of the one above."""
    steps = Steps()
    level, region = place(bench.plan.shape, number)
    with steps.timed("draw"):
        target = bench.level(level)
        block = ngff.shrunk(bench.level(level - 1), region) if level else drawn(bench, region, target.dtype)
        if block.any():
            target[region] = block
        mark(bench.parts / DRAWN, number)
    return steps


def drawn(bench: Bench, region: Region, dtype: np.dtype[np.unsignedinteger]) -> NDArray[np.integer]:
    """Return a region of the label image."""
    box = np.array([[s.start, s.stop] for s in region])
    tiles = np.flatnonzero(meeting(bench.reach(SETTLED), box[None])[:, 0])
    masks = Masks.concatenate([bench.settled(int(tile)).masks for tile in tiles])
    return Painted(bench.plan.shape, masks.masks, tuple(masks.ids.tolist()))[region].astype(dtype)


def place(shape: Shape, number: int) -> tuple[int, Region]:
    """Return the level and the region of block `number`; blocks are counted through all levels."""
    for level, size in enumerate(ngff.shapes(shape)):
        regions = ngff.blocks(size)
        if number < len(regions):
            return level, regions[number]
        number -= len(regions)
    raise IndexError(f"there is no block {number}")


def mark(folder: Path, number: int) -> None:
    """Say that a number is done."""
    store.path_of(folder, number).touch()


STEPS: dict[str, Callable[[Bench, int], Steps]] = {
    FOUND: find_tile,
    SETTLED: settle_tile,
    TOLD: tell_tile,
    DRAWN: draw_block,
}
"""The steps, by the folder that says which numbers are done."""
