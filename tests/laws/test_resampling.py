"""Resampling and intensity: identity, constants stay, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from promptless.normalise import HIGH, LOW, intensity_range, normalise
from promptless.resample import resample, weights

VALUES = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=8), elements=st.floats(-10, 10, width=32)
)
STARTS, STEPS = st.integers(-40, 40).map(lambda n: n / 8), st.integers(1, 40).map(lambda n: n / 8)


@given(VALUES)
def test_the_same_grid_gives_the_same_values(values):
    ndim = values.ndim
    assert np.array_equal(resample(values, values.shape, (0.0,) * ndim, (1.0,) * ndim), values)


@given(st.integers(1, 9), st.integers(1, 9), STARTS, STEPS)
def test_weights_are_shares(n, n_in, start, step):
    matrix = weights(n, n_in, start, step)
    assert matrix.min() >= 0
    assert matrix.sum(axis=1) == pytest.approx(np.ones(n), abs=1e-5)


@given(VALUES, STARTS, STEPS)
def test_nothing_leaves_the_range_of_the_values(values, start, step):
    ndim = values.ndim
    out = resample(values, (5,) * ndim, (start,) * ndim, (step,) * ndim)
    assert out.min() >= values.min() - 1e-4
    assert out.max() <= values.max() + 1e-4


@given(st.integers(5, 12), STARTS, st.sampled_from([0.25, 0.5, 1.0]))
def test_a_straight_line_stays_one_away_from_the_border(n_in, start, step):
    line = np.arange(n_in, dtype=np.float32)
    centre = start + (np.arange(20) + 0.5) * step - 0.5
    inner = (centre >= 0) & (centre <= n_in - 1)
    assert resample(line, (20,), (start,), (step,))[inner] == pytest.approx(centre[inner], abs=1e-4)


@given(VALUES.filter(lambda v: v.ndim == 2))
def test_the_order_of_the_axes_does_not_matter(values):
    out = resample(values, (4, 6), (0.5, -1.0), (0.7, 1.6))
    assert pytest.approx(out, abs=1e-4) == resample(values.T, (6, 4), (-1.0, 0.5), (1.6, 0.7)).T


@given(hnp.arrays(np.uint8, st.tuples(st.just(1), st.integers(8, 30), st.integers(8, 30))), st.integers(0, 7))
def test_one_hot_pixel_moves_no_more_than_the_percentile_next_to_it(pixels, at):
    hot = pixels.astype(np.float64)
    low, high = intensity_range(hot)
    hot[0, at, at] = 1e6
    if hot.size > 600 and np.ptp(np.percentile(hot, (LOW, HIGH))):  # in fewer, a pixel is more than 0.2 % of them
        assert intensity_range(hot)[1] <= max(hot[hot < 1e6].max(), high)
    assert low <= high


@given(hnp.arrays(np.uint16, st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))))
def test_normalised_images_have_three_channels_between_0_and_1(pixels):
    scaled = normalise(pixels, *intensity_range(pixels))
    assert scaled.shape == (3, *pixels.shape[1:])
    assert 0 <= scaled.min() <= scaled.max() <= 1
