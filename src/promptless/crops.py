"""Crops: the boxes that a window sliding over a scan stops at, and what each counts where they overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
SIGMA = 1 / 8
"""Of the Gaussian, as a share of the crop (nnU-Net's and MONAI's)."""


@dataclass(frozen=True, eq=False)
class Stops:
    """Where crops of one length begin along an axis, and the weight of each of their voxels.

    At every voxel of the axis the weights of all crops add up to 1. Crops stop at a grid, so the product of the weights
    along three axes does too, and what crops say needs only to be added.
    """

    starts: tuple[int, ...]
    weights: tuple[Weights, ...]
    length: int

    @property
    def spans(self) -> list[tuple[slice, Weights]]:
        """Each crop's part of the axis, with its weights."""
        return [(slice(start, start + self.length), w) for start, w in zip(self.starts, self.weights, strict=True)]


def stops(n: int, length: int, overlap: float, blend: str) -> Stops:
    """Return evenly spaced stops of a crop over an axis of `n` voxels, at least `length`.

    Neighbours share at least `overlap` of the crop. `blend` is a name in `PROFILES`.
    """
    assert n >= length, "scans are padded to the size of a crop"
    step = max(1, int(length * (1 - overlap)))
    starts = np.linspace(0, n - length, ceil((n - length) / step) + 1).round().astype(int)
    profile = PROFILES[blend](length)
    total = np.zeros(n)
    for start in starts:
        total[start : start + length] += profile
    shares = tuple((profile / total[start : start + length]).astype(np.float32) for start in starts)
    return Stops(tuple(int(start) for start in starts), shares, length)


def gaussian(length: int) -> NDArray[np.float64]:
    """Return weights that fall off from the middle, and are nowhere 0."""
    away = (np.arange(length) - (length - 1) / 2) / (SIGMA * length)
    return np.asarray(np.exp(-(away**2) / 2))


def constant(length: int) -> NDArray[np.float64]:
    """Return weights that are all alike."""
    return np.ones(length)


PROFILES: dict[str, Callable[[int], NDArray[np.float64]]] = {"gaussian": gaussian, "constant": constant}
"""Weights within a crop, by the name that a model's configuration has for them."""


def filled(shape: Sequence[int], multiple: int) -> tuple[int, ...]:
    """Return the shape that a network takes which halves its grid some times: two multiples along each axis at least.

    With a single one, the last grid would be a voxel, and norms need more.
    """
    return tuple(n if multiple == 1 else max(2, (n + multiple - 1) // multiple) * multiple for n in shape)


def padding(shape: Sequence[int], crop: Sequence[int]) -> list[tuple[int, int]]:
    """Return how many voxels it takes before and behind each axis to fill one crop at least."""
    missing = [max(0, side - n) for n, side in zip(shape, crop, strict=True)]
    return [(lack // 2, lack - lack // 2) for lack in missing]
