from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from promptless.config import ModelConfig
from promptless.export import round_to_half
from promptless.loading import load
from promptless.networks.checkpoints import WEIGHTS
from promptless.runtimes.torch import TorchModel


def test_a_loaded_model_answers_as_the_network_did(tiny, tiny_folder, rng):
    image = rng.uniform(size=(3, 32, 40)).astype(np.float32)
    loaded = load(tiny_folder, runtime="torch", threads=1).encode(image)
    with torch.inference_mode():
        expected = round_to_half(tiny).eval().encode(torch.from_numpy(image)[None])
    assert np.array_equal(loaded.features, expected.embedding[0].numpy())
    assert np.array_equal(loaded.maps, expected.maps[0].numpy())


def test_the_network_is_put_in_evaluation_mode(tiny_size, tiny_config):
    from promptless.networks.promptable import Promptable

    assert not TorchModel(Promptable(tiny_size).train(), tiny_config).network.training


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_weights_that_do_not_fit_the_network_are_refused(change, tiny_folder, tmp_path):
    weights = load_file(tiny_folder / WEIGHTS)
    if change == "missing":
        weights.pop("generator.head.bias")
    else:
        weights["other"] = torch.zeros(3)
    save_file(weights, tmp_path / WEIGHTS)
    with pytest.raises(RuntimeError, match=r"generator\.head\.bias|other"):
        TorchModel.load(tmp_path, ModelConfig.read(tiny_folder / "config.json"), 1)
