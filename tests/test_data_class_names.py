from __future__ import annotations

import json

import pytest

from promptless.data.class_names import common


def beside(folder, content, name="dataset.json"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "content",
    [
        {"classes": {"1": "liver", "2": "spleen"}},
        {"labels": {"0": "background", "1": "liver", "2": "spleen"}},
        {"labels": {"background": 0, "liver": 1, "spleen": 2}},
    ],
)
@pytest.mark.parametrize("folder", [".", "labels"])
def test_names_are_those_of_dataset_json_here_or_above(tmp_path, content, folder):
    beside(tmp_path, content)
    assert common([tmp_path / folder / "a.nii.gz"]) == {1: "liver", 2: "spleen"}


def test_a_file_of_its_own_comes_first(tmp_path):
    beside(tmp_path, {"classes": {"1": "liver"}})
    beside(tmp_path, {"classes": {"0": "background", "1": "spleen"}}, "a.json")
    assert common([tmp_path / "a.nii.gz"]) == {1: "spleen"}
    assert common([tmp_path / "a.png"]) == {1: "liver"}


def test_another_json_beside_a_scan_names_nothing(tmp_path):
    beside(tmp_path, {"EchoTime": 0.03}, "a.json")
    assert common([tmp_path / "a.nii.gz"]) == {}


def test_files_that_disagree_are_refused_and_spelling_is_no_matter(tmp_path):
    one = beside(tmp_path / "one", {"classes": {"1": "Left kidney"}})
    same = beside(tmp_path / "same", {"classes": {"1": "left_kidney", "2": "liver"}})
    other = beside(tmp_path / "other", {"classes": {"1": "liver"}})
    assert common([one / "a.nii", same / "a.nii"]) == {1: "Left kidney", 2: "liver"}
    with pytest.raises(ValueError, match=r"class 1 is Left kidney beside .* and liver beside .*number them alike"):
        common([one / "a.nii", other / "a.nii"])
