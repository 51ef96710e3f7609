"""Slides of scanners (Aperio SVS, Hamamatsu NDPI, ...) through tiffslide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from promptless.errors import UnreadableImageError
from promptless.io.lazy.pyramid import Plane, Pyramid, of_planes
from promptless.io.readers.choice import Page, choose
from promptless.io.readers.metadata import plausible
from promptless.io.readers.scene import Scene

MPP = ("tiffslide.mpp-y", "tiffslide.mpp-x")
BOUNDS = ("tiffslide.bounds-y", "tiffslide.bounds-x")
"""Where, in pixels of the largest level, what was scanned begins; some viewers count from there."""


@contextmanager
def slide(path: Path, page: Page, channel: int | str | None) -> Iterator[Pyramid]:
    """Open a slide at all its levels; macro and label images are not looked at."""
    try:
        from tiffslide import TiffFileError, TiffSlide
    except ImportError as error:
        raise ImportError(f"slides need {error.name}: pip install 'promptless[large]'") from error
    try:
        opened = TiffSlide(path)
    except TiffFileError as error:
        raise UnreadableImageError(f"is no slide that tiffslide reads ({error})") from error
    with opened:
        group = opened.zarr_group
        arrays = [group[str(level)] for level in range(opened.level_count)] if hasattr(group, "keys") else [group]
        size = tuple(opened.properties.get(name) for name in MPP)
        start = tuple(opened.properties.get(name) for name in BOUNDS)
        yield noting(pyramid(arrays, pixel_size(size), page, channel), start)


def noting(slide: Pyramid, start: tuple[Any, ...]) -> Pyramid:
    """Say where the bounds of a slide begin, if they do so beyond its first pixel: positions count from that."""
    if any(value is None for value in start) or not any(int(value) for value in start):
        return slide
    y, x = (int(value) for value in start)
    note = f"the bounds of the slide begin at y {y}, x {x}; positions count from the first pixel of its largest level"
    return replace(slide, origin=replace(slide.origin, notes=(*slide.origin.notes, note)))


def pixel_size(values: tuple[Any, ...]) -> tuple[float, ...] | None:
    """Return the pixel size (y, x) in micrometres where the slide has a plausible one."""
    return plausible(tuple(float(v) for v in values)) if all(values) else None


def pyramid(arrays: list[Any], spacing: tuple[float, ...] | None, page: Page, channel: int | str | None) -> Pyramid:
    """Return the levels (y, x, colour) of a slide as one."""
    scenes = [Scene("YXS" if array.ndim == 3 else "YX", array.shape, np.dtype(array.dtype)) for array in arrays]
    choice = choose(scenes[:1], page, channel)
    planes = [Plane(array, scene, choice) for array, scene in zip(arrays, scenes, strict=True)]
    full = planes[0].shape[1:]
    spacings = [
        None if spacing is None else tuple(s * a / b for s, a, b in zip(spacing, full, p.shape[1:], strict=True))
        for p in planes
    ]
    return of_planes(planes, choice, spacings)
