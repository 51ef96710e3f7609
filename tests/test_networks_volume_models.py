from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapting import learned
from promptless.config import ModelConfig
from promptless.networks.volume import models
from promptless.networks.volume.generator import of_classes
from promptless.networks.volume.models import TRAINED
from volumes import both_backbones, random_crop, voxel_config

RIVALS = {"unet": {"features": [4, 4, 6, 6, 8, 4]}, "compact": {"widths": [4, 6]}, "swin_unetr": {"feature_size": 12}}


@pytest.fixture(scope="module")
def backbones(tiny_folder, tmp_path_factory):
    return both_backbones(tiny_folder, tmp_path_factory.mktemp("published"))


def write(network, config, folder):
    """Write the network and its configuration; return the configuration as it is read again."""
    models.save(network, folder)
    replace(config, network=models.sizes_of(config)).write(folder / "config.json")
    return ModelConfig.read(folder / "config.json")


def same(one, other, crop):
    with torch.inference_mode():
        exact, near = one(crop), other(crop)
    return (near - exact).abs().max() < 0.03 * exact.abs().max()


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("adapter", ["published", "mended", "none"])
def test_saving_and_loading_gives_the_same_autoprosam(backbones, tmp_path, size, adapter):
    backbone = backbones[size]
    config = voxel_config(backbone, sizes={"adapter": adapter, "points": 1, "slices": "z"})
    network = learned(models.begun(config, backbone))
    told = write(network, config, tmp_path)
    loaded = models.load(tmp_path, told, backbone)
    assert loaded.config == network.config
    assert not any(p.requires_grad for p in loaded.parameters())
    assert same(network, loaded, random_crop(12, 16, 9))
    again = tmp_path / "again"
    again.mkdir()
    write(loaded, config, again)
    assert all((again / name).read_bytes() == (tmp_path / name).read_bytes() for name in (TRAINED, "config.json"))


@pytest.mark.parametrize("network", ["unet", "compact"])
def test_saving_and_loading_gives_the_same_rival(tmp_path, network):
    config = voxel_config(network=network, sizes=RIVALS[network])
    fresh = learned(models.begun(config, None))
    told = write(fresh, config, tmp_path)
    assert same(fresh, models.load(tmp_path, told, None), random_crop(12, 16, 9))


def test_the_configuration_says_every_size(backbones):
    backbone = backbones["large"]
    config = voxel_config(backbone)
    said = models.sizes_of(config)
    assert said["sha256"] == backbone.digest
    assert said["generator"] == "last"
    assert "classes" not in said


def test_a_class_more_than_there_are_names_is_for_the_background(backbones):
    backbone = backbones["small"]
    assert models.begun(voxel_config(backbone), backbone)(random_crop(8, 8, 8)).shape == (1, 3, 8, 8, 8)


@pytest.mark.parametrize(
    ("network", "sizes", "message"),
    [
        ("unet", {"features": [4, 4, 6]}, r"features is \[4, 4, 6\]; it must be six counts"),
        ("unet", {"feature": [4]}, "shapes, network says feature, .* did you mean features"),
        ("swin_unetr", {"feature_size": 20}, "feature_size is 20; it must be a multiple of 12"),
        ("swin_unetr", {"features": [4]}, "did you mean feature_size"),
        ("autoprosam", {"backbone": "nuclei", "decoder": "both"}, "decoder is 'both'; it must be one of"),
        ("autoprosam", {"backbone": "nuclei", "width": [4]}, "did you mean widths"),
    ],
)
def test_sizes_that_a_network_does_not_have_are_refused(network, sizes, message):
    with pytest.raises(ValueError, match=message):
        models.sizes_in(voxel_config(network=network, sizes=sizes))


def test_only_what_was_learned_is_written(backbones, tmp_path):
    backbone = backbones["large"]
    network = models.begun(voxel_config(backbone), backbone)
    models.save(network, tmp_path)
    state = load_file(tmp_path / TRAINED)
    assert set(state) == set(network.learned)
    assert not any("qkv" in name or "mlp" in name or "table" in name for name in state)


def test_another_backbone_is_refused(backbones, tmp_path):
    config = voxel_config(backbones["large"])
    models.save(models.begun(config, backbones["large"]), tmp_path)
    with pytest.raises(ValueError, match=r"not for tiny .*load the backbone that it was trained on"):
        models.load(tmp_path, config, backbones["small"])


def test_weights_that_do_not_fit_are_refused_with_a_list(backbones, tmp_path):
    config = voxel_config(backbones["large"])
    models.save(models.begun(config, backbones["large"]), tmp_path)
    state = load_file(tmp_path / TRAINED)
    save_file({name: value for name, value in state.items() if "depth" not in name}, tmp_path / TRAINED)
    with pytest.raises(ValueError, match=r"missing: encoder\.positions\.depth"):
        models.load(tmp_path, config, backbones["large"])


def test_a_model_of_planes_is_refused(tiny_config):
    with pytest.raises(ValueError, match="tiny is no model on volumes"):
        models.begun(tiny_config, None)


def test_a_network_with_points_begins_as_one_without(backbones, tmp_path):
    backbone = backbones["large"]
    plain = learned(models.begun(voxel_config(backbone), backbone))
    models.save(plain, tmp_path)
    network = models.begun(voxel_config(backbone, sizes={"points": 3}), backbone)
    models.begin_with(network, tmp_path)
    crop = random_crop(12, 16, 9)
    there = of_classes(torch.tensor([[[4.0, 5.0, 6.0]]]), torch.tensor([[2]]), 3)
    with torch.inference_mode():
        assert torch.equal(network(crop, there), network(crop))
    assert same(plain, network, crop)
    with pytest.raises(ValueError, match=r"missing: generator\.points\.weight"):
        models.fill(network, tmp_path)


def test_a_network_with_points_begins_with_the_points_of_another(backbones, tmp_path):
    backbone = backbones["large"]
    config = voxel_config(backbone, sizes={"points": 3})
    before, after = learned(models.begun(config, backbone)), models.begun(config, backbone)
    models.save(before, tmp_path)
    models.begin_with(after, tmp_path)
    weight = after.generator.points.weight
    assert torch.allclose(weight, before.generator.points.weight, atol=1e-3)
    assert weight.abs().max() > 0.05
    models.save(after, tmp_path)
    with pytest.raises(ValueError, match=r"unexpected: generator\.points\.weight"):
        models.begin_with(models.begun(voxel_config(backbone), backbone), tmp_path)
