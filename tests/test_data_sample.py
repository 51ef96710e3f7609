from __future__ import annotations

import numpy as np
import pytest

from made_up import discs, picture
from promptless.data.sample import UNKNOWN, Sample


def test_a_sample_counts_its_objects_and_measures_them():
    labels = discs((60, 60), [(15, 15, 5), (15, 40, 8), (40, 30, 10)]) * 3  # numbers with gaps
    sample = Sample("a", "grey", picture(labels)[None], labels)
    assert sample.n_objects == 3
    assert sample.diameter == pytest.approx(16, rel=0.05)
    assert sample.range == (30, 220)


def test_an_image_without_objects_has_a_diameter_all_the_same():
    labels = np.zeros((9, 9), np.int32)
    sample = Sample("a", "grey", labels[None], labels)
    assert (sample.n_objects, sample.diameter) == (0, 20)


def test_an_image_and_its_labels_are_of_one_size():
    with pytest.raises(ValueError, match="a: the image has 4 x 5 pixels but its labels have 5 x 4"):
        Sample("a", "grey", np.zeros((1, 4, 5)), np.zeros((5, 4), np.int32))


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match="a: the image has 2 channels"):
        Sample("a", "grey", np.zeros((2, 4, 5)), np.zeros((4, 5), np.int32))


def test_a_class_map_has_0_beside_objects_and_says_where_a_class_is_not_known():
    labels = np.array([[0, 4, 4], [2, 0, 7]], np.int32)
    sample = Sample("a", "grey", labels[None], labels, classes={4: 2, 7: 1, 9: 3})  # there is no object 9
    assert sample.class_map.tolist() == [[0, 2, 2], [UNKNOWN, 0, 1]]
