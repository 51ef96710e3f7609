"""Pixel-wise scores of a foreground."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptless.metrics.overlaps import Overlaps


class Foreground(NamedTuple):
    """Pixels of the true foreground, of the predicted, and of both."""

    truth: int
    predicted: int
    shared: int


def foreground(whole: Overlaps) -> Foreground:
    """Count the pixels that belong to any object."""
    pairs = whole.objects
    return Foreground(int(pairs.area_true.sum()), int(pairs.area_predicted.sum()), int(pairs.shared.sum()))


def ensemble_dice(whole: Overlaps) -> float:
    """Return HoVer-Net's `dice_2`: Dice added up over every pair of objects that touch; NaN where none do (0 / 0)."""
    pairs = whole.objects
    total = pairs.area_true[pairs.row].sum() + pairs.area_predicted[pairs.column].sum()
    return float(2 * pairs.shared.sum() / total) if total else float("nan")


def dice(truth: NDArray[np.generic], predicted: NDArray[np.generic]) -> float:
    """Return 2 |A and B| / (|A| + |B|) of what is not 0; NaN where both are empty."""
    a, b = truth != 0, predicted != 0
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")
