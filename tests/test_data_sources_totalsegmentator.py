from __future__ import annotations

import numpy as np
import pytest

import scans
from promptless.data.sources.totalsegmentator import read

SHAPE = (4, 5, 6)
LIVER, SPLEEN = np.zeros((2, *SHAPE), np.uint8)
LIVER[:2], SPLEEN[1:3] = 1, 1  # they share a plane


@pytest.fixture
def folder(tmp_path):
    """Two scans with two classes each, one of them for testing."""
    affine = scans.turned((0, 1, 2), (-1, 1, 1))
    for case in ("s0000", "s0003"):
        masks = tmp_path / case / "segmentations"
        masks.mkdir(parents=True)
        scans.nifti(tmp_path / case / "ct.nii.gz", scans.voxels(np.random.default_rng(0), SHAPE), affine)
        for name, values in (("liver", LIVER), ("spleen", SPLEEN)):
            scans.nifti(masks / f"{name}.nii.gz", values, affine)
    (tmp_path / "meta.csv").write_text("image_id;age;split\ns0000;60;train\ns0003;61;test\ns0009;2;val\n")
    return tmp_path


def test_masks_become_one_label_image_and_the_first_keeps_what_is_shared(folder):
    source = read(folder)
    assert source.facts.classes == {1: "liver", 2: "spleen"}
    original = source.load("s0003")
    assert original.labels is None
    counts = np.bincount(original.sample.labels.ravel())
    assert counts.tolist() == [30, 60, 30]


def test_the_classes_that_are_asked_for_are_numbered_in_their_order(folder):
    source = read(folder, classes=["spleen", "liver"])
    assert source.facts.classes == {1: "spleen", 2: "liver"}
    assert np.bincount(source.load("s0000").sample.labels.ravel()).tolist() == [30, 60, 30]
    assert np.bincount(read(folder, classes=["spleen"]).load("s0000").sample.labels.ravel()).tolist() == [60, 60]
    with pytest.raises(ValueError, match="has the class heart; there are liver, spleen"):
        read(folder, classes=["heart"])


def test_meta_csv_says_the_parts(folder):
    assert read(folder).official == {"s0000": "train", "s0003": "test"}
    (folder / "meta.csv").write_text("image_id,split\ns0000,val\n")
    assert read(folder).official == {"s0000": "dev"}
    (folder / "meta.csv").write_text("id;split\n")
    with pytest.raises(ValueError, match="lacks the column image_id"):
        read(folder)
    (folder / "meta.csv").unlink()
    assert read(folder).official == {}


def test_a_scan_that_lacks_a_file_is_named(folder):
    (folder / "s0000" / "ct.nii.gz").unlink()
    (folder / "s0003" / "segmentations" / "liver.nii.gz").unlink()
    source = read(folder)
    assert source.unpaired == ("s0000 has no ct.nii.gz", "s0003 has no segmentations/liver.nii.gz")
    assert read(folder, classes=["spleen"]).ids == ("s0003",)


def test_a_mask_of_several_labels_is_refused(folder):
    path = folder / "s0000" / "segmentations" / "liver.nii.gz"
    scans.nifti(path, LIVER + SPLEEN, scans.turned((0, 1, 2), (-1, 1, 1)))
    with pytest.raises(ValueError, match=r"liver.nii.gz holds several labels"):
        read(folder).load("s0000")
