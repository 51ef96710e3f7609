"""From objects to a label image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptless.image import Shape
from promptless.masks import Mask, Masks, boxes_of
from promptless.strips import in_one_part
from promptless.tiles import Region, within

TAKEN = -1
FREE_SHARE = 0.5
"""An object is kept where at least this share of its pixels is not taken by better ones."""

PIXELS_PER_LABEL = 16
"""Labels are large where the image has fewer pixels than this for each number up to the largest."""


class LabelSource(Protocol):
    """A label image, or a file of one that is read as it is sliced."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The integer type of a label."""
        ...

    def __getitem__(self, region: slice | Region, /) -> Any:
        """Return the labels in a region: a slice of the first axis, or one per axis."""
        ...


@dataclass(frozen=True, eq=False)
class Painted:
    """The label image in which objects lie one over the other, the last on top, painted where it is sliced.

    Object i has the label `numbers[i]`.
    """

    shape: Shape
    masks: tuple[Mask, ...]
    numbers: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[np.int32]:
        """The type of a label."""
        return np.dtype(np.int32)

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """The boxes (objects, ndim, 2) around the objects."""
        return boxes_of(self.masks, len(self.shape))

    def __getitem__(self, index: slice | Region) -> NDArray[np.int32]:
        region = within(index, self.shape)
        canvas = np.zeros(tuple(s.stop - s.start for s in region), np.int32)
        first, last = (np.array([getattr(s, end) for s in region]) for end in ("start", "stop"))
        meets = ((self.boxes[..., 0] < last) & (self.boxes[..., 1] > first)).all(axis=1)
        for i in np.flatnonzero(meets):
            inside = self.masks[i].moved(tuple(-s.start for s in region)).clipped(canvas.shape)
            canvas[inside.region][inside.pixels] = self.numbers[i]
        return canvas


def paint(
    masks: Masks, shape: Shape, *, taken: NDArray[np.bool_] | None = None, free_share: float = FREE_SHARE
) -> tuple[NDArray[np.int32], Masks]:
    """Return the label image of `masks` in an image of `shape`, and the objects that are in it.

    Objects are laid down from the best score to the worst, each on free pixels only: the better one keeps
    what two share, and one that would keep less than `free_share` of its pixels is dropped as a double.
    What is `taken` is not free from the first. The objects returned hold just the pixels they were given,
    in reading order of where they begin, so that the object at position i has label i + 1.
    """
    canvas = np.zeros(shape, np.int32) if taken is None else np.where(taken, np.int32(TAKEN), np.int32(0))
    kept = lay(masks, best_first(masks), canvas, free_share)
    lookup, painted = renumbered(canvas, masks.take(kept), kept)
    for line in canvas:  # at once, numpy would hold a copy and an index in 64 bits beside it
        line[...] = lookup[line]
    return canvas, painted


def best_first(masks: Masks) -> list[int]:
    """Return the positions of `masks` in the order of painting, which does not depend on their own but for twins."""
    return sorted(
        range(len(masks)),
        key=lambda i: (-masks.scores[i], masks.masks[i].start, masks.masks[i].stop, masks.masks[i].pixels.tobytes()),
    )


def lay(masks: Masks, order: Iterable[int], canvas: NDArray[np.int32], free_share: float = FREE_SHARE) -> list[int]:
    """Lay objects down on `canvas`, in place, as `paint` does, object i as i + 1; return those that were kept."""
    kept, whole = [], in_one_part(masks.masks)
    for i in order:
        mask = masks.masks[i].clipped(canvas.shape)
        here = canvas[mask.region]
        own = mask.pixels if whole[i] and mask is masks.masks[i] else largest_part(mask.pixels)
        free = own & (here == 0)
        if free.sum() < own.sum():
            free = largest_part(free)
        if free.sum() >= max(1.0, free_share * own.sum()):
            here[free] = i + 1
            kept.append(i)
    return kept


def laid(masks: Iterable[Mask], shape: Shape) -> tuple[NDArray[np.int32], list[int]]:
    """Return the label image of `masks` in an image of `shape`, and which of them are in it: label i + 1 is the i-th.

    They are laid down in their order, each on the pixels that those before have left free, whole or in parts.
    """
    canvas, kept = np.zeros(shape, np.int32), []
    for position, mask in enumerate(masks):
        inside = mask.clipped(shape)
        free = inside.pixels & (canvas[inside.region] == 0)
        if free.any():
            kept.append(position)
            canvas[inside.region][free] = len(kept)
    return canvas, kept


def renumbered(canvas: NDArray[np.int32], masks: Masks, numbers: list[int]) -> tuple[NDArray[np.int32], Masks]:
    """Return the numbers 1... in reading order by what was painted, and the objects as they lie in `canvas`.

    `numbers[i] + 1` is what object i of `masks` was painted with.
    """
    painted = [
        Mask(mask.start, canvas[mask.region] == number + 1)
        for mask, number in zip((m.clipped(canvas.shape) for m in masks), numbers, strict=True)
    ]
    painted = [mask.trimmed() for mask in painted]
    order = sorted(range(len(painted)), key=lambda i: (painted[i].start, painted[i].stop))
    lookup = np.zeros(max(numbers, default=0) + 3, np.int32)  # its last entry, at TAKEN, stays 0
    lookup[np.array(numbers, np.int64)[order] + 1] = np.arange(1, len(order) + 1)
    return lookup, replace(masks.take(order), masks=tuple(painted[i] for i in order))


def largest_part(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest face-connected part of an object."""
    parts, n = ndimage.label(pixels)
    if n <= 1:
        return pixels
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax())


def objects(labels: NDArray[np.integer]) -> dict[int, Mask]:
    """Return each object of a label image by its label."""
    dense, values = compacted(labels)
    return {
        number: Mask(tuple(s.start for s in region), dense[region] == i)
        for i, (number, region) in enumerate(zip(values.tolist(), ndimage.find_objects(dense), strict=True), start=1)
        if region is not None
    }


def compacted(labels: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Return a label image without large labels, and what its labels 1, 2, ... were called.

    What looks objects up allocates by the largest label. An image whose labels are small as they are is not copied.
    """
    largest = int(labels.max(initial=0))
    if largest * PIXELS_PER_LABEL <= labels.size:
        return labels, np.arange(1, largest + 1)
    values = np.unique(labels[labels > 0])
    return np.searchsorted(np.r_[0, values], labels), values.astype(np.int64)


def as_masks(labels: NDArray[np.integer]) -> Masks:
    """Return the objects of a label image with their labels as ids; scores and stability are not known (NaN)."""
    found = objects(labels)
    unknown = np.full(len(found), np.nan, np.float32)
    ids = np.array(list(found), np.int64)
    return Masks(tuple(found.values()), ids, unknown, unknown, np.zeros(len(found), bool))
