"""Grids of scans: where voxels lie in the patient, and which way the axes of a file run.

Inside, a scan is (z, y, x) with z towards the head, y towards the front and x towards the right of the patient,
or as near to that as the axes of its file come: axes are swapped and turned round, never resampled.
"""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from promptless.errors import UnreadableImageError
from promptless.image import Image, Shape

Affine = NDArray[np.float64]
SKEW = 1e-3
"""The largest cosine between two axes that counts as a right angle (0.06 degrees)."""
APART = 1e-3
"""Corners of equal grids may lie apart by this share of a voxel: files keep affines in single precision."""
ORDERED = np.array([[0, 1], [1, 1], [2, 1]])
"""The orientation, as nibabel has it, of axes that are in order already."""


def to_array_order(voxels: NDArray[Any], affine: Affine) -> tuple[NDArray[Any], Affine]:
    """Return the voxels of a file, (i, j, k), as (z, y, x), and the affine that goes with them."""
    turns = nibabel.io_orientation(affine)
    turned = nibabel.apply_orientation(voxels, turns)
    onto = affine @ nibabel.orientations.inv_ornt_aff(turns, voxels.shape)
    return turned.T, onto[:, [2, 1, 0, 3]]


def to_file_order(voxels: NDArray[Any], affine: Affine) -> NDArray[Any]:
    """Return voxels (z, y, x) as (i, j, k) of the file that has this affine."""
    turns = nibabel.orientations.ornt_transform(ORDERED, nibabel.io_orientation(affine))
    return np.asarray(nibabel.apply_orientation(voxels.T, turns))


def onto_file(affine: Affine, shape: Shape) -> Affine:
    """Return what takes (z, y, x, 1) of a scan to (k, j, i, 1) of its file, of this affine and `shape` (i, j, k)."""
    turns = nibabel.orientations.inv_ornt_aff(nibabel.io_orientation(affine), shape)
    reverse = [2, 1, 0, 3]
    return np.asarray(turns[np.ix_(reverse, reverse)], np.float64)


def boxes_in_file(boxes: NDArray[np.int64], shape: Shape, affine: Affine) -> NDArray[np.int64]:
    """Return boxes (n, axis, start and stop) in a scan of `shape` (z, y, x) along the axes (i, j, k) of its file."""
    turns = nibabel.orientations.ornt_transform(ORDERED, nibabel.io_orientation(affine)).astype(int)
    found = np.empty_like(boxes)
    for (towards, sign), along, n in zip(turns, np.moveaxis(boxes[:, ::-1], 1, 0), reversed(shape), strict=True):
        found[:, towards] = along if sign > 0 else np.where(along[:, :1] == along[:, 1:], along, n - along[:, ::-1])
    return found


def spacing_of(affine: Affine) -> tuple[float, ...]:
    """Return the size of a voxel along each axis that the columns of `affine` stand for."""
    return tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))


def check(affine: Affine) -> None:
    """Refuse an affine of (i, j, k) under which voxels are no boxes."""
    if not np.isfinite(affine).all():
        raise UnreadableImageError(f"has an affine with values that are no numbers, {rows(affine)}; write it anew")
    lengths = np.array(spacing_of(affine))
    if not lengths.min() > 0:
        raise UnreadableImageError(
            f"has a singular affine, {rows(affine)}: voxels have sizes {listed(lengths)}, and each must be above 0; "
            "write the affine of the scan anew"
        )
    directions = affine[:3, :3] / lengths
    cosines = np.abs(directions.T @ directions - np.eye(3))
    if cosines.max() > SKEW:
        first, second = sorted(np.unravel_index(int(cosines.argmax()), (3, 3)))
        angle = np.degrees(np.arccos(np.clip(directions[:, first] @ directions[:, second], -1, 1)))
        raise UnreadableImageError(
            f"has a sheared affine, {rows(affine)}: axes {first} and {second} meet at {angle:.2f} degrees, and must at "
            "90; resample the scan onto a grid with right angles"
        )


def check_extent(shape: Shape) -> None:
    """Refuse what is no volume."""
    if len(shape) != 3 or min(shape) < 2:
        raise UnreadableImageError(
            f"holds {' x '.join(map(str, shape))} voxels, and a volume has at least 2 along each of three axes; save a "
            "single slice as TIFF or PNG and segment it as an image"
        )


def check_finite(voxels: NDArray[Any]) -> None:
    """Refuse voxels (i, j, k) that are NaN or infinite, plane by plane."""
    if voxels.dtype.kind != "f":
        return
    bad = [np.argwhere(~np.isfinite(voxels[..., k])) for k in range(voxels.shape[-1])]
    n = sum(map(len, bad))
    if n:
        k = next(k for k, found in enumerate(bad) if len(found))
        place = (*(int(i) for i in bad[k][0]), k)
        raise UnreadableImageError(
            f"has {n:,} voxels that are NaN or infinite, the first at {place} (axes as in the file); give them a "
            "value, such as that of air"
        )


def check_same(found: Image, like: Image) -> None:
    """Refuse an image on another grid than that of `like`."""
    if found.shape != like.shape:
        raise UnreadableImageError(
            f"has {found.shape} voxels (z, y, x) and the scan {like.shape}; they must share one grid: resample it, by "
            "nearest neighbour"
        )
    assert found.affine is not None
    assert like.affine is not None
    check_place(found.affine, like.affine, like.shape, "the scan")


def check_place(affine: Affine, like: Affine, shape: Shape, what: str) -> None:
    """Refuse a grid of `shape` whose corners lie elsewhere than those of `what`, which has the affine `like`."""
    ends = np.stack(np.meshgrid(*((0, n - 1) for n in shape), [1], indexing="ij")).reshape(4, -1)
    apart = np.linalg.norm(((affine - like) @ ends)[:3], axis=0).max()
    if apart > APART * min(spacing_of(like)):
        raise UnreadableImageError(
            f"lies on another grid than {what}: corners are up to {apart:.3g} mm apart; resample it, by nearest "
            "neighbour, or correct its affine"
        )


def turned(voxels: NDArray[Any], affine: Affine, like: Affine) -> tuple[NDArray[Any], Affine]:
    """Return voxels, and their affine, with their axes in the order and the directions of those of `like`."""
    turns = nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), nibabel.io_orientation(like))
    onto = affine @ nibabel.orientations.inv_ornt_aff(turns, voxels.shape)
    return np.asarray(nibabel.apply_orientation(voxels, turns)), onto


def rows(affine: Affine) -> str:
    """Return an affine for a message."""
    return "[" + ", ".join(listed(row) for row in affine[:3]) + "]"


def listed(values: Any) -> str:
    """Return numbers for a message."""
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
