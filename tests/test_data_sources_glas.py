from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PillowImage

from made_up import discs
from promptless.data.sources.glas import read

LABELS = discs((24, 30), [(8, 8, 5), (15, 22, 6)])
GRADES = """name, patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)
testA_1, 4, benign, adenomatous
train_1, 4, malignant, moderately differentiated
train_2, 5, benign, healthy
"""


@pytest.fixture
def folder(tmp_path, rng):
    for name in ("train_1", "train_2", "testA_1", "testB_1"):
        PillowImage.fromarray(rng.integers(0, 255, (24, 30, 3), np.uint8)).save(tmp_path / f"{name}.bmp")
        PillowImage.fromarray(LABELS.astype(np.uint8)).save(tmp_path / f"{name}_anno.bmp")
    (tmp_path / "Grade.csv").write_text(GRADES)
    return tmp_path


def test_images_come_with_labels_and_grade(folder):
    sample = read(folder).load("train_1")
    assert np.array_equal(sample.labels, LABELS)
    assert (sample.category, sample.mpp, sample.pixels.shape) == ("malignant", 0.62005, (3, 24, 30))


def test_the_publisher_names_the_test_images_and_the_patients(folder):
    source = read(folder)
    assert source.ids == ("testA_1", "testB_1", "train_1", "train_2")
    assert source.official == {"testA_1": "test", "testB_1": "test"}
    assert [source.case(name) for name in source.ids] == ["patient 4", "testB_1", "patient 4", "patient 5"]


def test_without_grades_every_image_is_a_case(folder):
    (folder / "Grade.csv").unlink()
    source = read(folder)
    assert source.case("train_1") == "train_1"
    assert source.load("train_1").category == "unsorted"


def test_grades_without_names_are_refused(folder):
    (folder / "Grade.csv").write_text("image,grade\n")
    with pytest.raises(ValueError, match="lacks the column name"):
        read(folder)


def test_an_image_without_annotation_is_named(folder):
    (folder / "train_2_anno.bmp").unlink()
    assert read(folder).unpaired == ("train_2 has no masks",)
