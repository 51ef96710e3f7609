from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PillowImage

from promptless.image import Image
from promptless.io.overlay import LARGE, ON_BRIGHT, ON_DARK, draw, write


def test_the_line_lies_just_inside_the_border_of_an_object():
    labels = np.zeros((900, 40), np.int32)  # long enough that nothing is enlarged
    labels[10:20, 5:15] = 1
    shown = (draw(Image(np.zeros((1, 900, 40), np.uint8)), labels) == ON_DARK).all(axis=-1)
    expected = labels == 1
    expected[11:19, 6:14] = False
    assert np.array_equal(shown, expected)


def test_small_images_are_enlarged_by_a_whole_factor(blobs):
    image, labels = blobs
    picture = draw(Image(image[None]), labels)
    assert picture.shape == (80 * 7, 112 * 7, 3)
    assert picture.dtype == np.uint8


def test_huge_images_are_made_smaller():
    labels = np.zeros((8, 2 * LARGE + 1), np.int32)
    assert max(draw(Image(np.zeros((1, *labels.shape), np.uint8)), labels).shape) <= LARGE


def test_bright_images_have_dark_lines(blobs):
    image, labels = blobs
    picture = draw(Image(255 - image[None]), labels)
    assert (picture == ON_BRIGHT).all(axis=-1).any()
    assert not (picture == ON_DARK).all(axis=-1).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_file_is_a_picture_in_colours(channels, blobs, tmp_path):
    image, labels = blobs
    write(Image(np.repeat(image[None], channels, axis=0)), labels, tmp_path / "a.png")
    with PillowImage.open(tmp_path / "a.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (784, 560))


def test_an_image_without_objects_is_shown_as_it_is(rng):
    pixels = rng.integers(0, 255, (3, 900, 20), np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = 0, 255
    picture = draw(Image(pixels), np.zeros((900, 20), np.int32))
    assert np.abs(picture.astype(int) - np.moveaxis(pixels, 0, -1)).max() <= 3
