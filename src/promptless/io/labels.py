"""Label images: 0 for the background, a number per object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from promptless.image import Image
from promptless.io import label_files
from promptless.result import Segmentation

LARGEST_UINT16 = 65_535
LARGEST = np.iinfo(np.int32).max


def write(segmentation: Segmentation, path: Path) -> None:
    """Write the label image of a result, compressed without loss."""
    write_array(segmentation.labels, path, **resolution(segmentation.image))


def write_array(labels: NDArray[np.integer], path: Path, **tags: Any) -> None:
    """Write labels (*spatial) as uint16 where that suffices, else uint32; `tags` are arguments of tifffile."""
    dtype = np.uint16 if labels.max(initial=0) <= LARGEST_UINT16 else np.uint32
    tifffile.imwrite(path, labels.astype(dtype), photometric="minisblack", compression="zlib", metadata=None, **tags)


def resolution(image: Image) -> dict[str, Any]:
    """Return the tags for the pixel size where it is known, as arguments of tifffile."""
    if image.spacing is None or image.unit != "um":
        return {}
    return {"resolution": tuple(1e4 / float(s) for s in reversed(image.spacing[-2:])), "resolutionunit": "CENTIMETER"}


def read(path: Path) -> NDArray[np.int32]:
    """Read a label image of any integer type, or of whole numbers saved as floats."""
    values = np.asarray(label_files.read(path).labels[slice(None)])
    if values.size and not (values.min() >= 0 and values.max() <= LARGEST):
        raise ValueError(f"{path} is no label image: labels are whole numbers from 0 to {LARGEST}")
    return values.astype(np.int32)
