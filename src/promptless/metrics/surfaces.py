"""Distances between the surfaces of two masks, in mm."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours, marching_cubes

Mask = NDArray[np.bool_]
Spacing = tuple[float, ...]


class Surface(NamedTuple):
    """Where the surface of a mask is, and how large its piece is at every place."""

    places: Mask
    size: NDArray[np.float64]


class SurfaceDistances(NamedTuple):
    """The pieces of two surfaces: how far (mm) each lies from the other surface, and how large it is.

    Distances are infinite where the other surface does not exist.
    """

    true: NDArray[np.float64]
    true_size: NDArray[np.float64]
    predicted: NDArray[np.float64]
    predicted_size: NDArray[np.float64]


def surfel_distances(truth: Mask, predicted: Mask, spacing: Spacing) -> SurfaceDistances:
    """Return the distances of surface elements, as DeepMind's `surface-distance` defines them (Nikolov et al. 2018).

    An element lies where 2 x 2 (x 2) neighbouring voxels are not all alike; its size is the length (area)
    of the marching-squares (-cubes) surface between them.
    """
    truth, predicted = cropped(truth, predicted)
    return distances(surfels(truth, spacing), surfels(predicted, spacing), spacing)


def edge_distances(truth: Mask, predicted: Mask, spacing: Spacing) -> SurfaceDistances:
    """Return the distances of edge voxels, all of size 1, as MONAI's `use_subvoxels=False` defines them.

    An edge voxel belongs to the mask and has a face in common with what does not.
    """
    truth, predicted = cropped(truth, predicted)
    return distances(edges(truth), edges(predicted), spacing)


def surfels(mask: Mask, spacing: Spacing) -> Surface:
    """Return the surface elements of a mask, one between each 2 x 2 (x 2) voxels that are not all alike."""
    codes, sizes = neighbour_codes(mask), surfel_sizes(spacing)
    return Surface((codes > 0) & (codes < len(sizes) - 1), sizes[codes])


def edges(mask: Mask) -> Surface:
    """Return the edge voxels of a mask."""
    return Surface(mask & ~ndimage.binary_erosion(mask), np.ones(mask.shape))


def cropped(truth: Mask, predicted: Mask) -> tuple[Mask, Mask]:
    """Return both masks in the box that holds them, with one empty voxel around."""
    if truth.shape != predicted.shape:
        raise ValueError(f"masks must have one shape, but they have {truth.shape} and {predicted.shape}")
    either = truth | predicted
    region = ndimage.find_objects(either.astype(np.uint8))[0] if either.any() else (slice(0, 0),) * truth.ndim
    return np.pad(truth[region], 1), np.pad(predicted[region], 1)


def distances(truth: Surface, predicted: Surface, spacing: Spacing) -> SurfaceDistances:
    """Return the distance of every piece of one surface to the nearest of the other."""
    return SurfaceDistances(
        distances_to(predicted.places, truth.places, spacing),
        truth.size[truth.places],
        distances_to(truth.places, predicted.places, spacing),
        predicted.size[predicted.places],
    )


def distances_to(surface: Mask, places: Mask, spacing: Spacing) -> NDArray[np.float64]:
    """Return how far (mm) each of `places` is from the nearest of `surface`, infinite where there is none.

    Only the nearest are asked for everywhere; distances everywhere would take as long again.
    """
    if not surface.any():
        return np.full(np.count_nonzero(places), np.inf)
    nearest = ndimage.distance_transform_edt(~surface, sampling=spacing, return_distances=False, return_indices=True)
    away = (np.argwhere(places) - nearest[:, places].T) * spacing  # (place, axis)
    return np.asarray(np.sqrt((away**2).sum(axis=1)))


def neighbour_codes(mask: Mask) -> NDArray[np.uint8]:
    """Return for each corner between voxels which of the voxels around it are in `mask`, one bit each.

    The result is one shorter per axis; bits are in the order of `corners`.
    """
    code = np.zeros([n - 1 for n in mask.shape], np.uint8)
    for bit, corner in enumerate(corners(mask.ndim)):
        code |= mask[tuple(slice(c, c + n) for c, n in zip(corner, code.shape, strict=True))].astype(np.uint8) << bit
    return code


def corners(ndim: int) -> list[tuple[int, ...]]:
    """Return the voxels around a place, as offsets."""
    return list(product((0, 1), repeat=ndim))


@cache
def surfel_sizes(spacing: Spacing) -> NDArray[np.float64]:
    """Return the size (mm or mm2) of the surface element that each neighbour code stands for.

    Where most voxels are inside, the element is that of the opposite code, so that a mask and its
    complement have one surface; this is DeepMind's table, for any spacing.
    """
    ndim = len(spacing)
    if ndim not in SIZE:
        raise ValueError(f"surfaces are measured in images of 2 or 3 axes; these have {ndim}")
    n_corners = 1 << ndim
    full = (1 << n_corners) - 1
    sizes = np.zeros(full + 1)
    for code in range(1, full):
        rarer = code if code.bit_count() <= n_corners // 2 else full - code
        cell = np.array([rarer >> bit & 1 for bit in range(n_corners)], float).reshape((2,) * ndim)
        sizes[code] = SIZE[ndim](cell, np.asarray(spacing, float))
    return sizes


def contour_length(cell: NDArray[np.float64], spacing: NDArray[np.float64]) -> float:
    """Return the length of the contour through 2 x 2 pixels."""
    lines = find_contours(cell, 0.5)
    return float(sum(np.linalg.norm(np.diff(line * spacing, axis=0), axis=1).sum() for line in lines))


def surface_area(cell: NDArray[np.float64], spacing: NDArray[np.float64]) -> float:
    """Return the area of the surface through 2 x 2 x 2 voxels."""
    places, faces, _, _ = marching_cubes(cell, 0.5, method="lorensen")
    a, b, c = np.moveaxis((places.astype(float) * spacing)[faces], 1, 0)  # (triangle, axis) each
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


SIZE: dict[int, Callable[[NDArray[np.float64], NDArray[np.float64]], float]] = {2: contour_length, 3: surface_area}
"""The size of a surface element by the number of axes."""


def surface_dice(found: SurfaceDistances, tolerance: float) -> float:
    """Return the share of both surfaces that lies within `tolerance` (mm) of the other; NaN where there is neither."""
    total = found.true_size.sum() + found.predicted_size.sum()
    near = found.true_size[found.true <= tolerance].sum() + found.predicted_size[found.predicted <= tolerance].sum()
    return float(near / total) if total else float("nan")


def hausdorff(found: SurfaceDistances, share: float = 0.95) -> float:
    """Return the distance (mm) within which `share` of each surface lies of the other, the larger of the two (HD95).

    Infinite where one surface is missing, NaN where both are.
    """
    if not len(found.true) + len(found.predicted):
        return float("nan")
    return max(quantile(found.true, found.true_size, share), quantile(found.predicted, found.predicted_size, share))


def quantile(distance: NDArray[np.float64], size: NDArray[np.float64], share: float) -> float:
    """Return the smallest distance within which `share` of all `size` lies; infinite where there is none."""
    if not len(distance):
        return float("inf")
    order = np.lexsort((size, distance))
    reached = np.cumsum(size[order]) / size.sum()
    return float(distance[order][min(int(np.searchsorted(reached, share)), len(order) - 1)])
