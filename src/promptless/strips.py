"""Many objects in one array, so that what is done to each of them is done once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptless.masks import Mask

Array = NDArray[np.int64]
LARGEST = 2**18
"""Pixels of a strip, unless one object has more."""


@dataclass(frozen=True, eq=False)
class Strip:
    """Objects one below the other, with an empty row after each.

    `pixels` (row, *others) has all crops, `owner` (row,) says which object a row is of, `first` (object,) in which row
    its crop begins; `starts` and `stops` (object, ndim) say where crops lie in the image.
    """

    pixels: NDArray[np.bool_]
    owner: Array
    first: Array
    starts: Array
    stops: Array

    @classmethod
    def of(cls, masks: Sequence[Mask]) -> Strip:
        """Return the strip of some objects, at least one."""
        shapes = np.array([mask.pixels.shape for mask in masks])
        rows = shapes[:, 0] + 1
        first = np.cumsum(rows) - rows
        pixels = np.zeros((rows.sum(), *shapes[:, 1:].max(axis=0)), np.bool_)
        for start, mask in zip(first.tolist(), masks, strict=True):
            pixels[(slice(start, start + len(mask.pixels)), *map(slice, mask.pixels.shape[1:]))] = mask.pixels
        starts = np.array([mask.start for mask in masks])
        return cls(pixels, np.repeat(np.arange(len(masks)), rows), first, starts, starts + shapes)


def strips(masks: Sequence[Mask]) -> Iterator[Strip]:
    """Yield strips of objects, in their order, none much larger than it need be."""
    waiting: list[Mask] = []
    rows, others = 0, np.zeros(0, np.int64)
    for mask in masks:
        wide = np.maximum(others, mask.pixels.shape[1:]) if waiting else np.array(mask.pixels.shape[1:])
        if waiting and (rows + len(mask.pixels)) * wide.prod() > LARGEST:
            yield Strip.of(waiting)
            waiting, rows, wide = [], 0, np.array(mask.pixels.shape[1:])
        waiting.append(mask)
        rows, others = rows + len(mask.pixels) + 1, wide
    if waiting:
        yield Strip.of(waiting)


def in_one_part(masks: Sequence[Mask]) -> NDArray[np.bool_]:
    """Return which objects have all their pixels in one face-connected part."""
    whole = [np.zeros(0, np.bool_)]
    for strip in strips(masks):
        parts, n = ndimage.label(strip.pixels)
        at = np.nonzero(parts)
        owners = np.zeros(n + 1, np.int64)
        owners[parts[at]] = strip.owner[at[0]]
        whole.append(np.bincount(owners[1:], minlength=len(strip.first)) < 2)
    return np.concatenate(whole)
