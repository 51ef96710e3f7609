"""TIFF in its many forms through tifffile; of a stack, the page that is wanted and no other is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from promptless.errors import UnreadableImageError
from promptless.io.readers import lzw, metadata
from promptless.io.readers.samples import Samples, samples_of
from promptless.io.readers.scene import Index, Scene

LISTED = ("ome", "imagej", "shaped", "generic", "uniform")
"""Kinds of TIFF whose every series is an image; of others (slides) the first is, and macro and label follow."""
LOOSE = ("generic", "uniform")
"""Kinds whose pages need have nothing in common."""
COPIES = 2
"""How often a page is held while it is decoded: as it comes, and as its samples are seen."""
WORKERS = 8
"""Tiles or strips that may be decoded at once."""


@contextmanager
def tiff(path: Path) -> Iterator[Tiff]:
    """Open a TIFF."""
    try:
        opened = tifffile.TiffFile(path)
    except tifffile.TiffFileError as error:
        raise UnreadableImageError(f"is not a {path.suffix[1:].upper()} image, whatever its name says") from error
    with opened:
        opened.filehandle.set_lock(True)  # tiles of large images are read by several threads
        yield Tiff(opened)


@dataclass(frozen=True)
class Tiff:
    """An open TIFF."""

    file: tifffile.TiffFile

    @cached_property
    def series(self) -> list[tifffile.TiffPageSeries]:
        """The images in it, without thumbnails and masks."""
        found = [series for series in self.file.series if prod(series.shape)]
        if not found or found[0].kind not in LISTED:
            return found[:1]
        whole = [s for s in found if not (s.keyframe.is_reduced or s.keyframe.is_mask)] or found[:1]
        if len(whole) == 1 or whole[0].kind not in LOOSE:
            return whole
        pages = sorted((page for series in whole for page in series.pages), key=lambda page: page.index)
        return [alone(page.aspage()) for page in pages]

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        """What is in it, with the axes that pixels have after `seen`."""
        known = metadata.of_file(self.file, len(self.series))
        return tuple(scene(series, about) for series, about in zip(self.series, known, strict=True))

    def pixels(self, number: int, index: Index) -> NDArray[np.generic]:
        """Decode the pages that `index` needs, and return what it selects."""
        series = self.series[number]
        leading = n_leading(series)
        lengths = series.shape[:leading]
        wanted = [range(n) if isinstance(i, slice) else (i,) for i, n in zip(index, lengths, strict=False)]
        pages = [int(np.ravel_multi_index(at, lengths)) if at else 0 for at in product(*wanted)]
        blocks = [seen(block(series, page), series)[index[leading:]] for page in pages]
        return np.stack(blocks) if len(blocks) > 1 else blocks[0]


def alone(page: tifffile.TiffPage) -> tifffile.TiffPageSeries:
    """Return a page as a series of its own."""
    return tifffile.TiffPageSeries([page], page.shape, page.dtype, page.axes, kind="generic")


def scene(series: tifffile.TiffPageSeries, known: metadata.Metadata) -> Scene:
    """Describe a series as it is after `seen`."""
    samples = series_samples(series)
    axes = series.axes.replace("S", "")
    shape = tuple(n for n, axis in zip(series.shape, series.axes, strict=True) if axis != "S")
    if samples.n > 1:
        axes, shape = axes + samples.axis, (*shape, samples.n)
    page = series.keyframe
    at_once = min(WORKERS, prod(page.chunked))
    decoding = COPIES * page.nbytes + at_once * prod(page.chunks) * page.dtype.itemsize
    return Scene(axes, shape, samples.dtype, decoding, known.spacing, known.channel_names)


def series_samples(series: tifffile.TiffPageSeries) -> Samples:
    """Return how the samples of a series are seen."""
    return samples_of(series.keyframe, series.shape[series.axes.index("S")] if "S" in series.axes else 1)


def seen(pixels: NDArray[np.generic], series: tifffile.TiffPageSeries) -> NDArray[np.generic]:
    """Return a block of a series with its samples last and as they are meant, that axis left out where it is one."""
    samples = series_samples(series)
    axes = series.axes[n_leading(series) :]
    last = np.moveaxis(pixels, axes.index("S"), -1) if "S" in axes else pixels[..., None]
    meant = samples.convert(last)
    return meant if samples.n > 1 else meant[..., 0]


def n_leading(series: tifffile.TiffPageSeries) -> int:
    """Return how many axes of a series count blocks; the others are a block's own, which a page of the file holds."""
    sizes = [prod(series.shape[axis:]) for axis in range(series.ndim)]
    return sizes.index(series.keyframe.size) if series.keyframe.size in sizes else 0


def block(series: tifffile.TiffPageSeries, number: int) -> NDArray[np.generic]:
    """Decode one block of a series."""
    shape = series.shape[n_leading(series) :]
    if n_leading(series) == 0 and len(series.pages) > 1:
        lzw.check_all(series)
        return np.asarray(series.asarray())
    if number >= len(series.pages):
        return beyond(series, number, prod(shape)).reshape(shape)
    page = series.pages[number]
    if page is None:
        raise UnreadableImageError("lacks this page, which is in another file that is not there")
    held, meant = len(page.dataoffsets), prod(page.keyframe.chunked)
    if held < meant and not page.is_contiguous:  # tifffile would leave them black
        raise UnreadableImageError(f"lacks {meant - held} of its {meant} tiles or strips; it may be damaged")
    lzw.check(page)
    return np.asarray(page.asarray()).reshape(shape)


def beyond(series: tifffile.TiffPageSeries, number: int, size: int) -> NDArray[np.generic]:
    """Read a block that has no page of its own: ImageJ writes one page for a large stack, and the rest after it."""
    if series.dataoffset is None:
        raise UnreadableImageError("lacks this page; it may be damaged or cut short")
    file = series.keyframe.parent
    dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
    start = series.dataoffset + number * size * dtype.itemsize
    return np.asarray(file.filehandle.read_array(dtype, size, start))
