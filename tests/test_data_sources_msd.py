from __future__ import annotations

import json

import numpy as np
import pytest

import scans
from promptless.data.sources.msd import read

LISTING = {
    "name": "Hippocampus",
    "reference": "Vanderbilt",
    "licence": "CC-BY-SA 4.0",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
    "training": [{"image": f"./imagesTr/h_{n}.nii.gz", "label": f"./labelsTr/h_{n}.nii.gz"} for n in (1, 4)],
    "test": ["./imagesTs/h_2.nii.gz"],
}


def task(home, frames=None, **more):
    for n in (1, 4):
        scans.labelled(home / "imagesTr" / f"h_{n}.nii.gz", home / "labelsTr" / f"h_{n}.nii.gz", frames=frames, seed=n)
    for kind in ("images", "labels"):
        (home / f"{kind}Tr" / "._h_1.nii.gz").write_bytes(b"of a Mac")
    (home / "dataset.json").write_text(json.dumps(LISTING | more))
    return home


def test_the_listing_says_what_is_known(tmp_path):
    source = read(task(tmp_path / "Task04_Hippocampus"))
    assert (source.ids, source.official, source.unpaired) == (("h_1", "h_4"), {}, ())
    facts = source.facts
    assert (facts.name, facts.licence, facts.source) == ("msd_hippocampus", "CC-BY-SA 4.0", "Vanderbilt")
    assert facts.classes == {1: "Anterior", 2: "Posterior"}


def test_of_several_channels_one_is_chosen_by_number_or_name(tmp_path):
    home = task(tmp_path, frames=2, modality={"0": "T2", "1": "ADC"})
    with pytest.raises(ValueError, match="has 2 channels, and a model sees one; choose it with --channel: 0 T2, 1 ADC"):
        read(home)
    with pytest.raises(ValueError, match="has no channel T1"):
        read(home, channel="T1")
    first, second, named = (read(home, channel=c).load("h_4").sample.image.data for c in ("0", "1", "adc"))
    assert np.array_equal(second, named)
    assert not np.array_equal(first, second)


def test_a_channel_that_is_the_only_one_may_be_named(tmp_path):
    assert read(task(tmp_path), channel="mri").load("h_1").sample.image.data.shape[0] == 1


def test_scans_without_files_are_named(tmp_path):
    home = task(tmp_path)
    (home / "labelsTr" / "h_4.nii.gz").unlink()
    assert read(home).unpaired == ("h_4 has no labels",)
    (home / "imagesTr" / "h_4.nii.gz").unlink()
    assert read(home).unpaired == ("h_4 is listed in dataset.json and has no files",)


@pytest.mark.parametrize(
    ("labels", "message"),
    [({}, "names no classes under labels"), ({"whole": [1, 2], "core": 2}, "regions of several classes are not read")],
)
def test_classes_that_cannot_be_told_are_refused(tmp_path, labels, message):
    with pytest.raises(ValueError, match=message):
        read(task(tmp_path, labels=labels))


def test_damaged_json_is_named(tmp_path):
    (task(tmp_path) / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset.json is not valid JSON"):
        read(tmp_path)


def test_one_task_is_a_set(tmp_path):
    task(tmp_path / "Task04")
    assert read(tmp_path).ids == ("h_1", "h_4")
    task(tmp_path / "Task05")
    with pytest.raises(ValueError, match=r"holds 2 sets \(Task04, Task05\); name one"):
        read(tmp_path)
