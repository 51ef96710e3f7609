"""Save + load = same."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from made_up import in_image
from promptless.io.outlines import outline
from promptless.masks import Mask
from promptless.prompts import Prompt, Prompts
from promptless.rle import decode_rle, encode_rle

SHAPES = st.one_of(
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)
)


@st.composite
def masks(draw, shape=None):
    """Return a mask and the shape of the image it is in, which may cut it."""
    shape = draw(SHAPES) if shape is None else shape
    pixels = draw(hnp.arrays(bool, draw(hnp.array_shapes(min_dims=len(shape), max_dims=len(shape), max_side=6))))
    start = draw(st.tuples(*[st.integers(-3, n) for n in shape]))
    return Mask(start, pixels), shape


@given(masks())
def test_run_lengths_give_the_mask_back(given_mask):
    mask, shape = given_mask
    rle = encode_rle(mask, shape)
    assert sum(rle["counts"]) == np.prod(shape)
    assert np.array_equal(in_image(decode_rle(rle, shape), shape), in_image(mask, shape))


@given(masks())
def test_run_lengths_are_those_of_the_flat_image(given_mask):
    mask, shape = given_mask
    flat = in_image(mask, shape).ravel(order="F")
    back = np.concatenate([np.full(n, i % 2) for i, n in enumerate(encode_rle(mask, shape)["counts"])])
    assert np.array_equal(back, flat)


@given(masks())
def test_trimming_keeps_every_pixel_in_the_smallest_crop(given_mask):
    mask, shape = given_mask
    trimmed = mask.trimmed()
    assert np.array_equal(in_image(trimmed, shape), in_image(mask, shape))
    assert trimmed.area == mask.area
    if mask.area:
        for axis in range(len(shape)):
            along = trimmed.pixels.any(axis=tuple(a for a in range(len(shape)) if a != axis))
            assert along[0]
            assert along[-1]


@given(masks(), st.integers(-9, 9))
def test_moving_there_and_back_changes_nothing(given_mask, step):
    mask, shape = given_mask
    moved = mask.moved((step,) * len(shape))
    assert moved.box.tolist() == (mask.box + step).tolist()
    assert moved.moved((-step,) * len(shape)).start == mask.start


QUARTERS = st.integers(0, 80).map(lambda n: n / 4)


@st.composite
def prompts(draw):
    shape, items = (20, 24), []
    for number in draw(st.lists(st.integers(1, 500), unique=True, max_size=4)):
        points = draw(st.lists(st.tuples(QUARTERS, QUARTERS), max_size=4))
        labels = draw(st.lists(st.sampled_from([0, 1]), min_size=len(points), max_size=len(points)))
        start, size = draw(st.tuples(QUARTERS, QUARTERS)), draw(st.tuples(*[st.integers(1, 9)] * 2))
        coarse = Mask((draw(st.integers(0, 9)), 3), np.ones(draw(st.tuples(*[st.integers(1, 9)] * 2)), bool))
        with_box, with_mask = draw(st.booleans()), draw(st.booleans())
        items.append(
            Prompt(
                number,
                np.array(points, np.float32).reshape(-1, 2),
                np.array(labels, np.int64),
                np.stack([start, np.add(start, size)], axis=1).astype(np.float32)
                if with_box or 1 not in labels
                else None,
                coarse if with_mask else None,
                draw(st.integers(0, 10_000)) / 10_000,
                draw(st.sampled_from(["auto", "user"])),
                draw(st.sampled_from(["kept", "added", "edited", "deleted"])),
            )
        )
    return Prompts(shape, tuple(items))


@given(prompts())
def test_a_prompts_file_gives_the_prompts_back(given_prompts):
    loaded = Prompts.from_json(given_prompts.to_json())
    assert loaded.shape == given_prompts.shape
    assert len(loaded) == len(given_prompts)
    for a, b in zip(loaded.items, given_prompts.items, strict=True):
        assert (a.id, a.score, a.source, a.state) == (b.id, b.score, b.source, b.state)
        assert a.points.tolist() == b.points.tolist()
        assert a.point_labels.tolist() == b.point_labels.tolist()
        assert (a.box is None, a.coarse is None) == (b.box is None, b.coarse is None)
        assert b.box is None or np.array_equal(a.box, b.box)
        assert b.coarse is None or (
            a.coarse.start == b.coarse.start and np.array_equal(a.coarse.pixels, b.coarse.pixels)
        )
    assert loaded.to_json() == given_prompts.to_json()


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7)).filter(np.any), st.integers(0, 5))
def test_rasterising_an_outline_gives_the_pixels_back(pixels, start):
    shape = outline(Mask((start, 2 * start), pixels))
    size = (pixels.shape[0] + start + 1, pixels.shape[1] + 2 * start + 1)
    y, x = np.indices(size) + 0.5
    assert shape.is_valid
    assert shape.area == pixels.sum()
    assert np.array_equal(shapely.contains_xy(shape, x, y), in_image(Mask((start, 2 * start), pixels), size))
