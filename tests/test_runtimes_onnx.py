from __future__ import annotations

import os

import numpy as np
import pytest

from promptless.loading import load
from promptless.runtimes.onnx import ENCODE, session


@pytest.fixture(scope="module")
def both(tiny_folder):
    return [load(tiny_folder, runtime=name, threads=1) for name in ("onnx", "torch")]


def asked(config, channels, n, tokens, rng):
    """Return made-up arguments of `decode` for `n` windows."""
    return (
        rng.normal(size=(n, channels, config.cells, config.cells)).astype(np.float32),
        rng.uniform(0, config.size, (n, tokens, 2)).astype(np.float32),
        rng.integers(-1, 4, (n, tokens)),
        rng.choice([-1, 1], (n, 1, config.size, config.size)).astype(np.float32),
        np.arange(n) % 2 == 0,
    )


@pytest.mark.parametrize("shape", [(64, 96), (32, 32), (40, 72), (8, 136)])
def test_encoding_is_that_of_torch_at_any_size(both, shape, rng):
    image = rng.uniform(size=(3, *shape)).astype(np.float32)
    onnx, torch = (model.encode(image) for model in both)
    assert onnx.features.shape == torch.features.shape
    assert onnx.features == pytest.approx(torch.features, abs=1e-4 * float(np.abs(torch.features).max()))
    assert onnx.maps == pytest.approx(torch.maps, abs=1e-3)


@pytest.mark.parametrize(("n", "tokens"), [(1, 10), (3, 10), (5, 10), (2, 4), (2, 17)])
def test_decoding_is_that_of_torch_for_any_number_of_prompts_and_points(both, n, tokens, rng):
    arguments = asked(both[0].config.window, 32, n, tokens, rng)
    onnx, torch = (model.decode(*arguments) for model in both)
    assert onnx.low_res_logits.shape == torch.low_res_logits.shape == (n, 4, 32, 32)
    assert onnx.low_res_logits == pytest.approx(
        torch.low_res_logits, abs=1e-4 * max(1.0, float(np.abs(torch.low_res_logits).max()))
    )
    assert onnx.iou_predictions == pytest.approx(torch.iou_predictions, abs=1e-4)


def test_the_answers_move_with_every_input(both, rng):
    """Without this, parity would say nothing."""
    arguments = asked(both[0].config.window, 32, 2, 10, rng)
    answer = both[0].decode(*arguments).low_res_logits
    for i in range(5):
        changed = list(arguments)
        changed[i] = (
            np.flip(changed[i], axis=0) if changed[i].ndim == 1 else np.roll(changed[i], 1, axis=1 if i < 3 else 2)
        )
        other = both[0].decode(*(np.ascontiguousarray(a) for a in changed)).low_res_logits
        assert np.abs(other - answer).max() > 0.01 * np.abs(answer).max(), i


def test_the_number_of_threads_is_the_one_asked_for(tiny_folder, monkeypatch):
    assert session(tiny_folder / ENCODE, 2).get_session_options().intra_op_num_threads == 2
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS and Windows
    assert session(tiny_folder / ENCODE, 2).get_session_options().intra_op_num_threads == 2
