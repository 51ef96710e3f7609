from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adapting import small_base
from promptless.config import ModelConfig
from promptless.export import round_to_half
from promptless.loading import load
from promptless.model import MeasuredVoxelModel, PromptedVoxelModel
from promptless.networks.checkpoints import WEIGHTS
from promptless.pipeline import segment
from promptless.runtimes.torch import TorchModel, voxel_model
from volumes import autoprosam, random_crop, voxel_config
from voxel_models import blocks


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


def test_a_model_on_volumes_tells_what_its_network_can(tiny_folder):
    backbone = small_base(tiny_folder)
    config = voxel_config(backbone)
    crop = random_crop(12, 16, 9)
    prompted = voxel_model(autoprosam(backbone).eval(), config)
    answer = prompted.answer(crop.numpy())
    with torch.inference_mode():
        expected = prompted.network.answer(crop)
    assert np.array_equal(answer.logits, prompted.logits(crop.numpy()))
    assert np.allclose(answer.prompt, np.linalg.norm(expected.prompt.numpy(), axis=1), rtol=1e-5)
    assert isinstance(prompted, PromptedVoxelModel)
    plain = voxel_model(autoprosam(backbone, generator="none"), config)
    assert not isinstance(plain, PromptedVoxelModel)
    assert isinstance(plain, MeasuredVoxelModel)
    assert not isinstance(voxel_model(torch.nn.Conv3d(1, 3, 1), config), MeasuredVoxelModel)


def test_a_crop_of_an_autoprosam_takes_memory_by_its_voxels(tiny_folder):
    backbone = small_base(tiny_folder)
    model = voxel_model(autoprosam(backbone), voxel_config(backbone))
    needed, free = model.room((64, 64, 64))
    assert free is None
    assert 0.2 < needed / 2**30 < 0.4
    assert model.room((128, 64, 64)).needed == 2 * needed


def test_a_scan_goes_through_a_network_to_its_own_grid(tiny_folder):
    backbone = small_base(tiny_folder)
    model = voxel_model(autoprosam(backbone).eval(), voxel_config(backbone, spacing=(2.0, 2.0, 2.0)))
    image, _ = blocks((30, 34, 38))
    result = segment(image, model, keep=["probabilities", "prompt"])
    assert result.labels.shape == result.prompt.shape == (30, 34, 38)
    assert np.abs(result.probabilities.astype(int).sum(axis=0) - 255).max() <= 2
    of_label = np.take_along_axis(result.probabilities, result.labels[None].astype(int), axis=0)[0]
    assert (of_label == result.probabilities.max(axis=0)).all()
