"""Label images: 0 for the background, a number per object."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from promptless.image import Image, Shape
from promptless.io import label_files, ngff
from promptless.labels import LabelSource
from promptless.result import Segmentation
from promptless.tiles import round_up, tiles

LARGEST_UINT16 = 65_535


def write(segmentation: Segmentation, path: Path) -> None:
    """Write the label image of a result, compressed without loss."""
    write_array(segmentation.labels, path, **resolution(segmentation.image))


def write_array(labels: NDArray[np.integer], path: Path, **tags: Any) -> None:
    """Write labels (*spatial) as uint16 where that suffices, else uint32; `tags` are arguments of tifffile."""
    dtype = np.uint16 if labels.max(initial=0) <= LARGEST_UINT16 else np.uint32
    tifffile.imwrite(path, labels.astype(dtype), photometric="minisblack", compression="zlib", metadata=None, **tags)


def write_pyramid(
    labels: LabelSource,
    path: Path,
    dtype: np.dtype[Any],
    spacing: tuple[float, ...] | None,
    *,
    levels: int | None = None,
) -> None:
    """Write a plane of labels as tiled OME-TIFF (BigTIFF) with pixels of `spacing` micrometres, tile by tile.

    Each smaller level is every second pixel of the one above, down to a single tile, or to so many `levels`. Until the
    next is written, a level lies in a temporary file, the largest one excepted.
    """
    shapes = ngff.shapes(labels.shape)[:levels]
    about: dict[str, Any] = {"axes": "YX"}
    for axis, size in zip("YX", spacing or (), strict=False):
        about |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "\u00b5m"}
    options = {"photometric": "minisblack", "compression": "zlib", "dtype": dtype}
    with TemporaryFile(dir=path.parent) as scratch, tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        above = labels
        for number, (shape, smaller) in enumerate(pairwise([*shapes, None])):
            assert shape is not None
            below = None if smaller is None else kept(scratch, smaller, dtype)
            side = min(ngff.CHUNKS[2], round_up(max(shape), 16))
            where = {"subifds": len(shapes) - 1, "metadata": about} if not number else {"subfiletype": 1}
            file.write(tiled(above, below, side, dtype), shape=shape, tile=(side, side), **options, **where)
            above = below if below is not None else above


def kept(scratch: Any, shape: Shape, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array of zeros at the end of an open file."""
    start = scratch.seek(0, 2)
    scratch.truncate(start + int(np.prod(shape)) * dtype.itemsize)
    return np.memmap(scratch, dtype, "r+", start, shape)


def tiled(labels: LabelSource, below: Any, side: int, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield the tiles of a plane in array order, those at its ends filled up with background.

    Every second pixel goes `below`, where there is that.
    """
    for tile in tiles(labels.shape, (side, side), (0, 0)):
        block = np.asarray(labels[tile.core])
        if below is not None and block.any():
            below[tuple(slice(s.start // 2, -(-s.stop // 2)) for s in tile.core)] = block[::2, ::2]
        whole = np.zeros((side, side), dtype)
        whole[: block.shape[0], : block.shape[1]] = block
        yield whole


def smallest_type(labels: LabelSource) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the type to write labels in: uint16 where that suffices, else uint32; refuse what is none."""
    if labels.dtype.kind == "u" and labels.dtype.itemsize <= np.dtype(np.uint16).itemsize:
        return np.dtype(np.uint16)
    lowest = highest = 0
    for region in ngff.blocks(labels.shape):
        block = labels[region]
        lowest, highest = min(lowest, int(block.min())), max(highest, int(block.max()))
    if lowest < 0 or highest > label_files.LARGEST:
        largest = label_files.LARGEST
        raise ValueError(f"labels are whole numbers from 0 to {largest}, but these are {lowest} to {highest}")
    return np.dtype(np.uint16 if highest <= LARGEST_UINT16 else np.uint32)


def resolution(image: Image) -> dict[str, Any]:
    """Return the tags for the pixel size where it is known, as arguments of tifffile."""
    if image.spacing is None or image.unit != "um":
        return {}
    return {"resolution": tuple(1e4 / float(s) for s in reversed(image.spacing[-2:])), "resolutionunit": "CENTIMETER"}


def read(path: Path) -> NDArray[np.int32]:
    """Read a label image of any integer type, or of whole numbers saved as floats."""
    try:
        return label_files.int32(label_files.read(path).labels[:])
    except label_files.UnreadableLabelsError:
        raise
    except ValueError as error:
        raise ValueError(f"{path} is no label image: {error}") from error
