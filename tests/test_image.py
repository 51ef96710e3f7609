from __future__ import annotations

import numpy as np
import pytest

from promptless.image import Image


def test_a_plane_gets_a_channel_axis(rng):
    plane = rng.integers(0, 255, (5, 7), np.uint8)
    image = Image.from_array(plane)
    assert image.shape == (5, 7)
    assert np.array_equal(image.data, plane[None])


def test_colours_may_come_last_or_first(rng):
    colours = rng.integers(0, 255, (3, 6, 9), np.uint8)
    assert np.array_equal(Image.from_array(colours).data, colours)
    assert np.array_equal(Image.from_array(np.moveaxis(colours, 0, -1)).data, colours)


def test_transparency_is_dropped(rng):
    rgba = rng.integers(0, 255, (6, 9, 4), np.uint8)
    assert np.array_equal(Image.from_array(rgba).data, np.moveaxis(rgba[..., :3], -1, 0))
    assert Image.from_array(rgba[..., :2]).data.shape == (2, 6, 9)  # two channels are two channels


@pytest.mark.parametrize("shape", [(7,), (10, 20, 30), (3, 4, 3), (2, 3, 20, 20)])
def test_an_array_that_can_be_read_in_two_ways_is_refused(shape):
    with pytest.raises(ValueError, match=r"more than one way.*\(y, x\)"):
        Image.from_array(np.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": np.zeros((4, 4))}, "shape"),
        ({"data": np.zeros((1, 0, 4))}, "shape"),
        ({"data": np.zeros((1, 4, 4), complex)}, "complex"),
        ({"data": np.zeros((1, 4, 4)), "spacing": (1.0,)}, "one per axis"),
        ({"data": np.zeros((1, 4, 4)), "spacing": (1.0, 0.0)}, "above 0"),
        ({"data": np.zeros((1, 4, 4)), "spacing": (1.0, float("nan"))}, "above 0"),
        ({"data": np.zeros((2, 4, 4)), "channel_names": ("dapi",)}, "one per channel"),
    ],
)
def test_what_is_not_an_image_is_refused_with_the_rule(arguments, message):
    with pytest.raises(ValueError, match=message):
        Image(**arguments)


def test_a_channel_keeps_its_name_and_the_geometry():
    image = Image(np.arange(24).reshape(2, 3, 4), (0.5, 0.25), channel_names=("dapi", "actin"))
    chosen = image.channel(1)
    assert np.array_equal(chosen.data, image.data[1:])
    assert (chosen.channel_names, chosen.spacing) == (("actin",), (0.5, 0.25))


@pytest.mark.parametrize("index", [-1, 2])
def test_a_channel_that_is_not_there_is_refused(index):
    with pytest.raises(ValueError, match=f"channel {index} .* has 2"):
        Image(np.zeros((2, 3, 4))).channel(index)
