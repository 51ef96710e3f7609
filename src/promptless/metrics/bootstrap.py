"""How far a figure would move with other images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

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
    return percentiles(np.array(scores), level)


def interval_of_sums(
    terms: NDArray[np.float64],
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    draws: int = 2000,
) -> tuple[float, float]:
    """Return the percentile interval of a figure `of` the sums of `terms` (image, term) over resampled images.

    All resamples are one product of matrices: how often each image was drawn, times the terms.
    """
    n = len(terms)
    if n < 2:
        return float("nan"), float("nan")
    times = rng.multinomial(n, np.full(n, 1 / n), size=draws)  # (draw, image)
    return percentiles(of(times @ terms), level)


def percentiles(scores: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Return where the middle `level` of the scores that are defined begins and ends, NaN where none is."""
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return float("nan"), float("nan")
    low, high = np.percentile(scores, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)
