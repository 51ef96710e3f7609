from __future__ import annotations

import hashlib
import json
import socket

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from promptless.networks import lora
from promptless.networks.backbones import ARCHITECTURES, Backbone, file_state, load_published, skeleton
from promptless.networks.checkpoints import translate
from promptless.networks.promptable import Promptable
from reference import SMALL, meta_state


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    save_file({translate(name): value for name, value in meta_state(SMALL).items()}, folder / "model.safetensors")
    return load_published("small", folder, "123", SMALL)


@pytest.fixture(params=["published", "small base"])
def backbone(request, published, tiny_size):
    return published if request.param == "published" else small_base(tiny_size)


def small_base(size):
    """Return a fresh base of our own, whose encoder has found its voice (its share starts at zero)."""
    torch.manual_seed(3)
    network = Promptable(size)
    torch.nn.init.ones_(network.vision_encoder.neck.layer_norm2.weight)
    parts = network.vision_encoder, network.decoder.prompt_encoder, network.decoder.mask_decoder
    return Backbone("base", *parts, image_size=None, digest="456")


@pytest.fixture
def image():
    return torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(5))


def refuse(*_):
    raise AssertionError("nothing here needs the network")


def hashes(network):
    return {name: hashlib.sha256(p.detach().numpy().tobytes()).hexdigest() for name, p in network.named_parameters()}


def trained(model, image, steps=1):
    """Take optimiser steps on a made-up loss."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        model.base_model.model.encode(image).square().mean().backward()
        optimiser.step()
    return model


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (2, 0.5), (16, 4.0)])
def test_what_lora_adds_is_scaled_by_alpha_over_the_rank(tiny_size, alpha, scale, tmp_path):
    model = lora.adapt(small_base(tiny_size), 4, alpha, 0.25)
    layers = [layer for layer in model.modules() if getattr(layer, "lora_A", None)]
    assert layers
    assert all(layer.scaling["default"] == scale and layer.lora_dropout["default"].p == 0.25 for layer in layers)
    lora.save(model, tmp_path)
    kept = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (kept["lora_alpha"], kept["lora_dropout"]) == (alpha or 4, 0.25)


@pytest.mark.parametrize(("name", "expected"), [("sam_vit_b", 147_456), ("sam_vit_l", 393_216), ("sam_vit_h", 655_360)])
@pytest.mark.parametrize("rank", [4, 16])
def test_only_q_and_v_of_the_image_encoder_train(name, expected, rank):
    model = lora.adapt(skeleton(name, ARCHITECTURES[name]), rank)
    training = {key: p.numel() for key, p in model.named_parameters() if p.requires_grad}
    assert sum(training.values()) == expected * rank // lora.RANK
    assert all(".image_encoder." in key and (".qkv.q.lora_" in key or ".qkv.v.lora_" in key) for key in training)
    assert len(training) == 4 * ARCHITECTURES[name].layers


def test_splitting_changes_no_output(backbone, image):
    with torch.inference_mode():
        assert torch.allclose(lora.split(backbone).encode(image), backbone.encode(image), atol=1e-5)


def test_at_the_start_outputs_are_those_of_the_base(backbone, image):
    model = lora.adapt(backbone)
    with torch.inference_mode():
        adapted = model.base_model.model.encode(image)
        assert torch.equal(adapted, lora.split(backbone).encode(image))
        assert torch.allclose(adapted, backbone.encode(image), atol=1e-5)


def test_a_step_changes_the_adapters_and_nothing_else(backbone, image):
    base, model = hashes(backbone), lora.adapt(backbone)
    before = hashes(model)
    after = hashes(trained(model, image, steps=2))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if "lora_" in name}
    assert hashes(backbone) == base
    assert not any(p.requires_grad for p in backbone.parameters())


def test_merged_equals_unmerged_and_differs_from_the_base(backbone, image):
    model = lora.adapt(backbone, rank=2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(2))
    before = hashes(model)
    merged = lora.merge(model)
    with torch.inference_mode():
        unmerged, base = model.base_model.model.encode(image), backbone.encode(image)
        learned = float((unmerged - base).abs().max())
        assert learned > 0.02 * float(base.std())
        assert float((merged.encode(image) - unmerged).abs().max()) < 1e-3 * learned
    assert hashes(model) == before
    assert file_state(merged).keys() == file_state(backbone).keys()


def test_adapters_are_saved_in_the_layout_of_peft_and_load_again(backbone, image, tmp_path, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", refuse)
    model = trained(lora.adapt(backbone, rank=3), image)
    lora.save(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 3, 0.0)
    assert config["revision"] == backbone.digest
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        assert all("lora_" in name for name in file.keys())  # noqa: SIM118
    again = lora.load(backbone, tmp_path)
    with torch.inference_mode():
        assert torch.equal(again.base_model.model.encode(image), model.base_model.model.encode(image))


def test_an_adapter_of_another_backbone_is_refused(published, tiny_size, tmp_path):
    lora.save(lora.adapt(published), tmp_path)
    with pytest.raises(ValueError, match=r"is for small \(sha256 123\), not for base"):
        lora.load(small_base(tiny_size), tmp_path)


def test_a_rank_below_one_is_refused(published):
    with pytest.raises(ValueError, match="rank is 0"):
        lora.adapt(published, 0)
