"""How much memory an image takes, told from its header, so that what cannot fit is refused before it is decoded."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from promptless.errors import UnreadableImageError
from promptless.image import Shape

GIB = 2**30
DEFAULT = 2 * GIB
PER_BYTE = 40
"""A file above 50 MB may take this many bytes per byte of its own."""
FIXED = 500 * 2**20
"""The libraries, a model and what the decoding of a tile takes."""
PER_PIXEL = 18
"""Beside its pixels: the label image, a copy of it to be written, and objects, prompts and table of an image that is
dense with nuclei (measured: a 10,700 x 10,700 JPEG in colours, 93,748 objects, took 2.7 GB)."""
VARIABLE = "PROMPTLESS_MAX_MEMORY"
MEMORY_INFO = Path("/proc/meminfo")
"""Where Linux tells what is free."""
PER_VOXEL = 8
"""Of a scan, beside its voxels as they are stored and as they are read: its labels, and copies of them."""


def needed(decoding: int, n_channels: int, plane: Shape, dtype: np.dtype[Any]) -> int:
    """Return about how many bytes it takes to read and segment an image of `n_channels` by `plane` pixels.

    `decoding` is what its decoder takes beside the pixels that it returns.
    """
    pixels = n_channels * prod(plane) * dtype.itemsize
    return FIXED + pixels + max(decoding, PER_PIXEL * prod(plane))


def allowed(size: int) -> int:
    """Return how many bytes an image may take whose file has `size` bytes."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return max(DEFAULT, PER_BYTE * size)
    try:
        return int(float(text) * GIB)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{VARIABLE} is {text!r}; it must be a number, in GB") from error


def free() -> int | None:
    """Return how many bytes may still be taken: what is set, else what the system has, None where it does not say."""
    if VARIABLE in os.environ:
        return allowed(0)
    try:
        told = dict(line.split(":", 1) for line in MEMORY_INFO.read_text(encoding="ascii").splitlines())
        return int(told["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def check(path: Path, decoding: int, n_channels: int, plane: Shape, dtype: np.dtype[Any]) -> None:
    """Refuse an image that would take more memory than it may."""
    compare(needed(decoding, n_channels, plane, dtype), path.stat().st_size, n_channels, plane, dtype)


def check_scan(size: int, shape: Shape, stored: np.dtype[Any], read: np.dtype[Any]) -> None:
    """Refuse a scan, kept as `stored` in files of `size` bytes together, that would take more memory than it may."""
    need = FIXED + prod(shape) * (stored.itemsize + read.itemsize + PER_VOXEL)
    compare(need, size, 1, shape, read)


def compare(need: int, size: int, n_channels: int, plane: Shape, dtype: np.dtype[Any]) -> None:
    """Refuse what needs more bytes than a file of `size` bytes may take."""
    limit = allowed(size)
    if need > limit:
        shape = " x ".join(map(str, (*plane, n_channels) if n_channels > 1 else plane))
        raise UnreadableImageError(
            f"has {shape} pixels of {dtype}, which take about {need / GIB:.1f} GB, above the {limit / GIB:.1f} GB "
            f"allowed; cut it into smaller images, or set {VARIABLE} to more, in GB"
        )
