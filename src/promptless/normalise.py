"""Intensities and channels as a planar model expects them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = 0.5, 99.8
"""Percentiles mapped to 0 and 1: robust to hot pixels, and still right where nuclei cover 1 % of the image."""

BLOCK = 2**18
"""About how many values are scaled at once."""
ENDLESS = 1e300
"""Numbers from here on are taken for infinite: their differences are."""


def intensity_range(pixels: NDArray[np.generic]) -> tuple[float, float]:
    """Return the values of `pixels` that become 0 and 1, taken over all channels together.

    At most about a million values are looked at, evenly spaced, so that the cost does not grow with the image.
    """
    values = pixels.reshape(-1)
    values = values[:: max(1, values.size // 1_000_000)]
    numbers = values.astype(np.float64)
    numbers = numbers[np.abs(numbers) < ENDLESS]
    if not numbers.size:
        return 0.0, 1.0
    low, high = np.percentile(numbers, (LOW, HIGH))
    if high <= low:
        low, high = float(numbers.min()), float(numbers.max())
    return float(low), float(high)


def scaled(pixels: NDArray[np.generic], low: float, high: float) -> NDArray[np.float32]:
    """Return `pixels` (channel, *spatial) as float32 in [0, 1].

    `low` and below become 0, `high` and above 1, what is not a number 0. A few rows at a time are held in double
    precision, since all of them would take several times the result.
    """
    out = np.empty(pixels.shape, np.float32)
    rows = max(1, BLOCK // max(1, pixels[:, :1].size))
    for start in range(0, pixels.shape[1], rows):
        out[:, start : start + rows] = scaled_at_once(pixels[:, start : start + rows], low, high)
    return out


def scaled_at_once(pixels: NDArray[np.generic], low: float, high: float) -> NDArray[np.float64]:
    """Return `pixels` in [0, 1] as `scaled` does, in double precision."""
    finite = np.nan_to_num(pixels.astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.clip((np.clip(finite, low, high) - low) / ((high - low) or 1.0), 0, 1)


def normalise(pixels: NDArray[np.generic], low: float, high: float) -> NDArray[np.float32]:
    """Return `pixels` (channel, *spatial) as float32 in [0, 1] with three channels; a single one is repeated."""
    channels = scaled(pixels, low, high)
    return np.repeat(channels, 3, axis=0) if len(channels) == 1 else channels
