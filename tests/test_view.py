from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_up import NULL, NullModel, discs, picture, same_partition
from promptless.check import check
from promptless.config import SEMANTIC, WindowConfig
from promptless.image import Image
from promptless.pipeline import prompt, segment
from promptless.view import HALO, TILE, View, tiling

LIMITED = replace(NULL, input_size=64)


class Narrow(NullModel):
    """The null model with an image encoder that takes no more than so many pixels per side."""

    def encode(self, image):
        assert max(image.shape[1:]) <= self.config.input_size
        return super().encode(image)


def test_a_model_of_any_size_has_tiles_of_its_own():
    assert tiling(NULL, None, None) == (TILE, HALO) == (1024, 128)
    assert tiling(NULL, 5000, None) == (5000, 128)
    assert tiling(NULL, None, 7) == (1024, 7)


def test_a_published_backbone_has_tiles_that_fit():
    config = replace(NULL, name="vit", input_size=1024, align=128)
    assert tiling(config, None, None) == (768, 128)
    assert tiling(config, None, 64) == (768, 64)  # the halo is rounded up to 128
    assert tiling(config, 512, None) == (512, 128)
    assert tiling(config, 1024, 0) == (1024, 0)
    assert tiling(replace(config, input_size=256), None, None) == (256, 0)  # no room for a halo of 128
    assert tiling(replace(config, input_size=256, output=SEMANTIC), None, None) == (192, 32)


@pytest.mark.parametrize(("tile", "halo"), [(1024, 128), (1024, None), (None, 600), (900, 1)])
def test_tiles_that_do_not_fit_are_refused_with_the_numbers(tile, halo):
    config = replace(NULL, name="vit", input_size=1024, align=128)
    with pytest.raises(ValueError, match=r"vit takes at most 1024; leave --tile and --halo out"):
        tiling(config, tile, halo)


@given(
    st.integers(4, 16).map(lambda n: 16 * n),
    st.tuples(st.integers(40, 400), st.integers(40, 400)),
    st.sampled_from([0.13, 0.5, 0.77, 1.0, 1.9, 3.3, 7.9]),
    st.sampled_from([1, 8, 16]),
)
def test_no_tile_is_larger_than_the_model_takes(room, shape, zoom, align):
    config = replace(NULL, input_size=room, align=align)
    view = View(Image(np.zeros((1, *shape), np.uint8)), 0.0, 1.0, zoom, align if zoom == 1 else 1)
    for tile in view.tiles(*tiling(config, None, None)):
        assert max(round(n * zoom) for n in tile.shape) <= room


@pytest.mark.parametrize("mpp", [None, 0.35, 0.6])
def test_a_narrow_encoder_sees_no_more_than_it_takes(mpp):
    labels = discs((150, 170), [(30, 40, 9), (100, 90, 9), (120, 150, 8)])
    result = segment(picture(labels), Narrow(LIMITED), mpp=mpp)
    assert (result.n_objects, result.manifest["tiles"] > 1) == (3, True)
    arguments = result.manifest["arguments"]
    assert (arguments["tile"], arguments["halo"]) == (32, 16)
    assert len(prompt(picture(labels), Narrow(LIMITED), mpp=mpp)) == 3


def test_the_middle_that_is_tried_fits_too(tmp_path):
    np.save(tmp_path / "a.npy", picture(discs((150, 170), [(75, 85, 9)])))
    report = check(tmp_path / "a.npy", Narrow(LIMITED), mpp=0.6)
    assert (report.tile, report.halo) == (32, 16)
    assert report.object_px == pytest.approx(18, abs=2)


def test_objects_come_back_through_windows_of_stride_16():
    config = replace(NULL, pad=16, window=WindowConfig(stride=16, cells=8, chunk=4))
    labels = discs((200, 260), [(50, 60, 20), (60, 180, 30), (150, 100, 24), (140, 215, 15)])
    found = segment(picture(labels), NullModel(config))
    assert found.n_objects == 4
    for number in range(1, 5):
        true = labels == number
        seen = found.labels == found.labels[tuple(np.argwhere(true).mean(axis=0).astype(int))]
        assert (true & seen).sum() / (true | seen).sum() > 0.95
    tiled = segment(picture(labels), NullModel(config), tile=96, halo=64)
    assert tiled.manifest["tiles"] > 1
    assert same_partition(tiled.labels, found.labels)
