from __future__ import annotations

import numpy as np
import pytest

from promptless.metrics.bootstrap import interval, interval_of_sums


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


def test_sums_give_the_interval_of_the_mean_they_stand_for(rng):
    values = rng.normal(5, 2, 100)
    terms = np.stack([values, np.ones(100)], axis=1)
    low, high = interval_of_sums(terms, lambda sums: sums[..., 0] / sums[..., 1], rng, draws=4000)
    assert (low, high) == pytest.approx(interval(values.tolist(), mean, rng, draws=4000), abs=0.05)


def test_one_image_has_no_interval(rng):
    low, high = interval_of_sums(np.ones((1, 2)), lambda sums: sums[..., 0], rng)
    assert np.isnan(low)
    assert np.isnan(high)


def test_an_infinite_image_counts_only_where_it_is_drawn(rng):
    values = np.r_[rng.uniform(1, 2, 19), np.inf]  # not drawn at all in 36 % of the resamples
    terms = np.stack([values, np.ones(20)], axis=1)
    low, high = interval_of_sums(terms, lambda sums: sums[..., 0] / sums[..., 1], rng)
    assert 1 < low < 2
    assert high == np.inf
    expected = interval(values.tolist(), mean, rng)
    assert (low, high) == pytest.approx(expected, abs=0.1)


def test_images_that_are_all_infinite_have_an_infinite_interval(rng):
    terms = np.stack([np.full(5, np.inf), np.ones(5)], axis=1)
    assert interval_of_sums(terms, lambda sums: sums[..., 0] / sums[..., 1], rng) == (np.inf, np.inf)
