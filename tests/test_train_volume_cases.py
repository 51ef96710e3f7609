from __future__ import annotations

import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest

from promptless.config import Intensity, VolumeConfig
from promptless.data import volumes
from promptless.train.volume import cases
from promptless.train.volume.cases import SEEN, labels_at, looked_at, ready
from volumes import scan_folder, shapes

MR = Intensity("percentiles", 0.5, 99.5)
AS_IT_IS = VolumeConfig(intensity=MR)


@pytest.fixture
def data(tmp_path):
    return scan_folder(tmp_path / "shapes", {"train": ["a", "b"]}, spacing=(2.0, 1.0, 1.0))


def test_a_case_is_the_scan_with_mean_0_and_deviation_1_and_its_labels(data):
    (sample,) = volumes.read(data, ["a"])
    case = looked_at(sample, AS_IT_IS)
    assert case.image.shape == case.labels.shape == (11, 18, 16)
    assert (float(case.image.mean()), float(case.image.std())) == pytest.approx((0, 1), abs=0.02)
    assert np.array_equal(case.labels, sample.labels)
    assert np.array_equal(case.foreground, np.flatnonzero(sample.labels))


def test_scans_are_brought_to_the_spacing_of_the_model(data):
    (sample,) = volumes.read(data, ["a"])
    case = looked_at(sample, VolumeConfig(spacing=(1.0, 1.0, 0.5), intensity=MR))
    assert case.image.shape == case.labels.shape == (22, 18, 32)
    for value in (1, 2):
        before, after = (np.count_nonzero(labels == value) for labels in (sample.labels, case.labels))
        assert after == pytest.approx(4 * before, rel=0.2)
    none, ball, box = (float(case.image[case.labels == value].mean()) for value in (0, 1, 2))
    assert none < ball < box


def test_labels_on_their_own_grid_stay_and_finer_ones_come_back():
    _, labels = shapes(0)
    assert np.array_equal(labels_at(labels, labels.shape), labels)
    finer = labels_at(labels, tuple(3 * n for n in labels.shape))
    assert np.array_equal(labels_at(finer, labels.shape), labels)
    assert set(np.unique(finer)) == {0, 1, 2}


def test_labels_above_255_stay():
    labels = np.zeros((4, 4, 4), np.int32)
    labels[1:3] = 300
    assert labels_at(labels, (8, 4, 4)).max() == 300


def test_a_case_is_made_once(data, tmp_path, monkeypatch):
    told = []
    first = ready(data, ["a.nii.gz", "b"], AS_IT_IS, 2, tmp_path / "cases", lambda done, text: told.append(text))
    assert told == ["reading a", "reading b"]
    monkeypatch.setattr(cases.volumes, "read", None)
    again = ready(data, ["a", "b"], AS_IT_IS, 2, tmp_path / "cases")
    assert [case.id for case in again] == ["a", "b"]
    for one, other in zip(first, again, strict=True):
        for name in ("image", "labels", "foreground"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


def test_a_case_that_was_seen_otherwise_is_made_again(data, tmp_path):
    ready(data, ["a"], AS_IT_IS, 2, tmp_path)
    (coarse,) = ready(data, ["a"], VolumeConfig(spacing=(2.0, 2.0, 2.0), intensity=MR), 2, tmp_path)
    assert coarse.image.shape == (11, 9, 8)
    assert json.loads((tmp_path / "a" / SEEN).read_text())["spacing"] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_case_whose_files_have_changed_is_made_again(part, data, tmp_path):
    (before,) = ready(data, ["a"], AS_IT_IS, 2, tmp_path / "cases")
    before = np.array(before.image if part == "images" else before.labels)
    shutil.copy(data / part / "b.nii.gz", data / part / "a.nii.gz")
    (after,) = ready(data, ["a"], AS_IT_IS, 2, tmp_path / "cases")
    assert not np.array_equal(before, after.image if part == "images" else after.labels)


def test_fewer_classes_than_a_case_was_made_for_are_noticed(data, tmp_path):
    ready(data, ["a"], AS_IT_IS, 2, tmp_path / "cases")
    with pytest.raises(ValueError, match="the recipe names 1 classes"):
        ready(data, ["a"], AS_IT_IS, 1, tmp_path / "cases")


def test_a_class_without_a_name_is_refused_and_nothing_is_kept(data, tmp_path):
    with pytest.raises(ValueError, match="a has the label 2, and the recipe names 1 classes: name all of them"):
        ready(data, ["a"], AS_IT_IS, 1, tmp_path / "cases")
    assert not (tmp_path / "cases" / "a").exists()


def test_of_several_processes_one_makes_a_case(data, tmp_path):
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        waiting = [pool.submit(made_often, tmp_path / "cases") for _ in range(2)]
        assert sum(future.result() for future in waiting) == 40


def made_often(folder):
    """Return how many of some cases this process had to make."""
    made = []

    def make(name):
        made.append(name)
        return cases.of(name, np.zeros((4, 4, 4), np.float32), np.ones((4, 4, 4), np.uint8))

    for i in range(40):
        assert cases.kept(folder / str(i), {"seen": "so"}, partial(make, str(i))).labels.all()
    return len(made)
