from __future__ import annotations

import numpy as np
import pytest

from made_up import in_image, masks_of, rectangle
from promptless.masks import Mask, Masks, boxes_of


def test_a_mask_knows_its_place():
    mask = Mask((3, 5), np.array([[1, 1, 0], [0, 1, 0]], bool))
    assert mask.stop == (5, 8)
    assert mask.region == (slice(3, 5), slice(5, 8))
    assert mask.box.tolist() == [[3, 5], [5, 8]]
    assert (mask.area, mask.reference) == (3, (4, 6))


def test_trimming_drops_empty_rows_and_columns():
    pixels = np.zeros((5, 6), bool)
    pixels[2, 1:4] = True
    mask = Mask((10, 20), pixels).trimmed()
    assert (mask.start, mask.pixels.tolist()) == ((12, 21), [[True] * 3])


def test_trimming_an_empty_mask_leaves_no_pixel():
    assert Mask((4, 4), np.zeros((3, 2), bool)).trimmed().pixels.size == 0


def test_clipping_keeps_what_lies_in_the_image():
    mask = rectangle((-2, 3), (5, 12)).clipped((10, 8))
    assert (mask.start, mask.pixels.shape) == ((0, 5), (3, 3))


@pytest.mark.parametrize("offset", [(-20, 0), (0, 40), (30, 30), (-20, -20)])
def test_a_mask_beyond_the_image_has_nothing_in_it(offset):
    assert rectangle((0, 5), (0, 5)).moved(offset).clipped((10, 10)).area == 0


def test_zooming_by_one_changes_nothing(rng):
    mask = Mask((2, 3), rng.uniform(size=(6, 7)) < 0.7).trimmed()
    zoomed = mask.zoomed(1.0, (20, 20))
    assert np.array_equal(in_image(zoomed, (20, 20)), in_image(mask, (20, 20)))


def test_zooming_twice_as_large_and_back_gives_a_rectangle_back():
    mask = rectangle((4, 9), (3, 11))
    larger = mask.zoomed(2.0, (40, 40))
    assert larger.box.tolist() == [[8, 18], [6, 22]]
    assert np.array_equal(in_image(larger.zoomed(0.5, (20, 20)), (20, 20)), in_image(mask, (20, 20)))


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        Masks((rectangle((0, 1)),), np.zeros(2, np.int64))


def test_taking_objects_keeps_their_columns_together():
    objects = masks_of([rectangle((i, i + 1)) for i in range(4)], [0.1, 0.2, 0.3, 0.4])
    for index in ([3, 1], np.array([3, 1])):
        taken = objects.take(index)
        assert [m.start for m in taken] == [(3,), (1,)]
        assert taken.ids.tolist() == [3, 1]
        assert taken.scores.tolist() == pytest.approx([0.4, 0.2])
    assert objects.take(objects.scores > 0.25).ids.tolist() == [2, 3]
    assert len(objects.take([])) == 0


def test_concatenating_keeps_the_order():
    parts = [masks_of([rectangle((i, i + 1))], [i / 10]) for i in range(3)]
    together = Masks.concatenate(parts)
    assert [m.start for m in together] == [(0,), (1,), (2,)]
    assert together.scores.tolist() == pytest.approx([0, 0.1, 0.2])
    assert len(Masks.concatenate([])) == 0


def test_the_boxes_of_objects_are_those_of_each(rng):
    masks = [Mask(tuple(rng.integers(0, 9, 2)), np.ones(tuple(rng.integers(1, 9, 2)), bool)) for _ in range(5)]
    assert np.array_equal(boxes_of(masks, 2), [mask.box for mask in masks])
    assert boxes_of([], 3).shape == (0, 3, 2)


@pytest.mark.parametrize(("stop", "meets"), [(4, False), (5, True)])
def test_an_object_meets_a_region_that_has_one_of_its_pixels(stop, meets):
    assert Mask((4, 4), np.ones((2, 2), bool)).meets((slice(0, stop), slice(5, 9))) == meets
