from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_up import discs
from promptless.config import POINT_RULES, PointsConfig
from promptless.discriminate import RULES, discriminate
from promptless.prompts import Points

PLACES = [(12, 14, 6), (40, 20, 9), (30, 52, 4)]
CENTRES = [(40, 20), (12, 14), (30, 52)]  # the largest first
EVERY = PointsConfig(rule="centroid", positives=8, negatives=12)


def peaks(places=PLACES, shape=(60, 70)):
    """Return a map with a disc of probability 0.9 at each place, in a background of 0.1."""
    return np.where(discs(shape, places) > 0, 0.9, 0.1).astype(np.float32)


def asked(probability, config, seed=0):
    return discriminate(probability, config, np.random.default_rng(seed))


def values(probability, points):
    return probability[tuple(points.coords.astype(int).T)]


def test_a_positive_lies_at_each_centroid_the_largest_first():
    points = asked(peaks(), EVERY)
    assert points.coords[points.labels == 1].tolist() == [list(c) for c in CENTRES]
    assert (points.labels == 0).sum() == 12
    assert (values(peaks(), points)[points.labels == 0] < 0.5).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_more_components_than_positives_leave_the_largest(n):
    points = asked(peaks(), replace(EVERY, positives=n))
    assert points.coords[points.labels == 1].tolist() == [list(c) for c in CENTRES[:n]]


def test_a_centroid_outside_its_component_gives_way_to_its_nearest_pixel():
    ring = discs((41, 41), [(20, 20, 15)]) - discs((41, 41), [(20, 20, 12)]) > 0
    point = asked(ring.astype(np.float32), replace(EVERY, negatives=0)).coords[0]
    assert ring[tuple(point.astype(int))]
    assert np.hypot(*(point - 20)) == pytest.approx(12, abs=0.1)


@pytest.mark.parametrize("rule", ["centroid", "probability"])
def test_positives_lie_where_p_is_high_and_negatives_where_it_is_low(rule):
    probability = peaks()
    points = asked(probability, replace(EVERY, rule=rule))
    assert (values(probability, points) > 0.5).tolist() == (points.labels == 1).tolist()
    assert (points.labels == 1).sum() == (8 if rule == "probability" else 3)


def test_the_likelier_a_pixel_the_more_often_it_is_drawn():
    probability = np.where(np.indices((40, 40))[1] < 20, 0.95, 0.55).astype(np.float32)
    probability[:, 30:] = 0.45
    probability[:, 35:] = 0.01
    config = PointsConfig("probability", positives=4, negatives=4)
    points = sum((asked(probability, config, seed) for seed in range(1, 100)), asked(probability, config))
    drawn = values(probability, points)
    on = drawn[points.labels == 1]
    off = drawn[points.labels == 0]
    assert (on > 0.9).mean() > 0.6  # equally often, two thirds of the foreground's pixels are: 20 columns of 30
    assert (off < 0.1).mean() > 0.55


def test_points_are_spread():
    """Their nearest neighbours lie farther off than those of points drawn without regard to one another."""
    flat = np.full((100, 100), 0.9, np.float32)

    def gap(coords):
        apart = np.linalg.norm(coords[:, None] - coords[None], axis=2)
        return np.where(apart == 0, np.inf, apart).min(axis=1).mean()

    rng = np.random.default_rng(3)
    spread = gap(asked(flat, PointsConfig("probability", positives=30, negatives=0)).coords)
    assert spread > 1.3 * np.mean([gap(rng.uniform(0, 100, (30, 2))) for _ in range(20)])


@pytest.mark.parametrize("rule", POINT_RULES)
def test_one_seed_gives_the_same_points(rule):
    config = replace(EVERY, rule=rule)
    first, again = asked(peaks(), config, 5), asked(peaks(), config, 5)
    assert np.array_equal(first.coords, again.coords)
    assert np.array_equal(first.labels, again.labels)


def test_without_a_rule_there_are_no_points_but_padding():
    points = asked(peaks(), replace(EVERY, rule="none"))
    assert len(points) == 0
    coords, labels = points.padded(EVERY.tokens)
    assert (coords.shape, labels.tolist()) == ((21, 2), [-1] * 21)


@pytest.mark.parametrize("rule", POINT_RULES)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_map_of_one_kind_has_no_points_of_the_other(rule, p):
    points = asked(np.full((9, 8), p, np.float32), replace(EVERY, rule=rule))
    assert not (points.labels == (1 if p == 0 else 0)).any()


@given(st.sampled_from(POINT_RULES), st.integers(0, 5), st.integers(0, 5), st.integers(0, 1000), st.integers(1, 3))
def test_never_more_than_asked_for_and_no_pixel_twice(rule, positives, negatives, seed, ndim):
    rng = np.random.default_rng(seed)
    probability = rng.uniform(size=rng.integers(1, 9, ndim)).astype(np.float32)
    config = PointsConfig(rule, positives, negatives)
    points = discriminate(probability, config, rng)
    assert (points.labels == 1).sum() <= positives
    assert (points.labels == 0).sum() <= negatives
    assert points.coords.shape == (len(points), ndim)
    assert len({tuple(c) for c in points.coords.tolist()}) == len(points)
    assert len(points.padded(config.tokens)[1]) == config.tokens


def test_every_rule_that_can_be_configured_is_there():
    assert tuple(RULES) == POINT_RULES


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rule": "grid"}, "'grid'; it must be one of centroid, probability, none"),
        ({"negatives": -1}, r"negatives \(-1\)"),
        ({"threshold": 1.5}, "threshold of points is 1.5"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        PointsConfig(**values)


def test_points_move_and_zoom_about_pixel_corners():
    points = Points.of([(3, 4)], [(0, 1)])
    assert points.labels.tolist() == [1, 0]
    assert points.moved((2, 5)).coords.tolist() == [[5, 9], [2, 6]]
    assert points.zoomed(2).coords.tolist() == [[6.5, 8.5], [0.5, 2.5]]
    assert points.zoomed(2).zoomed(0.5).coords.tolist() == points.coords.tolist()
    assert len(points + Points.of()) == 2


def test_padding_is_never_left_out():
    assert Points.of([(1, 1)] * 3).padded(2)[1].tolist() == [1, 1, 1, -1]
