from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from made_up import discs, picture, same_partition
from promptless.config import Kind
from promptless.data.augment import (
    NEAR,
    NUCLEUS_PX,
    VARIETIES,
    Geometry,
    brown_cytoplasm,
    brown_map,
    colour,
    draw_geometry,
    intensity,
    seen_at,
    smooth_noise,
    take_classes,
    take_patch,
)
from promptless.data.sample import UNKNOWN, Sample

STRAIGHT = ((1.0, 0.0), (0.0, 1.0))


@pytest.fixture
def sample():
    labels = discs((64, 80), [(16, 16, 8), (20, 55, 10), (45, 30, 12)])
    return Sample("a", "fluorescence_grey", picture(labels)[None], labels)


def test_a_straight_patch_is_the_image(sample):
    patch, labels = take_patch(sample, Geometry((32, 40), STRAIGHT), 48)
    assert np.array_equal(labels > 0, sample.labels[8:56, 16:64] > 0)
    assert np.array_equal(patch[0] > 0.5, labels > 0)
    assert patch.min() == pytest.approx(0, abs=1e-6)
    assert patch.max() == pytest.approx(1, abs=1e-6)


def test_a_mirrored_patch_is_the_image_mirrored(sample):
    straight = take_patch(sample, Geometry((32, 40), STRAIGHT), 40)
    mirrored = take_patch(sample, Geometry((32, 40), ((1.0, 0.0), (0.0, -1.0))), 40)
    assert mirrored[0] == pytest.approx(straight[0][:, :, ::-1], abs=1e-5)
    assert same_partition(mirrored[1], straight[1][:, ::-1])


@pytest.mark.parametrize("seed", range(12))
def test_image_and_labels_stay_together(sample, seed):
    rng = np.random.default_rng(seed)
    patch, labels = take_patch(sample, draw_geometry(sample, 48, rng), 48)
    assert patch.shape == (1, 48, 48)
    assert labels.shape == (48, 48)
    assert np.mean((patch[0] > 0.5) == (labels > 0)) > 0.95


def test_parts_of_an_object_that_was_cut_are_objects_of_their_own():
    labels = np.zeros((40, 40), np.int32)
    labels[5:35, 5:10] = labels[5:35, 30:35] = labels[30:35, 5:35] = 1
    _, seen = take_patch(Sample("a", "grey", picture(labels)[None], labels), Geometry((14, 20), STRAIGHT), 24)
    assert len(np.unique(seen)) == 3


def test_drawn_scales_keep_nuclei_in_the_range_a_model_copes_with(sample):
    rng = np.random.default_rng(0)
    sizes = []
    for _ in range(200):
        geometry = draw_geometry(sample, 48, rng)
        sizes.append(sample.diameter / np.sqrt(abs(np.linalg.det(geometry.matrix))))
        assert all(0 <= c <= n for c, n in zip(geometry.centre, sample.labels.shape, strict=True))
    assert min(sizes) >= NUCLEUS_PX[0] * 0.99
    assert max(sizes) <= NUCLEUS_PX[1] * 1.01
    assert max(sizes) > 2 * min(sizes)


@pytest.mark.parametrize(
    ("category", "channels"), [("fluorescence_grey", 1), ("brightfield_grey", 1), ("HE_purple_on_white", 3)]
)
def test_colours_stay_between_0_and_1_in_three_channels(category, channels, sample):
    patch = np.repeat((sample.pixels / 255).astype(np.float32), channels, axis=0)
    seen = [colour(patch, sample.labels, category, np.random.default_rng(seed)) for seed in range(25)]
    assert {p.shape for p in seen} == {(3, 64, 80)}
    assert {p.dtype for p in seen} == {np.dtype(np.float32)}
    assert all(p.min() >= 0 and p.max() <= 1 for p in seen)
    assert len({p.tobytes() for p in seen}) == 25


def test_the_same_numbers_give_the_same_patch(sample):
    one, other = (
        colour((sample.pixels / 255).astype(np.float32), sample.labels, sample.category, np.random.default_rng(5))
        for _ in range(2)
    )
    assert np.array_equal(one, other)


