from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import polygon

from promptless.data import prepared
from promptless.data.sample import Sample
from promptless.data.sources.dsb2018 import decoded
from promptless.data.sources.monuseg import inside
from promptless.data.splits import PARTS, split
from promptless.labels import laid

SHAPE = (13, 17)


def kaggle_runs(mask):
    """Return a mask as Kaggle's own script writes it."""
    padded = np.concatenate([[0], mask.T.ravel(), [0]])
    runs = np.flatnonzero(padded[1:] != padded[:-1]) + 1
    runs[1::2] -= runs[::2]
    return " ".join(map(str, runs))


def as_image(mask, shape=SHAPE):
    return laid([mask], shape)[0] > 0


@given(arrays(bool, SHAPE))
def test_runs_give_the_mask_back(mask):
    assert np.array_equal(as_image(decoded(kaggle_runs(mask), SHAPE, "a")), mask)


corner = st.tuples(*[st.floats(-5, 25, allow_nan=False)] * 2)


@given(st.lists(corner, min_size=1, max_size=8))
def test_a_polygon_has_the_pixels_that_scikit_image_gives_it(corners):
    expected = np.zeros(SHAPE, bool)
    expected[polygon(*np.array(corners).T, shape=SHAPE)] = True
    assert np.array_equal(as_image(inside(np.array(corners), SHAPE)), expected)


@given(st.lists(arrays(bool, SHAPE), max_size=5))
def test_what_is_laid_down_first_keeps_its_pixels(masks):
    found, kept = laid([decoded(kaggle_runs(mask), SHAPE, "a") for mask in masks], SHAPE)
    free = np.ones(SHAPE, bool)
    for position, mask in enumerate(masks):
        own = found == kept.index(position) + 1 if position in kept else np.zeros(SHAPE, bool)
        assert np.array_equal(own, mask & free)
        free &= ~mask
    assert np.array_equal(np.unique(found[found > 0]), np.arange(1, len(kept) + 1))


names = st.lists(st.text("abcdef", min_size=1, max_size=4), unique=True, max_size=30)


@given(names, names)
def test_adding_images_moves_none(first, more):
    both = list(dict.fromkeys([*first, *more]))
    before, after = (split(ids, lambda name: name[0], {}, {}) for ids in (first, both))
    if len(first) != 1:
        assert all(set(before[part]) <= set(after[part]) for part in PARTS)
    cases = [{name[0] for name in after[part]} for part in PARTS]
    assert len(both) == 1 or sum(map(len, cases)) == len(set.union(*cases))
    assert sorted(name for part in PARTS for name in after[part]) == sorted(both)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read_back(dtype, channels, rng, tmp_path):
    pixels = (rng.random((channels, *SHAPE)) * 100).astype(dtype)
    labels = rng.integers(0, 60_000, SHAPE).astype(np.int32)
    classes = {int(label): 1 + int(label) % 2 for label in np.unique(labels) if label}
    before = Sample("a.b", "HE", pixels, labels, 0.4, classes)
    facts = prepared.Facts("made", "CC0-1.0", "here", {1: "odd", 2: "even"})
    prepared.write(tmp_path, prepared.IMAGES, facts, {"train": ["a.b"], "dev": [], "test": []}, [before])
    (after,) = prepared.read(tmp_path, ["a.b"])
    assert (after.id, after.category, after.mpp, after.classes) == ("a.b", "HE", 0.4, classes)
    assert np.array_equal(after.pixels, pixels)
    assert np.array_equal(after.labels, labels)
    assert after.pixels.dtype == pixels.dtype
    assert {path.name for path in tmp_path.iterdir()} == prepared.IMAGES.content
