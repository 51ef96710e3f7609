from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import scans
from promptless.data import prepared, volumes
from promptless.data.preparation import prepare
from promptless.data.scans import source
from promptless.image import Image
from promptless.io.scans import nifti


@pytest.fixture
def folder(tmp_path):
    """A folder of one scan with a label per voxel."""
    data = np.arange(4 * 5 * 6, dtype=np.int16).reshape(1, 4, 5, 6)
    image = Image(data, (2.0, 1.0, 1.0), "mm")
    for name, values in (("images", data[0]), ("labels", (data[0] > 60).astype(np.uint8))):
        (tmp_path / name).mkdir()
        nifti.write_labels(values, image, tmp_path / name / "a.nii.gz")
    return tmp_path


@pytest.mark.parametrize("name", ["a", "a.nii.gz"])
def test_a_scan_comes_with_its_labels(folder, name):
    (sample,) = volumes.read(folder, [name])
    assert sample.id == "a"
    assert sample.image.data.shape == (1, *sample.labels.shape) == (1, 4, 5, 6)
    assert np.array_equal(sample.labels, sample.image.data[0] > 60)


def test_a_scan_that_is_not_there_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"b\.nii\.gz is missing; does the split"):
        list(volumes.read(folder, ["b"]))


def test_labels_that_are_not_there_are_named(folder):
    (folder / "labels" / "a.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels/a\.nii\.gz is missing; add the labels of the scan, or take a"):
        list(volumes.read(folder, ["a"]))


FACTS = prepared.Facts("made", "CC0-1.0", "here", {1: "liver", 2: "spleen"})


def found(folder, n=6, **options):
    """Return a source of made scans, and the files of the first."""
    pairs = {
        f"s{i}": scans.labelled(folder / "i" / f"s{i}.nii.gz", folder / "l" / f"s{i}.nii.gz", seed=i, **options)
        for i in range(n)
    }
    images, labels = ({name: pair[which] for name, pair in pairs.items()} for which in (0, 1))
    return source(FACTS, images, labels, {"s1": "test"}), *pairs["s0"]


def test_a_prepared_folder_holds_the_very_files_and_what_is_known_of_them(tmp_path):
    published, image, labels = found(tmp_path / "in")
    made = prepare(published, tmp_path / "out")
    assert made.parts["test"] == ["s1"]
    for name, path in (("images", image), ("labels", labels)):
        copied = tmp_path / "out" / name / "s0.nii.gz"
        assert copied.read_bytes() == path.read_bytes()
        assert not copied.is_symlink()
        assert copied.stat().st_nlink == 1
    (sample,) = volumes.read(tmp_path / "out", ["s0"])
    assert np.array_equal(sample.labels, published.load("s0").sample.labels)
    entry = prepared.index(tmp_path / "out")[0]
    n = np.bincount(sample.labels.ravel())
    assert entry == {
        "id": "s0",
        "shape": [6, 5, 4],
        "spacing": [3.0, 1.25, 0.75],
        "voxels": {"1": int(n[1]), "2": int(n[2])},
    }
    assert prepared.facts(tmp_path / "out") == FACTS
    assert {path.name for path in (tmp_path / "out").iterdir()} == volumes.SCANS.content


def test_one_channel_of_several_is_copied_as_it_is_stored(tmp_path):
    image, labels = scans.labelled(tmp_path / "i.nii.gz", tmp_path / "l.nii.gz", frames=3)
    published = source(FACTS, {"a": image}, {"a": labels}, {}, frame=2)
    prepare(published, tmp_path / "out")
    (sample,) = volumes.read(tmp_path / "out", ["a"])
    assert np.array_equal(sample.image.data, nifti.read(image, 2).data)
    assert sample.image.data.dtype == np.int16


def test_an_uncompressed_file_is_compressed_and_else_the_same(tmp_path):
    image, labels = scans.labelled(tmp_path / "i.nii", tmp_path / "l.nii")
    prepare(source(FACTS, {"a": image}, {"a": labels}, {}), tmp_path / "out")
    assert gzip.decompress((tmp_path / "out" / "images" / "a.nii.gz").read_bytes()) == image.read_bytes()


def test_scans_without_labels_are_told(tmp_path):
    published, _, labels = found(tmp_path / "in")
    scans.nifti(labels, np.zeros((4, 5, 6), np.uint8), scans.turned((0, 1, 2), (-1, -1, 1)))
    assert prepare(published, tmp_path / "out").empty == ("s0",)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"values": np.full((4, 5, 6), 7, np.uint8)}, "s0: its labels have class 7, one of 1 outside the classes of"),
        ({"values": np.ones((4, 5, 7), np.uint8)}, r"l/s0.nii.gz has \(7, 5, 4\) voxels .* and the scan \(6, 5, 4\)"),
        ({"affine": scans.turned((0, 1, 2), (-1, -1, 1), (1, 1, 1))}, "l/s0.nii.gz lies on another grid than the scan"),
        ({"values": np.full((4, 5, 6), 0.5, np.float32)}, "l/s0.nii.gz holds fractions"),
    ],
)
def test_labels_that_do_not_belong_to_their_scan_stop_it(tmp_path, spoil, message):
    published, _, labels = found(tmp_path / "in")
    good = {"values": np.ones((4, 5, 6), np.uint8), "affine": scans.turned((0, 1, 2), (-1, -1, 1))}
    scans.nifti(labels, **good | spoil)
    with pytest.raises(ValueError, match=message):
        prepare(published, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("which", [1, 2])
def test_a_truncated_file_is_named(tmp_path, which):
    published, *files = found(tmp_path / "in")
    path = files[which - 1]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=rf"{path.parent.name}/s0.nii.gz cannot be read"):
        prepare(published, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_set_with_nothing_but_strangers_says_what_they_lack(tmp_path):
    one = replace(found(tmp_path)[0], ids=(), unpaired=("s0 has no ct.nii.gz",))
    with pytest.raises(ValueError, match=r"^s0 has no ct.nii.gz; is it the folder that the set was unpacked into"):
        prepare(one, tmp_path / "out")


HIPPOCAMPUS = Path(os.environ.get("PROMPTLESS_DATA", "")) / "msd_hippocampus"


@pytest.mark.skipif(not (HIPPOCAMPUS / "split.json").is_file(), reason="PROMPTLESS_DATA has no msd_hippocampus")
def test_the_hippocampus_as_it_was_given_is_read_though_it_says_nothing_of_itself():
    ids = json.loads((HIPPOCAMPUS / "split.json").read_text())["dev"][:1]
    (sample,) = volumes.read(HIPPOCAMPUS, ids)
    assert set(np.unique(sample.labels)) == {0, 1, 2}
    assert prepared.class_names(HIPPOCAMPUS) == {}
