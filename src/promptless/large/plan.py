"""What a run is to do, written down when it begins: every process that takes part reads it, and a resumed run too."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from promptless.config import VOXELS
from promptless.errors import UnreadableImageError
from promptless.image import Image, Shape
from promptless.io import lazy, ngff
from promptless.io.atomic import replacing
from promptless.io.lazy.pyramid import Pyramid
from promptless.io.readers.choice import STACK
from promptless.large import tissue
from promptless.model import Model
from promptless.tiles import Tile
from promptless.view import UM, View, each, least_score, tiling

log = logging.getLogger(__name__)

PLAN = "plan.json"
FEW = 2**27
"""Up to so many values, an image is looked at as a small one is, to tell black from white; else blocks of it are."""
BLOCKS, BLOCK = 24, 64
"""Blocks per axis of a larger image that tell black from white, and their pixels per side."""
PLANES = 24
"""Planes of a stack, at most, that do."""
SAMPLES = 65_536
"""Bytes read at each place of a file that tell it from others."""
PLACES = 64


@dataclass(frozen=True)
class Request:
    """What is asked of an image, as the user said it."""

    model: str | None  # name or folder; None for a model that this process alone holds
    model_hash: str
    channel: int | str | None = None
    page: int | None = None
    mpp: float | None = None
    min_score: float | None = None
    tile: int | None = None
    halo: int | None = None
    roi: tuple[int, ...] | None = None  # y, x, height, width in pixels of the largest level
    only: str | None = None  # "tissue"


@dataclass(frozen=True)
class Plan:
    """How an image is segmented. Lengths are in pixels of the level that is read, but where it says model pixels."""

    source: str
    fingerprint: str
    request: Request
    level: int
    shape: Shape  # (y, x)
    spacing: tuple[float, ...] | None  # um, (y, x)
    downsample: tuple[float, ...]  # pixels of the largest level per pixel
    low: float
    high: float
    zoom: float
    align: int
    tile: int  # model pixels, as is `halo`
    halo: int
    min_score: float
    tiles: tuple[int, ...]  # numbers of those that are looked at, counted through all planes
    roi: tuple[tuple[int, int], ...] | None = None  # start, stop
    tissue: float | None = None  # share of the image, where only tissue is looked at
    depth: int = 1  # planes along z, looked at one by one
    pitch: float | None = None  # um from one to the next

    def write(self, folder: Path) -> None:
        """Write the plan down."""
        with replacing(folder / PLAN) as temporary:
            temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read a plan."""
        content = as_tuples(json.loads((folder / PLAN).read_text(encoding="utf-8")))
        return cls(**{**content, "request": Request(**content["request"])})

    @contextmanager
    def views(self) -> Iterator[Callable[[int], View]]:
        """Open the image; yield what gives each of its planes as the model looks at it."""
        with opened(Path(self.source), self.request) as pyramid:
            yield partial(self.view, pyramid)

    def view(self, pyramid: Pyramid, z: int) -> View:
        """Return plane `z` of the image as the model looks at it."""
        image = sized(pyramid.plane(z).image(self.level), self.spacing)
        return View(image, self.low, self.high, self.zoom, self.align)

    @property
    def labelled(self) -> Shape:
        """The shape of the label image: (y, x), or (z, y, x) of a stack."""
        return self.shape if self.depth == 1 else (self.depth, *self.shape)

    @property
    def chunks(self) -> Shape:
        """Pixels per side that a file of the label image holds."""
        return ngff.chunked(self.shape) if self.depth == 1 else ngff.PLANES

    def other(self, request: Request, fingerprint: str) -> list[str]:
        """Return in what this plan differs from what is asked now."""
        differs = [] if self.fingerprint == fingerprint else ["image"]
        names = (f.name for f in fields(Request) if f.name != "model")
        return differs + [name for name in names if getattr(self.request, name) != getattr(request, name)]


