"""The semantic map: one class per pixel, whatever object it belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from promptless.io.labels import resolution
from promptless.result import Segmentation

CLASSES = {0: "background", 1: "nucleus"}
"""Names by value. Every object of a segmentation is of class 1."""


def write(segmentation: Segmentation, path: Path) -> None:
    """Write a uint8 TIFF; its ImageDescription is JSON and names the values under "classes"."""
    tifffile.imwrite(
        path,
        (segmentation.labels > 0).astype(np.uint8),
        compression="zlib",
        metadata={"classes": CLASSES},
        **resolution(segmentation.image),
    )
