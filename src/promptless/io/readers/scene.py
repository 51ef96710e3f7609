"""What a file holds, described before any of it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from promptless.image import Shape

Index = tuple[int | slice, ...]
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Scene:
    """An array in a file.

    `axes` has a letter per axis of `shape`: Y and X of the plane, S for the three colours, C for channels;
    each other letter (T, Z, and Q or I where the file does not say) counts planes, here called pages.
    `decoding` is the number of bytes that decoding one page takes beside the page itself.
    """

    axes: str
    shape: Shape
    dtype: np.dtype[Any]
    decoding: int = 0
    spacing: tuple[float, ...] | None = None
    channel_names: tuple[str, ...] = ()

    @property
    def channel_axis(self) -> int | None:
        """Which axis has the colours or, where there are none, the channels."""
        return next((self.axes.index(letter) for letter in "SC" if letter in self.axes), None)

    @property
    def page_axes(self) -> tuple[int, ...]:
        """Which axes count pages."""
        return tuple(i for i, axis in enumerate(self.axes) if axis not in "YX" and i != self.channel_axis)

    @property
    def page_shape(self) -> Shape:
        """The lengths of the axes that count pages."""
        return tuple(self.shape[i] for i in self.page_axes)

    @property
    def n_pages(self) -> int:
        """How many pages there are to choose from."""
        return prod(self.page_shape)

    @property
    def n_channels(self) -> int:
        """How many channels or colours a page has."""
        return 1 if self.channel_axis is None else self.shape[self.channel_axis]

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which channels can be chosen."""
        return COLOURS if "S" in self.axes else self.channel_names

    def __str__(self) -> str:
        return ", ".join(f"{axis}={n}" for axis, n in zip(self.axes, self.shape, strict=True))


class Source(Protocol):
    """An open file."""

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """What is in it."""

    def pixels(self, number: int, index: Index) -> NDArray[np.generic]:
        """Decode of scene `number` what `index`, an integer or a full slice per axis, selects."""
