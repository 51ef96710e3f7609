"""TIFF by the tile or strip: only those that a region touches are decoded, those without compression mapped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from promptless.errors import UnreadableImageError
from promptless.io.lazy.pyramid import Plane, Pyramid, of_planes
from promptless.io.readers import lzw, memory
from promptless.io.readers.choice import Page, choose
from promptless.io.readers.metadata import Metadata
from promptless.io.readers.scene import Index
from promptless.io.readers.tiff import Tiff, n_leading, scene, series_samples
from promptless.io.readers.tiff import tiff as tiff_file

JPEG = (6, 7, 34892, 33007)
"""Compressions whose streams need the page's own tables."""


@contextmanager
def tiff(path: Path, page: Page, channel: int | str | None) -> Iterator[Pyramid]:
    """Open one plane of a TIFF at all its levels."""
    with tiff_file(path) as source:
        yield pyramid(path, source, page, channel)


def pyramid(path: Path, source: Tiff, page: Page, channel: int | str | None) -> Pyramid:
    """Return one plane of an open TIFF at all its levels."""
    choice = choose(source.scenes, page, channel)
    series = source.series[choice.scene]
    full = source.scenes[choice.scene]
    planes = []
    for level in series.levels:
        known = scene(level, Metadata(full.spacing, full.channel_names))
        if known.axes == full.axes:
            fits(path, level, choice.n_channels)
            planes.append(Plane(Segments(level), known, choice))
    spacings = [
        None
        if full.spacing is None
        else tuple(s * a / b for s, a, b in zip(full.spacing, planes[0].shape[1:], plane.shape[1:], strict=True))
        for plane in planes
    ]
    return of_planes(planes, choice, spacings)


def fits(path: Path, series: tifffile.TiffPageSeries, n_channels: int) -> None:
    """Refuse a series whose tiles or strips are too large to be held, which a strip may be that is the whole image."""
    page = series.keyframe
    if not mapped(page):
        plane = sides(page)
        decoding = 2 * prod(plane) * page.shaped[-1] * page.dtype.itemsize
        memory.check(path, decoding, n_channels, plane, page.dtype)


def sides(page: Any) -> tuple[int, int]:
    """Return the height and width of a page's tiles or strips."""
    _, _, length, width, _ = page.shaped
    return (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, length), width)


@dataclass(frozen=True)
class Segments:
    """A series of a TIFF, with the axes that its scene has, decoded by the tile or strip."""

    series: tifffile.TiffPageSeries

    def __getitem__(self, index: Index) -> NDArray[Any]:
        series = self.series
        leading = n_leading(series)
        axes = series.axes[leading:].replace("S", "")
        if sorted(axes) != ["X", "Y"] or (leading == 0 and len(series.pages) > 1):
            raise UnreadableImageError(f"has pages of the axes {series.axes[leading:]}; convert it to planes")
        lengths = series.shape[:leading]
        wanted = [range(n)[i] if isinstance(i, slice) else (i,) for i, n in zip(index, lengths, strict=False)]
        inside = dict(zip(axes, index[leading:], strict=False))
        blocks = []
        for at in product(*wanted):
            with series.keyframe.parent.filehandle.lock:  # pages are looked up in the file
                page = series.pages[int(np.ravel_multi_index(at, lengths)) if at else 0]
            if page is None:
                raise UnreadableImageError("lacks a page, which is in another file that is not there")
            pixels = region(page, inside["Y"], inside["X"])
            blocks.append(as_seen(pixels, series)[..., *index[leading + 2 :]])
        return np.stack(blocks) if any(isinstance(i, slice) for i in index[:leading]) else blocks[0]


def as_seen(pixels: NDArray[Any], series: tifffile.TiffPageSeries) -> NDArray[Any]:
    """Return pixels (y, x, sample) as they are meant, without an axis of one sample."""
    samples = series_samples(series)
    meant = samples.convert(pixels)
    return meant if samples.n > 1 else meant[..., 0]


def region(page: Any, y: slice, x: slice) -> NDArray[Any]:
    """Return a region of a page as (y, x, sample), decoding the tiles or strips that it touches and no others."""
    key = page.keyframe
    separate, _, length, width, contiguous = key.shaped
    inside = y.stop - y.start, x.stop - x.start
    if mapped(key) and page.is_contiguous:
        dtype = np.dtype(key.dtype).newbyteorder(page.parent.byteorder)
        shape = separate, length, width, contiguous
        array = np.memmap(page.parent.filehandle.path, dtype, "r", page.dataoffsets[0], shape)
        return np.moveaxis(np.array(array[:, y, x]), 0, -1).reshape(*inside, separate * contiguous)
    high, wide = sides(key)
    down, across = -(-length // high), -(-width // wide)
    out = np.zeros((*inside, separate, contiguous), key.dtype)
    rows, columns = range(y.start // high, -(-y.stop // high)), range(x.start // wide, -(-x.stop // wide))
    for sample, row, column in product(range(separate), rows, columns):
        part = segment(page, (sample * down + row) * across + column)
        if part is not None:
            place(part, out[:, :, sample], row * high - y.start, column * wide - x.start)
    return out.reshape(*inside, separate * contiguous)


def place(part: NDArray[Any], out: NDArray[Any], top: int, left: int) -> None:
    """Copy what of `part` lies inside `out`, in which it begins at (top, left)."""
    source, target = [], []
    for begin, n, room in ((top, part.shape[0], out.shape[0]), (left, part.shape[1], out.shape[1])):
        source.append(slice(max(0, -begin), max(0, min(n, room - begin))))
        target.append(slice(max(0, begin), max(0, min(begin + n, room))))
    out[tuple(target)] = part[tuple(source)]


def segment(page: Any, number: int) -> NDArray[Any] | None:
    """Decode a tile or strip as (y, x, sample); None where the file leaves it out, as sparse files do."""
    key, file = page.keyframe, page.parent.filehandle
    if number >= len(page.dataoffsets):
        raise UnreadableImageError(f"lacks tile or strip {number} of a page; it may be damaged")
    offset, count = page.dataoffsets[number], page.databytecounts[number]
    if not count:
        return None
    with file.lock:
        file.open()
        file.seek(offset)
        data = file.read(count)
    if len(data) < count:
        raise UnreadableImageError(f"ends before its tile or strip {number}; it may be cut short")
    if key.compression == tifffile.COMPRESSION.LZW and key.fillorder == 1 and not lzw.sound(data):
        raise UnreadableImageError(f"holds damaged LZW data in tile or strip {number}")
    tables = {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader} if key.compression in JPEG else {}
    part, _, _ = key.decode(data, number, **tables)
    return None if part is None else np.asarray(part)[0]


def mapped(page: Any) -> bool:
    """Return whether the pixels of a page stand in the file as they are in memory, one after the other."""
    plain = page.compression == 1 and page.predictor == 1 and page.fillorder == 1 and not page.is_tiled
    return bool(plain and page.bitspersample == 8 * page.dtype.itemsize and page.is_contiguous)
