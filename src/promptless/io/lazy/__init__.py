"""Images that are not loaded: opened at every level that a file has, and read region by region."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from promptless.errors import UnreadableImageError, named
from promptless.io import readers
from promptless.io.lazy.pyramid import Pyramid, of_image
from promptless.io.lazy.slides import slide
from promptless.io.lazy.tiled import tiff
from promptless.io.lazy.zarrs import ome_zarr
from promptless.io.readers.choice import STACK, Page

Opener = Callable[[Path, Page, int | str | None], AbstractContextManager[Pyramid]]


@contextmanager
def opened(path: Path, page: Page = None, channel: int | str | None = None) -> Iterator[Pyramid]:
    """Open one plane of an image, at all its levels, without decoding it; `page` and `channel` as for `readers.read`.

    With `STACK` as page, the planes of a z-stack can be had one by one (`Pyramid.plane`). What has no tiles, strips or
    chunks (PNG, JPEG, ...) is decoded whole.
    """
    if not path.exists():
        raise UnreadableImageError(f"{path} does not exist")
    with opener(path)(path, page, channel) as pyramid:
        yield pyramid


def opener(path: Path) -> Opener:
    """Return what opens `path`."""
    if path.is_dir():
        return partial(within, ome_zarr)
    return next((partial(within, use) for suffix, use in OPENERS.items() if path.name.lower().endswith(suffix)), whole)


@contextmanager
def within(use: Opener, path: Path, page: Page, channel: int | str | None) -> Iterator[Pyramid]:
    """Open a file; what is wrong with it as a file is an `UnreadableImageError`, what goes wrong later is its own."""
    with named(path):
        context = use(path, page, channel)
        pyramid = context.__enter__()
    try:
        yield pyramid
    finally:
        context.__exit__(None, None, None)


@contextmanager
def whole(path: Path, page: Page, channel: int | str | None) -> Iterator[Pyramid]:
    """Read an image of a format that is decoded whole."""
    yield of_image(readers.read(path, None if page == STACK else page, channel))


OPENERS: dict[str, Opener] = {
    **dict.fromkeys((".svs", ".ndpi", ".scn", ".bif"), slide),
    **dict.fromkeys((".tif", ".tiff"), tiff),
}
"""What opens files region by region, by their suffix; a folder is OME-Zarr."""
