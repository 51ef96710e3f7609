from __future__ import annotations

import tracemalloc

import numpy as np

from made_up import masks_of, rectangle
from promptless.labels import as_masks, largest_part, objects, paint
from promptless.masks import Mask, Masks


def test_no_objects_give_an_empty_label_image():
    labels, kept = paint(Masks(), (6, 7))
    assert (labels.shape, labels.dtype, labels.any(), len(kept)) == ((6, 7), np.int32, np.False_, 0)


def test_the_better_object_keeps_what_two_share():
    labels, kept = paint(masks_of([rectangle((0, 4), (0, 6)), rectangle((0, 4), (4, 10))], [0.5, 0.9]), (4, 12))
    assert labels[0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0, 0]
    assert [m.area for m in kept] == [16, 24]


def test_an_object_that_would_lose_more_than_half_is_a_double():
    better, double, neighbour = rectangle((0, 4), (0, 8)), rectangle((0, 4), (1, 9)), rectangle((0, 4), (6, 12))
    labels, kept = paint(masks_of([double, better, neighbour], [0.5, 0.9, 0.4]), (4, 12))
    assert kept.ids.tolist() == [1, 2]
    assert labels[0].tolist() == [1] * 8 + [2] * 4


def test_objects_are_numbered_in_reading_order():
    masks = [rectangle((5, 7), (0, 2)), rectangle((0, 2), (5, 7)), rectangle((0, 2), (1, 3))]
    labels, kept = paint(masks_of(masks, [0.9, 0.8, 0.7]), (8, 8))
    assert (labels[0, 1], labels[0, 5], labels[5, 0]) == (1, 2, 3)
    assert kept.ids.tolist() == [2, 1, 0]


def test_what_a_better_object_cuts_off_is_left_to_the_background():
    labels, kept = paint(masks_of([rectangle((0, 9), (0, 3)), rectangle((5, 7), (0, 3))], [0.5, 0.9]), (9, 3))
    assert labels[:, 0].tolist() == [1, 1, 1, 1, 1, 2, 2, 0, 0]
    assert kept.masks[0].area == 15


def test_an_object_beyond_the_border_is_cut_there():
    labels, kept = paint(masks_of([rectangle((-2, 3), (6, 10))]), (8, 8))
    assert labels.sum() == kept.masks[0].area == 6


def test_equal_scores_and_starts_do_not_let_the_order_decide():
    wide, tall = rectangle((0, 3), (0, 6)), rectangle((0, 6), (0, 3))
    assert np.array_equal(paint(masks_of([wide, tall]), (8, 8))[0], paint(masks_of([tall, wide]), (8, 8))[0])


def test_only_the_largest_part_is_kept():
    pixels = np.array([[1, 0, 1, 1], [1, 0, 1, 1]], bool)
    assert largest_part(pixels).tolist() == [[False, False, True, True]] * 2


def test_objects_of_a_label_image_come_by_label():
    labels = np.zeros((6, 6), np.int32)
    labels[1:3, 2:5], labels[4, 4] = 7, 2
    found = objects(labels)
    assert sorted(found) == [2, 7]
    assert (found[7].start, found[7].area) == ((1, 2), 6)
    assert isinstance(found[2], Mask)


def test_large_labels_take_no_more_memory_than_small_ones():
    labels = np.zeros((20, 20), np.int32)
    labels[3:5, 3:5], labels[10, 10] = 20_000_000, 7
    tracemalloc.start()
    found = objects(labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {number: mask.area for number, mask in found.items()} == {7: 1, 20_000_000: 4}
    assert peak < 1e6


def test_a_label_image_gives_its_objects_with_their_labels_as_ids():
    labels = np.array([[0, 2_000_000_000, 0], [5, 0, 5]], np.int32)
    masks = as_masks(labels)
    assert masks.ids.tolist() == [5, 2_000_000_000]
    assert [mask.pixels.tolist() for mask in masks] == [[[True, False, True]], [[True]]]
    assert np.isnan(masks.scores).all()
    assert len(as_masks(np.zeros((3, 3), np.int32))) == 0
