"""Sizes and shapes of many objects at once, each as scikit-image's regionprops has it of one after the other.

A tile has hundreds of objects, and asking for one at a time would take longer than finding them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from promptless.strips import Strip

Columns = dict[str, NDArray[np.float64]]
Floats = NDArray[np.float64]

NEIGHBOURS = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]], np.uint8)
"""By which a border pixel's neighbours on the border are told: 2 for each beside it, 10 for each at a corner."""
STEPS = np.zeros(50)
"""Length of the border at a pixel, by what `NEIGHBOURS` makes of it (Benkrid and Crookes, as scikit-image has it)."""
STEPS[[5, 7, 15, 17, 25, 27]] = 1
STEPS[[21, 33]] = np.sqrt(2)
STEPS[[13, 23]] = (1 + np.sqrt(2)) / 2
TIPS = np.array([(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)])
"""The ends of a pixel, as y, x from its middle: its hull is a diamond."""
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Pixels:
    """The places of a strip's pixels, and sums over each object of what they have."""

    strip: Strip

    @cached_property
    def in_strip(self) -> tuple[NDArray[np.int64], ...]:
        """The pixels' places in the strip, by axis."""
        return np.nonzero(self.strip.pixels)

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """Which object each pixel is of."""
        return self.strip.owner[self.in_strip[0]]

    @cached_property
    def at(self) -> tuple[NDArray[np.int64], ...]:
        """The pixels' places in the crops of their objects, by axis."""
        rows, *others = self.in_strip
        return (rows - self.strip.first[self.owners], *others)

    @property
    def in_image(self) -> tuple[NDArray[np.int64], ...]:
        """The pixels' places in the image, by axis."""
        return tuple(at + start[self.owners] for at, start in zip(self.at, self.strip.starts.T, strict=True))

    @cached_property
    def areas(self) -> Floats:
        """How many pixels each object has."""
        return self.sums(None)

    @cached_property
    def centroids(self) -> Floats:
        """The middle of each object in its crop, as (ndim, objects)."""
        return np.stack([self.sums(places) for places in self.at]) / self.areas

    def sums(self, values: NDArray[Any] | None) -> Floats:
        """Return the sum of `values` (pixel,), or of ones, over each object."""
        return np.bincount(self.owners, values, minlength=len(self.strip.first)).astype(np.float64)


def shapes(pixels: Pixels) -> Columns:
    """Return what is said of the shape of the objects in a plane, in pixels, under the object table's names."""
    strip = pixels.strip
    return ellipses(pixels) | {"perimeter": perimeters(strip), "solidity": pixels.areas / hulls(strip)}


def ellipses(pixels: Pixels) -> Columns:
    """Return axes, eccentricity and orientation of the ellipse with an object's second moments."""
    y, x = (at - centre[pixels.owners] for at, centre in zip(pixels.at, pixels.centroids, strict=True))
    yy, xx, xy = (pixels.sums(product) / pixels.areas for product in (y * y, x * x, x * y))
    middle, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    major, minor = middle + spread, np.maximum(middle - spread, 0)
    round_one = np.where(xy > 0, np.pi / 4, -np.pi / 4)  # as tall as it is wide
    return {
        "eccentricity": np.sqrt(1 - np.divide(minor, major, out=np.ones_like(minor), where=major > 0)),
        "major_axis_length": 4 * np.sqrt(major),
        "minor_axis_length": 4 * np.sqrt(minor),
        "orientation": np.where(xx == yy, round_one, 0.5 * np.arctan2(2 * xy, yy - xx)),
    }


def perimeters(strip: Strip) -> Floats:
    """Return the length of the border of each object, through the middles of its pixels."""
    border = strip.pixels & ~ndimage.binary_erosion(strip.pixels)
    kinds = ndimage.convolve(border.astype(np.uint8), NEIGHBOURS, mode="constant")
    at = np.nonzero(border)
    return np.bincount(strip.owner[at[0]], STEPS[kinds[at]], minlength=len(strip.first)).astype(np.float64)


def hulls(strip: Strip) -> Floats:
    """Return how many pixels have their middle in the convex hull of each object's pixels, or on its border."""
    rows = np.flatnonzero(strip.pixels.any(axis=1))
    width = strip.pixels.shape[1]
    ends = [strip.pixels[rows].argmax(axis=1), width - 1 - strip.pixels[rows, ::-1].argmax(axis=1)]
    at = np.stack([np.repeat(rows, 2), np.stack(ends, axis=1).ravel()], axis=1)
    tips = (at[:, None] + TIPS).reshape(-1, 2)
    lines = shapely.linestrings(tips, indices=np.repeat(strip.owner[at[:, 0]], len(TIPS)))
    corners, owner = shapely.get_coordinates(shapely.convex_hull(lines), return_index=True)
    joined = owner[1:] == owner[:-1]
    (y0, x0), (y1, x1) = corners[:-1][joined].T, corners[1:][joined].T
    return lattice(strip, np.stack([y0, x0]), np.stack([y1, x1]))


def lattice(strip: Strip, start: Floats, stop: Floats) -> Floats:
    """Return how many middles of pixels lie within convex polygons, given their sides (y and x, side)."""
    first, last = (np.round(f(start[0], stop[0]) + d).astype(int) for f, d in ((np.minimum, 0.25), (np.maximum, -0.25)))
    lengths = np.where(start[0] == stop[0], 0, np.maximum(last - first + 1, 0))
    side = np.repeat(np.arange(len(lengths)), lengths)
    y = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[side]
    slope = (stop[1] - start[1])[side] / (stop[0] - start[0])[side]
    x = start[1][side] + (y - start[0][side]) * slope
    left, right = np.full(len(strip.owner), np.inf), np.full(len(strip.owner), -np.inf)
    np.minimum.at(left, y, x)
    np.maximum.at(right, y, x)
    inside = np.flatnonzero(np.isfinite(left))
    counts = np.floor(right[inside] + ROUNDING) - np.ceil(left[inside] - ROUNDING) + 1
    return np.bincount(strip.owner[inside], counts, minlength=len(strip.first)).astype(np.float64)
