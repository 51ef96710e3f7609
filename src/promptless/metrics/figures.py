"""Numbers made of the counts of many images.

A figure says what of the counts adds up over images, and what the sums amount to: a mean is a sum of
scores over a number of images, a pooled figure a ratio of sums. So the figure of one image, of a set
and of every resample of the set are one function of sums.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sums = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """One number of a rule, of one class where `of_class` says which (0: of all).

    `terms` takes the counts of n images and returns what adds up over them, (n, term); `of` takes sums
    (..., term) and returns the figure (...), NaN where it is not defined.
    """

    name: str
    terms: Callable[[list[Any]], Sums]
    of: Callable[[Sums], Sums]
    of_class: int = 0

    def of_images(self, counts: list[Any]) -> Sums:
        """Return the figure of each image, (n,)."""
        return self.of(self.terms(counts))

    def of_set(self, counts: list[Any]) -> float:
        """Return the figure of all images, averaged as the rule says."""
        return float(self.of(self.terms(counts).sum(axis=0)))


def ratio(above: Sums, below: Sums) -> Sums:
    """Divide; NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below == 0, np.nan, above / below)


def mean(name: str, score: Callable[[Any], float]) -> Figure:
    """Return the plain mean over images: one image without a score leaves the set without."""
    return Figure(name, lambda counts: np.array([(score(c), 1.0) for c in counts]), first_over_second)


def defined_mean(name: str, score: Callable[[Any], float], of_class: int = 0) -> Figure:
    """Return the mean over the images that have a score."""
    return Figure(name, lambda counts: defined(np.array([score(c) for c in counts])), first_over_second, of_class)


def pooled(name: str, terms: Callable[[Any], Sequence[float]], of: Callable[[Sums], Sums]) -> Figure:
    """Return a figure of the counts of all images together."""
    return Figure(name, lambda counts: np.array([terms(c) for c in counts], float), of)


def defined(scores: Sums) -> Sums:
    """Return scores (...) as terms (..., 2): the score or 0, and whether there is one."""
    return np.stack([np.nan_to_num(scores, nan=0.0, posinf=np.inf), ~np.isnan(scores)], axis=-1)


def first_over_second(sums: Sums) -> Sums:
    """Return the first term over the second."""
    return ratio(sums[..., 0], sums[..., 1])


def nan_mean(values: Sums, axis: int) -> Sums:
    """Return the mean of what is defined along an axis, NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis))
