"""Panoptic quality: how many objects are found, times how well."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from promptless.metrics.overlaps import Overlaps

EPSILON = 1e-6
"""What HoVer-Net and CellViT add to denominators."""


class Panoptic(NamedTuple):
    """Detection quality (F1), segmentation quality (mean IoU of what is found) and their product."""

    dq: float
    sq: float

    @property
    def pq(self) -> float:
        """Panoptic quality."""
        return self.dq * self.sq


UNDEFINED = Panoptic(float("nan"), float("nan"))


def hovernet(whole: Overlaps) -> Panoptic:
    """Return PQ as HoVer-Net computes it (`get_fast_pq`): IoU > 0.5.

    NaN where HoVer-Net fails: both images empty (ZeroDivisionError) or no background (ValueError).
    """
    pairs = whole.objects
    if not whole.has_background or not pairs.n_true + pairs.n_predicted:
        return UNDEFINED
    return quality(pairs, 0.0)


def cellvit(whole: Overlaps) -> Panoptic:
    """Return PQ as CellViT computes it: HoVer-Net's with 1e-6 in the detection quality too.

    The lowest label is taken for background: a truth of a single label has nothing to find and is 0. NaN
    where CellViT fails (IndexError): no background, and something to find.
    """
    if whole.n_true == 1:
        return Panoptic(0.0, 0.0)
    if not whole.has_background:
        return UNDEFINED
    return quality(whole.objects, EPSILON)


def quality(pairs: Overlaps, epsilon: float) -> Panoptic:
    """Return the quality of the pairs with IoU > 0.5, which is one to one; `epsilon` joins the denominator of DQ."""
    found = pairs.iou > 0.5
    tp = np.count_nonzero(found)
    dq = tp / (0.5 * (pairs.n_true + pairs.n_predicted) + epsilon)  # tp + fp / 2 + fn / 2
    return Panoptic(float(dq), float(pairs.iou[found].sum() / (tp + EPSILON)))
