"""Objects as small crops, so that a thousand of them cost no more than their pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import add, le

import numpy as np
from numpy.typing import NDArray

from promptless.image import Shape
from promptless.resample import resample


@dataclass(frozen=True, eq=False)
class Mask:
    """One object: `pixels` (bool, *spatial) lie in the image from `start` on."""

    start: Shape
    pixels: NDArray[np.bool_]

    @property
    def stop(self) -> Shape:
        """Where the crop ends, half open."""
        return tuple(map(add, self.start, self.pixels.shape))

    @property
    def region(self) -> tuple[slice, ...]:
        """The crop's place in the image."""
        return tuple(map(slice, self.start, self.stop))

    @property
    def box(self) -> NDArray[np.int64]:
        """The crop's place as (ndim, 2): start, stop."""
        return np.array((self.start, self.stop)).T

    @property
    def area(self) -> int:
        """How many pixels the object has."""
        return int(self.pixels.sum())

    @property
    def reference(self) -> Shape:
        """The pixel that says which tile owns the object: the middle of its bounding box."""
        return tuple((a + b) // 2 for a, b in zip(self.start, self.stop, strict=True))

    def meets(self, region: tuple[slice, ...]) -> bool:
        """Return whether the crop has pixels in a region of the image."""
        return all(a < s.stop and b > s.start for a, b, s in zip(self.start, self.stop, region, strict=True))

    def moved(self, offset: Shape) -> Mask:
        """Return the object `offset` pixels further along each axis."""
        return Mask(tuple(a + o for a, o in zip(self.start, offset, strict=True)), self.pixels)

    def zoomed(self, factor: float, shape: Shape) -> Mask:
        """Return the object in an image of `shape` whose pixels are `factor` times as many along each axis."""
        start = tuple(int(np.floor(a * factor)) for a in self.start)
        stop = tuple(min(n, int(np.ceil(b * factor))) for b, n in zip(self.stop, shape, strict=True))
        size = tuple(max(0, b - a) for a, b in zip(start, stop, strict=True))
        first = tuple(a / factor - (b - 1) for a, b in zip(start, self.start, strict=True))
        padded = np.pad(self.pixels, 1).astype(np.float32)
        return Mask(start, resample(padded, size, first, (1 / factor,) * len(size)) > 0.5).trimmed()

    def trimmed(self) -> Mask:
        """Return the object in the smallest crop that holds it; an empty one keeps no pixel."""
        start, keep = [], []
        for axis in range(self.pixels.ndim):
            others = tuple(a for a in range(self.pixels.ndim) if a != axis)
            filled = np.flatnonzero(self.pixels.any(axis=others))
            first, last = (int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, 0)
            start.append(self.start[axis] + first)
            keep.append(slice(first, last))
        return Mask(tuple(start), self.pixels[tuple(keep)])

    def clipped(self, shape: Shape) -> Mask:
        """Return the part of the object that lies inside an image of `shape`."""
        if min(self.start) >= 0 and all(map(le, self.stop, shape)):
            return self
        inside = tuple(
            slice(max(0, -a), max(0, min(b, n) - a)) for a, b, n in zip(self.start, self.stop, shape, strict=True)
        )
        return Mask(tuple(max(a, 0) for a in self.start), self.pixels[inside])


def boxes_of(masks: Sequence[Mask], ndim: int) -> NDArray[np.int64]:
    """Return the boxes (objects, ndim, 2) around objects."""
    starts = np.array([mask.start for mask in masks], np.int64).reshape(-1, ndim)
    shapes = np.array([mask.pixels.shape for mask in masks], np.int64).reshape(-1, ndim)
    return np.stack([starts, starts + shapes], axis=2)


def shared(a: Mask, b: Mask) -> int:
    """Return how many pixels two objects have in common."""
    start, stop = np.maximum(a.start, b.start), np.minimum(a.stop, b.stop)
    if (start >= stop).any():
        return 0
    there = [tuple(slice(p - o, q - o) for p, q, o in zip(start, stop, m.start, strict=True)) for m in (a, b)]
    return int((a.pixels[there[0]] & b.pixels[there[1]]).sum())


def joined(masks: list[Mask], ndim: int) -> Mask:
    """Return the object that has the pixels of all of these."""
    filled = [mask for mask in masks if mask.pixels.size]
    if not filled:
        return Mask((0,) * ndim, np.zeros((0,) * ndim, bool))
    start = tuple(min(along) for along in zip(*(mask.start for mask in filled), strict=True))
    stop = tuple(max(along) for along in zip(*(mask.stop for mask in filled), strict=True))
    pixels = np.zeros(tuple(b - a for a, b in zip(start, stop, strict=True)), bool)
    for mask in filled:
        pixels[mask.moved(tuple(-a for a in start)).region] |= mask.pixels
    return Mask(start, pixels)


@dataclass(frozen=True, eq=False)
class Masks:
    """Decoded objects: each with its `id` (of the prompt), `score`, `stability`, and whether a tile cut it.

    `classes` are class ids from 1, 0 where no class is known, and `class_probabilities` how sure that is (NaN where it
    is not known); no object has a class where they are left out.
    """

    masks: tuple[Mask, ...] = ()
    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    stability: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    tile_border: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    class_probabilities: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        if not len(self.classes) and not len(self.class_probabilities):
            object.__setattr__(self, "classes", np.zeros(len(self.masks), np.int64))
            object.__setattr__(self, "class_probabilities", np.full(len(self.masks), np.nan, np.float32))
        lengths = {len(self.masks), *(len(getattr(self, name)) for name in COLUMNS)}
        if len(lengths) > 1:
            raise ValueError(f"masks and their columns differ in length: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.masks)

    def __iter__(self) -> Iterator[Mask]:
        return iter(self.masks)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_] | list[int]) -> Masks:
        """Return the objects that `index` (positions, or one bool each) selects, in that order."""
        order = np.arange(len(self))[np.asarray(index, dtype=np.int64 if len(index) == 0 else None)]
        columns = (getattr(self, name)[order] for name in COLUMNS)
        return Masks(tuple(self.masks[i] for i in order), *columns)

    def reach(self, ndim: int) -> NDArray[np.int64]:
        """Return the box (ndim, 2) around all objects, empty where there are none."""
        if not self.masks:
            return np.zeros((ndim, 2), np.int64)
        boxes = boxes_of(self.masks, ndim)
        return np.stack([boxes[..., 0].min(axis=0), boxes[..., 1].max(axis=0)], axis=1)

    @classmethod
    def concatenate(cls, parts: list[Masks]) -> Masks:
        """Return all objects of `parts`, in order."""
        if not parts:
            return cls()
        columns = (np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS)
        return cls(tuple(mask for part in parts for mask in part), *columns)


COLUMNS = ("ids", "scores", "stability", "tile_border", "classes", "class_probabilities")
"""What `Masks` has of each object beside its pixels, in the order of its fields."""
