from __future__ import annotations

import numpy as np

from made_up import discs
from promptless.data.targets import generator_targets, touching


def test_contact_is_between_objects_and_not_with_the_background():
    labels = np.array([[1, 1, 2, 2, 0, 3]])
    assert touching(labels).tolist() == [[False, True, True, False, False, False]]


def test_contact_is_that_of_a_slow_plain_version(rng):
    labels = rng.integers(0, 4, (7, 8, 5))
    expected = np.zeros(labels.shape, bool)
    for at in np.ndindex(labels.shape):
        for axis in range(3):
            for step in (-1, 1):
                other = list(at)
                other[axis] += step
                inside = 0 <= other[axis] < labels.shape[axis]
                expected[at] |= (
                    inside and labels[at] > 0 and labels[tuple(other)] > 0 and labels[at] != labels[tuple(other)]
                )
    assert np.array_equal(touching(labels), expected)


def test_the_interior_peaks_at_1_in_every_object_whatever_its_size():
    labels = discs((60, 60), [(12, 12, 3), (12, 40, 9), (42, 30, 14)])
    targets, _ = generator_targets(labels)
    foreground, interior = targets
    assert np.array_equal(foreground, labels > 0)
    assert [interior[labels == i].max() for i in (1, 2, 3)] == [1, 1, 1]
    assert not interior[labels == 0].any()


def test_touching_objects_have_a_valley_between_them():
    labels = np.repeat([[1] * 10 + [2] * 10], 12, axis=0)
    (_, interior), weight = generator_targets(labels)
    assert interior[:, 9:11].max() < 0.3
    assert interior[:, 2:5].max() > 0.7
    assert weight[:, 9:11].min() > 2 > weight[:, 0].max()


def test_the_border_of_the_image_is_not_the_border_of_an_object():
    labels = np.ones((9, 30), np.int32)
    labels[:, 20:] = 0
    (_, interior), _ = generator_targets(labels)
    assert (interior[:, 0] == 1).all()


def test_an_image_without_objects_has_even_weights():
    targets, weight = generator_targets(np.zeros((5, 6), np.int32))
    assert not targets.any()
    assert (weight == 1).all()
