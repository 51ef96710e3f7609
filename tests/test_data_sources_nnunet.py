from __future__ import annotations

import json

import numpy as np
import pytest

import scans
from promptless.data.sources.nnunet import read

FIRST = {
    "name": "Liver",
    "licence": "CC BY",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "liver", "2": "tumour"},
    "training": [{"image": f"./imagesTr/case_{n}.nii.gz", "label": f"./labelsTr/case_{n}.nii.gz"} for n in (1, 2)],
}
SECOND = {
    "channel_names": {"0": "CT", "1": "PET"},
    "labels": {"background": 0, "liver": 1, "tumour": 2},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


def raw(home, listing, channels=1, part="Tr", numbers=(1, 2)):
    for n in numbers:
        for channel in range(channels):
            image = home / f"images{part}" / f"case_{n}_{channel:04}.nii.gz"
            scans.labelled(image, home / f"labels{part}" / f"case_{n}.nii.gz", seed=10 * n + channel)
    (home / "dataset.json").write_text(json.dumps(listing))
    return home


@pytest.mark.parametrize("listing", [FIRST, SECOND])
def test_both_versions_are_read(tmp_path, listing):
    source = read(raw(tmp_path / "Dataset009_Liver", listing))
    assert (source.ids, source.unpaired) == (("case_1", "case_2"), ())
    assert source.facts.classes == {1: "liver", 2: "tumour"}
    assert source.facts.name == ("nnunet_liver" if listing is FIRST else "nnunet_dataset009_liver")
    assert source.load("case_2").image.name == "case_2_0000.nii.gz"


def test_of_several_channels_one_is_chosen(tmp_path):
    home = raw(tmp_path, SECOND, channels=2)
    with pytest.raises(ValueError, match="has 2 channels, and a model sees one; choose it with --channel: 0 CT, 1 PET"):
        read(home)
    number, name = (read(home, channel=channel).load("case_1") for channel in ("1", "PET"))
    assert number.image == name.image == home / "imagesTr" / "case_1_0001.nii.gz"
    assert np.array_equal(number.sample.image.data, name.sample.image.data)


def test_a_case_without_that_channel_is_named(tmp_path):
    home = raw(tmp_path, SECOND, channels=2)
    (home / "imagesTr" / "case_2_0001.nii.gz").unlink()
    assert read(home, channel="PET").unpaired == ("case_2 has no image",)


def test_test_scans_are_official_where_their_labels_are_there(tmp_path):
    home = raw(raw(tmp_path, FIRST), FIRST, part="Ts", numbers=(7,))
    assert read(home).official == {"case_7": "test"}
    (home / "labelsTs" / "case_7.nii.gz").unlink()
    source = read(home)
    assert (source.ids, source.official, source.unpaired) == (("case_1", "case_2"), {}, ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file_ending": ".png"}, r"holds .png files, and scans are read from .nii or .nii.gz"),
        ({"labels": {"background": 0, "liver": 1, "ignore": 2}}, "has voxels to ignore"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "regions of several classes"),
    ],
)
def test_what_is_no_classes_of_scans_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read(raw(tmp_path, SECOND | change))


def test_images_without_the_number_of_a_channel_are_refused(tmp_path):
    home = raw(tmp_path, FIRST)
    (home / "imagesTr" / "case_1_0000.nii.gz").rename(home / "imagesTr" / "case_1.nii.gz")
    with pytest.raises(ValueError, match="does not end in the number of its channel"):
        read(home)
