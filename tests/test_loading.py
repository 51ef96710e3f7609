from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from adapting import config_for, keep, learned, small_base, write
from promptless.config import ModelConfig
from promptless.io.hashes import sha256
from promptless.loading import NEEDED, load, suited
from promptless.networks.adapted import TRAINED, begun
from promptless.runtimes.onnx import OnnxModel
from promptless.runtimes.torch import TorchModel


@pytest.fixture
def home(tiny_folder, tmp_path, monkeypatch):
    """A PROMPTLESS_HOME with the tiny model in it as a small base."""
    monkeypatch.setenv("PROMPTLESS_HOME", str(tmp_path / "home"))
    keep(tiny_folder, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def adapter(home, tiny_folder, tmp_path):
    """An adapter's folder."""
    base = small_base(tiny_folder)
    config = config_for(base)
    return write(learned(begun(base, config)), config, tmp_path / "adapter")


def test_a_model_folder_opens_on_onnx_and_on_torch(tiny_folder):
    assert isinstance(load(tiny_folder, threads=1), OnnxModel)
    assert isinstance(load(tiny_folder, runtime="torch", threads=1), TorchModel)
    with pytest.raises(ValueError, match="there is no runtime 'jax'; use onnx or torch"):
        load(tiny_folder, runtime="jax")


def test_an_adapter_opens_on_the_backbone_it_names(adapter, tiny_folder, rng):
    image = rng.uniform(size=(3, 64, 64)).astype(np.float32)
    model = load(adapter, device="cpu")
    seen, base = model.encode(image), load(tiny_folder, runtime="torch").encode(image)
    assert isinstance(model, TorchModel)
    assert seen.features.shape == base.features.shape
    assert not np.allclose(seen.maps, base.maps, atol=1e-3)


def test_a_backbone_of_another_name_with_the_same_weights_will_do(adapter, home):
    (home / "models/tiny").rename(home / "models/other")
    assert load(adapter).config.name == "mine"


def test_another_backbone_of_that_name_is_an_error_with_both_hashes(adapter, home):
    record = home / "models/tiny/provenance.json"
    content = json.loads(record.read_text())
    mine = content["files"]["model.safetensors"]
    content["files"]["model.safetensors"] = "f" * 64
    record.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"for tiny with the sha256 {mine}, but the tiny that is here has f+;"):
        load(adapter)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("sam_vit_b", "promptless models pull sam_vit_b, or copy"),
        ("owner--name", "promptless models pull owner/name, or copy"),
        ("mine", "not in .*home; copy its folder there"),
    ],
)
def test_an_absent_backbone_is_an_error_with_the_way_to_get_it(adapter, name, remedy):
    config = ModelConfig.read(adapter / "config.json")
    replace(config, adapter=replace(config.adapter, backbone=name, sha256="1" * 64)).write(adapter / "config.json")
    with pytest.raises(FileNotFoundError, match=f"needs the backbone {name} .*{remedy}"):
        load(adapter)


def test_a_file_that_changed_is_refused(adapter):
    (adapter / TRAINED).write_bytes((adapter / TRAINED).read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"trained\.safetensors is not the file"):
        load(adapter)


def test_an_adapter_does_not_run_on_onnx(adapter):
    with pytest.raises(ValueError, match="adapter merge"):
        load(adapter, runtime="onnx")


@pytest.mark.parametrize(
    ("files", "device", "runtime"),
    [
        (("encode.onnx", "decode.onnx", "model.safetensors"), "auto", "onnx"),
        (("encode.onnx", "decode.onnx", "model.safetensors"), "cpu", "onnx"),
        (("encode.onnx", "decode.onnx", "model.safetensors"), "cuda", "torch"),
        (("encode.onnx", "decode.onnx"), "cuda", "onnx"),
        (("model.safetensors",), "auto", "torch"),
    ],
)
def test_a_gpu_that_is_named_asks_for_torch_where_it_can(tiny_config, files, device, runtime):
    assert suited(replace(tiny_config, files=dict.fromkeys(files, "")), device, NEEDED) == runtime


def test_onnx_files_alone_refuse_a_gpu(tiny_folder, tmp_path):
    config = ModelConfig.read(tiny_folder / "config.json")
    for name in ("encode.onnx", "decode.onnx"):
        (tmp_path / name).write_bytes((tiny_folder / name).read_bytes())
    files = {name: sha256(tmp_path / name) for name in ("encode.onnx", "decode.onnx")}
    replace(config, files=files).write(tmp_path / "config.json")
    with pytest.raises(ValueError, match="on the processor here, not on 'cuda'; leave --device out"):
        load(tmp_path, device="cuda")
    assert isinstance(load(tmp_path, device="auto"), OnnxModel)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(adapter):
    with pytest.raises(ValueError, match="sees no GPU"):
        load(adapter, device="cuda")
