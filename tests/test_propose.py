from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from made_up import discs, in_image, same_partition
from promptless.config import ProposalConfig
from promptless.data.targets import generator_targets
from promptless.labels import objects
from promptless.prompts import BACKGROUND, OBJECT
from promptless.propose import coarse_labels, propose

CONFIG = ProposalConfig()


def perfect_maps(labels):
    """Return the logits of a generator that has learned its targets by heart."""
    targets, _ = generator_targets(labels)
    return np.log(np.clip(targets, 1e-4, 1 - 1e-4) / (1 - np.clip(targets, 1e-4, 1 - 1e-4))).astype(np.float32)


def proposed(prompts):
    labels = np.zeros(prompts.shape, np.int32)
    for prompt in prompts.items:
        labels[prompt.coarse.region][prompt.coarse.pixels] = prompt.id
    return labels


def test_every_object_gets_a_prompt_with_its_mask_and_box(blobs):
    _, labels = blobs
    prompts = propose(perfect_maps(labels), CONFIG)
    assert same_partition(proposed(prompts), labels)
    assert all(p.box.tolist() == p.coarse.box.tolist() for p in prompts.items)


def test_near_a_region_the_objects_that_reach_into_it_are_asked_about_as_ever(blobs):
    _, labels = blobs
    maps, region = perfect_maps(labels), (slice(20, 60), slice(30, 80))
    every = propose(maps, CONFIG).items
    near = propose(maps, CONFIG, region).items
    assert 0 < len(near) < len(every)
    chosen = [p for p in every if p.coarse.meets(region)]
    assert [(p.points.tolist(), p.box.tolist(), p.score) for p in near] == [
        (p.points.tolist(), p.box.tolist(), p.score) for p in chosen
    ]


def test_the_first_point_lies_in_the_object_and_the_others_beside_it(blobs):
    _, labels = blobs
    for prompt in propose(perfect_maps(labels), CONFIG).items:
        inside = in_image(prompt.coarse, labels.shape)
        at = [inside[tuple(p.astype(int))] for p in prompt.points]
        assert at == [True] + [False] * (len(at) - 1)
        assert prompt.point_labels.tolist() == [OBJECT] + [BACKGROUND] * (len(at) - 1)
        assert len(at) > 1


def test_touching_discs_are_taken_apart_and_each_other_s_negatives():
    labels = discs((40, 60), [(20, 20, 10), (20, 40, 10)])
    prompts = propose(perfect_maps(labels), CONFIG)
    found = proposed(prompts)
    assert len(prompts) == 2
    assert np.mean(found[labels > 0] > 0) == 1
    for prompt, other in zip(prompts.items, prompts.items[::-1], strict=True):
        inside = in_image(other.coarse, labels.shape)
        assert any(inside[tuple(p.astype(int))] for p in prompt.points[1:])


def test_a_lone_object_has_a_negative_in_the_background():
    (prompt,) = propose(perfect_maps(discs((30, 30), [(15, 15, 6)])), CONFIG).items
    assert len(prompt.points) == 2


def test_small_specks_are_left_out():
    labels = discs((40, 40), [(20, 20, 8), (3, 3, 1)])
    assert len(propose(perfect_maps(labels), CONFIG)) == 1
    assert len(propose(perfect_maps(labels), replace(CONFIG, min_area=1))) == 2


def test_an_object_whose_interior_is_not_seen_is_still_proposed():
    labels = discs((40, 60), [(20, 20, 8), (20, 42, 8)])
    maps = perfect_maps(labels)
    maps[1][labels == 2] = maps[1].min()
    assert same_partition(proposed(propose(maps, CONFIG)), labels)


def test_an_object_whose_interior_is_not_seen_is_proposed_beside_a_strong_one():
    labels = np.zeros((30, 40), np.int32)
    labels[5:25, 5:20], labels[5:25, 21:24] = 1, 2  # one dark pixel between them
    maps = perfect_maps(labels)
    maps[1][labels == 2] = maps[1].min()
    assert same_partition(proposed(propose(maps, CONFIG)), labels)


