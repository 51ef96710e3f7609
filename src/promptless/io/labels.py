"""Label images: 0 for the background, a number per object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from promptless.image import Image
from promptless.io import readers
from promptless.result import Segmentation

LARGEST_UINT16 = 65_535
LARGEST = np.iinfo(np.int32).max


def write(segmentation: Segmentation, path: Path) -> None:
    """Write the label image as uint16 where that suffices, else uint32, compressed without loss."""
    dtype = np.uint16 if segmentation.labels.max(initial=0) <= LARGEST_UINT16 else np.uint32
    tifffile.imwrite(
        path,
        segmentation.labels.astype(dtype),
        compression="zlib",
        metadata=None,
        **resolution(segmentation.image),
    )


def resolution(image: Image) -> dict[str, Any]:
    """Return the tags for the pixel size where it is known, as arguments of tifffile."""
    if image.spacing is None or image.unit != "um":
        return {}
    return {"resolution": tuple(1e4 / s for s in reversed(image.spacing[-2:])), "resolutionunit": "CENTIMETER"}


def read(path: Path) -> NDArray[np.int32]:
    """Read a label image of any integer type, or of whole numbers saved as floats."""
    data = readers.read(path).data
    if len(data) != 1:
        raise ValueError(f"{path} has {len(data)} channels; a label image has one number per pixel")
    values = data[0]
    if not (np.isfinite(values) & (values >= 0) & (values <= LARGEST)).all() or (values % 1).any():
        raise ValueError(f"{path} is no label image: labels are whole numbers from 0 to {LARGEST}")
    labels: NDArray[np.int32] = values.astype(np.int32)
    return labels
