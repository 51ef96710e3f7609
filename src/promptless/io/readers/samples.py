"""What the samples of a TIFF's pixels mean: intensities, colours, inks, indices into a palette, transparency."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage
from tifffile import COMPRESSION, PHOTOMETRIC

from promptless.errors import UnreadableImageError

Pixels = NDArray[Any]
BYTE = np.dtype(np.uint8)
REFUSED = (PHOTOMETRIC.CIELAB, PHOTOMETRIC.ICCLAB, PHOTOMETRIC.ITULAB, PHOTOMETRIC.LOGLUV, PHOTOMETRIC.CFA)
ALPHA = (1, 2)
"""Extra samples that are transparency."""
PLAIN = (COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS)
"""Compressions that leave YCbCr as it is; the others' decoders return RGB."""
CMYK = 1
INK_SET = 332


class Samples(NamedTuple):
    """How samples are seen: `n` of them, colours (axis S) or channels (C), made by `convert` of (..., sample)."""

    axis: str
    n: int
    dtype: np.dtype[Any]
    convert: Callable[[Pixels], Pixels]


def samples_of(page: tifffile.TiffPage, n: int) -> Samples:
    """Return how the `n` samples of a page's pixels are seen."""
    if page.photometric in REFUSED:
        raise UnreadableImageError(f"has its colours as {page.photometric.name}; convert it to RGB")
    if page.dtype is None or page.dtype.kind not in "biuf":
        raise UnreadableImageError(f"has pixels of {page.dtype}; convert them to integers or floats")
    to_rgb = colours_of(page, n)
    if to_rgb is not None:
        return Samples("S", 3, BYTE if page.photometric == PHOTOMETRIC.PALETTE else page.dtype, to_rgb)
    if n == 2 and page.extrasamples and page.extrasamples[-1] in ALPHA:
        return Samples("C", 1, page.dtype, partial(first, 1))
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        return Samples("C", n, page.dtype, partial(inverted, page.bitspersample))
    return Samples("C", n, page.dtype, partial(first, n))


def colours_of(page: tifffile.TiffPage, n: int) -> Callable[[Pixels], Pixels] | None:
    """Return what makes red, green and blue of `n` samples, None where they are no colours."""
    kind = page.photometric
    if kind == PHOTOMETRIC.PALETTE:
        return partial(looked_up, page.colormap)
    if kind == PHOTOMETRIC.SEPARATED and n >= 4 and page.tags.valueof(INK_SET, CMYK) == CMYK:
        return from_inks
    if kind == PHOTOMETRIC.YCBCR and n == 3 and page.dtype == BYTE and page.compression in PLAIN:
        return from_ycbcr
    return partial(first, 3) if kind in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) and n in (3, 4) else None


def first(n: int, pixels: Pixels) -> Pixels:
    """Return the first `n` samples."""
    return pixels[..., :n]


def looked_up(palette: NDArray[np.uint16], pixels: Pixels) -> Pixels:
    """Return the colours, in 8 bits, that the indices stand for in a palette (3, n); some writers fill 8 of 16 bits."""
    entries = palette if palette.max() < 256 else palette >> 8
    return entries.T.astype(np.uint8)[pixels[..., 0]]


def from_inks(pixels: Pixels) -> Pixels:
    """Return cyan, magenta, yellow and black as red, green and blue."""
    whole = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    light = whole - pixels[..., :4].astype(np.float32)
    return (light[..., :3] * light[..., 3:] / whole).astype(pixels.dtype)


def from_ycbcr(pixels: Pixels) -> Pixels:
    """Return luminance and colour differences as red, green and blue."""
    return np.asarray(PillowImage.fromarray(pixels, mode="YCbCr").convert("RGB"))


def inverted(bits: int, pixels: Pixels) -> Pixels:
    """Return pixels whose 0 is white with 0 as black."""
    if pixels.dtype.kind in "bi":
        return np.asarray(np.invert(pixels))
    if pixels.dtype.kind == "f":
        return np.asarray(np.negative(pixels))
    return np.asarray(pixels.dtype.type(2**bits - 1) - pixels)
