from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from promptless.normalise import intensity_range, normalise, scaled, scaled_at_once


def test_a_hot_pixel_does_not_move_the_range(rng):
    pixels = rng.integers(100, 200, (1, 64, 64)).astype(np.uint16)
    before = intensity_range(pixels)
    pixels[0, 5, 5] = 65_535
    assert intensity_range(pixels) == pytest.approx(before, abs=2)


def test_values_that_are_not_finite_are_passed_over():
    pixels = np.linspace(0, 1, 1000).reshape(1, 20, 50)
    pixels[0, 0, :2] = np.nan, np.inf
    low, high = intensity_range(pixels)
    assert 0 <= low < high <= 1
    assert np.isfinite(normalise(pixels, low, high)).all()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_every_dtype_is_brought_to_0_and_1(dtype):
    pixels = np.tile(np.array([0, 1], dtype), (1, 10, 10))
    scaled = normalise(pixels, *intensity_range(pixels))
    assert scaled.dtype == np.float32
    assert np.array_equal(np.unique(scaled), [0, 1])


def test_a_single_channel_is_repeated_and_colours_are_kept(rng):
    grey, colours = rng.uniform(size=(1, 4, 4)), rng.uniform(size=(3, 4, 4))
    assert np.array_equal(*normalise(grey, 0, 1)[:2])
    assert normalise(colours, 0, 1) == pytest.approx(colours, abs=1e-6)


def test_brightness_and_contrast_do_not_matter(rng):
    pixels = rng.integers(0, 200, (1, 30, 30)).astype(np.float64)
    other = pixels * 7 + 300
    assert normalise(other, *intensity_range(other)) == pytest.approx(
        normalise(pixels, *intensity_range(pixels)), abs=1e-5
    )


def test_a_flat_image_is_black():
    pixels = np.full((1, 8, 8), 77, np.uint8)
    assert not normalise(pixels, *intensity_range(pixels)).any()


def test_nuclei_on_a_thousandth_of_the_image_still_set_the_range():
    pixels = np.zeros((1, 200, 200), np.uint8)
    pixels[0, :6, :6] = 250
    assert intensity_range(pixels) == (0, 250)
    assert intensity_range(np.full((1, 3, 3), np.nan)) == (0, 1)


@pytest.mark.parametrize("shape", [(1, 700, 800), (3, 300, 400), (2, 3, 200, 900), (3, 0, 5), (1, 2, 300_000)])
def test_scaling_by_rows_gives_what_scaling_at_once_does(shape, rng):
    pixels = rng.normal(100, 50, shape).astype(np.float32)
    pixels[rng.uniform(size=shape) < 0.01] = np.nan
    pixels[rng.uniform(size=shape) < 0.01] = np.inf
    assert np.array_equal(scaled(pixels, 40, 160), scaled_at_once(pixels, 40, 160).astype(np.float32))


def test_scaling_takes_little_more_memory_than_its_result():
    pixels = np.zeros((3, 1000, 1000), np.uint8)
    tracemalloc.start()
    result = scaled(pixels, 0, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < result.nbytes + 8e6
