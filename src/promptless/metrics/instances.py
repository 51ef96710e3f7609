"""Object-wise counts: which objects of two label images are one and the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from promptless.metrics.overlaps import Labels, Overlaps, overlaps

THRESHOLDS = (0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
"""Literal values: np.arange(.5, 1, .05) drifts above them."""


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
    """Count the objects of two label images that match under StarDist's rule, at every IoU threshold."""
    return stardist_matching(overlaps(truth, predicted).objects, thresholds)


def stardist_matching(pairs: Overlaps, thresholds: Sequence[float] = THRESHOLDS) -> Matching:
    """Count matches as `stardist.matching` does (Weigert et al. 2020): IoU >= t, one to one.

    IoU and thresholds are compared in float32: an IoU of 3/5 reaches 0.6.
    """
    iou = pairs.iou.astype(np.float32)
    tp = np.array([n_matches(pairs, iou >= np.float32(t)) for t in thresholds], np.int64)
    return Matching(tp, pairs.n_predicted - tp, pairs.n_true - tp)


def double_matching(pairs: Overlaps, thresholds: Sequence[float]) -> Matching:
    """Count matches as cellpose and elf do: StarDist's rule with IoU and thresholds compared in float64."""
    tp = np.array([n_matches(pairs, pairs.iou >= t) for t in thresholds], np.int64)
    return Matching(tp, pairs.n_predicted - tp, pairs.n_true - tp)


def n_matches(pairs: Overlaps, close: NDArray[np.bool_]) -> int:
    """Return the largest number of one-to-one pairs among the entries that are `close`.

    That is what the assignments of StarDist, cellpose and elf find: to them one more match outweighs any IoU.
    """
    row, column = pairs.row[close], pairs.column[close]
    if not len(row):
        return 0
    graph = csr_array((np.ones(len(row), np.float32), (row, column)), shape=(pairs.n_true, pairs.n_predicted))
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())


def greater_matching(pairs: Overlaps, thresholds: Sequence[float]) -> Matching:
    """Count matches as Kaggle did: IoU > t, which from 0.5 on leaves every object at most one partner."""
    tp = np.array([np.count_nonzero(pairs.iou > t) for t in thresholds], np.int64)
    return Matching(tp, pairs.n_predicted - tp, pairs.n_true - tp)


def free_matching(pairs: Overlaps, thresholds: Sequence[float]) -> Matching:
    """Count matches as InstanSeg does: every pair with IoU >= t, so that halves count twice; FP and FN have none."""
    iou = pairs.iou.astype(np.float32)
    counts = []
    for t in thresholds:
        close = iou >= np.float32(t)
        met = len(np.unique(pairs.row[close])), len(np.unique(pairs.column[close]))
        counts.append((np.count_nonzero(close), pairs.n_predicted - met[1], pairs.n_true - met[0]))
    return Matching(*np.array(counts, np.int64).T)


def binned_matching(whole: Overlaps, thresholds: Sequence[float]) -> Matching:
    """Count matches as Caicedo et al. 2019 do: IoU > t; a true object counts where it has exactly one partner.

    `whole` has the background. Their histograms have as many bins of equal width as there are labels, so
    that labels with gaps share bins or leave some empty, and the first bin is taken for the background.
    """
    n_true, n_predicted = whole.n_true, whole.n_predicted
    true_bin, predicted_bin = bins(whole.true_ids), bins(whole.predicted_ids)
    keys, place = np.unique(true_bin[whole.row] * n_predicted + predicted_bin[whole.column], return_inverse=True)
    together = np.bincount(place, whole.shared)
    row, column = np.divmod(keys, n_predicted)
    area_true = np.bincount(true_bin, whole.area_true, n_true)
    area_predicted = np.bincount(predicted_bin, whole.area_predicted, n_predicted)
    iou = together / (area_true[row] + area_predicted[column] - together)
    counts = []
    for t in thresholds:
        close = (iou > t) & (row > 0) & (column > 0)
        partners = np.bincount(row[close], minlength=n_true)[1:]
        found = np.bincount(column[close], minlength=n_predicted)[1:]
        counts.append(((partners == 1).sum(), (found == 0).sum(), (partners == 0).sum()))
    return Matching(*np.array(counts, np.int64).T)


def bins(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which of `len(ids)` bins of equal width each label falls into, as `np.histogram` sorts them."""
    edges = np.histogram_bin_edges(ids, len(ids))
    return np.clip(np.searchsorted(edges, ids, side="right") - 1, 0, len(ids) - 1)


def pooled(matchings: Sequence[Matching]) -> Matching:
    """Return the counts of several images together."""
    return Matching(*(np.sum(column, axis=0) for column in zip(*matchings, strict=True)))


def mean_segmentation_accuracy(matchings: Sequence[Matching]) -> float:
    """Return mSA: per image the mean precision over the thresholds, then the mean over images."""
    return float(np.mean([m.precision.mean() for m in matchings]))
