"""How far a figure would move with other images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def interval(
    items: Sequence[Item],
    score: Callable[[Sequence[Item]], float],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    draws: int = 2000,
) -> tuple[float, float]:
    """Return the percentile interval of `score` over resamples of `items` (images) with replacement."""
    if not items:
        return float("nan"), float("nan")
    picks = rng.integers(len(items), size=(draws, len(items)))
    scores = [score([items[i] for i in pick]) for pick in picks]
    low, high = np.nanpercentile(scores, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)
