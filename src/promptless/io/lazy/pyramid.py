"""One plane of an image at several sizes, read region by region."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from promptless.errors import UnreadableImageError, reason
from promptless.image import Image, Origin, Shape
from promptless.io.readers.choice import Choice
from promptless.io.readers.scene import Index, Scene
from promptless.tiles import within


class Stored(Protocol):
    """An array in a file: a slice or an integer per axis gives its pixels."""

    def __getitem__(self, index: Index, /) -> Any:
        """Decode a region."""


def decoded(stored: Stored, index: Index, axes: str) -> NDArray[Any]:
    """Return a region of an array with these axes; say where it is if it cannot be decoded."""
    try:
        return np.asarray(stored[index])
    except (MemoryError, OSError, UnreadableImageError):
        raise
    except Exception as error:  # what decoders raise on damaged bytes is anything
        where = ", ".join(
            f"{axis} {i.start} to {i.stop}" if isinstance(i, slice) else f"{axis} {i}"
            for axis, i in zip(axes.lower(), index, strict=True)
            if i != slice(None)
        )
        raise UnreadableImageError(f"cannot be decoded at {where} ({reason(error)}); it may be damaged") from error


@dataclass(frozen=True)
class Plane:
    """One plane (channel, y, x) of a scene in a file; slices of it are arrays, decoded when they are asked for."""

    stored: Stored
    scene: Scene
    choice: Choice

    @property
    def shape(self) -> Shape:
        """(channel, y, x)."""
        return (self.choice.n_channels, *(self.scene.shape[self.scene.axes.index(axis)] for axis in "YX"))

    @property
    def ndim(self) -> int:
        """Three."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a pixel."""
        return self.scene.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, region: tuple[slice, slice, slice]) -> NDArray[np.generic]:
        channels, *spatial = region
        inside = dict(zip("YX", within(tuple(spatial), self.shape[1:]), strict=True))
        index = tuple(inside.get(axis, chosen) for axis, chosen in zip(self.scene.axes, self.choice.index, strict=True))
        pixels = decoded(self.stored, index, self.scene.axes)
        ordered = replace(self.choice, shape=pixels.shape).channels_first(pixels)[channels]
        return np.ascontiguousarray(ordered, ordered.dtype.newbyteorder("="))

    def at(self, z: int) -> Plane:
        """Return plane `z` of the stack of which this is a plane."""
        index = tuple(z if axis == "Z" else i for axis, i in zip(self.scene.axes, self.choice.index, strict=True))
        return replace(self, choice=replace(self.choice, index=index))


@dataclass(frozen=True)
class Stack:
    """A z-stack of one channel in a file, as (z, y, x); planes are decoded when they are sliced."""

    plane: Plane  # any of them
    depth: int

    def __getitem__(self, planes: slice) -> NDArray[np.generic]:
        scene, choice = self.plane.scene, self.plane.choice
        index = tuple(planes if axis == "Z" else i for axis, i in zip(scene.axes, choice.index, strict=True))
        kept = "".join(axis for axis, i in zip(scene.axes, index, strict=True) if isinstance(i, slice))
        pixels = decoded(self.plane.stored, index, scene.axes)
        ordered = pixels.transpose([kept.index(axis) for axis in "SCZYX" if axis in kept])
        return ordered.reshape(ordered.shape[-3:])


@dataclass(frozen=True)
class Volume:
    """A z-stack in a file as the data (channel, z, y, x) of an image; its one channel is a `Stack`."""

    stack: Stack

    @property
    def shape(self) -> Shape:
        """(channel, z, y, x)."""
        return (len(self.stack.plane), self.stack.depth, *self.stack.plane.shape[1:])

    @property
    def ndim(self) -> int:
        """Four."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a voxel."""
        return self.stack.plane.dtype

    @property
    def nbytes(self) -> int:
        """The bytes of it that are in memory."""
        return 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, channel: int) -> Stack:
        assert (channel, len(self)) == (0, 1), "`voxels.check_scan` refuses more channels"
        return self.stack


@dataclass(frozen=True)
class Level:
    """An image at one size: each of its pixels stands for `downsample` (y, x) pixels of the largest level."""

    pixels: Plane | NDArray[np.generic]  # (channel, y, x)
    spacing: tuple[float, ...] | None  # um, (y, x)
    downsample: tuple[float, ...] = (1.0, 1.0)

    @property
    def shape(self) -> Shape:
        """(y, x)."""
        return tuple(self.pixels.shape[1:])


@dataclass(frozen=True)
class Pyramid:
    """The levels of one plane, the largest first."""

    levels: tuple[Level, ...]
    channel_names: tuple[str, ...] = ()
    origin: Origin = field(default_factory=Origin)
    depth: int = 1  # planes along z; this is the first of them
    voxel: tuple[float, ...] | None = None  # um, (z, y, x) of the largest level

    def plane(self, z: int) -> Pyramid:
        """Return plane `z` of a stack, which is 0 where there is but one."""
        if self.depth == 1:
            return self
        levels = [replace(level, pixels=cast("Plane", level.pixels).at(z)) for level in self.levels]
        return replace(self, levels=tuple(levels))

    def image(self, level: int) -> Image:
        """Return a level as an image whose pixels are read when they are sliced."""
        at = self.levels[level]
        pixels = cast("NDArray[np.generic]", at.pixels)  # sliced along every axis, which is all that segmenting does
        return Image(pixels, at.spacing, channel_names=self.channel_names, origin=self.origin)


def of_image(image: Image) -> Pyramid:
    """Return an image that is in memory as a pyramid of one level."""
    return Pyramid((Level(image.data, image.spacing),), image.channel_names, image.origin)


def of_planes(planes: list[Plane], choice: Choice, spacings: list[tuple[float, ...] | None]) -> Pyramid:
    """Return a pyramid of planes, the largest first; levels of a stack that have fewer planes along z are left out."""
    full = planes[0].shape[1:]
    levels = [
        Level(plane, spacing, tuple(a / b for a, b in zip(full, plane.shape[1:], strict=True)))
        for plane, spacing in zip(planes, spacings, strict=True)
        if choice.depth in (1, plane.scene.n_pages)
    ]
    return Pyramid(tuple(levels), choice.names, choice.origin, choice.depth)
