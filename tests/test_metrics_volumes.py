from __future__ import annotations

import numpy as np
import pytest

from promptless.metrics.comparison import Comparison
from promptless.metrics.surfaces import hausdorff, surface_dice, surfel_distances
from promptless.metrics.volumes import classes, deepmind, masks

SPACING = (2.5, 0.7, 0.7)


@pytest.fixture
def pair(rng):
    """Labels of four classes, of which the truth lacks one and the prediction another."""
    truth = np.kron(rng.integers(0, 4, (3, 4, 4)), np.ones((3, 4, 4), int))
    predicted = np.roll(truth, 1, 1)
    return np.where(truth == 2, 0, truth), np.where(predicted == 3, 9, predicted)


def test_masks_lie_in_the_box_that_holds_both(pair):
    for label in (1, 2, 3, 9):
        whole = [labels == label for labels in pair]
        places = np.argwhere(whole[0] | whole[1])
        box = tuple(slice(a, b + 1) for a, b in zip(places.min(0), places.max(0), strict=True))
        for found, mask in zip(masks(Comparison(*pair), label), whole, strict=True):
            assert np.array_equal(found, mask[box])


def test_in_their_boxes_classes_measure_what_they_measure_in_the_whole(pair):
    for label, (_, nsd, hd95) in classes(Comparison(*pair, SPACING, 1.0), deepmind).items():
        found = surfel_distances(pair[0] == label, pair[1] == label, SPACING)
        assert (nsd, hd95) == (surface_dice(found, 1.0), hausdorff(found))
