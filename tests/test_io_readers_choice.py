from __future__ import annotations

import numpy as np
import pytest

from promptless.errors import UnreadableImageError
from promptless.io.readers.choice import choose
from promptless.io.readers.scene import Scene


def scene(axes, *shape, names=()):
    return Scene(axes, shape, np.dtype(np.uint8), channel_names=names)


CHANNELS = scene("CYX", 3, 20, 30, names=("DAPI", "GFP", "488"))


def test_a_plane_and_colours_need_no_choice():
    assert choose([scene("YX", 20, 30)], None, None).index == (slice(None),) * 2
    assert choose([scene("YXS", 20, 30, 3)], None, None).index == (slice(None),) * 3


@pytest.mark.parametrize(
    ("channel", "number"), [(1, 1), ("1", 1), ("GFP", 1), ("gfp", 1), ("488", 2), (488, 2), (0, 0)]
)
def test_channels_are_chosen_by_number_or_name(channel, number):
    choice = choose([CHANNELS], None, channel)
    assert choice.index == (number, slice(None), slice(None))
    assert choice.names == CHANNELS.channel_names[number : number + 1]
    assert str(choice.origin) == f"channel {number} ({CHANNELS.channel_names[number]})"


def test_channels_are_refused_without_a_choice_and_offered_by_name():
    with pytest.raises(UnreadableImageError, match=r"3 channels.*--channel.*\(0 DAPI, 1 GFP, 2 488\).*--channel rgb"):
        choose([CHANNELS], None, None)
    with pytest.raises(UnreadableImageError, match=r"2 channels.*\(0 to 1\)$"):
        choose([scene("CYX", 2, 20, 30)], None, None)


@pytest.mark.parametrize("channel", ["Cy5", 3, "3", "", -1])
def test_a_channel_that_is_not_there_is_refused_with_those_that_are(channel):
    with pytest.raises(UnreadableImageError, match=r"has 3, counted from 0 \(DAPI, GFP, 488\)"):
        choose([CHANNELS], None, channel)


def test_three_channels_may_be_colours():
    choice = choose([CHANNELS], None, "rgb")
    assert choice.index == (slice(None),) * 3
    assert choice.n_channels == 3


def test_pages_are_refused_without_a_choice():
    with pytest.raises(UnreadableImageError, match=r"T=2, Z=3, Y=20, X=30.*--page 0 to 5$"):
        choose([scene("TZYX", 2, 3, 20, 30)], None, None)


def test_pages_count_through_all_axes_but_the_channels_the_last_fastest():
    choice = choose([scene("TCZYX", 2, 4, 3, 20, 30)], 4, 2)
    assert choice.index == (1, 2, 1, slice(None), slice(None))
    assert str(choice.origin) == "page 4, channel 2"


def test_pages_count_through_all_scenes():
    scenes = [scene("ZYX", 2, 20, 30), scene("YX", 5, 6), scene("TYX", 3, 20, 30)]
    places = [(choose(scenes, page, None).scene, choose(scenes, page, None).index[:1]) for page in range(6)]
    assert places == [(0, (0,)), (0, (1,)), (1, (slice(None),)), (2, (0,)), (2, (1,)), (2, (2,))]


@pytest.mark.parametrize(("page", "held"), [(6, "6 pages"), (-1, "6 pages")])
def test_a_page_that_is_not_there_is_refused(page, held):
    with pytest.raises(UnreadableImageError, match=f"has {held}, counted from 0, but page {page} was asked for"):
        choose([scene("TZYX", 2, 3, 20, 30)], page, None)


def test_an_axis_of_unknown_meaning_is_refused_with_every_reading_and_read_in_each():
    unknown = scene("QYX", 3, 20, 30)
    with pytest.raises(UnreadableImageError, match=r"--page 0 to 2, or --channel 0 to 2 .*, or --channel rgb"):
        choose([unknown], None, None)
    assert choose([unknown], 1, None).index[0] == 1
    assert choose([unknown], None, 1).index[0] == 1
    assert choose([unknown], None, "rgb").n_channels == 3


def test_a_file_without_an_image_or_without_a_plane_is_refused():
    with pytest.raises(UnreadableImageError, match="no image"):
        choose([], None, None)
    with pytest.raises(UnreadableImageError, match="no plane"):
        choose([scene("ZX", 1, 9)], None, None)


def test_channels_come_first_whatever_their_axis(rng):
    pixels = rng.integers(0, 9, (4, 5, 3))
    assert np.array_equal(
        choose([scene("YXC", 4, 5, 3)], None, "rgb").channels_first(pixels), np.moveaxis(pixels, -1, 0)
    )
    assert np.array_equal(
        choose([scene("XY", 5, 4)], None, None).channels_first(pixels[..., 0].T), pixels[None, ..., 0]
    )
