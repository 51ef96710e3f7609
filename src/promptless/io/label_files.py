"""Label images from files, read as they are sliced where the format allows it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from promptless.errors import UnreadableImageError, named
from promptless.io import scans
from promptless.io.lazy import tiled, zarrs
from promptless.io.lazy.zarrs import UM
from promptless.io.readers import lzw
from promptless.labels import LabelSource
from promptless.tiles import Region, within

LARGEST = np.iinfo(np.int32).max
"""The largest label."""


class UnreadableLabelsError(ValueError):
    """A file that is not a label image we can read; the message says which, why, and what would do."""


@dataclass(frozen=True, eq=False)
class LabelImage:
    """Integer labels of any number of axes, array order; 0 is background. `spacing` is in mm, None where unknown.

    `classes` are of the objects by label, where they are known. `affine` takes a voxel to mm, where a file tells it.
    """

    labels: LabelSource
    spacing: tuple[float, ...] | None = None
    classes: Mapping[int, int] = field(default_factory=dict)
    affine: NDArray[np.float64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        return self.labels.shape


def read(path: Path) -> LabelImage:
    """Open a label image; its integer type is kept."""
    if not path.exists():
        raise UnreadableLabelsError(f"{path} does not exist")
    if path.is_dir():
        return read_zarr(path)
    if suffix(path) in LOSSY:
        raise UnreadableLabelsError(lossy(path))
    reader = READERS.get(suffix(path))
    if reader is None:
        raise UnreadableLabelsError(f"{path} has no suffix of a label image; these are read: {', '.join(READERS)}")
    try:
        image = reader(path)
        return replace(image, labels=whole_numbers(image.labels, path))
    except (UnidentifiedImageError, tifffile.TiffFileError) as error:
        raise UnreadableLabelsError(
            f"{path} is not a {suffix(path)[1:].upper()} file, whatever its name says"
        ) from error
    except UnreadableImageError as error:
        raise UnreadableLabelsError(f"{path} {error}") from error
    except (UnreadableLabelsError, ImportError, PermissionError, MemoryError):
        raise
    except Exception as error:  # what decoders raise on damaged bytes is anything
        raise UnreadableLabelsError(f"{path} cannot be read ({error}); it may be damaged or cut short") from error


def whole_numbers(labels: LabelSource, path: Path) -> LabelSource:
    """Return labels as integers: bool as 0 and 1, floats where all of them are whole."""
    if labels.dtype.kind in "iu":
        return labels
    values = np.asarray(labels[slice(None)])
    if labels.dtype.kind == "b":
        return values.view(np.uint8)
    if labels.dtype.kind != "f":
        raise UnreadableLabelsError(f"{path} holds {labels.dtype}; labels are integers")
    if not np.isfinite(values).all() or (values != np.floor(values)).any():
        raise UnreadableLabelsError(f"{path} holds fractions; labels are integers, one per object (is it an image?)")
    return values.astype(np.int64)


def int32(values: Any) -> NDArray[np.int32]:
    """Return labels in 32 bits, refusing what is none."""
    found = np.asarray(values)
    if found.size and not (found.min() >= 0 and found.max() <= LARGEST):
        raise ValueError(f"labels are whole numbers from 0 to {LARGEST}, but these are {found.min()} to {found.max()}")
    return found.astype(np.int32, copy=False)


def suffix(path: Path) -> str:
    """Return the suffix of a file in lower case, both parts of .nii.gz."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def lossy(path: Path) -> str:
    """Return why a lossy picture holds no labels."""
    return (
        f"{path} is a JPEG or WebP, which changes values where it compresses: its labels are no longer what they were. "
        "Save the labels themselves, as TIFF or 16-bit PNG"
    )


