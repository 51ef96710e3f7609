"""The semantic map: one class per pixel, whatever object it belongs to; and what classes are called and look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from promptless.io.labels import resolution
from promptless.labels import compacted
from promptless.result import Segmentation, Told

CLASSES = {0: "background", 1: "nucleus"}
"""Names by value where the model tells no classes: every object is of class 1."""
UNTOLD = "unclassified"
"""The class behind all others, for objects whose class is not known; it is named where there are any."""
Colour = tuple[int, int, int]
COLOURS: tuple[Colour, ...] = (
    (255, 64, 64),
    (64, 220, 64),
    (64, 128, 255),
    (255, 225, 0),
    (255, 140, 0),
    (200, 90, 255),
    (0, 215, 215),
    (255, 130, 190),
    (170, 230, 60),
    (130, 160, 255),
    (190, 130, 80),
    (255, 190, 140),
    (110, 255, 190),
    (215, 0, 140),
    (160, 160, 0),
    (200, 200, 255),
    (0, 150, 110),
    (120, 70, 200),
)
"""Of the classes 1, 2, ..., again from the first where there are more."""


def write(segmentation: Segmentation, path: Path) -> None:
    """Write a uint8 TIFF, uint16 for many classes; its ImageDescription is JSON, with the names under "classes"."""
    found = class_map(segmentation)
    tifffile.imwrite(
        path,
        found.astype(np.uint8 if len(names(segmentation)) <= np.iinfo(np.uint8).max else np.uint16),
        photometric="minisblack",
        compression="zlib",
        metadata={"classes": names(segmentation)},
        **resolution(segmentation.image),
    )


def names(segmentation: Told) -> dict[int, str]:
    """Return the names of the classes by their values, the background being 0."""
    told = segmentation.class_names
    if not told:
        return CLASSES
    known = {0: CLASSES[0], **dict(enumerate(told, start=1))}
    return known | ({len(told) + 1: UNTOLD} if (segmentation.masks.classes == 0).any() else {})


def values(segmentation: Told) -> NDArray[np.int64]:
    """Return the class of each object, as `names` has it."""
    told = segmentation.class_names
    if not told:
        return np.ones(len(segmentation.masks), np.int64)
    return np.where(segmentation.masks.classes == 0, len(told) + 1, segmentation.masks.classes)


def class_map(segmentation: Segmentation) -> NDArray[np.int64]:
    """Return the class of each pixel."""
    if not segmentation.class_names:
        return (segmentation.labels > 0).astype(np.int64)
    dense, numbers = compacted(segmentation.labels)
    of_label = dict(zip(segmentation.masks.ids.tolist(), values(segmentation).tolist(), strict=True))
    lookup = np.array([0, *(of_label.get(number, 0) for number in numbers.tolist())], np.int64)
    found: NDArray[np.int64] = lookup[dense]
    return found


def colour(value: int) -> Colour:
    """Return the colour of a class."""
    return COLOURS[(value - 1) % len(COLOURS)]
