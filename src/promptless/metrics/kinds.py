"""Panoptic quality class by class, as PanNuke's own code computes it (Gamper et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptless.metrics.comparison import Comparison
from promptless.metrics.overlaps import Overlaps
from promptless.metrics.panoptic import quality

NAN = float("nan")


class ByClass(NamedTuple):
    """PQ of all objects whatever their class, and of each class that the truth has; NaN where the truth is empty."""

    whole: float
    classes: Mapping[int, float]

    @property
    def mean(self) -> float:
        """The mean over the classes that the truth has."""
        return float(np.mean(list(self.classes.values()))) if self.classes else NAN


def by_class(comparison: Comparison) -> ByClass:
    """Return PQ (IoU > 0.5) of each class of the truth: a class that only the prediction has does not count.

    Objects of unknown class count in PQ of the whole alone.
    """
    pairs = comparison.overlaps.objects
    true = told(pairs.true_ids, comparison.true_classes, "truth")
    predicted = told(pairs.predicted_ids, comparison.predicted_classes, "prediction")
    present = sorted(set(true.tolist()) - {0})
    return ByClass(truthful(pairs), {c: truthful(pairs.taken(true == c, predicted == c)) for c in present})


def told(ids: NDArray[np.int64], classes: Mapping[int, int], what: str) -> NDArray[np.int64]:
    """Return the class of each object, 0 where it is not known; raise where none is."""
    found = np.array([classes.get(i, 0) for i in ids.tolist()], np.int64)
    if len(ids) and not found.any():
        raise ValueError(
            f"the {what} has objects but no classes; they are read from NAME_objects.csv beside it (column class), "
            "or from classes/NAME.csv beside its folder"
        )
    return found


def truthful(pairs: Overlaps) -> float:
    """Return PQ, NaN where the truth has no object."""
    return quality(pairs, 0.0).pq if pairs.n_true else NAN
