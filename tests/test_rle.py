from __future__ import annotations

import numpy as np
import pytest

from promptless.masks import Mask
from promptless.rle import decode_rle, encode_rle, encode_rles


def test_run_lengths_are_those_of_coco():
    # COCO counts down the columns: 0, 1, 1, 1.
    mask = Mask((0, 0), np.array([[0, 1], [1, 1]], bool))
    assert encode_rle(mask, (2, 2))["counts"][:2] == [1, 3]
    assert encode_rle(mask, (2, 2))["size"] == [2, 2]
    assert decode_rle({"size": [2, 3], "counts": [0, 2, 1, 1, 2]}, (2, 3)).pixels.tolist() == [
        [True, False],
        [True, True],
    ]


def test_run_lengths_that_do_not_fill_the_image_are_refused():
    with pytest.raises(ValueError, match=r"add up to 5.* 6 pixels"):
        decode_rle({"size": [2, 3], "counts": [2, 3]}, (2, 3))


@pytest.mark.parametrize("ndim", [2, 3])
def test_many_objects_have_the_run_lengths_of_each(ndim, rng):
    shape = (9, 7, 8)[:ndim]
    masks = [Mask(tuple(rng.integers(-3, 6, ndim)), rng.random(rng.integers(1, 9, ndim)) < 0.8) for _ in range(40)]
    assert list(encode_rles(masks, shape)) == [encode_rle(mask, shape) for mask in masks]


def test_a_run_goes_on_from_the_foot_of_a_column_to_the_head_of_the_next():
    assert encode_rle(Mask((0, 1), np.ones((3, 2), bool)), (3, 4))["counts"] == [3, 6, 3]
