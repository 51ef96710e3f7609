"""Intensities of scans as a model on volumes expects them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from promptless.config import Intensity

WINDOW = "window"
LOOKED_AT = 1_000_000
"""About how many voxels percentiles are taken of, evenly spaced, so that the cost does not grow with the scan."""


def standardised(data: NDArray[np.generic], rule: Intensity) -> NDArray[np.float32]:
    """Return the values of a scan, of any shape, as a network sees them: cut off, mean 0, standard deviation 1.

    Of a whole scan: what percentiles are, a part of it does not know. For a scan slab by slab take `window_of` the
    whole, then this, with that window, of every slab. What is not a number becomes the lowest value.
    """
    window = window_of(data, rule)
    values = finite(data, window)
    np.clip(values, window.low, window.high, out=values)
    values -= np.float32(window.mean)
    values /= np.float32(window.std)
    return values


def finite(data: NDArray[np.generic], window: Intensity) -> NDArray[np.float32]:
    """Return a copy of values with what is not a number as the lowest value, and what is infinite as the ends.

    Before a scan is resampled: interpolation would spread them.
    """
    return np.nan_to_num(data.astype(np.float32), nan=window.low, posinf=window.high, neginf=window.low)


def window_of(data: NDArray[np.generic], rule: Intensity) -> Intensity:
    """Return the rule as the window that it means for a scan; one that is a window already means itself.

    A scan that has one value everywhere becomes 0.
    """
    if rule.rule == WINDOW:
        return rule
    values = data.reshape(-1)
    values = values[:: max(1, values.size // LOOKED_AT)].astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return replace(rule, rule=WINDOW, low=0.0, high=1.0, mean=0.0, std=1.0)
    low, high = (float(value) for value in np.percentile(values, (rule.low, rule.high)))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    cut = values.clip(low, high)
    width = {"high": high, "std": float(cut.std())} if high > low else {"high": low + 1.0, "std": 1.0}
    return replace(rule, rule=WINDOW, low=low, mean=float(cut.mean()), **width)
