from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as PillowImage

from made_up import discs, picture
from promptless.data.prepared import facts
from promptless.data.sample import Sample
from promptless.train.material import check_objects, read, ready

LABELS = discs((40, 40), [(12, 12, 7), (28, 26, 6)])


def save(folder, name, labels=LABELS, shape=None):
    """Write an image and its label mask as a microscopist would have them."""
    folder.mkdir(exist_ok=True)
    PillowImage.fromarray(picture(labels)).resize(shape or labels.shape[::-1]).save(folder / f"{name}.png")
    PillowImage.fromarray(labels.astype(np.uint16)).save(folder / f"{name}_masks.png")


@pytest.fixture
def cells(tmp_path):
    for name in "abcdef":
        save(tmp_path / "cells", name)
    return tmp_path / "cells"


def test_a_folder_of_images_and_masks_is_prepared_with_its_split(cells, tmp_path):
    folder = ready(cells, tmp_path / "run" / "data")
    parts = json.loads((folder / "split.json").read_text())
    assert sorted(name for names in parts.values() for name in names) == list("abcdef")
    assert all(parts.values())
    assert {part: [sample.id for sample in samples] for part, samples in read(folder, parts).items()} == parts
    assert (facts(folder).name, facts(folder).licence) == ("cells", "unknown")


def test_images_that_are_added_move_no_other(cells, tmp_path):
    before = json.loads((ready(cells, tmp_path / "data") / "split.json").read_text())
    for name in "ghijklm":
        save(cells, name)
    after = json.loads((ready(cells, tmp_path / "data") / "split.json").read_text())
    assert all(set(names) <= set(after[part]) for part, names in before.items())
    assert sum(map(len, after.values())) == 13


def test_a_training_goes_on_with_the_images_it_began_with(cells, tmp_path):
    ready(cells, tmp_path / "data")
    assert ready(cells, tmp_path / "data", resume=True) == tmp_path / "data"
    moved = cells.rename(tmp_path / "elsewhere")
    assert ready(moved, tmp_path / "data", resume=True) == tmp_path / "data"
    save(moved, "late")
    with pytest.raises(
        ValueError, match=r"began with cells \(12 files, .*\), and elsewhere \(14 files, .* without --data"
    ):
        ready(moved, tmp_path / "data", resume=True)
    assert not (tmp_path / "data" / "images" / "late.png").exists()


def test_a_prepared_folder_is_taken_as_it_is(cells, tmp_path):
    folder = ready(cells, tmp_path / "data")
    assert ready(folder, tmp_path / "elsewhere") == folder
    assert not (tmp_path / "elsewhere").exists()


def refused(folder, tmp_path, message, error=ValueError):
    with pytest.raises(error, match=message):
        ready(folder, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_one_image_is_too_few(tmp_path):
    save(tmp_path / "one", "a")
    refused(tmp_path / "one", tmp_path, "holds one image with masks; training needs 2 at least, .* label more, or cut")


def test_files_without_a_partner_are_named(cells, tmp_path):
    (cells / "b_masks.png").unlink()
    (cells / "c.png").unlink()
    refused(cells, tmp_path, "b has no masks, c has no image in .*cells; .*--skip-unpaired")


def test_masks_that_have_no_image_s_name_are_not_to_be_skipped(tmp_path):
    for name in "abcd":
        save(tmp_path / "cells", name)
        (tmp_path / "cells" / f"{name}_masks.png").rename(tmp_path / "cells" / f"{name}_outlined_masks.png")
    message = r"cells: no masks .* 4 images \(a, b, c, ...\), 4 with masks \(a_outlined, .*; name the masks of NAME.tif"
    refused(tmp_path / "cells", tmp_path, message)


def test_masks_of_another_size_are_refused(cells, tmp_path):
    save(cells, "d", shape=(30, 44))
    refused(cells, tmp_path, "d: the image has 44 x 30 pixels but its labels have 40 x 40; they must agree")


@pytest.mark.parametrize(("suffix", "message"), [("jpg", "changes values where it compresses"), ("png", "3 channels")])
def test_masks_that_are_pictures_are_refused(cells, tmp_path, suffix, message):
    (cells / "e_masks.png").unlink()
    shown = picture(LABELS)
    PillowImage.fromarray(np.stack([shown, 255 - shown, shown // 2], axis=2)).save(cells / f"e_masks.{suffix}")
    refused(cells, tmp_path, message)


def test_a_class_that_the_set_does_not_have_is_refused(cells, tmp_path):
    (cells / "classes").mkdir()
    (cells / "classes" / "a.csv").write_text("label,class\n1,7\n")
    refused(cells, tmp_path, "promptless data prepare folder .*cells --classes NAME,... -o FOLDER")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    refused(tmp_path / "nowhere", tmp_path, "nowhere is no folder", NotADirectoryError)


@pytest.mark.parametrize("part", ["train", "dev"])
def test_empty_masks_are_refused(cells, tmp_path, part):
    folder = ready(cells, tmp_path / "data")
    ids = json.loads((folder / "split.json").read_text())
    for name in ids[part]:
        PillowImage.fromarray(np.zeros((40, 40), np.uint16)).save(folder / "masks" / f"{name}.png")
    with pytest.raises(ValueError, match=f"masks of all {len(ids[part])} images for {part} are empty"):
        read(folder, ids)


@pytest.mark.parametrize("part", ["train", "dev"])
def test_a_part_without_an_image_is_refused(cells, tmp_path, part):
    folder = ready(cells, tmp_path / "data")
    ids = json.loads((folder / "split.json").read_text()) | {part: []}
    with pytest.raises(ValueError, match=f"no image of .* is for {part}, to .*; move one there in split.json"):
        read(folder, ids)


def labelled(name, labels):
    return Sample(name, "grey", np.zeros((1, *labels.shape)), labels)


THREE = discs((40, 40), [(8, 8, 5), (30, 30, 5), (8, 30, 5)])
FOREGROUND = [labelled(name, (THREE > 0) * 255) for name in "abcdefghi"]


def test_masks_of_the_foreground_are_not_taken_for_one_object():
    message = 'a has one object in 3 separate parts, and 9 of 9 .* number the objects .* output = "semantic"'
    with pytest.raises(ValueError, match=message):
        check_objects([*FOREGROUND, labelled("empty", 0 * THREE)])
    with pytest.raises(ValueError, match="9 of 10 images"):
        check_objects([*FOREGROUND, labelled("numbered", THREE)])


def test_masks_with_numbers_and_single_objects_are_taken():
    check_objects([labelled("empty", 0 * THREE)])
    check_objects([labelled("one", (THREE == 1) * 1)] * 3)
    check_objects([*FOREGROUND[:3], labelled("numbered", THREE)])