def as_tuples(value: Any) -> Any:
    """Return JSON values with their lists as tuples."""
    if isinstance(value, list):
        return tuple(as_tuples(item) for item in value)
    return {k: as_tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


def opened(source: Path, request: Request) -> AbstractContextManager[Pyramid]:
    """Open the plane of an image that is asked for, or all planes of a z-stack."""
    return lazy.opened(source, STACK if request.page is None else request.page, request.channel)


def planned(source: Path, fingerprint: str, model: Model, request: Request) -> Plan:
    """Return how an image is segmented: which level of it, how the model looks at it, which tiles."""
    config = model.config
    if not config.tells_objects:
        other = "; large.segment_volume is for it" if config.output == VOXELS else "; segment with it without .zarr"
        raise ValueError(f"{config.name} does not tell objects apart by tiles{other}")
    tile, halo = tiling(config, request.tile, request.halo)
    with opened(source, request) as pyramid:
        level = nearest(pyramid, config.kind.pixel_size, request.mpp)
        at = pyramid.levels[level]
        spacing = at.spacing if request.mpp is None else tuple(request.mpp * step for step in at.downsample)
        image = sized(pyramid.plane(pyramid.depth // 2).image(level), spacing)
        view, least = least_score(View.of(image, model, values_of(pyramid, level)), model, request.min_score)
        roi = None if request.roi is None else region(request.roi, at.downsample, at.shape)
        tiles = view.tiles(tile, halo)
        chosen = [i for i, part in enumerate(tiles) if roi is None or meets(part, roi)]
        share = None
        if request.only is not None:
            mask = tissue.found(flat(pyramid))
            share = float(mask.mean())
            chosen = [i for i in chosen if tissue.reaches(mask, tiles[i].core, at.shape)]
        everywhere = tuple(z * len(tiles) + i for z in range(pyramid.depth) for i in chosen)
    return Plan(
        str(source.resolve()),
        fingerprint,
        request,
        level,
        at.shape,
        None if spacing is None else tuple(float(s) for s in spacing),
        at.downsample,
        view.low,
        view.high,
        view.zoom,
        view.align,
        tile,
        halo,
        least,
        everywhere,
        roi,
        share,
        pyramid.depth,
        None if pyramid.voxel is None else pyramid.voxel[0],
    )


def flat(pyramid: Pyramid) -> Pyramid:
    """Return an image of one plane, refusing a stack."""
    if pyramid.depth > 1:
        raise ValueError(
            f"tissue is told from glass on a slide, but the image has {pyramid.depth} planes along z; "
            "leave --tissue out, or choose a plane with --page"
        )
    return pyramid


def sized(image: Image, spacing: tuple[float, ...] | None) -> Image:
    """Return an image with a pixel size in micrometres."""
    return Image(image.data, spacing, "um", None, image.channel_names, image.origin)


def nearest(pyramid: Pyramid, pixel_size: float, mpp: float | None) -> int:
    """Return the level whose pixel size is nearest to the model's; the largest where sizes are not known."""
    full = each(pyramid.image(0), mpp) if mpp is not None else pyramid.levels[0].spacing
    if full is None:
        return 0
    sizes = [float(np.mean(full)) * float(np.mean(level.downsample)) * UM["um"] for level in pyramid.levels]
    return min(range(len(sizes)), key=lambda i: (abs(math.log(sizes[i] / pixel_size)), i))


def region(roi: tuple[int, ...], downsample: tuple[float, ...], shape: Shape) -> tuple[tuple[int, int], ...]:
    """Return (start, stop) per axis of a region y, x, height, width of the largest level, in pixels of another."""
    begins, sizes = roi[: len(shape)], roi[len(shape) :]
    if len(roi) != 2 * len(shape) or min(begins) < 0 or min(sizes) < 1:
        raise ValueError(f"the region is {roi}; give y,x,height,width in pixels of the full image")
    out = [
        (int(a / d), min(n, -int(-(a + size) // d)))
        for a, size, d, n in zip(begins, sizes, downsample, shape, strict=True)
    ]
    if any(a >= b for a, b in out):
        full = " x ".join(str(round(n * d)) for n, d in zip(shape, downsample, strict=True))
        raise ValueError(f"the region {roi} (y, x, height, width) lies outside the image of {full} pixels")
    return tuple(out)


def meets(tile: Tile, roi: tuple[tuple[int, int], ...]) -> bool:
    """Return whether a tile's core reaches into a region."""
    return all(s.start < b and a < s.stop for s, (a, b) in zip(tile.core, roi, strict=True))


def values_of(pyramid: Pyramid, level: int) -> NDArray[np.generic]:
    """Return values that tell black from white, of all planes together, as many as of one."""
    n = min(PLANES, pyramid.depth)
    planes = np.linspace(0, pyramid.depth - 1, n).round().astype(int).tolist()
    return np.concatenate([values(pyramid.plane(z).image(level).data)[::n] for z in planes])


def values(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return values of an image that tell black from white, those of `normalise.intensity_range` where it is small.

    Of a larger one, blocks on an even grid are read.
    """
    n_channels, height, width = cast("Shape", pixels.shape)
    total = prod(pixels.shape)
    if total > FEW:
        starts = [np.linspace(0, max(0, n - BLOCK), BLOCKS).astype(int) for n in (height, width)]
        blocks = [readable(pixels, slice(y, y + BLOCK), slice(x, x + BLOCK)) for y in starts[0] for x in starts[1]]
        return joined([part.ravel() for parts in blocks for part in parts])
    step = max(1, total // 1_000_000)
    rows = max(1, 2**22 // (n_channels * width))
    picked: list[list[NDArray[np.generic]]] = [[] for _ in range(n_channels)]
    for y in range(0, height, rows):
        slabs = readable(pixels, slice(y, min(y + rows, height)), slice(0, width))
        if len(slabs) != 1:
            picked[0] += [slab.ravel()[::step] for slab in slabs]
            continue
        for channel, own in enumerate(slabs[0]):
            first = channel * height * width + y * width
            picked[channel].append(own.ravel()[-first % step :: step])
    return joined([part for own in picked for part in own])


def joined(parts: list[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Return all values, of which there must be some."""
    if not parts:
        raise UnreadableImageError("the image cannot be decoded anywhere; it may be damaged, or half copied")
    return np.concatenate(parts)


def readable(pixels: NDArray[np.generic], y: slice, x: slice) -> list[NDArray[np.generic]]:
    """Return a region of an image; where a chunk of it is damaged, parts of the region that are not."""
    try:
        return [pixels[:, y, x]]
    except UnreadableImageError as error:
        sides = [s.stop - s.start for s in (y, x)]
        if max(sides) <= BLOCK:
            log.debug("black and white are told without a part of the image: %s", error)
            return []
    if sides[0] >= sides[1]:
        middle = y.start + sides[0] // 2
        return readable(pixels, slice(y.start, middle), x) + readable(pixels, slice(middle, y.stop), x)
    middle = x.start + sides[1] // 2
    return readable(pixels, y, slice(x.start, middle)) + readable(pixels, y, slice(middle, x.stop))


def fingerprint(path: Path) -> str:
    """Return what tells an image from another without reading all of it: sizes, and samples of the bytes."""
    told = hashlib.sha256()
    if path.is_file():
        sample(path, told)
        return told.hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        told.update(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n".encode())
    about = [file for file in files if file.name in {"zarr.json", ".zattrs", ".zarray", ".zgroup"}]
    for file in sorted({*about, *files[:: max(1, len(files) // PLACES)]}):
        sample(file, told)
    return told.hexdigest()


def sample(path: Path, told: Any) -> None:
    """Add the size of a file, and bytes of it at even distances, to a hash."""
    size = path.stat().st_size
    told.update(f"{size}\n".encode())
    with path.open("rb") as file:
        for at in np.linspace(0, max(0, size - SAMPLES), PLACES if size > PLACES * SAMPLES else 1).astype(int):
            file.seek(int(at))
            told.update(file.read(SAMPLES if size > SAMPLES * PLACES else size))
