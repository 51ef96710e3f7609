from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pydicom
import pytest

import scans as made
from promptless.io import scans
from promptless.io.outputs import of_scan
from promptless.pipeline import segment
from promptless.result import VolumeSegmentation
from voxel_models import NullVoxelModel, PromptedNull

ALWAYS = ["labels", "manifest", "names", "overlay", "volumes"]


@pytest.fixture
def levels(rng):
    """Values (i, j, k) of three brightnesses, lopsided along every axis."""
    values = np.zeros((9, 10, 11), np.int16)
    values[1:4, 2:8, 3:5] = 100
    values[5:8, 1:3, 6:10] = 200
    return values


@pytest.fixture
def scan(levels, tmp_path):
    return made.nifti(tmp_path / "scan.nii.gz", levels, made.ORIENTATIONS[13])


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_labels_lie_on_the_grid_of_the_file(scan, levels, tmp_path):
    paths = segment(scan, NullVoxelModel()).save(tmp_path / "out", "scan")
    assert sorted(paths) == ALWAYS
    labels, image = nibabel.load(paths["labels"]), nibabel.load(scan)
    assert np.array_equal(np.asanyarray(labels.dataobj), levels // 100)
    assert np.array_equal(labels.affine, image.affine)
    assert json.loads(paths["names"].read_text()) == {"classes": {"0": "background", "1": "dim", "2": "bright"}}
    assert paths["names"].name == "scan_labels.json"


@pytest.mark.parametrize("affine", made.ORIENTATIONS[::5])
def test_boxes_and_places_are_those_of_the_file(affine, levels, tmp_path):
    path = made.nifti(tmp_path / "scan.nii", levels, affine)
    paths = segment(path, NullVoxelModel()).save(tmp_path / "out", "scan")
    for row, value in zip(rows(paths["volumes"]), (100, 200), strict=True):
        where = np.argwhere(levels == value)
        for axis, name in enumerate("ijk"):
            assert int(row[f"{name}_start"]) == where[:, axis].min()
            assert int(row[f"{name}_stop"]) == where[:, axis].max() + 1
        centre = nibabel.affines.apply_affine(nibabel.load(path).affine, where.mean(axis=0))
        assert [float(row[f"centroid_mm-{n}"]) for n in ("right", "front", "head")] == pytest.approx(centre, abs=1e-3)
        assert float(row["ml"]) == pytest.approx(len(where) * np.prod(made.SIZES) / 1000, rel=1e-4)
        assert float(row["mean_intensity"]) == value


def test_a_structure_that_was_not_found_has_an_empty_row(scan, tmp_path):
    model = NullVoxelModel(classes=("dim", "bright", "brightest"))
    result = segment(scan, model)
    assert (result.n_objects, len(result.structures["label"])) == (2, 3)
    last = rows(result.save(tmp_path / "out")["volumes"])[-1]
    assert (last["name"], last["voxels"], last["ml"], last["mean_intensity"]) == ("brightest", "0", "0", "")
    assert (last["i_start"], last["k_stop"]) == ("0", "0")


def test_probabilities_are_of_every_class_and_add_up_to_one(scan, levels, tmp_path):
    result = segment(scan, NullVoxelModel(), keep=["probabilities"])
    path = result.save(tmp_path / "out", also=["probabilities"])["probabilities"]
    image = nibabel.load(path)
    chances = image.get_fdata()
    assert chances.shape == (*levels.shape, 3)
    assert image.get_data_dtype() == np.uint8
    assert np.abs(chances.sum(axis=-1) - 1).max() < 3 / 255
    assert np.array_equal(chances.argmax(axis=-1), levels // 100)
    assert np.array_equal(image.affine, nibabel.load(scan).affine)
    with pytest.raises(ValueError, match="probabilities were not kept"):
        segment(scan, NullVoxelModel()).save(tmp_path / "more", also=["probabilities"])
    assert not list((tmp_path / "more").glob("*"))


def test_the_prompt_is_a_picture(scan, tmp_path):
    paths = segment(scan, PromptedNull(), keep=["prompt"]).save(tmp_path / "out", "scan", also=["prompt"])
    assert paths["prompt"].read_bytes()[:4] == b"\x89PNG"


def test_a_dicom_series_has_a_seg_besides(rng, tmp_path):
    values = np.full((6, 8, 7), 1024, np.uint16)
    values[1:3, 2:5, 1:4] += 100
    values[3:5, 5:7, 3:6] += 200
    folder = made.series(tmp_path / "series", values)
    result = segment(folder, NullVoxelModel())
    paths = result.save(tmp_path / "out", "series")
    assert sorted(paths) == sorted([*ALWAYS, "seg"])
    found = pydicom.dcmread(paths["seg"])
    assert [s.SegmentLabel for s in found.SegmentSequence] == ["dim", "bright"]
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == f"{made.UID}1"
    assert np.asarray(found.pixel_array).sum() == np.count_nonzero(result.labels)
    labels = scans.read(paths["labels"])
    assert np.array_equal(labels.data[0], result.labels)
    assert np.allclose(labels.affine, scans.read(folder).affine, atol=1e-4)


def test_the_manifest_says_what_was_read_and_done(scan, tmp_path):
    paths = segment(scan, NullVoxelModel(spacing=(3.0, 3.0, 3.0)), flips=True).save(tmp_path / "out", "scan")
    told = json.loads(paths["manifest"].read_text())
    assert told["input"]["name"] == "scan.nii.gz"
    assert told["model"]["classes"] == ["dim", "bright"]
    assert told["arguments"] == {"frame": None, "series": None, "tile": None, "flips": True, "keep": []}
    assert set(told["seconds"]) == {"read", "look", "network", "blend", "decide"}
    assert sorted(told["outputs"]) == sorted(set(ALWAYS) - {"manifest"})
    assert told["versions"]["nibabel"] == nibabel.__version__
    assert told["image"]["shape"][0] == 1


def test_saving_the_same_twice_gives_the_same_bytes(scan, tmp_path):
    result = segment(scan, NullVoxelModel(), keep=["probabilities"])
    first, second = (result.save(tmp_path / name, also=["probabilities"]) for name in "ab")
    assert all(first[kind].read_bytes() == second[kind].read_bytes() for kind in first)


def test_arrays_have_outputs_too(levels, tmp_path):
    result = segment(levels, NullVoxelModel())
    assert isinstance(result, VolumeSegmentation)
    paths = result.save(tmp_path)
    assert np.array_equal(np.asanyarray(nibabel.load(paths["labels"]).dataobj), levels.T // 100)
    assert rows(paths["volumes"])[0]["ml"] == ""


def test_unknown_outputs_list_the_known_ones():
    with pytest.raises(ValueError, match="no output roi; there are probabilities, prompt"):
        of_scan(["roi"])


def test_a_missing_package_is_named_before_anything_is_written(monkeypatch):
    from promptless.io import outputs

    monkeypatch.setattr(outputs, "find_spec", lambda name: None if name == "highdicom" else True)
    assert "seg" not in of_scan()
    with pytest.raises(ImportError, match=r"scans need highdicom: pip install 'promptless\[volume\]'"):
        of_scan(dicom=True)
