from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adapting import learned, small_base
from promptless.config import ModelConfig
from promptless.export import round_to_half
from promptless.loading import load
from promptless.model import MeasuredVoxelModel, PointedVoxelModel, PromptedVoxelModel, VoxelModel
from promptless.networks.checkpoints import WEIGHTS
from promptless.networks.volume import models
from promptless.networks.volume.generator import Points as NetworkPoints
from promptless.prompts import Points
from promptless.runtimes.torch import TorchModel, voxel_model
from volumes import random_crop, voxel_config


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


@pytest.fixture(scope="module")
def volumetric(tiny_folder):
    """A tiny AutoProSAM, and its configuration."""
    base = small_base(tiny_folder)
    config = voxel_config(base)
    return learned(models.begun(config, base)), config


def test_a_model_on_volumes_answers_as_its_network(volumetric):
    network, config = volumetric
    crops = random_crop(12, 16, 9).repeat(2, 1, 1, 1, 1)
    with torch.inference_mode():
        exact = network.answer(crops)
    model = voxel_model(network, config, threads=1)
    assert isinstance(model, PromptedVoxelModel)
    assert np.array_equal(model.logits(crops.numpy()), exact.logits.numpy())
    logits, prompt = model.answer(crops.numpy())
    assert np.array_equal(logits, exact.logits.numpy())
    assert prompt == pytest.approx(np.linalg.norm(exact.prompt.numpy(), axis=1), rel=1e-4)
    assert prompt.shape == (2, *(-(-n // network.stride) for n in (12, 16, 9)))


def test_a_network_without_a_generator_has_no_prompt_to_show(tiny_folder):
    base = small_base(tiny_folder)
    config = voxel_config(base, sizes={"generator": "none"})
    model = voxel_model(models.begun(config, base), config)
    assert isinstance(model, VoxelModel)
    assert not isinstance(model, PromptedVoxelModel)
    assert not model.network.training


def test_the_room_of_a_crop_is_known_before_it_is_taken(volumetric):
    model = voxel_model(*volumetric)
    assert isinstance(model, MeasuredVoxelModel)
    small, large = model.room((16, 16, 16)), model.room((32, 32, 32))
    assert small.free is large.free is None  # of the computer
    assert 5 < large.needed / small.needed < 12  # eight times the voxels


def test_a_model_that_is_clicked_at_answers_as_its_network_does(tiny_folder):
    backbone = small_base(tiny_folder)
    network = learned(models.begun(voxel_config(backbone, sizes={"points": 3}), backbone))
    model, crop = voxel_model(network, voxel_config(backbone, sizes={"points": 3})), random_crop(12, 8, 10)
    points = Points(np.array([[3, 4, 5], [9, 1, 2]], np.float32), np.array([2, 0]))
    with torch.inference_mode():
        given = NetworkPoints(torch.from_numpy(points.coords)[None], torch.eye(3)[[2, 0]][None])
        expected = network.answer(crop, given)
        plain = network(crop)
    said = model.corrected(crop.numpy(), points)
    assert np.array_equal(said.logits, expected.logits.numpy())
    assert said.prompt.shape == expected.prompt[:, 0].shape
    assert not np.array_equal(said.logits, plain.numpy())
    assert np.array_equal(model.logits(crop.numpy()), plain.numpy())


@pytest.mark.parametrize("points", [0, 1])
def test_a_network_without_a_channel_for_every_class_is_not_clicked_at(tiny_folder, points):
    backbone = small_base(tiny_folder)
    config = voxel_config(backbone, sizes={"points": points})
    assert not isinstance(voxel_model(models.begun(config, backbone), config), PointedVoxelModel)
