from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from made_up import discs, picture
from promptless.data import prepared
from promptless.data.preparation import prepare
from promptless.data.sources.folder import read

LABELS = discs((30, 40), [(10, 10, 6), (18, 28, 8)])


@pytest.fixture
def data():
    root = os.environ.get("PROMPTLESS_DATA")
    if not root:
        pytest.skip("PROMPTLESS_DATA is not set; it names the folder that holds dsb2018/ and stardist_samples/")
    return Path(root)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(pixels).save(path)


def labelled(folder, image, mask):
    save(folder / image, picture(LABELS))
    save(folder / mask, LABELS.astype(np.uint16))


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.png", "masks/a.png"),
        ("images/a.jpg", "masks/a_labels.png"),
        ("images/a_gt.png", "masks/a_gt.png"),
        ("images/a.png", "labels/a.tif"),
        ("a.png", "masks/a.png"),
        ("a.png", "a_masks.png"),
        ("a.jpg", "a_cp_masks.png"),
        ("a.tif", "a-label.tif"),
    ],
)
def test_images_and_masks_find_each_other(tmp_path, image, mask):
    labelled(tmp_path, image, mask)
    source = read(tmp_path, mpp=0.3, category="HE")
    assert source.ids == (Path(image).stem,)
    assert not source.unpaired
    sample = source.load(source.ids[0])
    assert np.array_equal(sample.labels, LABELS)
    assert (sample.category, sample.mpp) == ("HE", 0.3)


@pytest.mark.parametrize("folder", [("images", "masks"), ("", "")])
def test_files_without_a_partner_are_named(tmp_path, folder):
    labelled(tmp_path, Path(folder[0], "a.png"), Path(folder[1], "a_mask.png"))
    save(tmp_path / folder[0] / "b.png", picture(LABELS))
    save(tmp_path / folder[1] / "c_mask.png", LABELS.astype(np.uint8))
    source = read(tmp_path)
    assert source.ids == ("a",)
    assert source.unpaired == ("b has no masks", "c has no image")


def test_the_file_knows_the_pixel_size_better(tmp_path):
    labelled(tmp_path, "a.png", "a_masks.png")
    (tmp_path / "a.png").unlink()
    tifffile.imwrite(tmp_path / "a.tif", picture(LABELS), imagej=True, resolution=(2, 2), metadata={"unit": "um"})
    assert read(tmp_path, mpp=3).load("a").mpp == 0.5


def test_classes_come_from_a_table(tmp_path):
    labelled(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "a.csv").write_text("label,class\n1,2\n2,1\n")
    source = read(tmp_path, classes=["flat", "round"])
    assert source.facts.classes == {1: "flat", 2: "round"}
    assert source.load("a").classes == {1: 2, 2: 1}


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_masks_saved_as_jpeg_are_refused_with_the_reason(tmp_path, name):
    save(tmp_path / "images" / "a.png", picture(LABELS))
    (tmp_path / "masks").mkdir()
    PillowImage.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "masks" / name, format="JPEG")
    with pytest.raises(ValueError, match=r"JPEG .* no longer what they were"):
        read(tmp_path).load("a")


def test_masks_in_colours_are_refused_with_the_reason(tmp_path):
    save(tmp_path / "images" / "a.png", picture(LABELS))
    save(tmp_path / "masks" / "a.png", np.arange(3600, dtype=np.uint8).reshape(30, 40, 3))
    with pytest.raises(ValueError, match="3 channels; a label image has one number per pixel"):
        read(tmp_path).load("a")


def test_masks_of_another_size_are_refused(tmp_path):
    save(tmp_path / "images" / "a.png", picture(LABELS))
    save(tmp_path / "masks" / "a.png", np.zeros((40, 30), np.uint8))
    with pytest.raises(ValueError, match="a: the image has 30 x 40 pixels but its labels have 40 x 30"):
        read(tmp_path).load("a")


def test_two_files_of_one_name_are_refused(tmp_path):
    labelled(tmp_path, "images/a.png", "masks/a.png")
    save(tmp_path / "images" / "a.jpg", picture(LABELS))
    with pytest.raises(ValueError, match="both named a"):
        read(tmp_path)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(NotADirectoryError, match="is no folder"):
        read(tmp_path / "nowhere")


def test_masks_or_images_alone_are_no_pairs(tmp_path):
    save(tmp_path / "masks" / "a.png", LABELS.astype(np.uint8))
    assert read(tmp_path).unpaired == ("a has no image",)
    (tmp_path / "masks").rename(tmp_path / "images")
    assert read(tmp_path).unpaired == ("a has no masks",)


def test_real_images_are_prepared_as_they_are(data, tmp_path):
    ids = json.loads((data / "dsb2018" / "split.json").read_text())["dev"][:4]
    for kind in ("images", "masks"):
        (tmp_path / "in" / kind).mkdir(parents=True)
        for name in ids:
            (tmp_path / "in" / kind / f"{name}.png").symlink_to(data / "dsb2018" / kind / f"{name}.png")
    prepare(read(tmp_path / "in"), tmp_path / "out")
    for before, after in zip(prepared.read(data / "dsb2018", ids), prepared.read(tmp_path / "out", ids), strict=True):
        assert np.array_equal(before.pixels, after.pixels)
        assert np.array_equal(before.labels, after.labels)


def test_a_real_image_beside_its_mask_is_found(data, tmp_path):
    samples = data / "stardist_samples"
    if not samples.is_dir():
        pytest.skip(f"there is no {samples}")
    (tmp_path / "cells.tif").symlink_to(samples / "img2d.tif")
    (tmp_path / "cells_masks.tif").symlink_to(samples / "mask2d.tif")
    sample = read(tmp_path).load("cells")
    assert np.array_equal(sample.labels, tifffile.imread(samples / "mask2d.tif"))
    assert np.array_equal(sample.pixels[0], tifffile.imread(samples / "img2d.tif"))
