"""Crowds: copies of fluorescent objects laid against and over one another, as nuclei in thick samples lie."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from promptless import labels as label_images
from promptless.masks import Mask

Array = NDArray[np.float32]

HALO_PX = 3
"""An object's light is copied up to this far beyond its border, where it fades."""

HIDDEN = 1 / 3
"""A copy that would hide more than this share of another object is left out."""


class Crowd(NamedTuple):
    """A crowded patch (1, *spatial), its labels, and which object each pixel's object is, or is a copy of."""

    patch: Array
    labels: NDArray[np.int32]
    origin: NDArray[np.int32]  # labels before the copies were laid down


def crowd(patch: Array, labels: NDArray[np.int32], rng: np.random.Generator) -> Crowd:
    """Return a fluorescence patch (1, *spatial) and its labels with turned copies of its own objects beside others.

    Where two overlap, either their light adds up or the brighter one shows; the copy owns the pixels.
    """
    found = list(label_images.objects(labels).items())
    if not found:
        return Crowd(patch, labels, labels)
    light, owner, origin = patch[0].copy(), labels.copy(), labels.copy()
    dark = float(np.quantile(light, 0.05))
    combine = np.add if rng.uniform() < 0.5 else np.maximum
    for number in range(1, int(rng.integers(1, 2 + len(found)))):
        (copied, source), (_, beside) = (found[i] for i in rng.integers(len(found), size=2))
        mask, glow = turned(source, np.maximum(patch[0] - dark, 0), rng)
        placed = Mask(place(source, beside, mask.shape, rng), mask)
        inside = placed.clipped(labels.shape)
        if not inside.area or hides(inside, owner):
            continue
        shown = glow[inside.moved(tuple(-a for a in placed.start)).region] * math.exp(rng.normal(0, 0.2))
        light[inside.region] = combine(light[inside.region] - dark, shown) + dark
        owner[inside.region][inside.pixels] = labels.max() + number
        origin[inside.region][inside.pixels] = copied
    return Crowd(light[None], label(owner, connectivity=1).astype(np.int32), origin)


def turned(source: Mask, light: Array, rng: np.random.Generator) -> tuple[NDArray[np.bool_], Array]:
    """Return an object's mask and light, with a halo around both, turned by right angles and perhaps mirrored."""
    grown = Mask(tuple(a - HALO_PX for a in source.start), np.pad(source.pixels, HALO_PX))
    mask = grown.clipped(light.shape)
    soft = ndimage.gaussian_filter(ndimage.binary_dilation(mask.pixels).astype(np.float32), 1)
    quarter, mirror = int(rng.integers(4)), 1 if rng.uniform() < 0.5 else -1
    pixels, glow = (np.rot90(a, quarter)[:, ::mirror] for a in (mask.pixels, light[mask.region] * soft))
    return pixels, np.asarray(glow, np.float32)


def place(source: Mask, beside: Mask, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    """Return where a crop of `shape` begins, such that the copy touches or overlaps `beside`."""
    reach = rng.uniform(0.6, 1.05) * (math.sqrt(source.area / math.pi) + math.sqrt(beside.area / math.pi))
    direction = rng.normal(size=len(shape))
    centre = beside.box.mean(axis=1) + reach * direction / np.linalg.norm(direction)
    return tuple(round(c - n / 2) for c, n in zip(centre, shape, strict=True))


def hides(mask: Mask, owner: NDArray[np.int32]) -> bool:
    """Return whether `mask` would take too much of what is left of another object."""
    sizes = np.bincount(owner.ravel())
    covered = np.bincount(owner[mask.region][mask.pixels], minlength=len(sizes))
    return bool((covered[1:] > HIDDEN * sizes[1:]).any())
