from __future__ import annotations

import json

import numpy as np
import pytest

from made_up import NullModel
from promptless.image import Image
from promptless.pipeline import segment


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_manifest_of_numpy_numbers_can_be_written(blobs, dtype):
    spacing = tuple(np.array([0.5, 0.25], dtype))
    image = Image(blobs[0][None], spacing)
    result = segment(image, NullModel(), min_score=dtype(0.25), tile=np.int64(64), halo=np.int32(16))
    record = json.loads(json.dumps(result.manifest))
    assert record["image"]["spacing"] == [0.5, 0.25]
    asked = record["arguments"]
    assert (asked["min_score"], asked["tile"], asked["halo"], asked["mpp"]) == (0.25, 64, 16, None)


def test_so_can_that_of_a_pixel_size_given_as_one(blobs, tmp_path):
    result = segment(blobs[0], NullModel(), mpp=np.float32(0.5), channel=None)
    assert result.save(tmp_path, "a")["manifest"].is_file()
