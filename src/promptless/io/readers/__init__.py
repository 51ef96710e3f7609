"""Images from files, one file per family of formats: what a file holds is looked at first, then one plane decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptless.errors import UnreadableImageError, named
from promptless.image import Image
from promptless.io.readers import memory
from promptless.io.readers.choice import choose
from promptless.io.readers.families import READERS, Opener, suffix_of
from promptless.io.readers.scene import Source


def read(path: Path, page: int | None = None, channel: int | str | None = None) -> Image:
    """Read one plane of an image file, its pixel size included where the file is sure of it.

    A file of several planes or channels is refused unless `page` (from 0) and `channel` (from 0, a name,
    or "rgb" for three that are colours) say which is meant; only that one is decoded.
    """
    with opened(path) as source:
        choice = choose(source.scenes, page, channel)
        scene = source.scenes[choice.scene]
        memory.check(path, scene.decoding, choice.n_channels, choice.plane, scene.dtype)
        channels = choice.channels_first(source.pixels(choice.scene, choice.index))
        if "S" in choice.axes:
            channels = one_if_equal(channels)
        native = np.ascontiguousarray(channels, channels.dtype.newbyteorder("="))
        return Image(native, scene.spacing, channel_names=choice.names, origin=choice.origin)


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open an image file without decoding it; whatever is wrong with it is an `UnreadableImageError`."""
    open_file = opener(path)
    with named(path), open_file(path) as source:
        yield source


def opener(path: Path) -> Opener:
    """Return what opens `path`, refusing what is no file or has no known suffix."""
    if path.is_dir():
        raise UnreadableImageError(f"{path} is a folder; name a file in it")
    if not path.is_file():
        raise UnreadableImageError(f"{path} does not exist")
    if not path.stat().st_size:
        raise UnreadableImageError(f"{path} is empty")
    suffix = suffix_of(path)
    if suffix is None:
        raise UnreadableImageError(f"{path} has no suffix of an image; these are read: {', '.join(sorted(READERS))}")
    return READERS[suffix]


def one_if_equal(channels: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return one channel where all three are equal: a grey image that was saved in colours."""
    return channels[:1] if all(np.array_equal(channels[0], c) for c in channels[1:]) else channels
