"""Aggregated Jaccard indices: the pixels that paired objects share, over all pixels of any object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from promptless.metrics.overlaps import Overlaps

EPSILON = 1e-6
"""What HoVer-Net adds to unions."""


def aji(whole: Overlaps) -> float:
    """Return AJI as HoVer-Net computes it (`get_fast_aji`; Kumar et al. 2017): the best prediction for each object.

    A prediction may serve several objects. NaN where HoVer-Net fails: without a prediction, or without background.
    """
    pairs = whole.objects
    if not whole.has_background or not pairs.n_predicted:
        return float("nan")
    order = np.lexsort((pairs.column, -pairs.shared / (pairs.union + EPSILON), pairs.row))
    _, first = np.unique(pairs.row[order], return_index=True)
    return aggregated(pairs, order[first])


def aji_plus(whole: Overlaps) -> float:
    """Return AJI+ as HoVer-Net computes it (`get_fast_aji_plus`): pairs one to one, with the largest sum of IoU.

    NaN where both images are empty (0 / 0) and where HoVer-Net fails: without background.
    """
    pairs = whole.objects
    if not whole.has_background:
        return float("nan")
    return aggregated(pairs, assigned(pairs, pairs.shared / (pairs.union + EPSILON)))


def aggregated(pairs: Overlaps, paired: NDArray[np.intp]) -> float:
    """Return the pixels shared by the `paired` entries over their unions and all objects that are in no pair."""
    alone_true = np.delete(pairs.area_true, np.unique(pairs.row[paired]))
    alone_predicted = np.delete(pairs.area_predicted, np.unique(pairs.column[paired]))
    everything = pairs.union[paired].sum() + alone_true.sum() + alone_predicted.sum()
    return float(pairs.shared[paired].sum() / everything) if everything else float("nan")


def cellpose_aji(whole: Overlaps) -> float:
    """Return AJI as cellpose computes it: pairs one to one, IoU >= 0.5 first; over the union of both foregrounds.

    NaN where both images are empty (0 / 0).
    """
    pairs = whole.objects
    foreground = pairs.area_true.sum() + pairs.area_predicted.sum() - pairs.shared.sum()
    if not foreground:
        return float("nan")
    gain = (pairs.iou >= 0.5) + pairs.iou / (2 * max(1, min(pairs.n_true, pairs.n_predicted)))
    return float(pairs.shared[assigned(pairs, gain)].sum() / foreground)


def assigned(pairs: Overlaps, gain: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the entries of the one-to-one assignment with the largest total `gain` (per entry, above 0).

    Every row also has a column of its own that gains nothing, so that each can be assigned.
    """
    if not len(gain):
        return np.empty(0, np.intp)
    n, m, top = pairs.n_true, pairs.n_predicted, float(gain.max()) + 1
    rows, columns = np.concatenate([pairs.row, np.arange(n)]), np.concatenate([pairs.column, m + np.arange(n)])
    cost = np.concatenate([top - gain, np.full(n, top)])
    matrix = csr_array(coo_array((cost, (rows, columns)), shape=(n, m + n)))
    row, column = min_weight_full_bipartite_matching(matrix)
    place = np.full(n, m, np.int64)
    place[row] = column
    return np.flatnonzero(place[pairs.row] == pairs.column)
