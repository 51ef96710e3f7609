from __future__ import annotations

import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import polygon2mask

from made_up import of_labels

roifile = pytest.importorskip("roifile")
roi = pytest.importorskip("promptless.io.roi")

LABELS = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0, 1, 2, 5]))


def inside(rings, shape):
    """Return the pixels whose centres lie in an odd number of rings of (x, y), by scikit-image."""
    found = np.zeros(shape, bool)
    for ring in rings:
        found ^= polygon2mask(shape, np.asarray(ring)[:, ::-1] - 0.5)
    return found


def by_roifile(path, shape):
    labels = np.zeros(shape, np.int32)
    for entry in roifile.roiread(path) if len(zipfile.ZipFile(path).namelist()) else []:
        labels[inside(entry.coordinates(multi=True), shape)] = int(entry.name)
    return labels


def by_read_roi(path, shape):
    labels = np.zeros(shape, np.int32)
    for name, entry in pytest.importorskip("read_roi").read_roi_zip(str(path)).items():
        rings = entry["paths"] if entry["type"] == "composite" else [list(zip(entry["x"], entry["y"], strict=True))]
        labels[inside(rings, shape)] = int(name)
    return labels


@given(LABELS)
def test_the_archive_gives_the_labels_back_to_two_readers(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("roi") / "a.zip"
    roi.write(of_labels(labels), path)
    assert np.array_equal(by_roifile(path, labels.shape), labels)
    assert np.array_equal(by_read_roi(path, labels.shape), labels)


def test_an_object_in_one_piece_is_as_the_wand_traces_it(tmp_path):
    labels = np.zeros((9, 9), np.int32)
    labels[2:5, 3:8] = 12
    roi.write(of_labels(labels), tmp_path / "a.zip")
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == ["12.roi"]
    (entry,) = roifile.roiread(tmp_path / "a.zip")
    assert entry.roitype == roifile.ROI_TYPE.TRACED
    assert (entry.left, entry.top, entry.right, entry.bottom) == (3, 2, 8, 5)
    assert (entry.name, entry.position) == ("12", 1)


def test_an_object_with_a_hole_is_a_composite_on_the_first_slice(tmp_path):
    labels = np.ones((3, 3), np.int32)
    labels[1, 1] = 0
    roi.write(of_labels(labels), tmp_path / "a.zip")
    (entry,) = roifile.roiread(tmp_path / "a.zip")
    assert entry.composite
    assert (entry.left, entry.top, entry.right, entry.bottom, entry.position) == (0, 0, 3, 3, 1)


def test_an_archive_that_was_there_is_replaced(tmp_path):
    for labels in (np.array([[1, 0, 2]], np.int32), np.array([[3]], np.int32)):
        roi.write(of_labels(labels), tmp_path / "a.zip")
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == ["3.roi"]


@pytest.mark.parametrize("start", [40_000, 70_000])
def test_objects_far_out_keep_their_place(tmp_path, start):
    labels = np.zeros((3, start + 5), np.int32)
    labels[1, start : start + 3] = 1
    roi.write(of_labels(labels), tmp_path / "a.zip")
    (entry,) = roifile.roiread(tmp_path / "a.zip")
    assert np.asarray(entry.coordinates()).min(axis=0).tolist() == [start, 1]
    assert np.asarray(entry.coordinates()).max(axis=0).tolist() == [start + 3, 2]
