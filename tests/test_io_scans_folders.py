from __future__ import annotations

import pytest

import scans as made
from promptless.io.scans import is_scan, like_dicom, without_suffix
from promptless.io.scans.folders import scans_in


@pytest.fixture
def found(tmp_path, rng):
    """Return what `scans_in` finds, relative to the folder."""
    values = rng.integers(0, 4096, (2, 3, 4))

    def look(names, *paths, **options):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                made.series(tmp_path / name, values, names=["a", "b"])
            else:
                (tmp_path / name).write_bytes(b"x")
        asked = [tmp_path / path for path in paths] or [tmp_path]
        return [path.relative_to(tmp_path).as_posix() for path in scans_in(asked, **options)]

    return look


def test_a_folder_is_its_nifti_files_and_archives(found):
    assert found(["b.nii.gz", "a.NII", "c.zip", "d.png", "x/e.nii"]) == ["a.NII", "b.nii.gz", "c.zip"]
    assert found([], recursive=True) == ["a.NII", "b.nii.gz", "c.zip", "x/e.nii"]


def test_a_folder_of_dicom_files_is_one_scan_to_its_ground(found):
    assert found(["p/one/", "p/two/", "p/notes.txt"], "p") == ["p"]
    assert found([], "p", recursive=True) == ["p/one", "p/two"]
    assert found([], "p/one") == ["p/one"]
    assert found(["p/one/extra.nii"], "p/one") == ["p/one/extra.nii", "p/one"]


def test_a_folder_without_scans_is_none(found):
    assert found(["a.png", "b.txt"]) == []


def test_files_are_taken_as_they_are_and_once(found, tmp_path):
    assert found(["a.nii", "b.png"], "b.png", "a.nii", "a.nii", "gone.nii") == ["b.png", "a.nii", "gone.nii"]


def test_what_promptless_wrote_and_the_output_folder_are_not_read(found):
    own = ["a_labels.nii.gz", "a_probabilities.nii.gz", "a_seg.dcm", "a_prompt.png", "a_manifest.json"]
    assert found(["a.nii.gz", "b_labels.nii.gz", "out/c.nii", *own]) == ["a.nii.gz", "b_labels.nii.gz"]


def test_scans_are_known_by_name_or_by_how_they_begin(found, tmp_path):
    found(["a.nii", "b.zip", "c.ima", "d.png", "one/", "none/x.txt"])
    known = {name: is_scan(tmp_path / name) for name in ("a.nii", "b.zip", "c.ima", "d.png", "one", "none", "one/a")}
    assert known == {
        "a.nii": True,
        "b.zip": True,
        "c.ima": True,
        "d.png": False,
        "one": True,
        "none": False,
        "one/a": True,
    }
    assert like_dicom(tmp_path / "gone.dcm")
    assert not like_dicom(tmp_path / "gone")


@pytest.mark.parametrize(("name", "stem"), [("a.b.nii.gz", "a.b"), ("a.NII.GZ", "a"), ("a.nii", "a"), ("a.zip", "a")])
def test_names_lose_their_whole_suffix(name, stem, tmp_path):
    assert without_suffix(tmp_path / name) == stem
