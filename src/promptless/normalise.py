"""Intensities and channels as a planar model expects them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = 0.5, 99.8
"""Percentiles mapped to 0 and 1: robust to hot pixels, and still right where nuclei cover 1 % of the image."""


def intensity_range(pixels: NDArray[np.generic]) -> tuple[float, float]:
    """Return the values of `pixels` that become 0 and 1, taken over all channels together.

    At most about a million values are looked at, evenly spaced, so that the cost does not grow with the image.
    """
    values = pixels.reshape(-1)
    values = values[:: max(1, values.size // 1_000_000)]
    values = values.astype(np.uint8) if values.dtype == bool else values
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (LOW, HIGH))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return float(low), float(high)


def normalise(pixels: NDArray[np.generic], low: float, high: float) -> NDArray[np.float32]:
    """Return `pixels` (channel, *spatial) as float32 in [0, 1] with three channels; a single one is repeated."""
    span = max(high - low, 1e-6)
    scaled = np.clip((np.nan_to_num(pixels.astype(np.float32), nan=low, posinf=high, neginf=low) - low) / span, 0, 1)
    return np.repeat(scaled, 3, axis=0) if len(scaled) == 1 else scaled
