"""Training patches: numbers are drawn first, then applied."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from torch.nn import functional

from promptless.config import Kind
from promptless.data import stains
from promptless.data.sample import Sample
from promptless.normalise import scaled
from promptless.tiles import round_up

Array = NDArray[np.float32]

NUCLEUS_PX = (8.0, 100.0)
"""Diameters that a model of nuclei must cope with, in pixels."""


@dataclass(frozen=True)
class Geometry:
    """Where in an image a patch lies: output pixel -> input pixel is `centre + matrix @ offset`."""

    centre: tuple[float, float]
    matrix: tuple[tuple[float, float], tuple[float, float]]

    @property
    def reduction(self) -> int:
        """The whole number of input pixels that one output pixel covers, at least 1."""
        return max(1, round(math.sqrt(abs(float(np.linalg.det(self.matrix))))))


def draw_geometry(
    sample: Sample, size: int, rng: np.random.Generator, variety: Variety | None = None, seen: float = 1.0
) -> Geometry:
    """Draw position, scale, rotation, aspect and mirroring of a patch, inside the image where it fits.

    `seen` is the scale at which a model looks at the sample: patch pixels per image pixel.
    """
    zoom = (variety or VARIETIES[WIDE]).zoom(sample, seen, rng)
    angle = rng.choice([rng.uniform(0, 2 * math.pi), math.pi / 2 * rng.integers(4)])
    aspect = math.exp(rng.normal(0, 0.07))
    mirror = rng.choice([-1, 1])
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = rotation @ np.diag([aspect, mirror / aspect]) / zoom
    margin = size / 2 / zoom
    centre = tuple(rng.uniform(margin, n - margin) if n > 2 * margin else n / 2 for n in sample.labels.shape)
    return Geometry(centre, tuple(map(tuple, matrix)))  # type: ignore[arg-type]


def seen_at(sample: Sample, kind: Kind) -> float:
    """Return the scale at which a model of a kind looks at a sample; where it judges by eye, at what it should see."""
    if sample.mpp is not None:
        return sample.mpp / kind.pixel_size
    return 2.0 if sample.diameter < kind.small_px else 1.0


def wide_zoom(sample: Sample, seen: float, rng: np.random.Generator) -> float:
    """Draw a scale: two in three near what a model sees, the third with its nuclei anywhere in `NUCLEUS_PX`."""
    if rng.uniform() < 2 / 3:
        zoom = seen * math.exp(rng.uniform(math.log(0.7), math.log(1.5)))
    else:
        zoom = math.exp(rng.uniform(*np.log(NUCLEUS_PX))) / sample.diameter
    return min(max(zoom, NUCLEUS_PX[0] / sample.diameter), NUCLEUS_PX[1] / sample.diameter, 6.0)


def near_zoom(sample: Sample, seen: float, rng: np.random.Generator) -> float:
    """Draw a scale near the one that a model sees."""
    return seen * math.exp(rng.uniform(math.log(0.7), math.log(1.4)))


def take_patch(sample: Sample, geometry: Geometry, size: int) -> tuple[Array, NDArray[np.int32]]:
    """Return the patch (channel, size, size) in [0, 1] and its labels, the image mirrored beyond its border."""
    image = torch.from_numpy(scaled(sample.pixels, *sample.range))[None]
    n = geometry.reduction
    padded = tuple(round_up(length, n) for length in sample.labels.shape)
    if n > 1:
        missing = [after - length for after, length in zip(padded, sample.labels.shape, strict=True)]
        image = functional.avg_pool2d(functional.pad(image, (0, missing[1], 0, missing[0]), "replicate"), n)
    coarse = sampling_grid(padded, geometry, size)
    patch = functional.grid_sample(image, coarse, "bilinear", "reflection", align_corners=False)[0].numpy()
    return patch, parted(take_nearest(sample.labels, geometry, size))


def take_nearest(values: NDArray[np.integer], geometry: Geometry, size: int) -> NDArray[np.int32]:
    """Return the whole numbers (size, size) of the very pixels that `take_patch` takes the labels of."""
    image = torch.from_numpy(values.astype(np.float32))[None, None]
    grid = sampling_grid(values.shape, geometry, size)
    found = functional.grid_sample(image, grid, "nearest", "reflection", align_corners=False)[0, 0]
    return found.numpy().astype(np.int32)


def parted(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return labels in which every connected part is an object: a mirrored object is another one."""
    return np.asarray(label(labels, connectivity=1), np.int32)


def take_classes(sample: Sample, geometry: Geometry, size: int) -> NDArray[np.int64]:
    """Return the class map (size, size) of the patch that `take_patch` takes, from the very same pixels."""
    return take_nearest(sample.class_map, geometry, size).astype(np.int64)


def sampling_grid(shape: tuple[int, ...], geometry: Geometry, size: int) -> torch.Tensor:
    """Return grid_sample's grid (1, size, size, 2): x, y from -1 to 1 over the image's borders."""
    offset = np.arange(size) - (size - 1) / 2
    y, x = (
        (centre + row[0] * offset[:, None] + row[1] * offset[None]) / n * 2 - 1
        for centre, row, n in zip(geometry.centre, geometry.matrix, shape, strict=True)
    )
    return torch.from_numpy(np.stack([x, y], -1).astype(np.float32))[None]


