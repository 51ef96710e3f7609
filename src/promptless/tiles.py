"""Tiles: what the model sees at once, and what of it counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from promptless.image import Shape

Region = tuple[slice, ...]


@dataclass(frozen=True)
class Tile:
    """A part of an image: the model sees `outer`, and answers for `core`."""

    core: Region
    outer: Region

    @property
    def offset(self) -> Shape:
        """Where `outer` begins in the image."""
        return tuple(s.start for s in self.outer)

    @property
    def shape(self) -> Shape:
        """The shape of `outer`."""
        return tuple(s.stop - s.start for s in self.outer)

    @property
    def inner(self) -> Region:
        """Where `core` lies in `outer`."""
        return tuple(
            slice(core.start - outer.start, core.stop - outer.start)
            for core, outer in zip(self.core, self.outer, strict=True)
        )

    def owns(self, point: Shape) -> bool:
        """Return whether `point` (a pixel of the image) lies in the core."""
        return all(s.start <= p < s.stop for s, p in zip(self.core, point, strict=True))


def tiles(shape: Shape, size: Shape, halo: Shape, align: int = 1) -> Iterator[Tile]:
    """Cut an image of `shape` into tiles whose cores cover it exactly once, in array order.

    `size` is the core's, `halo` the number of extra pixels on each side, clipped at the border. Both
    are rounded up to multiples of `align`, so that every tile begins on the model's own grid. An image
    no larger than `size + 2 * halo` along an axis is one tile along it.
    """
    if min(size) < 1 or min(halo) < 0 or align < 1:
        raise ValueError(f"tile {size} must be at least 1, halo {halo} at least 0, align {align} at least 1 per axis")
    axes = [list(spans(n, s, h, align)) for n, s, h in zip(shape, size, halo, strict=True)]
    for along in product(*axes):
        yield Tile(tuple(core for core, _ in along), tuple(outer for _, outer in along))


def spans(n: int, size: int, halo: int, align: int) -> Iterator[tuple[slice, slice]]:
    """Yield (core, outer) along one axis of length `n`."""
    size, halo = round_up(size, align), round_up(halo, align)
    if n <= size + 2 * halo:
        size = n
    for start in range(0, n, size):
        stop = min(start + size, n)
        yield slice(start, stop), slice(max(start - halo, 0), min(stop + halo, n))


def within(index: slice | Region, shape: Shape) -> Region:
    """Return the region that an index asks of an array of `shape`, every axis with both of its ends.

    The index is a slice of the first axis, or one per axis from the first on.
    """
    given = index if isinstance(index, tuple) else (index,)
    every = (*given, *[slice(None)] * (len(shape) - len(given)))
    ends = [part.indices(n)[:2] for part, n in zip(every, shape, strict=True)]
    return tuple(slice(start, max(start, stop)) for start, stop in ends)


def middle(shape: Shape, sides: Shape) -> Region:
    """Return the region of these sides in the middle of an image, all of an axis that is shorter."""
    return tuple(slice(max(0, (n - side) // 2), min(n, (n + side) // 2)) for n, side in zip(shape, sides, strict=True))


def round_up(value: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is at least `value`."""
    return -(-value // multiple) * multiple
