from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PillowImage

from made_up import discs, picture
from promptless.data.sources.dsb2018 import read

LABELS = discs((30, 40), [(10, 10, 6), (18, 28, 8)])


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(pixels).save(path)


def add_image(folder, name, labels=LABELS):
    grey = picture(labels)
    opaque = np.full_like(grey, 255)
    save(folder / name / "images" / f"{name}.png", np.stack([grey, grey, grey, opaque], axis=-1))


def runs(mask):
    """Return every pixel as a run of its own, in Kaggle's order."""
    return " ".join(f"{i + 1} 1" for i in np.flatnonzero(mask.T.ravel()))


@pytest.fixture
def kaggle(tmp_path):
    """One image with mask files, and one whose masks a solution file has."""
    add_image(tmp_path / "stage1_train", "a")
    for number in (1, 2):
        mask = ((number == LABELS) * 255).astype(np.uint8)
        save(tmp_path / "stage1_train" / "a" / "masks" / f"{number}.png", mask)
    add_image(tmp_path / "stage1_test", "b")
    rows = [f"b,{runs(number == LABELS)},30,40,Public" for number in (1, 2)]
    (tmp_path / "stage1_solution.csv").write_text("\n".join(["ImageId,EncodedPixels,Height,Width,Usage", *rows]))
    return tmp_path


@pytest.mark.parametrize("name", ["a", "b"])
def test_mask_files_and_run_lengths_say_the_same(kaggle, name):
    source = read(kaggle)
    assert source.ids == ("a", "b")
    sample = source.load(name)
    assert np.array_equal(sample.labels, LABELS)
    assert (sample.category, sample.pixels.shape) == ("fluorescence_grey", (1, 30, 40))


def test_images_of_the_test_stage_are_test(kaggle):
    assert read(kaggle).official == {"b": "test"}


def test_images_without_masks_and_masks_without_images_are_named(kaggle):
    add_image(kaggle / "stage1_train", "c")
    save(kaggle / "stage1_train" / "d" / "masks" / "1.png", np.zeros((3, 3), np.uint8))
    source = read(kaggle)
    assert source.unpaired == ("c has no masks", "d has no image")
    assert source.ids == ("a", "b")


def test_a_pixel_of_two_nuclei_belongs_to_the_first(kaggle):
    save(kaggle / "stage1_train" / "a" / "masks" / "3.png", np.full((30, 40), 255, np.uint8))
    labels = read(kaggle).load("a").labels
    assert np.array_equal(labels, np.where(LABELS, LABELS, 3))


def test_a_mask_of_another_size_is_refused(kaggle):
    save(kaggle / "stage1_train" / "a" / "masks" / "3.png", np.zeros((30, 41), np.uint8))
    with pytest.raises(ValueError, match=r"3\.png is \(30, 41\) but its image is \(30, 40\)"):
        read(kaggle).load("a")


@pytest.mark.parametrize(
    ("text", "message"),
    [("1 2 3", "no pairs"), ("0 4", "beyond the 30 x 40"), ("1 x", "no pairs"), ("1199 3", "beyond")],
)
def test_runs_that_make_no_sense_are_refused(kaggle, text, message):
    (kaggle / "stage1_solution.csv").write_text(f"ImageId,EncodedPixels\nb,{text}\n")
    with pytest.raises(ValueError, match=message):
        read(kaggle).load("b")


@pytest.mark.parametrize(
    ("background", "nucleus", "category"),
    [
        ((240, 230, 245), (90, 60, 150), "HE_purple_on_white"),
        ((190, 120, 190), (90, 60, 150), "HE_purple_on_purple"),
        ((220, 220, 220), (90, 90, 90), "brightfield_grey"),
        ((10, 10, 10), (90, 90, 90), "fluorescence_grey"),
    ],
)
def test_the_background_tells_the_category(kaggle, background, nucleus, category):
    colours = np.where(LABELS[..., None] > 0, nucleus, background).astype(np.uint8)
    save(kaggle / "stage1_train" / "a" / "images" / "a.png", colours)
    assert read(kaggle).load("a").category == category


def test_a_folder_of_many_images_is_no_image_of_this_set(tmp_path):
    add_image(tmp_path, "mine")
    add_image(tmp_path, "mine", discs((30, 40), [(12, 12, 5)]))
    (tmp_path / "mine" / "images" / "mine.png").rename(tmp_path / "mine" / "images" / "b.png")
    add_image(tmp_path, "mine")
    with pytest.raises(ValueError, match="holds several images, and a folder of this data set holds one"):
        read(tmp_path)
