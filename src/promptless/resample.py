"""Linear resampling along each axis: between tiles, model pixels and windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def spaced(shape: Sequence[int], sizes: Sequence[float], spacing: Sequence[float]) -> tuple[int, ...]:
    """Return how many pixels of `spacing` fill the box of `shape` pixels of `sizes`, one at least along each axis."""
    return tuple(max(1, round(n * own / to)) for n, own, to in zip(shape, sizes, spacing, strict=True))


def resample(values: Array, shape: tuple[int, ...], start: tuple[float, ...], step: tuple[float, ...]) -> Array:
    """Sample the last axes of `values` linearly on a grid of `shape`.

    Output pixel i has its centre at `start + (i + 0.5) * step`, in input pixels counted from the input's
    corner. Where a step covers more than one input pixel their mean is taken, so nothing aliases. Beyond
    the border the outermost pixel goes on.
    """
    leading = values.ndim - len(shape)
    for axis, (n, first, pitch) in enumerate(zip(shape, start, step, strict=True)):
        values = along(values, leading + axis, weights(n, values.shape[leading + axis], first, pitch))
    return values


def along(values: Array, axis: int, matrix: Array) -> Array:
    """Return `values` with `matrix` (outputs, inputs) applied along `axis`."""
    if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix), dtype=np.float32)):
        return values
    return np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)


def weights(n: int, n_in: int, start: float, step: float) -> Array:
    """Return the matrix (n, n_in) that samples a line of `n_in` pixels; see `resample`."""
    centre = start + (np.arange(n) + 0.5) * step - 0.5
    width = max(step, 1.0)  # half-width of the triangle that is laid over each centre
    reach = int(np.ceil(width))
    taps = np.floor(centre).astype(int)[:, None] + np.arange(-reach, reach + 2)  # (n, taps)
    share = np.maximum(1 - np.abs(taps - centre[:, None]) / width, 0)
    share /= share.sum(axis=1, keepdims=True)
    matrix = np.zeros((n, n_in), np.float32)
    np.add.at(matrix, (np.arange(n)[:, None], np.clip(taps, 0, n_in - 1)), share)
    return matrix
