from __future__ import annotations

import json

import pytest

import scans
from promptless.data.sources.amos import read


@pytest.fixture
def folder(tmp_path):
    """CT and MR of training and validation, and a test image whose labels are held back."""
    home = tmp_path / "amos22"
    for part, numbers in (("Tr", ("0001", "0004", "0507")), ("Va", ("0008", "0510"))):
        for number in numbers:
            name = f"amos_{number}.nii.gz"
            scans.labelled(home / f"images{part}" / name, home / f"labels{part}" / name, 15)
    scans.labelled(home / "imagesTs" / "amos_0002.nii.gz", tmp_path / "held_back.nii.gz")
    listing = {
        "licence": "CC BY",
        "training": [{"image": f"./imagesTr/amos_{n}.nii.gz", "label": "..."} for n in ("0001", "0004", "0507")],
        "validation": [{"image": f"./imagesVa/amos_{n}.nii.gz", "label": "..."} for n in ("0008", "0510")],
        "test": [{"image": "./imagesTs/amos_0002.nii.gz"}],
    }
    (home / "dataset.json").write_text(json.dumps(listing))
    return home


@pytest.mark.parametrize(
    ("modality", "ids"),
    [
        ("ct", ("amos_0001", "amos_0004", "amos_0008")),
        ("mr", ("amos_0507", "amos_0510")),
        ("all", ("amos_0001", "amos_0004", "amos_0008", "amos_0507", "amos_0510")),
    ],
)
def test_numbers_tell_ct_from_mr_and_validation_scans_are_for_test(folder, modality, ids):
    source = read(folder, modality=modality)
    assert source.ids == ids
    assert source.official == {name: "test" for name in ids if name in ("amos_0008", "amos_0510")}
    assert source.unpaired == ()
    assert (len(source.facts.classes), source.facts.licence) == (15, "CC BY")


def test_the_folder_above_will_do(folder):
    assert len(read(folder.parent).ids) == 3


def test_what_is_listed_and_not_there_is_named(folder):
    for kind in ("images", "labels"):
        for number in ("0004", "0507"):
            (folder / f"{kind}Tr" / f"amos_{number}.nii.gz").unlink()
    assert read(folder).unpaired == ("amos_0004 is listed in dataset.json and has no files",)


def test_what_it_cannot_know_is_refused(folder):
    with pytest.raises(ValueError, match="no modality of AMOS; there are ct, mr, all"):
        read(folder, modality="pet")
    (folder / "imagesTr" / "amos_0001.nii.gz").rename(folder / "imagesTr" / "one.nii.gz")
    with pytest.raises(ValueError, match="is not called amos_NNNN"):
        read(folder)
    (folder / "dataset.json").unlink()
    with pytest.raises(FileNotFoundError, match="holds no dataset"):
        read(folder)
