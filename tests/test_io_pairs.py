from __future__ import annotations

import pytest

from promptless.io.pairs import label_files, pair


@pytest.fixture
def folders(tmp_path):
    """Make two folders of empty files."""

    def make(truth, predicted):
        made = []
        for folder, names in (("truth", truth), ("predicted", predicted)):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / name).touch()
            made.append(tmp_path / folder)
        return made

    return make


def names(pairing):
    return {name: (t.name, p.name) for name, (t, p) in pairing.pairs.items()}


@pytest.mark.parametrize(
    ("true", "predicted"),
    [
        ("a.png", "a.tif"),
        ("a.png", "a_labels.tif"),
        ("a.png", "a_cp_masks.png"),
        ("a_mask.png", "a_labels.tif"),
        ("a_gt.npy", "a-pred.npy"),
        ("a.nii.gz", "a.nii"),
        ("a_labels.png", "a_labels.tif"),
    ],
)
def test_files_of_one_name_belong_together(true, predicted, folders):
    pairing = pair(*folders([true], [predicted]))
    assert list(names(pairing).values()) == [(true, predicted)]
    assert not pairing.only_true + pairing.only_predicted


def test_equal_stems_come_first(folders):
    pairing = pair(*folders(["a.png", "a_seg.png"], ["a.tif", "a_seg.tif"]))
    assert names(pairing) == {"a": ("a.png", "a.tif"), "a_seg": ("a_seg.png", "a_seg.tif")}


def test_an_image_beside_its_masks_is_no_label_image(folders):
    pairing = pair(*folders(["a.png", "a_masks.png", "b.png", "b_masks.png"], ["a_labels.tif", "b_labels.tif"]))
    assert names(pairing) == {"a_masks": ("a_masks.png", "a_labels.tif"), "b_masks": ("b_masks.png", "b_labels.tif")}
    assert not pairing.only_true + pairing.only_predicted


def test_files_without_a_partner_are_told(folders):
    pairing = pair(*folders(["a.png", "b.png"], ["a.png", "c.png", "notes.txt", ".hidden.png"]))
    assert [p.name for p in pairing.only_true] == ["b.png"]
    assert [p.name for p in pairing.only_predicted] == ["c.png"]


def test_what_promptless_writes_beside_its_labels_is_not_read(folders):
    outputs = ["a_labels.tif", "a_overlay.png", "a_objects.csv", "a_manifest.json"]
    pairing = pair(*folders(["a.png"], outputs))
    assert names(pairing) == {"a": ("a.png", "a_labels.tif")}
    assert not pairing.only_predicted


def test_two_files_are_a_pair_whatever_they_are_called(folders):
    truth, predicted = folders(["a.png"], ["b.tif"])
    assert names(pair(truth / "a.png", predicted / "b.tif")) == {"a": ("a.png", "b.tif")}


def test_two_predictions_of_one_image_are_refused(folders):
    with pytest.raises(ValueError, match=r"a_labels.tif and a_masks.png in .* are both named a; keep one"):
        pair(*folders(["a.png"], ["a_labels.tif", "a_masks.png"]))


def test_a_folder_that_is_not_there_is_named(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        pair(folders(["a.png"], [])[0], tmp_path / "nowhere")


def test_an_image_beside_the_labels_that_promptless_made_of_it_is_no_prediction(folders):
    outputs = ["a.png", "a_labels.tif", "a_classes.tif", "a_overlay.png", "a_manifest.json"]
    truth, predicted = folders(["a.png", "b.png"], [*outputs, "b.png"])
    assert names(pair(truth, predicted)) == {"a": ("a.png", "a_labels.tif"), "b": ("b.png", "b.png")}
    assert not pair(truth, predicted).only_predicted


def test_what_lies_beside_the_labels_of_a_scan_is_no_label_image(tmp_path):
    for name in ("a_labels.nii.gz", "a_overlay.png", "a_prompt.png", "a_probabilities.nii.gz", "b_overlay.png"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in label_files(tmp_path)] == ["a_labels.nii.gz", "b_overlay.png"]
