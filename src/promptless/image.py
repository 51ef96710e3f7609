"""An image with its geometry."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
MAX_COLOURS = 4


@dataclass(frozen=True)
class Origin:
    """Which part of a file an image is, counted from 0; None where there was nothing to choose.

    `axes` says what the file holds, as "C=3, Y=512, X=512", and `channel_names` how its channels are called.
    `notes` are sentences about what was assumed, since the file does not say, or passed over.
    """

    axes: str = ""
    page: int | None = None
    channel: int | None = None
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        page = [] if self.page is None else [f"page {self.page}"]
        channel = [] if self.channel is None else [f"channel {self.channel}"]
        if self.channel is not None and self.channel_names:
            channel[0] += f" ({self.channel_names[self.channel]})"
        return ", ".join(page + channel)


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels with what is known about where they lie.

    `data` is (channel, *spatial), array order (z, y, x), any numeric dtype. `spacing` is the size of a
    pixel along each spatial axis in `unit`, None where it is not known. Without any channel an image is
    geometry alone, as a label image has it. `affine` (4x4) takes the index of a voxel in `data`, in array order
    (z, y, x, 1), to the patient's (right, anterior, superior, 1) in mm. `header` is the NIfTI header of the grid that
    the file has, whose axes may be in another order or direction; both are kept only to write files back, `origin`
    only to be told.
    """

    data: NDArray[np.generic]
    spacing: tuple[float, ...] | None = None
    unit: str = "um"
    affine: NDArray[np.float64] | None = None
    channel_names: tuple[str, ...] = ()
    origin: Origin = Origin()
    header: bytes = b""

    def __post_init__(self) -> None:
        if self.data.ndim < 3 or not all(self.shape):
            raise ValueError(f"an image needs pixels as (channel, *spatial); this array has shape {self.data.shape}")
        if self.data.dtype.kind not in "biuf":
            raise ValueError(f"pixels are {self.data.dtype}; convert them to integers or floats")
        if self.spacing is not None and len(self.spacing) != len(self.shape):
            raise ValueError(
                f"spacing has {len(self.spacing)} values but the image has {len(self.shape)} spatial axes "
                f"{self.shape}; give one per axis"
            )
        if self.spacing is not None and not all(0 < s < float("inf") for s in self.spacing):
            raise ValueError(f"spacing is {self.spacing}; every value must be above 0")
        if self.channel_names and len(self.channel_names) != len(self.data):
            raise ValueError(
                f"{len(self.channel_names)} channel names for {len(self.data)} channels; give one per channel"
            )

    @property
    def shape(self) -> Shape:
        """The spatial shape."""
        return self.data.shape[1:]

    @classmethod
    def from_array(cls, array: NDArray[np.generic], spacing: tuple[float, ...] | None = None) -> Image:
        """Return the image in a plane (y, x), or in one with colours last (y, x, c) or first (c, y, x).

        Of four colours last in uint8 the fourth is transparency, and dropped.

        Only arrays of two or three axes are understood here, the third of at most four colours; for
        anything else make an `Image` of (channel, *spatial) yourself.
        """
        array = np.asarray(array)
        if array.ndim == 2:
            return cls(array[None], spacing)
        if array.ndim == 3 and array.shape[-1] <= MAX_COLOURS < array.shape[0]:
            channels = np.moveaxis(array, -1, 0)
            return cls(channels[:3] if len(channels) == 4 and array.dtype == np.uint8 else channels, spacing)
        if array.ndim == 3 and array.shape[0] <= MAX_COLOURS < array.shape[-1]:
            return cls(array, spacing)
        raise ValueError(
            f"an array of shape {array.shape} can be read in more than one way; "
            "pass (y, x), (y, x, colour), or promptless.Image(data) with data as (channel, *spatial)"
        )

    def channel(self, which: int | str) -> Image:
        """Return the image with one channel, given by its number, counted from 0, or by its name."""
        number = number_of(which, len(self.data), self.channel_names)
        return replace(
            self,
            data=self.data[number : number + 1],
            channel_names=self.channel_names[number : number + 1],
            origin=replace(self.origin, channel=number, channel_names=self.channel_names),
        )


def number_of(which: int | str, n: int, names: tuple[str, ...]) -> int:
    """Return the number of the channel `which` of `n`; a name may be written in other case, a number as text."""
    text = str(which).strip().casefold()
    called = [name.strip().casefold() for name in names]
    if called.count(text) == 1:
        return called.index(text)
    if text.isdecimal() and int(text) < n:
        return int(text)
    known = f" ({', '.join(names)})" if names else ""
    raise ValueError(f"channel {which} was asked for, but the image has {n}, counted from 0{known}")
