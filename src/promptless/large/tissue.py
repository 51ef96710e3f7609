"""Where tissue is on a bright-field slide, so that glass is passed over."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from promptless.image import Shape
from promptless.io.lazy.pyramid import Level, Pyramid
from promptless.tiles import Region

THUMBNAIL = 2048
"""Pixels per side, at most, from which tissue is told."""
STAINED = 0.05
"""Saturation below which nothing is taken for tissue, whatever Otsu's threshold says of an empty slide."""
SMOOTH = 2.0
"""Pixels of the thumbnail: standard deviation of the Gaussian over the saturation."""
AROUND = 4
"""Pixels of the thumbnail that tissue is widened by: what lies at its rim is looked at."""


def found(pyramid: Pyramid) -> NDArray[np.bool_]:
    """Return the thumbnail (y, x) of where tissue is: what is coloured, by Otsu's threshold on the saturation."""
    level = smallest_large_enough(pyramid)
    if level.pixels.shape[0] != 3:
        raise ValueError(
            f"tissue is told from glass by its colour, but the image has {level.pixels.shape[0]} channel(s); "
            "leave --tissue out, or take all colours"
        )
    pixels = thumbnail(level).astype(np.float32)
    highest = pixels.max(axis=0)
    saturation = ndimage.gaussian_filter((highest - pixels.min(axis=0)) / np.maximum(highest, 1e-6), SMOOTH)
    level_of_grey = threshold_otsu(saturation) if np.ptp(saturation) else 0.0
    mask = saturation > max(STAINED, float(level_of_grey))
    return np.asarray(ndimage.binary_dilation(mask, iterations=AROUND)) if mask.any() else mask


def smallest_large_enough(pyramid: Pyramid) -> Level:
    """Return the smallest level that is no smaller than the thumbnail; the largest where none is."""
    enough = [level for level in pyramid.levels if max(level.shape) >= THUMBNAIL]
    return enough[-1] if enough else pyramid.levels[0]


def thumbnail(level: Level) -> NDArray[np.generic]:
    """Return every so many pixels (channel, y, x) of a level, read a slab of rows at a time."""
    height, width = level.shape
    step = max(1, -(-max(height, width) // THUMBNAIL))
    rows = max(1, 2**24 // (prod(level.pixels.shape) // height) // step) * step
    slabs = [level.pixels[:, y : y + rows, slice(None)][:, ::step, ::step] for y in range(0, height, rows)]
    return np.concatenate(slabs, axis=1)


def reaches(mask: NDArray[np.bool_], part: Region, shape: Shape) -> bool:
    """Return whether a region of an image of `shape` has tissue."""
    index = tuple(
        slice(int(s.start * n / full), max(int(s.start * n / full) + 1, -int(-s.stop * n // full)))
        for s, n, full in zip(part, mask.shape, shape, strict=True)
    )
    return bool(mask[index].any())
