"""Pixel-wise scores of a foreground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dice(truth: NDArray[np.generic], predicted: NDArray[np.generic]) -> float:
    """Return 2 |A and B| / (|A| + |B|) of what is not 0; NaN where both are empty."""
    a, b = truth != 0, predicted != 0
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")
