from __future__ import annotations

import numpy as np
import pytest

from made_up import discs, in_image, rectangle
from promptless.config import ProposalConfig
from promptless.labels import objects
from promptless.prompts import BACKGROUND, OBJECT
from promptless.train.simulate import (
    NOTHING,
    adjacent,
    automatic,
    box,
    by_user,
    click,
    correction,
    distorted,
    halves,
    inside,
    jittered_box,
    matching,
    rough,
    union,
)

LABELS = discs((60, 80), [(20, 20, 9), (20, 37, 8), (45, 60, 10)])
FOUND = objects(LABELS)


def positive(prompt):
    return [LABELS[tuple(p.astype(int))] for p in prompt.points[prompt.point_labels == OBJECT]]


@pytest.mark.parametrize("way", [click, box, rough, correction])
@pytest.mark.parametrize("seed", range(8))
def test_every_way_of_asking_speaks_of_its_object(way, seed):
    prompt = way(FOUND[1], 1, FOUND, np.random.default_rng(seed))
    assert prompt.id == 1
    assert set(positive(prompt)) <= {1}
    start, stop = prompt.extent.T
    assert (start < FOUND[1].box[:, 1]).all()
    assert (stop > FOUND[1].box[:, 0]).all()


def test_the_ways_differ(rng):
    assert click(FOUND[1], 1, FOUND, rng).box is None
    assert click(FOUND[1], 1, FOUND, rng).coarse is None
    assert {len(box(FOUND[1], 1, FOUND, rng).points) for _ in range(20)} == {0, 1}
    assert rough(FOUND[1], 1, FOUND, rng).coarse.area != 0
    assert correction(FOUND[3], 3, FOUND, rng).coarse.area < FOUND[3].area


def test_a_correction_marks_the_neighbour_that_is_in_the_mask():
    prompts = [correction(FOUND[1], 1, FOUND, np.random.default_rng(seed)) for seed in range(20)]
    merged = [p for p in prompts if BACKGROUND in p.point_labels]
    halved = [p for p in prompts if BACKGROUND not in p.point_labels]
    assert merged
    assert halved
    for prompt in merged:
        assert LABELS[tuple(prompt.points[1].astype(int))] == 2
        assert prompt.coarse.area == FOUND[1].area + FOUND[2].area
    for prompt in halved:
        kept = in_image(prompt.coarse, LABELS.shape)
        assert [kept[tuple(p.astype(int))] for p in prompt.points] == [True, False]


@pytest.mark.parametrize("seed", range(10))
def test_the_parts_of_an_object_lie_within_it(seed):
    rng, mask = np.random.default_rng(seed), FOUND[1]
    assert LABELS[tuple(inside(mask, rng)[0].astype(int))] == 1
    first, second = halves(mask, rng)
    assert np.array_equal(
        in_image(first, LABELS.shape).astype(int) + in_image(second, LABELS.shape), (LABELS == 1).astype(int)
    )
    assert np.abs(jittered_box(mask, rng) - mask.box).max() <= 0.2 * np.ptp(mask.box, axis=1).max() + 1e-4
    assert distorted(mask, rng).area != mask.area


def test_clicks_are_likelier_in_the_middle(rng):
    mask = rectangle((0, 21), (0, 21))
    clicks = np.concatenate([inside(mask, rng) for _ in range(300)])
    assert np.abs(clicks - 10).max(axis=1).mean() < 0.85 * np.abs(np.indices((21, 21)) - 10).max(axis=0).mean()


def test_neighbours_are_boxes_within_two_pixels():
    assert adjacent(rectangle((0, 4), (0, 4)), rectangle((0, 4), (6, 9)))
    assert not adjacent(rectangle((0, 4), (0, 4)), rectangle((0, 4), (7, 9)))


def test_a_union_holds_both(rng):
    both = union(FOUND[1], FOUND[3])
    assert np.array_equal(in_image(both, LABELS.shape), (LABELS == 1) | (LABELS == 3))


def test_a_users_prompts_are_of_different_objects(rng):
    asked = by_user(LABELS, 2, rng)
    assert len({q.target for q in asked}) == len(asked) == 2
    assert all(q.prompt.id == q.target for q in asked)
    assert by_user(np.zeros((9, 9), np.int32), 5, rng) == []


def test_a_proposal_asks_for_the_object_it_overlaps_most():
    sizes = np.bincount(LABELS.ravel())
    assert matching(FOUND[2], LABELS, sizes) == 2
    assert matching(union(FOUND[1], rectangle((50, 53), (5, 8))), LABELS, sizes) == 1
    assert matching(rectangle((50, 58), (2, 10)), LABELS, sizes) == NOTHING


def test_automatic_prompts_are_matched_and_false_alarms_are_told():
    foreground = np.where(LABELS > 0, 8.0, -8.0)
    foreground[50:58, 4:12] = 8  # nothing is there
    asked = automatic(np.stack([foreground, foreground]).astype(np.float32), LABELS, ProposalConfig())
    assert NOTHING in {q.target for q in asked}
    assert {1, 2} & {q.target for q in asked}
    assert 3 in {q.target for q in asked}
