from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from made_up import of_labels
from promptless.image import Image
from promptless.io.classes import write
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
