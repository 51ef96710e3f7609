from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage

from made_up import ClassModel, bright_and_dim, of_labels
from promptless.image import Image
from promptless.io.classes import colour
from promptless.io.overlay import (
    BOXES,
    HEADLINE,
    LARGE,
    NEGATIVE,
    ON_BRIGHT,
    ON_DARK,
    POSITIVE,
    RIM,
    TRUE,
    comparison,
    drawn,
    legend,
    outlines,
    with_prompts,
    write_outlines,
)
from promptless.pipeline import segment
from promptless.prompts import Prompt, Prompts


def test_the_line_lies_just_inside_the_border_of_an_object():
    labels = np.zeros((900, 40), np.int32)  # long enough that nothing is enlarged
    labels[10:20, 5:15] = 1
    shown = (outlines(Image(np.zeros((1, 900, 40), np.uint8)), labels) == ON_DARK).all(axis=-1)
    expected = labels == 1
    expected[11:19, 6:14] = False
    assert np.array_equal(shown, expected)


def test_small_images_are_enlarged_by_a_whole_factor(blobs):
    image, labels = blobs
    picture = outlines(Image(image[None]), labels)
    assert picture.shape == (80 * 7, 112 * 7, 3)
    assert picture.dtype == np.uint8


def test_huge_images_are_made_smaller():
    labels = np.zeros((8, 2 * LARGE + 1), np.int32)
    assert max(outlines(Image(np.zeros((1, *labels.shape), np.uint8)), labels).shape) <= LARGE


def test_bright_images_have_dark_lines(blobs):
    image, labels = blobs
    picture = outlines(Image(255 - image[None]), labels)
    assert (picture == ON_BRIGHT).all(axis=-1).any()
    assert not (picture == ON_DARK).all(axis=-1).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_file_is_a_picture_in_colours(channels, blobs, tmp_path):
    image, labels = blobs
    result = replace(of_labels(labels), image=Image(np.repeat(image[None], channels, axis=0)))
    write_outlines(result, tmp_path / "a.png")
    with PillowImage.open(tmp_path / "a.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (784, 560))


def test_an_image_without_objects_is_shown_as_it_is(rng):
    pixels = rng.integers(0, 255, (3, 900, 20), np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = 0, 255
    picture = outlines(Image(pixels), np.zeros((900, 20), np.int32))
    assert np.abs(picture.astype(int) - np.moveaxis(pixels, 0, -1)).max() <= 3


def asked(shape, at, off, box):
    prompt = Prompt(1, np.array([at, off], np.float32), np.array([1, 0]), np.array(box, np.float32))
    return with_prompts(np.full((*shape, 3), 100, np.uint8), Prompts(shape, (prompt,)))


def test_prompts_are_drawn_as_a_dot_a_cross_and_a_box():
    picture = asked((900, 300), (100, 50), (400, 200), ((80, 130), (30, 90)))
    assert (picture[100, 50] == POSITIVE).all()
    assert (picture[400, 200] == NEGATIVE).all()
    assert (picture[80, 30:90] == BOXES).all()
    assert (picture[129, 30:90] == BOXES).all()
    assert (picture[80:130, 89] == BOXES).all()
    assert (picture[130, 30:90] == 100).all()


def test_the_marks_lie_where_their_points_are_enlarged():
    picture = with_prompts(
        np.zeros((800, 800, 3), np.uint8),
        Prompts((100, 100), (Prompt(1, np.array([[20, 70]], np.float32), np.array([1])),)),
    )
    y, x = np.nonzero((picture == POSITIVE).all(axis=-1))
    assert (y.mean() + 0.5, x.mean() + 0.5) == pytest.approx((20.5 * 8, 70.5 * 8), abs=1)


def test_marks_at_the_border_are_cut():
    assert (asked((900, 40), (0, 0), (899, 39), ((0, 900), (0, 40)))[0, 0] == POSITIVE).all()


def test_without_prompts_the_picture_is_as_it_was():
    assert (with_prompts(np.full((50, 60, 3), 9, np.uint8), Prompts((50, 60))) == 9).all()


def test_a_picture_takes_little_more_memory_than_its_colours_as_floats():
    image = Image(np.zeros((3, 1500, 1500), np.uint8))
    tracemalloc.start()
    outlines(image, np.zeros((1500, 1500), np.int32))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 22 * 1500**2


def test_lines_have_the_colour_of_the_class_and_a_corner_says_which():
    result = segment(bright_and_dim()[0], ClassModel())
    picture = drawn(result)
    names = np.asarray(legend({0: "background", 1: "dim", 2: "bright"}))
    assert np.array_equal(picture[: names.shape[0], : names.shape[1]], names)
    assert {colour(1), colour(2)} <= {tuple(c) for c in names.reshape(-1, 3).tolist()}
    plain = outlines(result.image, result.labels)
    lines = (plain == ON_DARK).all(axis=-1)
    lines[: names.shape[0], : names.shape[1]] = False
    assert {tuple(c) for c in picture[lines].tolist()} == {colour(1), colour(2)}
    rest = ~lines
    rest[: names.shape[0], : names.shape[1]] = False
    assert np.array_equal(picture[rest], plain[rest])


def test_a_name_that_the_letters_do_not_have_is_shown_all_the_same():
    assert np.asarray(legend({0: "background", 1: "\u7d30\u80de"})).any()


def test_the_lines_of_a_comparison_are_two_pixels_wide_in_a_dark_rim():
    labels = np.zeros((900, 40), np.int32)
    labels[100:130, 10:30] = 1
    image = Image(np.full((1, 900, 40), 200, np.uint8))
    picture = comparison(image, labels, np.zeros_like(labels), "")[HEADLINE:]
    row = [tuple(colour) for colour in picture[115, 8:14].tolist()]
    assert row[1:4] == [RIM, TRUE, TRUE]
    assert row[0] == row[5] != RIM


def test_where_there_are_hundreds_of_points_marks_are_smaller(rng):
    def marked(n):
        whole = np.array([(0, 900), (0, 900)], np.float32)
        points = rng.uniform(0, 900, (n, 2)).astype(np.float32)
        asked = Prompts((900, 900), (Prompt(1, points, np.ones(n, np.int64), whole),))
        return (with_prompts(np.zeros((900, 900, 3), np.uint8), asked) == POSITIVE).all(axis=-1).sum() / n

    assert marked(4) > 4 * marked(900)
