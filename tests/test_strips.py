from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from promptless import strips as module
from promptless.masks import Mask
from promptless.strips import Strip, in_one_part, strips


def some(rng, n, ndim=2):
    return [Mask(tuple(rng.integers(0, 50, ndim)), rng.random(tuple(rng.integers(1, 9, ndim))) < 0.6) for _ in range(n)]


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_strip_has_the_pixels_of_every_object_where_they_are(ndim):
    masks = some(np.random.default_rng(0), 7, ndim)
    strip = Strip.of(masks)
    at = np.argwhere(strip.pixels)
    owner = strip.owner[at[:, 0]]
    for i, mask in enumerate(masks):
        assert np.array_equal(at[owner == i] - [strip.first[i], *[0] * (ndim - 1)], np.argwhere(mask.pixels))
        assert (tuple(strip.starts[i]), tuple(strip.stops[i])) == (mask.start, mask.stop)


def test_an_empty_row_lies_after_every_object():
    strip = Strip.of([Mask((0, 0), np.ones((n, 3), bool)) for n in (1, 4, 2)])
    assert np.flatnonzero(~strip.pixels.any(axis=1)).tolist() == [1, 6, 9]


def test_objects_are_spread_over_strips_in_their_order(monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 100)
    masks = some(np.random.default_rng(1), 30)
    made = list(strips(masks))
    assert len(made) > 3
    assert np.array_equal(np.concatenate([s.starts for s in made]), [mask.start for mask in masks])
    assert all(s.pixels.size <= 100 + 9 * 9 for s in made)


def test_an_object_larger_than_a_strip_has_one_of_its_own(monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 10)
    assert [len(s.first) for s in strips([Mask((0, 0), np.ones((9, 9), bool))] * 3)] == [1, 1, 1]


def test_nothing_makes_no_strip():
    assert list(strips([])) == []


@pytest.mark.parametrize("ndim", [2, 3])
def test_objects_in_one_part_are_those_that_labelling_each_alone_leaves_whole(ndim, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 100)
    masks = [*some(np.random.default_rng(2), 60, ndim), Mask((0,) * ndim, np.zeros((0,) * ndim, bool))]
    whole = in_one_part(masks)
    assert whole.tolist() == [ndimage.label(mask.pixels)[1] < 2 for mask in masks]
    assert 0 < whole.sum() < len(masks)


def test_of_no_objects_none_is_in_one_part():
    assert in_one_part([]).tolist() == []
