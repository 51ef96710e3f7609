from __future__ import annotations

import scans
from promptless.data.sources.ct_org import read


def test_the_first_21_scans_are_the_test_set(tmp_path):
    for number in (0, 3, 20, 21, 139):
        scans.labelled(tmp_path / "CT" / f"volume-{number}.nii.gz", tmp_path / "CT" / f"labels-{number}.nii.gz", 6)
    source = read(tmp_path)
    assert set(source.ids) == {f"volume-{number}" for number in (0, 3, 20, 21, 139)}
    assert source.official == {f"volume-{number}": "test" for number in (0, 3, 20)}
    assert list(source.facts.classes.values()) == ["liver", "urinary_bladder", "lungs", "kidneys", "bones", "brain"]
    assert set(source.load("volume-21").sample.labels.ravel()) == set(range(7))


def test_a_volume_without_labels_is_named(tmp_path):
    scans.labelled(tmp_path / "volume-7.nii", tmp_path / "labels-8.nii")
    assert read(tmp_path).unpaired == ("volume-7 has no labels", "volume-8 has no image")
