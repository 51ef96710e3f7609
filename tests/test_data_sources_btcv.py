from __future__ import annotations

import pytest

import scans
from promptless.data.sources.btcv import read


@pytest.fixture
def folder(tmp_path):
    """Two labelled scans and one of those whose labels were held back, as unpacked."""
    home = tmp_path / "Abdomen" / "RawData"
    for number in ("0001", "0022"):
        scans.labelled(
            home / "Training" / "img" / f"img{number}.nii.gz", home / "Training" / "label" / f"label{number}.nii.gz", 13
        )
    scans.labelled(home / "Testing" / "img" / "img0061.nii.gz", tmp_path / "held_back.nii.gz")
    (home / "Training" / "img" / "._img0001.nii.gz").write_bytes(b"of a Mac")
    return tmp_path / "Abdomen"


@pytest.mark.parametrize("inside", ["", "RawData", "RawData/Training"])
def test_labelled_scans_are_found_from_any_folder_above_them(folder, inside):
    source = read(folder / inside)
    assert (source.ids, source.official, source.unpaired) == (("img0001", "img0022"), {}, ())
    sample = source.load("img0022").sample
    assert sample.image.shape == sample.labels.shape


def test_there_are_thirteen_organs(folder):
    classes = read(folder).facts.classes
    assert len(classes) == 13
    assert (classes[6], classes[13]) == ("liver", "adrenal_gland_left")


def test_labels_without_an_image_are_named(folder):
    (folder / "RawData" / "Training" / "img" / "img0022.nii.gz").unlink()
    assert read(folder).unpaired == ("img0022 has no image",)