def colour(patch: Array, labels: NDArray[np.int32], category: str, rng: np.random.Generator) -> Array:
    """Return the patch (3, *spatial) in [0, 1] as another microscope or another stain would show it."""
    if len(patch) == 3:
        if rng.uniform() < 0.7:
            cytoplasm = brown_cytoplasm(labels, rng) * (rng.uniform() < 0.3)
            patch = stains.restain(patch, brown_map(labels, rng), cytoplasm, rng)
        if rng.uniform() < 0.15:
            patch = np.repeat(np.tensordot(rng.dirichlet([2, 2, 2]), patch, 1)[None], 3, axis=0)
    elif category.startswith("fluorescence") and rng.uniform() < 0.15:
        texture = smooth_noise(labels.shape, rng.uniform(1, 12), rng)
        patch = stains.stain(patch[0], texture, brown_map(labels, rng), rng)
    else:
        patch = np.repeat(patch, 3, axis=0)
        if rng.uniform() < 0.1:
            patch = patch * rng.uniform(0, 1, (3, 1, 1)).astype(np.float32)
    return intensity(patch.astype(np.float32), rng)


BRIGHT = 0.4
"""The mean from which a coloured patch is taken to be stained tissue in a bright field."""


def near_colour(patch: Array, labels: NDArray[np.int32], category: str, rng: np.random.Generator) -> Array:
    """Return the patch (3, *spatial) in [0, 1] as the same microscope and the same stain might show it another day."""
    if len(patch) == 3 and patch.mean() > BRIGHT and rng.uniform() < 0.7:
        patch = stains.another_day(patch, rng)
    patch = np.repeat(patch, 3 // len(patch), axis=0)
    gain, offset = np.exp(rng.normal(0, 0.08, (3, 1, 1))), rng.normal(0, 0.03, (3, 1, 1))
    patch = (np.clip(patch * gain + offset, 0, 1) ** math.exp(rng.normal(0, 0.2))).astype(np.float32)
    if rng.uniform() < 0.2:
        sigma = rng.uniform(0.3, 1.0)
        patch = ndimage.gaussian_filter(patch, (0, sigma, sigma))
    if rng.uniform() < 0.3:
        patch = patch + rng.standard_normal(patch.shape[1:], np.float32) * rng.uniform(0, 0.04)
    return np.asarray(np.clip(patch, 0, 1), np.float32)


def intensity(patch: Array, rng: np.random.Generator) -> Array:
    """Return the patch blurred, noisier, inverted, brighter or darker, or with another contrast."""
    if rng.uniform() < 0.25:
        sigma = rng.uniform(0.4, 1.6)
        patch = ndimage.gaussian_filter(patch, (0, sigma, sigma))
    if rng.uniform() < 0.3:
        shading = smooth_noise(patch.shape[1:], patch.shape[1] / 3, rng)
        patch = patch * (1 - rng.uniform(0, 0.5) * shading)
    if rng.uniform() < 0.6:
        patch = np.asarray(np.clip(patch, 0, 1) ** math.exp(rng.normal(0, 0.4)), np.float32)
    if rng.uniform() < 0.4:
        noise = rng.standard_normal(patch.shape[1:], np.float32)
        patch = patch + noise * rng.uniform(0, 0.08)
    if rng.uniform() < 0.12:
        patch = 1 - patch
    gain, offset = math.exp(rng.normal(0, 0.15)), rng.normal(0, 0.05)
    return np.asarray(np.clip(patch * gain + offset, 0, 1), np.float32)


def brown_map(labels: NDArray[np.int32], rng: np.random.Generator) -> Array:
    """Return how brown (DAB) the nuclear stain is at each pixel: nowhere, everywhere, or in some nuclei."""
    share = rng.choice([0.0, rng.uniform(), 1.0], p=[0.5, 0.3, 0.2])
    objects = (rng.uniform(size=int(labels.max()) + 1) < share).astype(np.float32)
    objects[0] = share > 0.5
    return np.asarray(ndimage.uniform_filter(objects[labels], 3), np.float32)


def brown_cytoplasm(labels: NDArray[np.int32], rng: np.random.Generator) -> Array:
    """Return the density of a brown (DAB) stain of some cells' cytoplasm, weaker within the nuclei."""
    length = rng.uniform(1, 4) * math.sqrt(1 + np.count_nonzero(labels) / (1 + labels.max()))
    cells = 1 / (1 + np.exp(-12 * (smooth_noise(labels.shape, length, rng) - rng.uniform(0.3, 0.7))))
    grain = 0.7 + 0.6 * smooth_noise(labels.shape, rng.uniform(1.5, 5), rng)
    nuclei = ndimage.gaussian_filter((labels > 0).astype(np.float32), 1)
    inside = rng.uniform(0, 0.6)
    return np.asarray(rng.uniform(0.4, 1.8) * cells * grain * (1 - (1 - inside) * nuclei), np.float32)


def smooth_noise(shape: tuple[int, ...], length: float, rng: np.random.Generator) -> Array:
    """Return noise in [0, 1] that varies over about `length` pixels."""
    coarse = rng.uniform(size=tuple(max(2, round(n / length)) for n in shape)).astype(np.float32)
    grid = torch.from_numpy(coarse)[None, None]
    fine = functional.interpolate(grid, shape, mode="bicubic", align_corners=True)[0, 0]
    return np.asarray(fine.clamp(0, 1), np.float32)


@dataclass(frozen=True)
class Variety:
    """How far patches may be from the images that they are taken of: scale, colours, and added crowds."""

    zoom: Callable[[Sample, float, np.random.Generator], float]
    colour: Callable[[Array, NDArray[np.int32], str, np.random.Generator], Array]
    crowded: float  # the share of fluorescence patches that get copies of their own objects


WIDE, NEAR = "wide", "near"
VARIETIES = {WIDE: Variety(wide_zoom, colour, 0.4), NEAR: Variety(near_zoom, near_colour, 0.0)}
"""Other microscopes, stains and scales, for a model that is to cope with all; or images like those at hand."""
