"""PNG, JPEG, BMP and WebP through pillow: turned upright, palettes looked up, transparency dropped."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageFile, UnidentifiedImageError

from promptless.errors import UnreadableImageError
from promptless.io.readers.scene import Index, Scene

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
GREY = {"1": np.bool_, "L": np.uint8, "LA": np.uint8, "I;16": np.uint16, "I;16B": np.uint16, "I": np.int32}
"""Pixels of pillow's modes that are grey; those of all others become three colours of 8 bits."""
ROWS = 1024
"""Rows converted at once, so that no second copy of a large picture is made."""
ORIENTATION = 0x0112
FLIPPED: dict[int, tuple[int, ...]] = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}
"""Axes of (channel, y, x) to flip for each EXIF orientation, after the exchange of y and x from 5 on."""


@contextmanager
def picture(path: Path) -> Iterator[Picture]:
    """Open a picture; what it is, its bytes say."""
    with warnings.catch_warnings(), path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        warnings.simplefilter("ignore")  # on damaged metadata, and on sizes that `memory` judges
        try:  # mapped, since a plain file sets aside as many bytes as a damaged header asks for
            opened = PillowImage.open(content, formats=FORMATS)  # type: ignore[arg-type]
        except UnidentifiedImageError as error:
            raise UnreadableImageError(f"is not a {path.suffix[1:].upper()} image, whatever its name says") from error
        except PillowImage.DecompressionBombError as error:
            raise UnreadableImageError("claims more pixels than pillow decodes; save it as a TIFF") from error
        with opened:
            yield Picture(path, opened)


@dataclass(frozen=True)
class Picture:
    """An open picture, or several that are shown one after the other."""

    path: Path
    opened: ImageFile.ImageFile

    @cached_property
    def orientation(self) -> int:
        """How the camera was held, as EXIF counts it; 1 is upright.

        A PNG may have EXIF after its pixels, for which its own `getexif` would decode them: that is not read.
        """
        value = PillowImage.Image.getexif(self.opened).get(ORIENTATION, 1)
        return value if value in range(1, 9) else 1

    @cached_property
    def deep(self) -> bool:
        """Whether it has colours of 16 bits, which pillow would cut to 8."""
        return any(str(tile.args).endswith(";16B") for tile in self.opened.tile) and self.opened.mode in ("RGB", "RGBA")

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        """The picture; the frames of an animated one are pages."""
        width, height = self.opened.size
        plane = (height, width) if self.orientation < 5 else (width, height)
        frames = getattr(self.opened, "n_frames", 1) if self.opened.format in ("PNG", "WEBP") else 1
        colours = self.opened.mode not in GREY
        dtype = np.dtype(np.uint16 if self.deep else GREY.get(self.opened.mode, np.uint8))
        held = width * height * (8 if self.deep else 4 if colours else dtype.itemsize)
        axes, shape = ("I", (frames,)) if frames > 1 else ("", ())
        return (Scene(axes + ("YXS" if colours else "YX"), (*shape, *plane, *((3,) if colours else ())), dtype, held),)

    def pixels(self, number: int, index: Index) -> NDArray[np.generic]:
        """Decode one frame."""
        colours = self.opened.mode not in GREY
        if len(index) > 2 + colours:
            self.opened.seek(int(index[0]))  # type: ignore[arg-type]
        channels = deep_colours(self.path) if self.deep else in_strips(self.opened)
        turned = upright(channels, self.orientation)
        return np.moveaxis(turned, 0, -1)[index[-3:]] if colours else turned[0]


def deep_colours(path: Path) -> NDArray[np.uint16]:
    """Return a PNG of 16 bits per colour as (channel, y, x)."""
    return np.moveaxis(np.asarray(imagecodecs.png_decode(path.read_bytes()))[..., :3], -1, 0)


def in_strips(picture: PillowImage.Image) -> NDArray[np.generic]:
    """Return the pixels of `picture` as (channel, y, x), three channels where it is not grey."""
    mode = {"LA": "L"}.get(picture.mode, picture.mode) if picture.mode in GREY else "RGB"
    width, height = picture.size
    picture.load()
    channels: NDArray[Any] = np.empty(
        (1 if picture.mode in GREY else 3, height, width), GREY.get(picture.mode, np.uint8)
    )
    for top in range(0, height, ROWS):
        strip = picture.crop((0, top, width, min(top + ROWS, height)))
        rows = np.asarray(strip if strip.mode == mode else strip.convert(mode))
        channels[:, top : top + ROWS] = rows[None] if rows.ndim == 2 else np.moveaxis(rows, -1, 0)
    return channels


def upright(channels: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Return (channel, y, x) turned and mirrored as EXIF says."""
    turned = channels.swapaxes(1, 2) if orientation >= 5 else channels
    return np.flip(turned, FLIPPED.get(orientation, ()))
