"""How far a figure would move with other images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

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
    with np.errstate(invalid="ignore"):  # what is endless less what is endless is not defined
        return percentiles(of(summed(times, terms)), level)


def summed(times: NDArray[np.int64], terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums (draw, term) of `terms`, each image taken so many times; an infinite one not drawn adds nothing.

    A plain product would say NaN there, which 0 times infinity is.
    """
    sums = times @ np.where(np.isinf(terms), 0, terms)
    for endless in (np.inf, -np.inf):
        if (terms == endless).any():
            sums = sums + np.where(times @ (terms == endless) > 0, endless, 0)
    return np.asarray(sums)


def percentiles(scores: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Return where the middle `level` of the scores that are defined begins and ends, NaN where none is.

    Nothing lies between a finite score and an infinite one: where some are infinite, a score itself is taken.
    """
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return float("nan"), float("nan")
    method: Literal["inverted_cdf", "linear"] = "inverted_cdf" if np.isinf(scores).any() else "linear"
    low, high = np.percentile(scores, [50 * (1 - level), 50 * (1 + level)], method=method)
    return float(low), float(high)