def read_picture(path: Path) -> LabelImage:
    """Read a PNG or BMP of one channel, of three that are equal, or of palette indices."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
        with PillowImage.open(path) as picture:
            if picture.format in ("JPEG", "MPO", "WEBP"):
                raise UnreadableLabelsError(lossy(path))
            pixels = np.asarray(picture)
    return LabelImage(pixels if pixels.ndim == 2 else one_number(pixels, path))


def one_number(pixels: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    """Return the first of three channels (y, x, channel) that are equal; a fourth is transparency."""
    first = pixels[..., 0]
    if pixels.shape[-1] not in (3, 4) or not all(np.array_equal(first, pixels[..., i]) for i in (1, 2)):
        raise UnreadableLabelsError(colourful(path, pixels.shape[-1]))
    return np.ascontiguousarray(first)


def colourful(path: Path, n: int) -> str:
    """Return why colours are no labels."""
    return (
        f"{path} has {n} channels; a label image has one number per pixel (or one in three equal channels). Colours of "
        "an overlay cannot be told from objects: save the labels themselves, as TIFF or 16-bit PNG"
    )


def read_npy(path: Path) -> LabelImage:
    """Map an NPY file into memory; it is read as it is sliced."""
    return LabelImage(np.load(path, mmap_mode="r", allow_pickle=False))


def read_tiff(path: Path) -> LabelImage:
    """Open the first series of a TIFF, with one channel; one page is mapped, or decoded by the strip or tile."""
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        channels = [n for axis, n in zip(series.axes, series.shape, strict=True) if axis in "SC" and n > 1]
        if len(channels) > 1:
            raise UnreadableLabelsError(colourful(path, int(np.prod(channels))))
        if series.keyframe.compression in (tifffile.COMPRESSION.OJPEG, tifffile.COMPRESSION.JPEG):
            raise UnreadableLabelsError(lossy(path))
        lzw.check_all(series)
        if channels:
            return LabelImage(one_number(last_axis(series), path))
        keep = [n for axis, n in zip(series.axes, series.shape, strict=True) if n > 1 or axis in "YX"]
        if len(series.pages) > 1 or len(keep) != 2:
            return LabelImage(series.asarray().reshape(keep))
        page = series.keyframe
        if page.is_memmappable:
            return LabelImage(tifffile.memmap(path, series=0, mode="r").reshape(keep))
    return LabelImage(TiffPage(path, (keep[0], keep[1]), page.dtype))


def last_axis(series: tifffile.TiffPageSeries) -> NDArray[np.generic]:
    """Return the pixels of a TIFF whose channels, wherever they stand, are the last axis."""
    axis = next(i for i, (name, n) in enumerate(zip(series.axes, series.shape, strict=True)) if name in "SC" and n > 1)
    pixels = np.moveaxis(series.asarray(), axis, -1)
    return np.asarray(pixels.reshape([n for n in pixels.shape[:-3] if n > 1] + list(pixels.shape[-3:])))


@dataclass(frozen=True, eq=False)
class TiffPage:
    """One page of a TIFF, compressed, of which only the strips or tiles that are asked for are decoded."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def __getitem__(self, index: slice | Region) -> NDArray[np.generic]:
        """Return the pixels in a region."""
        y, x = within(index, self.shape)
        with tifffile.TiffFile(self.path) as file:
            return tiled.region(file.series[0].keyframe, y, x)[..., 0]


def read_zarr(path: Path) -> LabelImage:
    """Open the label image in an OME-Zarr folder, or a zarr array."""
    try:
        with named(path):
            labels, spacing = zarrs.labels(path)
    except UnreadableImageError as error:
        raise UnreadableLabelsError(str(error)) from error
    return LabelImage(labels, None if spacing is None else tuple(s / UM["millimeter"] for s in spacing))


def read_nifti(path: Path) -> LabelImage:
    """Read a NIfTI volume as (z, y, x), with the size of a voxel in mm."""
    scans.need(path, "nibabel")
    from promptless.io.scans import nifti

    labels, spacing, affine = nifti.stored(path)
    return LabelImage(labels, spacing, affine=affine)


READERS: dict[str, Callable[[Path], LabelImage]] = {
    **dict.fromkeys((".png", ".bmp"), read_picture),
    **dict.fromkeys((".tif", ".tiff"), read_tiff),
    ".npy": read_npy,
    **dict.fromkeys((".nii", ".nii.gz"), read_nifti),
}
LOSSY = (".jpg", ".jpeg", ".webp")
"""Suffixes of pictures that do not keep the values they were given."""