def test_an_image_without_foreground_has_no_prompt():
    prompts = propose(np.full((2, 20, 30), -10, np.float32), CONFIG)
    assert (len(prompts), prompts.shape) == (0, (20, 30))


def test_foreground_everywhere_is_one_object_without_negatives():
    (prompt,) = propose(np.full((2, 20, 20), 10, np.float32), CONFIG).items
    assert prompt.coarse.area == 400
    assert prompt.point_labels.tolist() == [OBJECT]


def test_volumes_are_proposed_likewise():
    labels = np.zeros((12, 20, 24), np.int32)
    labels[2:10, 3:11, 3:11], labels[2:10, 3:11, 14:22] = 1, 2
    prompts = propose(perfect_maps(labels), CONFIG)
    assert same_partition(proposed(prompts), labels)
    assert all(p.points.shape[1] == 3 for p in prompts.items)


def test_the_score_says_how_sure_the_foreground_is():
    maps = perfect_maps(discs((40, 60), [(20, 15, 8), (20, 45, 8)]))
    maps[0][:, 30:] = np.minimum(maps[0][:, 30:], 0.5)
    sure, unsure = propose(maps, CONFIG).items
    assert sure.score > 0.95
    assert unsure.score == pytest.approx(1 / (1 + np.exp(-0.5)), abs=0.01)


def test_within_one_reading_the_coarse_masks_do_not_overlap(rng):
    maps = rng.normal(size=(2, 48, 48)).astype(np.float32)
    prompts = propose(maps, replace(CONFIG, min_area=1, saddles=(0.8,)))
    total = sum(in_image(p.coarse, (48, 48)).astype(int) for p in prompts.items)
    assert len(prompts) > 3
    assert total.max() == 1
    assert not total[maps[0] < 0].any()
    assert sorted(objects(proposed(prompts))) == [p.id for p in prompts.items]


def dumbbell(waist):
    """Return maps of two discs joined by a waist whose interior distance is `waist` times the discs'."""
    y, x = np.mgrid[:40, :64]
    height = np.maximum(0.8 - np.hypot(y - 20, x - 20) / 25, 0.8 - np.hypot(y - 20, x - 44) / 25)
    height = np.maximum(height, np.where(np.abs(y - 20) < 6, 0.8 * waist, 0) * ((x > 20) & (x < 44)))
    foreground = (discs((40, 64), [(20, 20, 11), (20, 44, 11)]) > 0) | ((np.abs(y - 20) < 6) & (x > 20) & (x < 44))
    interior = np.clip(height, 0.02, 0.98)
    return np.stack([np.where(foreground, 8, -8), np.log(interior / (1 - interior))]).astype(np.float32)


def test_what_may_be_one_object_or_two_is_asked_both_ways():
    readings = propose(dumbbell(0.8), replace(CONFIG, saddles=(0.6, 0.95)))
    areas = [p.coarse.area for p in readings.items]
    assert len(areas) == 3
    assert max(areas) == sum(areas) - max(areas)
    assert [p.id for p in readings.items] == [1, 2, 3]


@pytest.mark.parametrize(("saddle", "n"), [(0.6, 1), (0.95, 2)])
def test_a_reading_joins_peaks_whose_pass_is_high_enough(saddle, n):
    config = replace(CONFIG, saddles=(saddle,))
    assert len(propose(dumbbell(0.8), config)) == n
    assert len(objects(coarse_labels(dumbbell(0.8), config))) == n


def test_no_reading_is_asked_twice(blobs):
    _, labels = blobs
    prompts = propose(perfect_maps(labels), CONFIG)
    assert len({(p.coarse.start, p.coarse.pixels.tobytes()) for p in prompts.items}) == len(prompts) == labels.max()
