from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from made_up import of_labels
from promptless.image import Image
from promptless.io.classes import COLOURS, class_map, colour, names, write
from promptless.result import Segmentation

LABELS = np.array([[0, 1, 1], [300, 0, 2]], np.int32)


def test_every_object_is_of_class_1_for_pillow_too(tmp_path):
    write(of_labels(LABELS), tmp_path / "a.tif")
    with PillowImage.open(tmp_path / "a.tif") as picture:
        assert picture.mode == "L"
        assert np.asarray(picture).tolist() == [[0, 1, 1], [1, 0, 1]]


def test_the_file_names_its_classes(tmp_path):
    write(of_labels(LABELS), tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.shaped_metadata[0]["classes"] == {"0": "background", "1": "nucleus"}
        assert file.pages.first.compression.name == "ADOBE_DEFLATE"


def test_the_pixel_size_is_in_the_file(tmp_path):
    plain = of_labels(LABELS)
    image = Image(plain.image.data, (0.5, 0.5))
    write(Segmentation(image, plain.labels, plain.masks, plain.prompts), tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        n, d = file.pages.first.tags["XResolution"].value
        assert n / d == pytest.approx(20_000)


@pytest.fixture
def told():
    """Two classes, of which object 300 has none."""
    plain = of_labels(LABELS)
    masks = replace(plain.masks, classes=np.array([2, 1, 0]), class_probabilities=np.array([0.9, 0.6, np.nan]))
    return replace(plain, masks=masks, manifest={"model": {"classes": ["flat", "round"]}})


def test_objects_have_the_class_that_the_model_tells(told, tmp_path):
    write(told, tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.asarray().tolist() == [[0, 2, 2], [3, 0, 1]]
        known = {"0": "background", "1": "flat", "2": "round", "3": "unclassified"}
        assert file.shaped_metadata[0]["classes"] == known


def test_no_class_is_named_for_the_unclassified_where_there_are_none(told):
    whole = replace(told, masks=replace(told.masks, classes=np.array([2, 1, 1])))
    assert names(whole) == {0: "background", 1: "flat", 2: "round"}
    assert set(np.unique(class_map(whole))) == {0, 1, 2}


def test_more_classes_than_a_byte_holds_are_written_too(told, tmp_path):
    many = replace(told, manifest={"model": {"classes": [f"kind {i}" for i in range(300)]}})
    write(many, tmp_path / "a.tif")
    assert tifffile.imread(tmp_path / "a.tif").max() == 301


def test_colours_come_again_where_there_are_more_classes():
    assert colour(1) == colour(1 + len(COLOURS)) != colour(2)
