from __future__ import annotations

import numpy as np
import pytest

from promptless.metrics.pixels import dice


def test_dice_is_twice_the_overlap_over_the_sum():
    truth, predicted = np.array([1, 2, 0, 0, 3]), np.array([9, 0, 9, 0, 9])
    assert dice(truth, predicted) == 2 * 2 / (3 + 3)


def test_dice_is_symmetric_and_1_for_the_same(rng):
    a, b = rng.integers(0, 2, (2, 30))
    assert dice(a, a) == 1
    assert dice(a, b) == dice(b, a)


def test_nothing_in_common_is_0_and_nothing_at_all_is_nan():
    assert dice(np.array([1, 0]), np.array([0, 1])) == 0
    assert dice(np.zeros(3), np.zeros(3)) == pytest.approx(float("nan"), nan_ok=True)
