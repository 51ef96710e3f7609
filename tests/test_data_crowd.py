from __future__ import annotations

import numpy as np
import pytest

from made_up import discs, picture
from promptless import labels as label_images
from promptless.data.crowd import HIDDEN, crowd, hides, turned

LABELS = discs((96, 96), [(20, 20, 8), (22, 70, 6), (70, 30, 10)])
PATCH = (picture(LABELS).astype(np.float32) / 255)[None]


def crowds(n=30):
    return [crowd(PATCH, LABELS, np.random.default_rng(seed)) for seed in range(n)]


def test_a_crowd_has_more_objects_some_of_them_in_contact():
    counts = [labels.max() for _, labels, _ in crowds()]
    assert min(counts) >= 3
    assert max(counts) > 3


def test_what_was_there_and_is_not_hidden_keeps_its_light_or_gains():
    for patch, labels, _ in crowds():
        assert patch.shape == PATCH.shape
        assert (patch[0] >= PATCH[0] - 1e-6).all()
        assert set(np.unique(labels)) == set(range(labels.max() + 1))


def test_copies_shine_where_they_are():
    for patch, labels, _ in crowds():
        assert patch[0][labels > 0].mean() > 0.5 * PATCH[0][LABELS > 0].mean()


def test_the_first_patch_is_left_as_it_was():
    before = PATCH.copy(), LABELS.copy()
    crowds(3)
    assert np.array_equal(PATCH, before[0])
    assert np.array_equal(LABELS, before[1])


def test_an_empty_patch_stays_empty(rng):
    nothing = np.zeros_like(LABELS)
    assert crowd(PATCH, nothing, rng)[1] is nothing


def test_a_copy_keeps_its_area_when_turned(rng):
    for mask in label_images.objects(LABELS).values():
        assert turned(mask, PATCH[0], rng)[0].sum() == mask.area


@pytest.mark.parametrize(("share", "expected"), [(HIDDEN - 0.05, False), (HIDDEN + 0.05, True)])
def test_hiding_more_than_a_third_of_an_object_is_too_much(share, expected):
    owner = np.zeros((20, 20), np.int32)
    owner[:10, :10] = 1
    covering = np.zeros((20, 20), np.int32)
    covering[: round(100 * share) // 10, :10] = 1
    covering.ravel()[(round(100 * share) // 10) * 20 :][: round(100 * share) % 10] = 1
    assert hides(label_images.objects(covering)[1], owner) is expected


def test_every_object_knows_of_which_it_is_a_copy():
    sizes = np.bincount(LABELS.ravel())
    whole = 0
    for _, labels, origin in crowds():
        assert np.array_equal(origin > 0, labels > 0)
        for mask in label_images.objects(labels).values():
            (source,) = np.unique(origin[mask.region][mask.pixels])
            assert mask.area <= sizes[source]
            whole += mask.area == sizes[source]
    assert whole > 60  # of the 90 that there were, and more
