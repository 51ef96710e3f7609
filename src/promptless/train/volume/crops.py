"""Crops to learn from: around voxels with and without a class, two to one, as published."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from promptless.crops import padding
from promptless.image import Shape
from promptless.train.loop import Batch
from promptless.train.volume.cases import Case
from promptless.train.volume.loss import UNKNOWN
from promptless.train.volume.variety import Matrix, Variety

POSITIVE = 2 / 3
"""So often a crop lies around a voxel that has a class."""
TRIES = 100
"""So often a voxel without a class is looked for; in a scan that is full of classes there may be none."""


Beside = Callable[[Case, NDArray[np.float64], Matrix, Shape], Batch]
"""What else belongs to a crop, of a case, around a middle, by a matrix, of a size."""


def nothing(case: Case, middle: NDArray[np.float64], matrix: Matrix, crop: Shape) -> Batch:
    """Return nothing else."""
    return {}


class Crops(Dataset[Batch]):
    """Crops (1, z, y, x) with the class of each voxel, -1 beyond the scan; item `i` depends on `seed` and `i` alone.

    Every case is met once before any is met again. `mirrored` are the axes along which scans may be turned round.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        crop: Shape,
        seed: int,
        variety: Variety,
        mirrored: tuple[int, ...],
        beside: Beside = nothing,
    ) -> None:
        self.cases, self.crop, self.seed, self.variety, self.mirrored = cases, crop, seed, variety, mirrored
        self.beside = beside

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, index])
        case, matrix = self.case(index), self.variety.turn(self.mirrored, rng)
        middle = middle_of(case, extent(self.crop, matrix), rng, self.variety.roams)
        image, labels = take(case, middle, matrix, self.crop)
        shaded = torch.from_numpy(self.variety.shade(image.numpy(), rng))
        more = self.beside(case, middle, matrix, self.crop)
        return {"image": shaded[None], "labels": labels, **more, "index": torch.tensor(index)}

    def case(self, index: int) -> Case:
        """Return the case that an item is of."""
        round_, place = divmod(index, len(self.cases))
        order = np.random.default_rng([self.seed, round_, 1]).permutation(len(self.cases))
        return self.cases[int(order[place])]

    def names(self, indices: Sequence[int]) -> list[str]:
        """Return the ids of the cases that items are of."""
        return [self.case(index).id for index in indices]


def extent(crop: Shape, matrix: Matrix) -> Shape:
    """Return how many voxels of a scan a crop reaches along each axis; of one that is not oblique, just its own."""
    return tuple(int(n) for n in np.rint(np.abs(matrix) @ np.array(crop)))


def middle_of(case: Case, reach: Shape, rng: np.random.Generator, roams: bool) -> NDArray[np.float64]:
    """Draw the middle of a crop that reaches so far: at a voxel, moved so that it stays within the scan.

    A scan smaller than the crop lies in its middle, or where it `roams` anywhere in it.
    """
    voxel, shape = drawn_voxel(case, rng), case.labels.shape
    starts = []
    for place, size, (before, behind), n in zip(voxel, reach, padding(shape, reach), shape, strict=True):
        if n >= size:
            starts.append(min(max(int(place) - size // 2, 0), n - size))
        else:
            starts.append(-int(rng.integers(before + behind + 1)) if roams else -before)
    return np.array(starts) + (np.array(reach) - 1) / 2


def drawn_voxel(case: Case, rng: np.random.Generator) -> tuple[np.intp, ...]:
    """Draw a voxel that has a class, or else one that has none, of those that there are."""
    if len(case.foreground) and rng.uniform() < POSITIVE:
        return np.unravel_index(case.foreground[rng.integers(len(case.foreground))], case.labels.shape)
    for _ in range(TRIES):
        voxel = np.unravel_index(rng.integers(case.labels.size), case.labels.shape)
        if not case.labels[voxel]:
            break
    return voxel


def take(case: Case, middle: NDArray[np.float64], matrix: Matrix, crop: Shape) -> tuple[Tensor, Tensor]:
    """Return a crop of a case (z, y, x): intensities, interpolated linearly, and the labels of the nearest voxels.

    Beyond the scan the border goes on, and labels are not known. Only the part of the scan that the crop reaches is
    read.
    """
    part, grid = reached(case.labels.shape, middle, matrix, crop)
    image = torch.from_numpy(np.array(case.image[part], np.float32))[None, None]
    labels = torch.from_numpy(case.labels[part].astype(np.float32))[None, None]
    taken = functional.grid_sample(image, grid, "bilinear", "border", align_corners=False)[0, 0]
    classes = functional.grid_sample(labels + 1, grid, "nearest", "zeros", align_corners=False)[0, 0]
    return taken, classes.round().long() + UNKNOWN


def reached(shape: Shape, middle: NDArray[np.float64], matrix: Matrix, crop: Shape) -> tuple[tuple[slice, ...], Tensor]:
    """Return the part of a scan that a crop reaches, and the places of the crop's voxels in it, for grid_sample."""
    reach = np.abs(matrix) @ (np.array(crop) - 1) / 2
    low = np.floor(middle - reach).astype(int) - 1
    high = np.ceil(middle + reach).astype(int) + 2
    whole = np.array(shape)
    low, high = np.clip(low, 0, whole - 1), np.clip(high, 1, whole)
    stops = np.maximum(high, low + 1)
    part = tuple(slice(int(a), int(b)) for a, b in zip(low, stops, strict=True))
    return part, sampling_grid(tuple(int(n) for n in stops - low), middle - low, matrix, crop)


def sampling_grid(shape: Shape, middle: NDArray[np.float64], matrix: Matrix, crop: Shape) -> Tensor:
    """Return grid_sample's grid (1, z, y, x, 3): x, y, z from -1 to 1 over the borders of a part of `shape`."""
    offsets = [torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in crop]
    places = []
    for axis, n in enumerate(shape):
        place = torch.full((1, 1, 1), float(middle[axis]), dtype=torch.float64)
        for i, offset in enumerate(offsets):
            place = place + float(matrix[axis, i]) * offset.reshape([-1 if i == j else 1 for j in range(len(crop))])
        places.append(((place + 0.5) / n * 2 - 1).float())
    return torch.stack([place.expand(crop) for place in reversed(places)], -1)[None]
