"""Object-wise scores under StarDist's rule (`stardist.matching`, Weigert et al. 2020): IoU >= t, one to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

THRESHOLDS = (0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
"""Literal values: np.arange(.5, 1, .05) drifts above them."""

Labels = NDArray[np.integer]


class Matching(NamedTuple):
    """Counts per threshold for one image, or summed over several."""

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """TP / (TP + FP + FN) per threshold, "average precision" in this field; 0 where both images are empty."""
        total = self.tp + self.fp + self.fn
        return np.where(total > 0, self.tp / np.maximum(total, 1), 0.0)


def match(truth: Labels, predicted: Labels, thresholds: Sequence[float] = THRESHOLDS) -> Matching:
    """Count objects of two label images that match, each with one other at most, at every IoU threshold."""
    iou = intersection_over_union(truth, predicted)
    n_true, n_predicted = iou.shape
    tp = np.array([n_matches(iou, t) for t in thresholds], np.int64)
    return Matching(tp, n_predicted - tp, n_true - tp)


def intersection_over_union(truth: Labels, predicted: Labels) -> csr_array:
    """Return the IoU of every pair of objects that overlap, as a sparse matrix (true objects, predicted objects).

    Values are float32, as StarDist compares them: an IoU of 3/5 reaches a threshold of 0.6.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"label images must have one shape, but they have {truth.shape} and {predicted.shape}")
    true_ids, rows = np.unique(truth, return_inverse=True)
    predicted_ids, columns = np.unique(predicted, return_inverse=True)
    shape = len(true_ids), len(predicted_ids)
    pairs, shared = np.unique(rows.ravel().astype(np.int64) * shape[1] + columns.ravel(), return_counts=True)
    row, column = pairs // shape[1], pairs % shape[1]
    area_true = np.bincount(rows.ravel(), minlength=shape[0])
    area_predicted = np.bincount(columns.ravel(), minlength=shape[1])
    objects = (true_ids[row] != 0) & (predicted_ids[column] != 0)
    row, column, shared = row[objects], column[objects], shared[objects]
    iou = (shared / (area_true[row] + area_predicted[column] - shared)).astype(np.float32)
    whole = csr_array((iou, (row, column)), shape=shape)
    return csr_array(whole[true_ids != 0][:, predicted_ids != 0])


def n_matches(iou: csr_array, threshold: float) -> int:
    """Return the largest number of one-to-one pairs whose IoU reaches `threshold`."""
    close = iou.copy()
    close.data = (close.data >= np.float32(threshold)).astype(np.float32)
    close.eliminate_zeros()
    if not close.nnz:
        return 0
    return int((maximum_bipartite_matching(close, perm_type="column") >= 0).sum())


def pooled(matchings: Sequence[Matching]) -> Matching:
    """Return the counts of several images together."""
    return Matching(*(np.sum(column, axis=0) for column in zip(*matchings, strict=True)))


def mean_segmentation_accuracy(matchings: Sequence[Matching]) -> float:
    """Return mSA: per image the mean precision over the thresholds, then the mean over images."""
    return float(np.mean([m.precision.mean() for m in matchings]))
