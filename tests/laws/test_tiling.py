"""Tiles: cores partition the image, and tiled = whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from made_up import NullModel, picture, scattered
from promptless.pipeline import segment
from promptless.tiles import tiles


@st.composite
def cuts(draw):
    ndim = draw(st.integers(1, 4))
    axes = {
        n: st.tuples(*[values] * ndim)
        for n, values in {
            "shape": st.integers(1, 40 if ndim < 3 else 9),
            "size": st.integers(1, 12),
            "halo": st.integers(0, 5),
        }.items()
    }
    return *(draw(axis) for axis in axes.values()), draw(st.integers(1, 5))


@given(cuts())
def test_cores_cover_every_pixel_exactly_once(cut):
    shape, size, halo, align = cut
    covered = np.zeros(shape, int)
    for tile in tiles(shape, size, halo, align):
        covered[tile.core] += 1
    assert (covered == 1).all()


@given(cuts())
def test_a_tile_sees_its_core_and_the_halo_and_begins_on_the_grid(cut):
    shape, size, halo, align = cut
    for tile in tiles(shape, size, halo, align):
        for core, outer, n, h in zip(tile.core, tile.outer, shape, halo, strict=True):
            assert 0 <= outer.start <= max(0, core.start - h)
            assert n >= outer.stop >= min(n, core.stop + h)
            assert outer.start % align == 0


@given(cuts())
def test_every_pixel_has_one_owner(cut):
    shape, size, halo, align = cut
    parts = list(tiles(shape, size, halo, align))
    for point in {tuple(n // 2 for n in shape), (0,) * len(shape), tuple(n - 1 for n in shape)}:
        assert sum(tile.owns(point) for tile in parts) == 1


@settings(max_examples=25)
@given(
    st.tuples(st.integers(60, 130), st.integers(60, 130)),
    st.integers(16, 40),
    st.integers(24, 40),
    st.integers(0, 2**32 - 1),
)
def test_tiled_equals_whole(shape, tile, halo, seed):
    labels = scattered(shape, (3, 6), 14, np.random.default_rng(seed))
    whole = segment(picture(labels), NullModel())
    tiled = segment(picture(labels), NullModel(), tile=tile, halo=halo)
    assert np.array_equal(tiled.labels, whole.labels)
    assert whole.n_objects > 0
