"""How many pixels each object of one label image shares with each of another: counted once, used by every rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.labels import LabelSource

BLOCK = 1 << 21
"""Pixels that are looked at together; what a pair needs in memory does not grow beyond that with its size."""

Labels = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Overlaps:
    """A sparse contingency table of two label images.

    `true_ids` and `predicted_ids` are the labels that occur, ascending, `area_true` and `area_predicted`
    their pixels. Entry i says that `shared[i]` pixels are labelled `true_ids[row[i]]` in the truth and
    `predicted_ids[column[i]]` in the prediction; entries are in the order of rows, then columns.
    """

    true_ids: NDArray[np.int64]
    predicted_ids: NDArray[np.int64]
    area_true: NDArray[np.int64]
    area_predicted: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    shared: NDArray[np.int64]

    @property
    def n_true(self) -> int:
        """How many labels the truth has."""
        return len(self.true_ids)

    @property
    def n_predicted(self) -> int:
        """How many labels the prediction has."""
        return len(self.predicted_ids)

    @property
    def has_background(self) -> bool:
        """Whether label 0 occurs in both images; some codes take the lowest label for it where it does not."""
        return 0 in self.true_ids[:1] and 0 in self.predicted_ids[:1]

    @cached_property
    def union(self) -> NDArray[np.int64]:
        """The pixels of either object, per entry."""
        return self.area_true[self.row] + self.area_predicted[self.column] - self.shared

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union, per entry."""
        return self.shared / self.union

    @cached_property
    def objects(self) -> Overlaps:
        """The overlaps of objects alone, without label 0."""
        return self.taken(self.true_ids != 0, self.predicted_ids != 0)

    def taken(self, rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> Overlaps:
        """Return the overlaps of some true labels with some predicted ones alone."""
        keep = rows[self.row] & columns[self.column]
        return Overlaps(
            self.true_ids[rows],
            self.predicted_ids[columns],
            self.area_true[rows],
            self.area_predicted[columns],
            (np.cumsum(rows) - 1)[self.row[keep]],
            (np.cumsum(columns) - 1)[self.column[keep]],
            self.shared[keep],
        )


def overlaps(truth: LabelSource, predicted: LabelSource) -> Overlaps:
    """Count the overlaps of two label images of one shape, block by block."""
    if truth.shape != predicted.shape:
        raise ValueError(f"label images must have one shape, but they have {truth.shape} and {predicted.shape}")
    parts = [tally(*runs(truth[rows], predicted[rows])) for rows in blocks(truth.shape)]
    if not parts:
        raise ValueError(f"label images of shape {truth.shape} have no pixels")
    return table(*tally(*(np.concatenate(column) for column in zip(*parts, strict=True))))


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of the first axis that hold about `BLOCK` pixels each."""
    size = max(1, BLOCK // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], size):
        yield slice(start, min(start + size, shape[0]))


def runs(truth: Any, predicted: Any) -> tuple[Labels, Labels, NDArray[np.int64]]:
    """Return the runs of pixels with one pair of labels: true labels, predicted labels, lengths.

    Label images are made of long runs, and all that follows sorts: a tenth of the pixels, not all.
    """
    truth, predicted = np.asarray(truth).ravel(), np.asarray(predicted).ravel()
    change = truth[1:] != truth[:-1]
    change |= predicted[1:] != predicted[:-1]
    start = np.concatenate([[0], np.flatnonzero(change) + 1])
    return truth[start], predicted[start], np.diff(start, append=len(truth))


def tally(
    truth: Labels, predicted: Labels, counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Add up the counts of equal pairs of labels, and return each pair once, in order."""
    true_ids, row = np.unique(truth, return_inverse=True)
    predicted_ids, column = np.unique(predicted, return_inverse=True)
    pairs, place = np.unique(row * len(predicted_ids) + column, return_inverse=True)
    total = np.bincount(place, counts).astype(np.int64)  # exact: below 2 ** 53
    row, column = np.divmod(pairs, len(predicted_ids))
    return true_ids[row].astype(np.int64), predicted_ids[column].astype(np.int64), total


def table(truth: NDArray[np.int64], predicted: NDArray[np.int64], shared: NDArray[np.int64]) -> Overlaps:
    """Return the table of pairs of labels that occur once each, in order."""
    true_ids, row = np.unique(truth, return_inverse=True)
    predicted_ids, column = np.unique(predicted, return_inverse=True)
    for name, ids in (("truth", true_ids), ("prediction", predicted_ids)):
        if ids[0] < 0:
            raise ValueError(f"the {name} has the label {ids[0]}; background is 0 and objects are 1, 2, ...")
    area_true = np.bincount(row, shared).astype(np.int64)
    area_predicted = np.bincount(column, shared).astype(np.int64)
    return Overlaps(true_ids, predicted_ids, area_true, area_predicted, row, column, shared)
