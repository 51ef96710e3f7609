from __future__ import annotations

import numpy as np
import pytest

from promptless.config import Intensity
from promptless.intensity import standardised, window_of

AMOS = Intensity()
PERCENTILES = Intensity("percentiles", 2, 98)


def scan(seed=0, shape=(7, 8, 9)):
    return np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)


def test_a_window_cuts_then_scales():
    values = standardised(np.array([-3000, -991, 50, 191, 5000], np.int16), AMOS)
    assert values.dtype == np.float32
    assert values == pytest.approx([(-991 - 50) / 141, (-991 - 50) / 141, 0, 1, (362 - 50) / 141])


def test_percentiles_cut_then_standardise():
    data = scan()
    low, high = np.percentile(data.astype(np.float64), (2, 98))
    cut = data.clip(low, high)
    assert standardised(data, PERCENTILES) == pytest.approx((cut - cut.mean()) / cut.std(), abs=1e-5)


def test_percentiles_do_not_depend_on_the_unit():
    data = scan()
    assert standardised(3 * data + 7, PERCENTILES) == pytest.approx(standardised(data, PERCENTILES), abs=1e-4)


def test_slab_by_slab_is_the_whole():
    data = scan()
    window = window_of(data, PERCENTILES)
    slabs = [standardised(slab, window) for slab in np.array_split(data, 3)]
    assert np.array_equal(np.concatenate(slabs), standardised(data, PERCENTILES))


def test_a_window_means_itself():
    assert window_of(scan(), AMOS) is AMOS


@pytest.mark.parametrize("value", [0, 5, np.nan])
def test_a_scan_of_one_value_becomes_zero(value):
    assert not standardised(np.full((2, 3, 4), value, np.float32), PERCENTILES).any()


@pytest.mark.parametrize("rule", [AMOS, PERCENTILES])
def test_what_is_not_a_number_is_cut_like_the_rest(rule):
    data = scan()
    data[0, 0, :3] = np.nan, np.inf, -np.inf
    values, window = standardised(data, rule), window_of(data, rule)
    low, high = ((value - window.mean) / window.std for value in (window.low, window.high))
    assert values[0, 0, :3] == pytest.approx([low, high, low], rel=1e-5)
    assert np.isfinite(values).all()


def test_of_many_voxels_some_are_looked_at():
    data = scan(shape=(150, 150, 150))
    assert window_of(data, PERCENTILES).mean == pytest.approx(window_of(data[:20], PERCENTILES).mean, abs=0.2)
