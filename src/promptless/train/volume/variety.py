"""How crops differ from the scans that they are taken of: as published, or wider. Numbers are drawn, then applied."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]
PLAIN: Matrix = np.eye(3)
Z, Y, X = 0, 1, 2
PUBLISHED, WIDE = "published", "wide"


@dataclass(frozen=True)
class Variety:
    """What is drawn for a crop: where its voxels lie, and how bright they are.

    `turn` draws the matrix that takes the offset of a voxel from the middle of the crop to that in the scan (z, y, x);
    `mirrored` are the axes along which it may turn the scan round. `shade` draws what becomes of the intensities.
    """

    turn: Callable[[tuple[int, ...], np.random.Generator], Matrix]
    shade: Callable[[Array, np.random.Generator], Array]
    roams: bool  # whether a scan smaller than the crop may lie anywhere in it, or just in the middle


def published_turn(mirrored: tuple[int, ...], rng: np.random.Generator) -> Matrix:
    """Draw flips and quarter turns within the axial plane, each at a chance of .1, as in the public code."""
    matrix = PLAIN.copy()
    for axis in mirrored:
        if rng.uniform() < 0.1:
            matrix[axis, axis] = -1
    if rng.uniform() < 0.1:
        matrix = matrix @ quarter_turns(int(rng.integers(1, 4)))
    return matrix


def quarter_turns(n: int) -> Matrix:
    """Return `n` quarter turns within the axial plane."""
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    return np.asarray(np.linalg.matrix_power(turn, n), float)


def wide_turn(mirrored: tuple[int, ...], rng: np.random.Generator) -> Matrix:
    """Draw a small rotation about any axis, scales along each, and a shear: other patients, other postures."""
    angles = rng.normal(0, math.radians(8), 3)
    scales = np.exp(rng.normal(0, 0.08) + rng.normal(0, 0.05, 3))
    shear = PLAIN + np.triu(rng.normal(0, 0.05, (3, 3)), 1)
    flips = np.where(np.isin(np.arange(3), mirrored) & (rng.uniform(size=3) < 0.5), -1.0, 1.0)
    return np.asarray(rotation(angles) @ shear @ np.diag(scales * flips))


def rotation(angles: NDArray[np.float64]) -> Matrix:
    """Return the rotation by an angle about each axis, one after the other."""
    matrix = PLAIN
    for axis, angle in enumerate(angles):
        one, other = (i for i in range(3) if i != axis)
        turn = PLAIN.copy()
        turn[one, one] = turn[other, other] = math.cos(angle)
        turn[one, other], turn[other, one] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    return np.asarray(matrix)


def unshaded(crop: Array, rng: np.random.Generator) -> Array:
    """Return a crop as it is; the public code has its intensity shift commented out."""
    return crop


def wide_shade(crop: Array, rng: np.random.Generator) -> Array:
    """Return a standardised crop blurred, noisier, brighter or darker, or with another contrast or gamma."""
    if rng.uniform() < 0.2:
        crop = ndimage.gaussian_filter(crop, rng.uniform(0.3, 1.0))
    if rng.uniform() < 0.3:
        crop = bent(crop, math.exp(rng.normal(0, 0.25)))
    gain, offset = math.exp(rng.normal(0, 0.12)), rng.normal(0, 0.12)
    crop = crop * np.float32(gain) + np.float32(offset)
    if rng.uniform() < 0.3:
        crop = crop + rng.standard_normal(crop.shape, np.float32) * np.float32(rng.uniform(0, 0.15))
    return np.asarray(crop, np.float32)


def bent(crop: Array, gamma: float) -> Array:
    """Return a crop with its range, which stays, bent by a gamma."""
    low, high = float(crop.min()), float(crop.max())
    if high <= low:
        return crop
    return np.asarray((crop - low) / (high - low), np.float32) ** np.float32(gamma) * np.float32(high - low) + low


VARIETIES = {
    PUBLISHED: Variety(published_turn, unshaded, roams=False),
    WIDE: Variety(wide_turn, wide_shade, roams=True),
}
