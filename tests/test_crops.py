from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptless.crops import PROFILES, padding, stops


@given(st.integers(1, 40), st.integers(0, 90), st.floats(0, 0.9), st.sampled_from(sorted(PROFILES)))
def test_crops_cover_an_axis_and_their_weights_add_up_to_one(length, more, overlap, blend):
    n = length + more
    total = np.zeros(n)
    found = stops(n, length, overlap, blend)
    for span, weights in found.spans:
        assert span.stop - span.start == length == len(weights)
        total[span] += weights
    assert np.allclose(total, 1, atol=1e-6)
    assert found.starts[0] == 0
    assert found.starts[-1] == n - length


@given(st.integers(4, 40), st.integers(1, 90), st.floats(0, 0.7))
def test_neighbours_share_what_is_asked_of_a_crop(length, more, overlap):
    starts = stops(length + more, length, overlap, "constant").starts
    assert max(np.diff(starts)) <= max(1, length * (1 - overlap))


def test_the_published_overlap_makes_steps_of_96_in_crops_of_128():
    assert stops(320, 128, 0.25, "constant").starts == (0, 96, 192)


def test_an_axis_of_one_crop_counts_all_of_it():
    (weights,) = stops(9, 9, 0.25, "gaussian").weights
    assert (weights == 1).all()


def test_in_the_middle_of_a_gaussian_a_crop_counts_most():
    first, second = stops(12, 8, 0.5, "gaussian").weights
    assert first[4] > 0.9
    assert first[7] < 0.1
    assert second[-1] == 1


@pytest.mark.parametrize(("shape", "expected"), [((5, 8), [(1, 2), (0, 0)]), ((9, 7), [(0, 0), (0, 1)])])
def test_padding_fills_one_crop_on_both_sides(shape, expected):
    assert padding(shape, (8, 8)) == expected
