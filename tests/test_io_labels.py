from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from promptless.io.labels import read

LABELS = np.array([[0, 1, 1, 2], [300, 0, 2, 2], [300, 0, 0, 0]])


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int32, np.float32])
def test_tiff_label_images_are_read_whatever_their_type(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", LABELS.astype(dtype))
    assert (read(tmp_path / "a.tif").dtype, read(tmp_path / "a.tif").tolist()) == (np.int32, LABELS.tolist())


def test_a_png_of_16_bits_is_read(tmp_path):
    PillowImage.fromarray(LABELS.astype(np.uint16)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").tolist() == LABELS.tolist()


@pytest.mark.parametrize("values", [LABELS - 1, LABELS + 0.5, np.full((3, 4), np.nan), LABELS + 2**31])
def test_values_that_are_no_labels_are_refused(tmp_path, values):
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(ValueError, match=r"a\.tif (is no label image|holds fractions)"):
        read(tmp_path / "a.tif")


def test_colours_are_refused(tmp_path, rng):
    PillowImage.fromarray(rng.integers(0, 255, (5, 6, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="has 3 channels; a label image has one number per pixel"):
        read(tmp_path / "a.png")
