"""Which page and channel of a file are read: what was asked for, or the only ones there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from promptless.errors import UnreadableImageError
from promptless.image import Origin, Shape, number_of
from promptless.io.readers.scene import Index, Scene

UNKNOWN = "QI"
"""Axes of which a file does not say what they are."""
AS_COLOURS = "rgb"
WHOLE = slice(None)
STACK: Literal["z"] = "z"
"""Stands for all pages where they are the planes of one z-stack, else for the only page."""
Page = int | Literal["z"] | None
"""The number of a page, `STACK`, or None for the only one."""


@dataclass(frozen=True)
class Choice:
    """What is read of a file: of its scene number `scene` what `index` selects."""

    scene: int
    index: Index
    axes: str  # that `index` keeps
    shape: Shape
    names: tuple[str, ...]  # of the channels that are read, where they have names
    origin: Origin
    depth: int = 1  # planes along z, of which `index` selects the first, where all are read

    @property
    def plane(self) -> Shape:
        """The lengths (y, x)."""
        return tuple(self.shape[self.axes.index(axis)] for axis in "YX")

    @property
    def n_channels(self) -> int:
        """How many channels or colours are read."""
        return prod(self.shape) // prod(self.plane)

    def channels_first(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return `pixels`, whose axes are those that `index` keeps, as (channel, y, x)."""
        ordered = pixels.transpose([self.axes.index(axis) for axis in "SCYX" if axis in self.axes])
        return ordered.reshape(-1, *self.plane)


def choose(scenes: Sequence[Scene], page: Page, channel: int | str | None) -> Choice:
    """Return what `page` and `channel` mean in a file of `scenes`, refusing what is ambiguous."""
    depth = depth_of(scenes) if page == STACK else 1
    page = None if page == STACK else page
    if page is None and depth == 1 and channel is not None:
        scenes = [as_channels(scene) for scene in scenes]
    number, at = place(scenes, 0 if depth > 1 else page)
    scene = scenes[number]
    if "Y" not in scene.axes or "X" not in scene.axes:
        raise UnreadableImageError(f"has the axes {scene}, which are no plane (Y, X)")
    taken = chosen_channel(scene, channel)
    index = indices(scene, at, taken)
    kept = [i for i, chosen in enumerate(index) if isinstance(chosen, slice)]
    names = scene.channel_names if "S" not in scene.axes else ()
    several = sum(s.n_pages for s in scenes) > 1
    return Choice(
        number,
        index,
        "".join(scene.axes[i] for i in kept),
        tuple(scene.shape[i] for i in kept),
        names if taken is None else names[taken : taken + 1],
        Origin(str(scene), page if several else None, taken if channel is not None else None, scene.names),
        depth,
    )


def as_channels(scene: Scene) -> Scene:
    """Return `scene` with an axis of unknown meaning read as channels, where it has no others."""
    unknown = [i for i in scene.page_axes if scene.axes[i] in UNKNOWN]
    if scene.channel_axis is not None or len(unknown) != 1 or scene.n_pages == 1:
        return scene
    return replace(scene, axes=scene.axes.replace(scene.axes[unknown[0]], "C"))


def depth_of(scenes: Sequence[Scene]) -> int:
    """Return how many pages there are where all of them are planes along z, else 1."""
    counting = {scene.axes[i] for scene in scenes for i in scene.page_axes if scene.shape[i] > 1}
    return scenes[0].n_pages if counting == {"Z"} and len(scenes) == 1 else 1


def place(scenes: Sequence[Scene], page: int | None) -> tuple[int, Shape]:
    """Return the scene that `page` lies in, pages counted over all scenes, and its place along the page axes."""
    ends = list(accumulate(scene.n_pages for scene in scenes))
    if not ends or not ends[-1]:
        raise UnreadableImageError("holds no image")
    if page is None and ends[-1] > 1:
        raise UnreadableImageError(offer_pages(scenes, ends[-1]))
    page = page or 0
    if not 0 <= page < ends[-1]:
        pages = "one page" if ends[-1] == 1 else f"{ends[-1]} pages"
        raise UnreadableImageError(f"has {pages}, counted from 0, but page {page} was asked for")
    number = next(i for i, end in enumerate(ends) if page < end)
    scene = scenes[number]
    within = page - (ends[number] - scene.n_pages)
    return number, tuple(int(i) for i in np.unravel_index(within, scene.page_shape)) if scene.page_shape else ()


def offer_pages(scenes: Sequence[Scene], n: int) -> str:
    """Return the refusal of a file of `n` pages, with its readings."""
    held = f"has the axes {scenes[0]}" if len(scenes) == 1 else f"holds {len(scenes)} images ({scenes[0]}; ...)"
    message = f"{held}, and one plane is read: choose one with --page 0 to {n - 1}"
    read_so = as_channels(scenes[0])
    if len(scenes) > 1 or read_so == scenes[0]:
        return message
    colours = f", or --channel {AS_COLOURS} where they are colours" if read_so.n_channels == 3 else ""
    return f"{message}, or --channel 0 to {n - 1} where they are channels{colours}"


def chosen_channel(scene: Scene, channel: int | str | None) -> int | None:
    """Return the number of the channel that is meant, None where it is all of them."""
    n = scene.n_channels
    if channel is None and n > 1 and "S" not in scene.axes:
        named = "".join(f", {i} {name}" for i, name in enumerate(scene.names)).lstrip(", ") or f"0 to {n - 1}"
        colours = f", or all as colours with --channel {AS_COLOURS}" if n == 3 else ""
        raise UnreadableImageError(f"has {n} channels: choose one with --channel, by number or name ({named}){colours}")
    if channel is None or (channel == AS_COLOURS and n == 3):
        return None
    try:
        return number_of(channel, n, scene.names)
    except ValueError as error:
        raise UnreadableImageError(f"cannot be read so: {error}") from error


def indices(scene: Scene, at: Shape, channel: int | None) -> Index:
    """Return what selects the page at `at`, and `channel` of it or all channels."""
    index: list[int | slice] = [WHOLE] * len(scene.axes)
    for axis, i in zip(scene.page_axes, at, strict=True):
        index[axis] = i
    if scene.channel_axis is not None and channel is not None:
        index[scene.channel_axis] = channel
    return tuple(index)
