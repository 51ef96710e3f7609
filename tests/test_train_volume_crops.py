from __future__ import annotations

import numpy as np
import pytest

from promptless.train.volume.cases import Case
from promptless.train.volume.crops import Crops, extent, middle_of, take
from promptless.train.volume.loss import UNKNOWN
from promptless.train.volume.variety import PLAIN, VARIETIES, Variety, published_turn, quarter_turns, wide_turn


def case(*shape, seed=0, name="a"):
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(n // 3, n // 2 + 1) for n in shape)] = rng.integers(1, 3)
    return Case(name, rng.normal(size=shape).astype(np.float32), labels, np.flatnonzero(labels))


def middle(start, crop):
    return np.array(start) + (np.array(crop) - 1) / 2


def test_a_plain_crop_is_a_box_of_the_scan():
    scan = case(12, 14, 16)
    image, labels = take(scan, middle((3, 2, 5), (6, 8, 7)), PLAIN, (6, 8, 7))
    assert image.numpy() == pytest.approx(scan.image[3:9, 2:10, 5:12], abs=1e-5)
    assert np.array_equal(labels, scan.labels[3:9, 2:10, 5:12])


def test_beyond_the_scan_the_border_goes_on_and_labels_are_unknown():
    scan = case(6, 14, 16)
    image, labels = take(scan, middle((-2, 2, 5), (9, 8, 7)), PLAIN, (9, 8, 7))
    assert image.numpy() == pytest.approx(np.pad(scan.image, [(2, 1), (0, 0), (0, 0)], "edge")[:, 2:10, 5:12], abs=1e-5)
    assert np.array_equal(labels[2:8], scan.labels[:, 2:10, 5:12])
    assert (labels[:2] == UNKNOWN).all()
    assert (labels[8:] == UNKNOWN).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_turn_axial_planes(turns):
    scan, crop = case(8, 10, 12), (4, 6, 8)
    matrix = quarter_turns(turns)
    reach = extent(crop, matrix)
    image, labels = take(scan, middle((1, 1, 2), reach), matrix, crop)
    box = tuple(slice(start, start + n) for start, n in zip((1, 1, 2), reach, strict=True))
    exact = [np.rot90(whole[box], sign * turns, (1, 2)) for whole in (scan.image, scan.labels) for sign in (1, -1)]
    assert any(np.allclose(image, one, atol=1e-5) for one in exact[:2])
    assert any(np.array_equal(labels, one) for one in exact[2:])


def test_flips_turn_image_and_labels_round_together():
    scan = case(8, 10, 12)
    image, labels = take(scan, middle((1, 1, 2), (6, 6, 6)), np.diag([-1.0, 1.0, -1.0]), (6, 6, 6))
    assert image.numpy() == pytest.approx(np.flip(scan.image[1:7, 1:7, 2:8], (0, 2)), abs=1e-5)
    assert np.array_equal(labels, np.flip(scan.labels[1:7, 1:7, 2:8], (0, 2)))


@pytest.mark.parametrize("roams", [False, True])
def test_a_crop_stays_within_the_scan_and_a_small_scan_within_the_crop(roams):
    for seed in range(30):
        place = middle_of(case(9, 20, 12), (12, 8, 12), np.random.default_rng(seed), roams)
        start = place - (np.array((12, 8, 12)) - 1) / 2
        assert -3 <= start[0] <= 0
        assert 0 <= start[1] <= 12
        assert start[2] == 0
        assert roams or start[0] == -1


def test_two_crops_in_three_lie_around_a_class():
    scan = case(30, 30, 30)
    rng = np.random.default_rng(0)
    inside = [scan.labels[tuple(np.round(middle_of(scan, (1, 1, 1), rng, False)).astype(int))] for _ in range(600)]
    assert np.mean(np.array(inside) > 0) == pytest.approx(2 / 3, abs=0.06)


@pytest.mark.parametrize("value", [0, 1])
def test_scans_without_a_class_and_full_of_one_are_learned_from(value):
    labels = np.full((6, 6, 6), value, np.uint8)
    scan = Case("a", np.zeros((6, 6, 6), np.float32), labels, np.flatnonzero(labels))
    crops = Crops([scan], (4, 4, 4), 0, VARIETIES["published"], ())
    assert all((crops[i]["labels"] == value).all() for i in range(8))


@pytest.mark.parametrize("variety", ["published", "wide"])
def test_an_item_depends_on_its_number_and_the_seed_alone(variety):
    scans = [case(9, 10, 11, seed=i, name=str(i)) for i in range(3)]
    one, other = (Crops(scans, (8, 12, 8), 5, VARIETIES[variety], (2,)) for _ in range(2))
    for i in (4, 0, 4):
        assert all((one[i][name] == other[i][name]).all() for name in one[i])
    assert not (one[0]["image"] == one[3]["image"]).all()
    assert one[0]["image"].shape == (1, 8, 12, 8)
    assert one[0]["labels"].shape == (8, 12, 8)


def test_every_scan_is_met_before_any_is_met_again():
    scans = [case(6, 6, 6, name=str(i)) for i in range(5)]
    crops = Crops(scans, (4, 4, 4), 3, VARIETIES["wide"], ())
    for start in (0, 5, 10):
        assert sorted(crops.names(range(start, start + 5))) == ["0", "1", "2", "3", "4"]
    assert crops.names(range(5)) != crops.names(range(5, 10)) or crops.names(range(5)) != crops.names(range(10, 15))


def test_nothing_is_mirrored_that_has_a_side():
    for seed in range(40):
        assert np.linalg.det(wide_turn((), np.random.default_rng(seed))) > 0
        assert np.linalg.det(published_turn((), np.random.default_rng(seed))) > 0


def test_an_oblique_crop_agrees_with_a_smooth_scan():
    places = np.stack(np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij"), -1)
    image = (places @ np.array([0.5, -0.2, 0.3])).astype(np.float32)
    scan = Case("a", image, np.zeros(image.shape, np.uint8), np.array([], int))
    matrix = wide_turn((2,), np.random.default_rng(3))
    taken, _ = take(scan, np.array([11.0, 12.0, 11.5]), matrix, (6, 7, 8))
    offsets = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in (6, 7, 8)], indexing="ij"), -1)
    expected = (np.array([11.0, 12.0, 11.5]) + offsets @ matrix.T) @ np.array([0.5, -0.2, 0.3])
    assert taken.numpy() == pytest.approx(expected, abs=1e-3)


def test_a_variety_shades_what_was_taken():
    crops = Crops(
        [case(8, 8, 8)], (4, 4, 4), 0, Variety(lambda axes, rng: PLAIN, lambda crop, rng: crop + 9, False), ()
    )
    assert float(crops[0]["image"].mean()) > 5
