from __future__ import annotations

import numpy as np
import pytest

from promptless.metrics.instances import THRESHOLDS, bins, match, mean_segmentation_accuracy, pooled


def image(**objects):
    """Return a label image (20, 20) with rows `start, stop` of columns `start, stop` per label: _1=(0, 10, 0, 10)."""
    labels = np.zeros((20, 20), np.int32)
    for name, (top, bottom, left, right) in objects.items():
        labels[top:bottom, left:right] = int(name[1:])
    return labels


EMPTY, WHOLE = image(), image(_1=(0, 10, 0, 10))
HALVES = image(_1=(0, 5, 0, 10), _2=(5, 10, 0, 10))
FULL, PAIR = np.ones((8, 8), int), np.repeat([[1, 2]], 4, axis=1).repeat(8, axis=0).reshape(8, 8)

EDGE_CASES = {  # truth, prediction, accuracy and F1 of stardist.matching at 0.5
    "both empty": (EMPTY, EMPTY, 0, 0),
    "truth empty, one prediction": (EMPTY, WHOLE, 0, 0),
    "one true object, prediction empty": (WHOLE, EMPTY, 0, 0),
    "IoU exactly 0.5": (WHOLE, image(_1=(0, 5, 0, 10)), 1, 1),
    "one object split in two exact halves": (WHOLE, HALVES, 0.5, 2 / 3),
    "two objects merged by one prediction": (HALVES, WHOLE, 0.5, 2 / 3),
    "one prediction over two objects, IoU .4545 each": (
        image(_1=(0, 5, 0, 10), _2=(6, 11, 0, 10)),
        image(_1=(0, 11, 0, 10)),
        0,
        0,
    ),
    "no background, one object": (FULL, FULL, 1, 1),
    "no background, two objects": (PAIR, PAIR, 1, 1),
    "other numbers": (
        image(_3=(0, 5, 0, 5), _7=(10, 15, 0, 5)),
        image(_9=(0, 5, 0, 5), _2=(10, 15, 0, 5)),
        1,
        1,
    ),
    "an object with two parts, split": (
        image(_1=(0, 5, 0, 10)) | image(_1=(10, 15, 0, 10)),
        image(_1=(0, 5, 0, 10), _2=(10, 15, 0, 10)),
        0.5,
        2 / 3,
    ),
}


@pytest.mark.parametrize("case", EDGE_CASES)
def test_edge_cases_are_stardists(case):
    truth, predicted, accuracy, f1 = EDGE_CASES[case]
    result = match(truth, predicted, (0.5,))
    tp, fp, fn = (int(column[0]) for column in result)
    assert result.precision.tolist() == [accuracy]
    assert (2 * tp / (2 * tp + fp + fn) if tp else 0) == pytest.approx(f1)


@pytest.mark.parametrize("reached", range(12, 20))
def test_an_iou_that_equals_a_threshold_reaches_it(reached):
    truth = np.ones((1, 20), int)
    predicted = np.zeros((1, 20), int)
    predicted[0, :reached] = 1
    expected = [int(round(100 * t) <= round(100 * reached / 20)) for t in THRESHOLDS]
    assert match(truth, predicted).tp.tolist() == expected


def test_labels_share_bins_as_in_a_histogram(rng):
    ids = np.unique(rng.integers(0, 50, 12))
    counts, _ = np.histogram(ids, bins=len(ids))
    assert np.bincount(bins(ids), minlength=len(ids)).tolist() == counts.tolist()


def test_images_of_different_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(20, 20\) and \(8, 8\)"):
        match(EMPTY, FULL)


def test_pooled_and_per_image_means_are_those_of_the_protocol():
    # A: one object, found. B: four objects, one found. C: both empty.
    four = image(_1=(0, 4, 0, 4), _2=(6, 10, 0, 4), _3=(12, 16, 0, 4), _4=(0, 4, 8, 12))
    a, b = match(WHOLE, WHOLE, (0.5,)), match(four, np.where(four == 1, 1, 0), (0.5,))
    c = match(EMPTY, EMPTY, (0.5,))
    assert pooled([a, b]).precision.tolist() == pooled([a, b, c]).precision.tolist() == [0.4]
    assert mean_segmentation_accuracy([a, b]) == 0.625
    assert mean_segmentation_accuracy([a, b, c]) == pytest.approx(0.4167, abs=1e-4)


def test_the_thresholds_do_not_drift():
    assert tuple(round(0.5 + 0.05 * i, 2) for i in range(10)) == THRESHOLDS


def test_volumes_are_matched_likewise(rng):
    labels = np.zeros((6, 10, 10), np.int32)
    labels[1:4, 1:5, 1:5], labels[3:5, 6:9, 6:9] = 1, 2
    assert match(labels, labels).precision.tolist() == [1] * 10