def test_drawing_does_not_change_the_patch_given(sample):
    patch = np.repeat((sample.pixels / 255).astype(np.float32), 3, axis=0)
    before = patch.copy()
    for seed in range(10):
        intensity(patch, np.random.default_rng(seed))
    assert np.array_equal(patch, before)


def test_brown_is_a_share_of_each_pixel(sample):
    maps = [brown_map(sample.labels, np.random.default_rng(seed)) for seed in range(30)]
    assert all(m.shape == sample.labels.shape and m.min() >= 0 and m.max() <= 1 for m in maps)
    assert {bool(m.any()) for m in maps} == {True, False}


def test_smooth_noise_is_smooth(rng):
    noise = smooth_noise((60, 60), 20, rng)
    assert noise.shape == (60, 60)
    assert np.abs(np.diff(noise, axis=0)).max() < 0.25
    assert noise.std() > 0.05


def test_brown_cytoplasm_lies_in_patches_and_is_weaker_in_nuclei(sample):
    maps = np.stack([brown_cytoplasm(sample.labels, np.random.default_rng(i)) for i in range(40)])
    assert maps.min() >= 0
    assert maps[:, sample.labels > 0].mean() < 0.7 * maps[:, sample.labels == 0].mean()
    assert np.ptp(maps, axis=(1, 2)).min() > 0.1


@pytest.mark.parametrize("seed", range(12))
def test_classes_come_from_the_very_pixels_that_labels_come_from(sample, seed):
    told = replace(sample, classes={1: 3, 2: 1})  # of object 3 none is known
    geometry = draw_geometry(told, 64, np.random.default_rng(seed))
    _, labels = take_patch(told, geometry, 64)
    classes = take_classes(told, geometry, 64)
    assert np.array_equal(classes == 0, labels == 0)
    assert all(len(np.unique(classes[labels == number])) == 1 for number in range(1, labels.max() + 1))
    for label, value in ((1, 3), (2, 1), (3, UNKNOWN)):
        alone = replace(told, labels=np.where(told.labels == label, told.labels, 0))
        assert (classes[take_patch(alone, geometry, 64)[1] > 0] == value).all()


def test_a_near_patch_looks_like_its_image(rng):
    labels = discs((96, 96), [(30, 30, 12), (62, 60, 14)])
    pixels = np.stack([np.where(labels > 0, value, 210) for value in (120, 70, 160)]).astype(np.uint8)
    sample = Sample("a", "HE", pixels, labels)
    near = VARIETIES[NEAR]
    zooms, changes = [], []
    for _ in range(40):
        zooms.append(near.zoom(sample, 1.0, rng))
        geometry = draw_geometry(sample, 64, rng, near)
        patch, objects = take_patch(sample, geometry, 64)
        changed = near.colour(patch.copy(), objects, sample.category, rng)
        assert changed.shape == patch.shape
        assert changed.dtype == np.float32
        assert 0 <= changed.min() <= changed.max() <= 1
        changes.append(np.abs(changed - patch).mean())
    assert 0.7 <= min(zooms) < max(zooms) <= 1.4
    assert 0 < np.mean(changes) < 0.12
    assert max(changes) < 0.35


@pytest.mark.parametrize(("mpp", "small_px", "scale"), [(0.25, 0, 2), (1.0, 0, 8), (None, 14, 1), (None, 90, 2)])
def test_patches_lie_near_the_scale_that_a_model_looks_at(sample, rng, mpp, small_px, scale):
    told = replace(sample, mpp=mpp)
    seen = seen_at(told, Kind(pixel_size=0.125, small_px=small_px))
    assert seen == scale
    zooms = [VARIETIES[NEAR].zoom(told, seen, rng) for _ in range(40)]
    assert 0.7 * scale <= min(zooms) < scale < max(zooms) <= 1.4 * scale


def test_a_grey_near_patch_has_three_channels(sample, rng):
    patch, objects = take_patch(sample, draw_geometry(sample, 32, rng, VARIETIES[NEAR]), 32)
    assert VARIETIES[NEAR].colour(patch, objects, sample.category, rng).shape == (3, 32, 32)
