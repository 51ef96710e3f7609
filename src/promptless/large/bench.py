"""What a process needs to take part in a run, opened once: the plan, the image, the model; and the steps it takes."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.image import Shape
from promptless.io import geojson, ngff
from promptless.io.outputs import write_rows
from promptless.labels import Painted
from promptless.large import store
from promptless.large.finding import Look, find, owned_in
from promptless.large.plan import Plan
from promptless.large.settling import Boxes, Reader, meeting, settle
from promptless.large.store import Found
from promptless.masks import Masks
from promptless.model import Model
from promptless.prompts import Prompts, to_entries
from promptless.record import Steps
from promptless.result import Objects, Part
from promptless.tiles import Region, Tile
from promptless.view import View

FOUND, SETTLED, TOLD, DRAWN = "found", "settled", "told", "drawn"
REACH, FIRST = "reach.npy", "first.npy"
OUT = "out.ome.zarr"
NAME = "nuclei"
"""What the label image is called inside of its store."""
KEPT = 40
"""Tiles whose objects are held in memory, since neighbours ask for them again."""
LEVELS = 16
PLANES = 8
"""Planes of a stack that are kept open."""


@dataclass(frozen=True)
class Bench:
    """An opened run: `parts` is the folder of its files, `turn` is held by the thread whose network runs."""

    parts: Path
    plan: Plan
    open_view: Callable[[int], View]
    model: Model
    turn: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def view(self) -> Callable[[int], View]:
        """What gives each plane of the image as the model looks at it."""
        return lru_cache(PLANES)(self.open_view)

    @cached_property
    def tiles(self) -> list[Tile]:
        """All tiles of a plane."""
        return self.view(0).tiles(self.plan.tile, self.plan.halo)

    @property
    def n_tiles(self) -> int:
        """How many tiles all planes have; they are numbered plane by plane."""
        return self.plan.depth * len(self.tiles)

    def place(self, number: int) -> tuple[int, Tile]:
        """Return the plane that a tile is of, and the tile."""
        z, tile = divmod(number, len(self.tiles))
        return z, self.tiles[tile]

    def plane(self, kind: str, z: int) -> tuple[Boxes, Reader]:
        """Return the boxes around the objects of every tile of a plane, and what gives the objects."""
        first = z * len(self.tiles)
        return self.reach(kind)[first : first + len(self.tiles)], lambda tile: self.objects(kind, first + tile)

    def look(self, z: int, steps: Steps) -> Look:
        """Return how the tiles of a plane are looked at."""
        plan = self.plan
        return Look.of(self.view(z), self.model, plan.tile, plan.halo, plan.min_score, steps)

    @cached_property
    def objects(self) -> Callable[[str, int], Found]:
        """What gives the objects of a tile, as found or settled; of the last tiles they are held in memory."""
        return lru_cache(KEPT)(lambda kind, number: store.read(self.parts / kind, number))

    @cached_property
    def reach(self) -> Callable[[str], Boxes]:
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

    def labelled(self, number: int, first: int | None = None) -> Found:
        """Return the objects of a tile with their labels, from `first` on or as they are written down."""
        return store.numbered(self.objects(SETTLED, number), int(self.first[number]) if first is None else first)


@contextmanager
def opened(parts: Path, model: Model) -> Iterator[Bench]:
    """Open the run in a folder."""
    plan = Plan.read(parts)
    with plan.views() as view:
        yield Bench(parts, plan, view, model)


def find_tile(bench: Bench, number: int) -> Steps:
    """Find the objects of a tile."""
    z, tile = bench.place(number)
    steps = Steps(turn=bench.turn)
    found = find(bench.look(z, steps), tile)
    with steps.timed("store"):
        store.write(bench.parts / FOUND, number, found, len(bench.plan.shape))
    return steps


def settle_tile(bench: Bench, number: int, found: tuple[Boxes, Reader] | None = None) -> Steps:
    """Decide which objects of a tile are kept, and which pixels they keep; `found` is what its plane has."""
    steps, plan = Steps(), bench.plan
    with steps.timed("settle"):
        z, tile = divmod(number, len(bench.tiles))
        kept = settle(tile, *(found or bench.plane(FOUND, z)))
        if plan.roi is not None:
            kept = owned_in(kept, tuple(slice(a, b) for a, b in plan.roi))
    with steps.timed("store"):
        store.write(bench.parts / SETTLED, number, kept, len(plan.shape))
    return steps


def tell_tile(bench: Bench, number: int, first: int | None = None) -> Steps:
    """Measure the objects of a tile, and write its lines of every table; `first` is the label of its first object."""
    steps, folder = Steps(), bench.parts / TOLD
    with steps.timed("tell"):
        found, (z, _) = bench.labelled(number, first), bench.place(number)
        lines = {suffix: write(bench, z, found) for suffix, write in LINES.items()} if len(found.masks) else {}
    with steps.timed("store"):
        store.write_lines(folder, number, lines)
    return steps


def rows(bench: Bench, z: int, found: Found) -> str:
    """Return the lines of the object table."""
    text = io.StringIO()
    write_rows(columns(bench, z, part(bench, z, found)), text)
    return text.getvalue()


def header(bench: Bench) -> str:
    """Return the first line of the object table."""
    text = io.StringIO()
    of = bench.view(0).image
    nothing = replace(of, data=np.zeros((len(of.data), 1, 1), of.data.dtype))  # no chunk need be read, or be sound
    csv.writer(text).writerow(columns(bench, 0, Part(nothing, Masks(), Prompts((1, 1)), classes(bench))))
    return text.getvalue()


def columns(bench: Bench, z: int, found: Part) -> Objects:
    """Return the object table; that of a stack says the plane of each object."""
    table = dict(found.objects)
    plane = {} if bench.plan.depth == 1 else {"z": np.full(len(found.masks), z)}
    return Objects({"label": table["label"]} | plane | table)


def features(bench: Bench, z: int, found: Found) -> str:
    """Return the lines of the GeoJSON file, in pixels of the largest level; planes are said as QuPath says them."""
    entries = list(geojson.features(part(bench, z, found), bench.plan.downsample))
    for entry in entries if bench.plan.depth > 1 else ():
        entry["geometry"]["plane"] = {"c": -1, "z": z, "t": 0}
    return ",\n".join(map(json.dumps, entries))


def part(bench: Bench, z: int, found: Found) -> Part:
    """Return objects as those take them who write tables."""
    return Part(bench.view(z).image, found.masks, Prompts(bench.plan.shape), classes(bench))


def classes(bench: Bench) -> dict[str, Any]:
    """Return what a manifest says of the classes of objects."""
    return {"model": {"classes": list(bench.model.config.classes)}}


def prompts(bench: Bench, z: int, found: Found) -> str:
    """Return the lines of the prompts file."""
    plane = {} if bench.plan.depth == 1 else {"z": z}
    entries = zip(found.masks.ids.tolist(), to_entries(found.prompts, bench.plan.shape), strict=True)
    return ",\n".join("  " + json.dumps(entry | plane | {"id": number}) for number, entry in entries)


LINES: dict[str, Callable[[Bench, int, Found], str]] = {
    "_objects.csv": rows,
    ".geojson": features,
    "_prompts.json": prompts,
}
"""What writes a tile's lines of each table, by the suffix of the table's file."""


def draw_block(bench: Bench, number: int) -> Steps:
    """Write a block of the label image, or of a smaller copy of it, made of the one above."""
    steps = Steps()
    plan = bench.plan
    level, region = place(plan.labelled, plan.chunks, number)
    with steps.timed("draw"):
        target = bench.level(level)
        above = bench.level(level - 1) if level else None
        block = drawn(bench, region, target.dtype) if above is None else ngff.shrunk(above, region, plan.chunks)
        if block.any():
            target[region] = block
        store.write_nothing(bench.parts / DRAWN, number)
    return steps


def drawn(bench: Bench, region: Region, dtype: np.dtype[np.unsignedinteger]) -> NDArray[np.integer]:
    """Return a region of the label image, of one plane."""
    *planes, y, x = region
    z = planes[0].start if planes else 0
    reaches, _ = bench.plane(SETTLED, z)
    box = np.array([[s.start, s.stop] for s in (y, x)])
    tiles = z * len(bench.tiles) + np.flatnonzero(meeting(reaches, box[None])[:, 0])
    masks = Masks.concatenate([bench.labelled(int(tile)).masks for tile in tiles])
    painted = Painted(bench.plan.shape, masks.masks, tuple(masks.ids.tolist()))[y, x]
    return painted.astype(dtype)[(None,) * len(planes)]


def place(shape: Shape, chunks: Shape, number: int) -> tuple[int, Region]:
    """Return the level and the region of block `number`; blocks are counted through all levels."""
    for level, size in enumerate(ngff.shapes(shape, chunks)):
        regions = ngff.blocks(size, chunks)
        if number < len(regions):
            return level, regions[number]
        number -= len(regions)
    raise IndexError(f"there is no block {number}")


STEPS: dict[str, Callable[[Bench, int], Steps]] = {
    FOUND: find_tile,
    SETTLED: settle_tile,
    TOLD: tell_tile,
    DRAWN: draw_block,
}
"""The steps, by the folder that says which numbers are done."""
