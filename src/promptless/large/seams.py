"""A self-test: whether objects depend on where tiles begin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from promptless.image import Image, Shape
from promptless.io import lazy
from promptless.labels import paint
from promptless.large.finding import Look, find
from promptless.large.plan import nearest, region, sized, values
from promptless.large.store import Found
from promptless.masks import Masks
from promptless.metrics.instances import match
from promptless.model import Model
from promptless.record import Steps
from promptless.tiles import Tile, round_up
from promptless.view import View, least_score, tiling

SIDE = 2048
"""Pixels per side, in the middle of the image, that are looked at where no region is asked for."""


@dataclass(frozen=True)
class Seams:
    """How two segmentations of one region agree whose tiles begin half a tile apart.

    `agreement` is TP / (TP + FP + FN) at IoU .5, `strict` at .9; `cut_per_1000` says how many objects in a thousand
    reach an edge of what the model saw.
    """

    agreement: float
    strict: float
    cut_per_1000: float
    n_objects: tuple[int, int]
    n_tiles: tuple[int, int]
    region: tuple[tuple[int, int], ...]


def seams(
    source: Path,
    model: Model,
    *,
    channel: int | str | None = None,
    page: int | None = None,
    mpp: float | None = None,
    tile: int | None = None,
    halo: int | None = None,
    roi: tuple[int, ...] | None = None,
) -> Seams:
    """Segment a region of an image twice, under two grids of tiles, and say how well the results agree.

    Arguments are those of `promptless.large.segment`; without `roi` the middle of the image is taken.
    """
    if not model.config.tells_objects:
        raise ValueError(f"{model.config.name} does not tell objects apart by tiles, so there are none to compare")
    tile, halo = tiling(model.config, tile, halo)
    with lazy.opened(source, page, channel) as pyramid:
        number = nearest(pyramid, model.config.kind.pixel_size, mpp)
        level = pyramid.levels[number]
        image = pyramid.image(number)
        spacing = level.spacing if mpp is None else tuple(mpp * step for step in level.downsample)
        part = middle(level.shape) if roi is None else region(roi, level.downsample, level.shape)
        seen, least = least_score(View.of(sized(image, spacing), model, values(image.data)), model)
        pixels = image.data[:, *(slice(a, b) for a, b in part)]
    view = View(Image(pixels, spacing), seen.low, seen.high, seen.zoom, seen.align)
    look = Look.of(view, model, tile, halo, least, Steps())
    shift = round_up(view.in_image(tile)[0] // 2, view.align)
    grids = [view.tiles(tile, halo), list(moved(view, look, tile, shift))]
    if len(grids[0]) == 1 and len(grids[1]) == 1:
        raise ValueError(f"the region of {view.image.shape} pixels is one tile, which has no seams; take smaller tiles")
    results = [painted(look, grid) for grid in grids]
    agreement = match(results[0][0], results[1][0], (0.5, 0.9)).precision
    counts = tuple(len(masks) for _, masks in results)
    cut = sum(int(masks.tile_border.sum()) for _, masks in results)
    return Seams(
        float(agreement[0]) if sum(counts) else 1.0,
        float(agreement[1]) if sum(counts) else 1.0,
        1000 * cut / max(1, sum(counts)),
        (counts[0], counts[1]),
        (len(grids[0]), len(grids[1])),
        part,
    )


def middle(shape: Shape) -> tuple[tuple[int, int], ...]:
    """Return (start, stop) per axis of the middle of an image."""
    return tuple((max(0, (n - SIDE) // 2), min(n, max(0, (n - SIDE) // 2) + SIDE)) for n in shape)


def moved(view: View, look: Look, tile: int, shift: int) -> Iterator[Tile]:
    """Yield the tiles of an image whose grid begins `shift` pixels before it."""
    shape = view.image.shape
    size = [round_up(n, view.align) for n in view.in_image(tile)]
    starts = [range(-shift, n, s) for n, s in zip(shape, size, strict=True)]
    for at in np.array(np.meshgrid(*starts, indexing="ij")).reshape(len(shape), -1).T.tolist():
        core = tuple(slice(max(0, a), min(n, a + s)) for a, s, n in zip(at, size, shape, strict=True))
        outer = tuple(
            slice(max(0, c.start - h), min(n, c.stop + h)) for c, h, n in zip(core, look.halo, shape, strict=True)
        )
        if all(c.start < c.stop for c in core):
            yield Tile(core, outer)


def painted(look: Look, grid: list[Tile]) -> tuple[Any, Masks]:
    """Return the label image that a grid of tiles gives, and its objects."""
    return paint(Found.joined([find(look, tile) for tile in grid]).masks, look.view.image.shape)
