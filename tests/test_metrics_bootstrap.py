from __future__ import annotations

import numpy as np
import pytest

from promptless.metrics.bootstrap import interval


def mean(items):
    return float(np.mean(items))


def test_the_interval_holds_the_mean_and_is_about_four_standard_errors_wide(rng):
    values = rng.normal(5, 2, 100).tolist()
    low, high = interval(values, mean, rng)
    assert low < np.mean(values) < high
    assert high - low == pytest.approx(4 * np.std(values) / 10, rel=0.15)


def test_equal_images_have_an_interval_of_no_width(rng):
    assert interval([0.5] * 8, mean, rng) == (0.5, 0.5)


def test_a_higher_level_is_wider(rng):
    values = rng.uniform(size=30).tolist()
    wide, narrow = (interval(values, mean, np.random.default_rng(1), level=level) for level in (0.99, 0.5))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_same_seed_gives_the_same_interval():
    values = [0.1, 0.4, 0.5, 0.9]
    assert interval(values, mean, np.random.default_rng(3)) == interval(values, mean, np.random.default_rng(3))


def test_no_images_have_no_interval(rng):
    assert interval([], mean, rng) == pytest.approx((float("nan"), float("nan")), nan_ok=True)
