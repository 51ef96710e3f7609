from __future__ import annotations

import numpy as np
import pytest

from promptless.data import volumes
from promptless.image import Image
from promptless.io.scans import nifti


@pytest.fixture
def folder(tmp_path):
    """A folder of one scan with a label per voxel."""
    data = np.arange(4 * 5 * 6, dtype=np.int16).reshape(1, 4, 5, 6)
    image = Image(data, (2.0, 1.0, 1.0), "mm")
    for name, values in (("images", data[0]), ("labels", (data[0] > 60).astype(np.uint8))):
        (tmp_path / name).mkdir()
        nifti.write_labels(values, image, tmp_path / name / "a.nii.gz")
    return tmp_path


@pytest.mark.parametrize("name", ["a", "a.nii.gz"])
def test_a_scan_comes_with_its_labels(folder, name):
    (sample,) = volumes.read(folder, [name])
    assert sample.id == "a"
    assert sample.image.data.shape == (1, *sample.labels.shape) == (1, 4, 5, 6)
    assert np.array_equal(sample.labels, sample.image.data[0] > 60)


def test_a_scan_that_is_not_there_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"b\.nii\.gz is missing; does the split"):
        list(volumes.read(folder, ["b"]))
