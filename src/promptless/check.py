"""What would happen to an image or a scan: looked at, and the middle of it segmented, before all of it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from promptless import voxels
from promptless.config import SEMANTIC
from promptless.image import Image, Origin, Shape
from promptless.io.readers import memory
from promptless.model import AnyModel, Model, VoxelModel
from promptless.pipeline import opened, opened_scan, segment_tile
from promptless.prompts import Points
from promptless.record import Steps
from promptless.semantic import answer_tile, asked_whole, cut
from promptless.tiles import Tile, middle
from promptless.view import View, each, least_score, tiling

SAMPLE = 512
"""Pixels per side, in the middle, whose segmentation is timed and whose objects are measured; else a tile is."""


@dataclass(frozen=True)
class Report:
    """How an image would be segmented. Lengths are in pixels of the image; `None` is what is not known.

    `seconds` and `memory_bytes` are estimates: the time of the middle of the image for as many pixels as
    all tiles have, and the rule of `promptless.io.readers.memory`.
    """

    source: str
    origin: Origin
    channels: int
    shape: Shape
    dtype: str
    spacing: tuple[float, ...] | None
    unit: str
    intensity_range: tuple[float, float]
    zoom: float
    object_px: float | None
    model_object_px: tuple[float, ...]
    tiles: int
    tile: int  # model pixels, as is `halo`
    halo: int
    seconds: float
    memory_bytes: int


def check(
    path: Path,
    model: Model,
    *,
    channel: int | str | None = None,
    page: int | None = None,
    mpp: float | None = None,
    tile: int | None = None,
    halo: int | None = None,
) -> Report:
    """Return how `path` would be segmented with these options (of `promptless.segment`); raise where it would not."""
    tile, halo = tiling(model.config, tile, halo)
    image = opened(path, page, channel, mpp)
    view = View.of(image, model)
    semantic = model.config.output == SEMANTIC
    cuts = cut(view, model.config, tile, halo) if semantic else view.tiles(tile, halo)
    part = cuts[len(cuts) // 2] if semantic else sampled(view, model)
    seconds, diameter = sample(replace(view, seen=None), part, model)
    seen = sum(prod(cut.shape) for cut in cuts)
    return Report(
        str(path),
        image.origin,
        len(image.data),
        image.shape,
        str(image.data.dtype),
        image.spacing,
        image.unit,
        (view.low, view.high),
        view.zoom,
        diameter,
        tuple(px / view.zoom for px in model.config.kind.object_px),
        len(cuts),
        tile,
        halo,
        seconds * seen / prod(part.shape),
        memory.needed(0, len(image.data), image.shape, image.data.dtype),
    )


@dataclass(frozen=True)
class ScanReport:
    """How a scan would be segmented. Lengths are along (z, y, x), in voxels, of `seen` and `crop` those of the model.

    `seconds` and `memory_bytes` are estimates, as in `Report`; reading and writing are not among the seconds.
    """

    source: str
    origin: Origin
    shape: Shape
    dtype: str
    spacing: tuple[float, ...] | None
    unit: str
    orientation: str  # of the file's axes: towards right or left, front (anterior) or back, head (superior) or feet
    seen: Shape
    crop: Shape
    crops: int
    views: int
    structures: tuple[str, ...]
    seconds: float
    memory_bytes: int


def check_scan(
    path: Path,
    model: AnyModel,
    *,
    frame: int | None = None,
    series: str | None = None,
    tile: int | None = None,
    flips: bool | None = None,
) -> ScanReport:
    """Return how the scan at `path` would be segmented; raise where it would not."""
    from promptless.io.scans import nifti

    able = voxels.for_volumes(model)
    image = opened_scan(path, able.config, frame, series)
    plan = voxels.plan(image, able.config, tile, flips)
    voxels.check_room(plan, image, able)
    return ScanReport(
        str(path),
        image.origin,
        image.shape,
        str(image.data.dtype),
        image.spacing,
        image.unit,
        nifti.orientation(image),
        plan.seen,
        plan.crop,
        plan.n_crops,
        len(plan.mirrors),
        able.config.classes,
        seconds_for(image, plan, able),
        voxels.needed(plan, image) + voxels.room(able, plan.crop).needed,
    )


def seconds_for(image: Image, plan: voxels.Plan, model: VoxelModel) -> float:
    """Return about how long a scan takes: looking at it, one crop, and deciding a few planes are timed."""
    began = time.perf_counter()
    seen = voxels.look(image, model.config, plan)
    looked = time.perf_counter()
    starts = [(n - side) // 2 for n, side in zip(plan.padded, plan.crop, strict=True)]
    centre = [slice(start, start + side) for start, side in zip(starts, plan.crop, strict=True)]
    voxels.view(model, seen.crop(*centre), plan, prompted=False)
    answered = time.perf_counter()
    planes = min(plan.planes, plan.own[0])
    voxels.likeliest(np.ones((plan.channels, planes, *plan.seen[1:]), np.float32), plan.own[1:])
    decided = time.perf_counter() - answered
    return looked - began + (answered - looked) * plan.n_crops + decided * plan.own[0] / planes


def sample(view: View, part: Tile, model: Model) -> tuple[float, float | None]:
    """Return the seconds that a part of an image takes, and the median diameter of its objects, None without."""
    began = time.perf_counter()
    if model.config.output == SEMANTIC:  # what touches is one part of its mask, so diameters say little
        answer_tile(view, part, asked_whole(model), Points.of(ndim=len(part.shape)), Steps())
        return time.perf_counter() - began, None
    view, least = least_score(view, model)
    masks, _ = segment_tile(view, part, model, least, None, Steps())
    areas = [mask.area for mask in masks]
    diameter = 2 * float(np.sqrt(np.median(areas) / np.pi)) if areas else None
    return time.perf_counter() - began, diameter


def sampled(view: View, model: Model) -> Tile:
    """Return the middle of an image as a tile without a halo, no larger than the model takes."""
    most = model.config.input_size
    side = SAMPLE if most is None else min(SAMPLE, *view.in_image(most))
    region = middle(view.image.shape, each(view.image, side))
    return Tile(region, region)
