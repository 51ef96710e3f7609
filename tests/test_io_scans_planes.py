from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from promptless.image import Image
from promptless.io.classes import colour
from promptless.io.scans.planes import (
    GAP,
    HEAT,
    LINE,
    TALL,
    VIEWS,
    captioned,
    contrast,
    cut,
    enlarged,
    heat,
    heated,
    legend,
    marked,
    middle,
    outlined,
    overlay,
    sizes,
)
from promptless.prompts import Points
from promptless.result import VolumeSegmentation
from voxel_models import blocks

NAMED = {"model": {"classes": ["dim", "bright"]}}


@pytest.fixture
def result():
    image, labels = blocks()
    return VolumeSegmentation(image, labels, manifest=NAMED)


def holds(picture, tint):
    return (picture == np.array(tint, np.uint8)).all(axis=-1).any()


def test_the_picture_has_contours_and_names_in_the_colours_of_the_classes(result):
    picture = overlay(result)
    assert picture.dtype == np.uint8
    assert len(picture) == TALL
    widths = [width for _, width in sizes(result.image)]
    panels = picture[:, : sum(widths) + 2 * GAP]
    for value in (1, 2):
        assert holds(panels, colour(value))
        assert holds(picture[:, panels.shape[1] :], colour(value))


def test_panels_do_not_squash_the_anatomy():
    image = Image(np.zeros((1, 10, 60, 40), np.int16), (5.0, 1.0, 1.0), "mm")
    (axial, coronal, sagittal) = sizes(image)
    assert axial == pytest.approx((TALL, TALL * 40 / 60), abs=1)
    assert coronal == pytest.approx((TALL * 50 / 60, TALL * 40 / 60), abs=1)
    assert sagittal == pytest.approx((TALL * 50 / 60, TALL), abs=1)


def test_planes_are_seen_with_the_head_up_and_right_on_the_left():
    values = np.zeros((4, 5, 6))
    values[3, 4, 5] = 1  # head, front, right
    places = [np.argwhere(cut(values, view, (3, 4, 5))).tolist() for view in VIEWS]
    assert places == [[[0, 0]], [[0, 0]], [[0, 0]]]
    assert [(v.top, v.left) for v in VIEWS] == [("A", "R"), ("H", "R"), ("H", "A")]


def test_planes_meet_in_the_middle_of_what_was_found():
    labels = np.zeros((20, 30, 40), np.uint8)
    labels[2:7, 10:21, 30:33] = 3
    assert middle(labels) == (4, 15, 31)
    assert middle(np.zeros((20, 30, 40), np.uint8)) == (10, 15, 20)


def test_grey_values_are_stretched_to_what_lies_around_the_structures():
    data = np.full((1, 60, 60, 60), -1000, np.int16)
    data[0, 20:40, 20:40, 20:40] = np.random.default_rng(0).integers(0, 100, (20, 20, 20))
    labels = np.zeros((60, 60, 60), np.uint8)
    labels[25:35, 25:35, 25:35] = 1
    low, high = contrast(Image(data, (10.0, 10.0, 10.0), "mm"), labels, (30, 30, 30))
    assert 0 <= low < high <= 100
    assert contrast(Image(data), np.zeros_like(labels), (0, 0, 0)) == (-1000, -1000)


def test_enlarged_labels_keep_their_values_and_gain_smooth_borders():
    labels = np.zeros((8, 8), np.uint8)
    labels[2:6, 2:6] = 5
    labels[3:5, 6:8] = 2
    large = enlarged(labels, (80, 80))
    assert set(np.unique(large)) == {0, 2, 5}
    assert (large[30:50, 30:50] == 5).all()
    assert 0.8 < (large == 5).sum() / 1600 < 1.05


def test_without_any_structure_there_is_the_scan(result):
    picture = overlay(replace(result, labels=np.zeros_like(result.labels)))
    assert not holds(picture, colour(1))
    assert picture.std() > 5


def test_many_names_stand_in_columns(result):
    names = [f"structure {i}" for i in range(60)]
    labels = np.arange(8 * 4 * 2, dtype=np.uint8).reshape(8, 4, 2) % 61
    many = VolumeSegmentation(Image(np.zeros((1, 8, 4, 2))), labels, manifest={"model": {"classes": names}})
    picture = legend(many, TALL)
    assert len(picture) <= TALL
    assert picture.shape[1] > 2 * legend(many, 70 * LINE).shape[1]


def test_the_prompt_is_bright_where_it_is_long(result):
    prompt = np.where(result.labels == 2, 4, 0).astype(np.float16)
    picture = heat(replace(result, prompt=prompt)).astype(int)
    (_, width), *_ = sizes(result.image)
    warm = picture[:, :width, 0] > 150
    assert warm.any()
    with pytest.raises(ValueError, match="was not kept"):
        heat(result)


def test_colours_of_heat_begin_and_end_as_they_should():
    assert heated(np.array([0, 1], np.float32)).tolist() == [list(HEAT[0]), list(HEAT[-1])]


def test_captions_change_only_the_edges():
    panel = outlined(np.full((300, 300), 0.5, np.float32), np.zeros((300, 300), np.uint8))
    changed = captioned(panel, VIEWS[0]) != panel
    assert changed.any()
    assert not changed[40:140, 40:260].any()


def test_a_users_points_are_marked_where_the_planes_meet(result):
    places, label = np.array([[4, 20, 6], [12, 18, 20]], np.float32), np.array([0, 2])
    picture = overlay(replace(result, points=Points(places, label)))
    widths = [width for _, width in sizes(result.image)]
    (height, width), *_ = sizes(result.image)
    row, column = round((1 - 18.5 / 24) * height), round((1 - 20.5 / 28) * width)
    assert picture[row, column].tolist() == list(colour(2))
    assert sum(widths) < picture.shape[1]
    plain = outlined(np.zeros((60, 70), np.float32), np.zeros((60, 70), int))
    for number, at in enumerate(((12, 18, 20), (13, 18, 20))):
        dots = marked(plain, VIEWS[0], at, (20, 24, 28), Points(places[1:], label[1:]))
        assert (dots == colour(2)).all(axis=-1).sum() > (60, 10)[number]
        assert ((dots == colour(2)).all(axis=-1).sum() > 60) == (number == 0)
