from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from promptless.resample import resample, weights


def test_the_same_grid_gives_the_same_values(rng):
    values = rng.normal(size=(3, 7, 9)).astype(np.float32)
    assert np.array_equal(resample(values, (7, 9), (0.0, 0.0), (1.0, 1.0)), values)


def test_whole_shifts_move_pixels_and_go_on_beyond_the_border():
    values = np.array([1, 2, 3, 4], np.float32)
    assert resample(values, (4,), (2.0,), (1.0,)).tolist() == [3, 4, 4, 4]
    assert resample(values, (4,), (-2.0,), (1.0,)).tolist() == [1, 1, 1, 2]


@pytest.mark.parametrize(("start", "step"), [(0.0, 0.5), (-2.3, 0.37), (1.7, 1.0), (0.25, 0.9)])
def test_finer_grids_agree_with_scipy(rng, start, step):
    values = rng.normal(size=(8, 11)).astype(np.float32)
    shape = (13, 9)
    at = np.meshgrid(*[start + (np.arange(n) + 0.5) * step - 0.5 for n in shape], indexing="ij")
    expected = ndimage.map_coordinates(values, at, order=1, mode="nearest")
    assert resample(values, shape, (start,) * 2, (step,) * 2) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("step", [2, 3, 2.5])
def test_coarser_grids_agree_with_torch_away_from_the_border(rng, step):
    values = rng.normal(size=(30, 60)).astype(np.float32)
    shape = tuple(int(n / step) for n in values.shape)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], shape, mode="bilinear", antialias=True, align_corners=False
    )[0, 0].numpy()
    ours = resample(values, shape, (0.0, 0.0), (float(step), float(step)))
    assert ours[1:-1, 1:-1] == pytest.approx(expected[1:-1, 1:-1], abs=1e-5)


@pytest.mark.parametrize("step", [0.3, 1.0, 1.6, 4.0])
def test_weights_agree_with_a_slow_plain_version(step):
    n, n_in, start = 6, 7, -1.2
    expected = np.zeros((n, n_in))
    width = max(step, 1.0)
    for i in range(n):
        centre = start + (i + 0.5) * step - 0.5
        for tap in range(-40, 60):
            expected[i, min(max(tap, 0), n_in - 1)] += max(0.0, 1 - abs(tap - centre) / width)
    expected /= expected.sum(axis=1, keepdims=True)
    assert weights(n, n_in, start, step) == pytest.approx(expected, abs=1e-6)
