"""Metrics: metric(x, x) = 1, symmetry, and equality with a slow plain version of StarDist's rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from promptless.metrics.instances import THRESHOLDS, match, mean_segmentation_accuracy
from promptless.metrics.pixels import dice

LABELS = hnp.arrays(np.int64, (8, 9), elements=st.integers(0, 5))
LOW = (0.1, 0.2, 0.3, 0.4, *THRESHOLDS)


def slow(truth, predicted, threshold):
    """Return the true positives of `stardist.matching`, as its authors wrote the rule."""
    a, b = (np.setdiff1d(np.unique(x), 0) for x in (truth, predicted))
    if not len(a) or not len(b):
        return 0
    pairs = [[((truth == i) & (predicted == j)).sum() / ((truth == i) | (predicted == j)).sum() for j in b] for i in a]
    iou = np.array(pairs, np.float32)
    cost = -(iou >= np.float32(threshold)).astype(float) - iou / (2 * min(iou.shape))
    return int((iou[linear_sum_assignment(cost)] >= np.float32(threshold)).sum())


@pytest.mark.parametrize("seed", range(200))
def test_matching_is_stardists(seed):
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 5, (4, 5)), np.ones((3, 3), int))
    predicted = np.roll(truth, rng.integers(-1, 2), axis=rng.integers(2))
    predicted = np.where(rng.uniform(size=truth.shape) < 0.15, rng.integers(0, 6, truth.shape), predicted)
    result = match(truth, predicted, LOW)
    assert result.tp.tolist() == [slow(truth, predicted, t) for t in LOW]
    assert (result.tp + result.fn).tolist() == [len(np.setdiff1d(truth, 0))] * len(LOW)
    assert (result.tp + result.fp).tolist() == [len(np.setdiff1d(predicted, 0))] * len(LOW)


@given(LABELS.filter(np.any))
def test_an_image_agrees_with_itself(labels):
    assert match(labels, labels).precision.tolist() == [1] * 10
    assert mean_segmentation_accuracy([match(labels, labels)]) == 1
    assert dice(labels, labels) == 1


@given(LABELS, LABELS)
def test_truth_and_prediction_may_change_places(a, b):
    one, other = match(a, b, LOW), match(b, a, LOW)
    assert one.tp.tolist() == other.tp.tolist()
    assert one.fp.tolist() == other.fn.tolist()


@given(LABELS, LABELS, st.permutations(range(1, 6)))
def test_the_numbers_of_the_objects_do_not_matter(a, b, order):
    renumbered = np.array([0, *order])[b] * 7
    assert match(a, b).tp.tolist() == match(a, renumbered).tp.tolist()


@given(LABELS, LABELS)
def test_a_higher_threshold_never_finds_more(a, b):
    found = match(a, b, LOW).tp
    assert (np.diff(found) <= 0).all()
