from __future__ import annotations

import numpy as np
import pytest

from made_up import NullModel
from promptless.loading import load


@pytest.fixture(params=["null", "onnx", "torch"])
def model(request, tiny_folder):
    return NullModel() if request.param == "null" else load(tiny_folder, runtime=request.param, threads=1)


def test_encoding_gives_features_at_the_stride_and_maps_at_full_size(model, rng):
    embedding = model.encode(rng.uniform(size=(3, 32, 48)).astype(np.float32))
    assert embedding.features.shape[1:] == (8, 12)
    assert embedding.maps.shape == (2, 32, 48)
    assert embedding.features.dtype == embedding.maps.dtype == np.float32


@pytest.mark.parametrize("n", [1, 3])
def test_decoding_gives_a_mask_per_prompt_at_window_size(model, n, rng):
    config, channels = model.config.window, len(model.encode(np.zeros((3, 8, 8), np.float32)).features)
    decoded = model.decode(
        rng.normal(size=(n, channels, config.cells, config.cells)).astype(np.float32),
        rng.uniform(0, config.size, (n, 6, 2)).astype(np.float32),
        np.tile(np.array([1, 0, 2, 3, -1, -1]), (n, 1)),
        np.ones((n, 1, config.size, config.size), np.float32),
        np.ones(n, bool),
    )
    assert decoded.low_res_logits.shape[0] == decoded.iou_predictions.shape[0] == n
    assert decoded.low_res_logits.shape[2:] == (config.size, config.size)
    assert np.isfinite(decoded.low_res_logits).all()
    assert np.isfinite(decoded.iou_predictions).all()
