"""The table of a scan's structures: how large each is, where it lies, how bright it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptless.image import Image

MM3_PER_ML = 1000
MM = {"um": 1e-3, "mm": 1.0, "nm": 1e-6}
BEYOND = np.iinfo(np.int64).max
AXES, ENDS = "zyx", ("start", "stop")
PLACES = ("right", "front", "head")
"""What the coordinates of a patient count towards."""


def structures(labels: NDArray[np.integer[Any]], image: Image, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return a row per class 1, 2, ... of `labels` (z, y, x), in the order of their `names`.

    Boxes are in voxels of `labels`: where they start, and stop, half open; 0 and 0 for what was not found. Centroids
    are in mm of the patient, towards right, front and head; they and intensities are NaN for what was not found,
    volumes and centroids also where no spacing or affine is known.
    """
    return described(tallied(labels, image.data[0], len(names)), image, names)


@dataclass(frozen=True, eq=False)
class Tally:
    """What is counted of each label from 1 on: sums of voxels, their z, y, x and values; boxes (axis, start, stop)."""

    sums: NDArray[np.float64]
    boxes: NDArray[np.int64]

    def joined(self, other: Tally) -> Tally:
        """Return what is counted in two parts of a scan together."""
        starts = [np.where(tally.boxes[..., 1] > 0, tally.boxes[..., 0], BEYOND) for tally in (self, other)]
        stops = np.maximum(self.boxes[..., 1], other.boxes[..., 1])
        first = np.where(stops > 0, np.minimum(*starts), 0)
        return Tally(self.sums + other.sums, np.stack([first, stops], axis=-1))


def tallied(labels: NDArray[np.integer[Any]], values: NDArray[np.generic], n: int, first: int = 0) -> Tally:
    """Return what is counted of the labels from 1 to `n` in planes of a scan, of which the first is number `first`."""
    sums, found = summed(labels, values, n + 1)[1:], boxes(labels, n)
    sums[:, 1] += first * sums[:, 0]
    found[:, 0] += first * (found[:, 0, 1:] > 0)  # not the box of what is nowhere
    return Tally(sums, found)


def described(tally: Tally, image: Image, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the table of what was counted in a scan."""
    sums = tally.sums
    voxels = sums[:, 0]
    with np.errstate(invalid="ignore"):
        centroids = sums[:, 1:4] / voxels[:, None]
        intensity = sums[:, 4] / voxels
    place = np.full((len(names), 3), np.nan) if image.affine is None else placed(centroids, image.affine)
    return {
        "label": np.arange(1, len(names) + 1),
        "name": np.array(names, dtype=str),
        "voxels": voxels.astype(np.int64),
        "ml": voxels * voxel_ml(image),
        **edges(tally.boxes, AXES),
        **{f"centroid_mm-{towards}": place[:, i] for i, towards in enumerate(PLACES)},
        "mean_intensity": intensity,
    }


def boxes(labels: NDArray[np.integer[Any]], n: int) -> NDArray[np.int64]:
    """Return the bounding box (axis, start and stop) of each label from 1 to `n`."""
    found = ndimage.find_objects(labels, n)
    empty = (slice(0, 0),) * labels.ndim
    return np.array([[(s.start, s.stop) for s in box or empty] for box in found], np.int64).reshape(n, labels.ndim, 2)


def edges(found: NDArray[np.int64], axes: str) -> dict[str, NDArray[np.int64]]:
    """Return boxes as columns, named after their axes."""
    return {f"{axis}_{end}": found[:, i, j] for i, axis in enumerate(axes) for j, end in enumerate(ENDS)}


def summed(labels: NDArray[np.integer[Any]], values: NDArray[np.generic], n: int) -> NDArray[np.float64]:
    """Return, per label below `n`, the sums of: voxels, their z, y and x, and their values; plane by plane."""
    total = np.zeros((n, 5))
    rows, columns = (
        np.broadcast_to(index, labels.shape[1:]) for index in np.ogrid[tuple(map(slice, labels.shape[1:]))]
    )
    for z, (plane, bright) in enumerate(zip(labels, values, strict=True)):
        inside = plane > 0
        if not inside.any():
            continue
        of = plane[inside]
        counts = np.bincount(of, minlength=n)
        total[:, :2] += np.stack([counts, counts * z], axis=1)
        for column, weights in enumerate((rows[inside], columns[inside], bright[inside]), start=2):
            total[:, column] += np.bincount(of, weights, minlength=n)
    return total


def voxel_ml(image: Image) -> float:
    """Return the volume of a voxel in ml, NaN where it is not known."""
    if image.spacing is None or image.unit not in MM:
        return float("nan")
    return float(np.prod(image.spacing)) * MM[image.unit] ** 3 / MM3_PER_ML


def placed(centroids: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where voxels (z, y, x) lie in the patient, in mm."""
    return np.asarray(centroids @ affine[:3, :3].T + affine[:3, 3])
