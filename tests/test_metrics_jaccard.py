from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from promptless.metrics.jaccard import aji, aji_plus, assigned, cellpose_aji
from promptless.metrics.overlaps import overlaps


def noisy(seed):
    """Return two label images with background that overlap in many ways."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 9, (5, 6)), np.ones((4, 4), int))
    predicted = np.roll(truth, 1, 1)
    predicted = np.where(rng.uniform(size=truth.shape) < 0.3, rng.integers(0, 9, truth.shape), predicted)
    truth[0, 0] = predicted[0, 0] = 0
    return truth, predicted


@pytest.mark.parametrize("seed", range(30))
def test_the_assignment_gains_as_much_as_the_dense_one(seed):
    pairs = overlaps(*noisy(seed)).objects
    dense = np.zeros((pairs.n_true, pairs.n_predicted))
    dense[pairs.row, pairs.column] = pairs.iou
    chosen = assigned(pairs, pairs.iou)
    assert len(np.unique(pairs.row[chosen])) == len(np.unique(pairs.column[chosen])) == len(chosen)
    assert pairs.iou[chosen].sum() == pytest.approx(dense[linear_sum_assignment(-dense)].sum())


@pytest.mark.parametrize("seed", range(10))
def test_equal_images_score_1_and_sharing_predictions_never_costs(seed):
    truth, predicted = noisy(seed)
    for index in (aji, aji_plus, cellpose_aji):
        assert index(overlaps(truth, truth)) == 1
    assert 0 < aji_plus(overlaps(truth, predicted)) < 1


def test_aji_is_the_plain_definition():
    truth, predicted = noisy(3)
    shared = union = 0
    used = set()
    for i in np.setdiff1d(truth, 0):
        ious = {j: (both(truth, i, predicted, j), either(truth, i, predicted, j)) for j in np.setdiff1d(predicted, 0)}
        best = max(ious, key=lambda j: ious[j][0] / ious[j][1])
        used.add(best)
        shared, union = shared + ious[best][0], union + ious[best][1]
    union += sum((predicted == j).sum() for j in np.setdiff1d(predicted, [0, *used]))
    assert aji(overlaps(truth, predicted)) == pytest.approx(shared / union)


def both(truth, i, predicted, j):
    return int(((truth == i) & (predicted == j)).sum())


def either(truth, i, predicted, j):
    return int(((truth == i) | (predicted == j)).sum())
