from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest

from promptless import registry
from promptless.config import AdapterConfig, ModelConfig
from promptless.loading import load
from promptless.registry import OPTIONAL, find, model_hash, names, sha256, verify


@pytest.fixture
def copy(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def test_a_folder_is_loaded_with_onnx_unless_told_otherwise(tiny_folder):
    assert type(load(tiny_folder, threads=1)).__name__ == "OnnxModel"
    assert type(load(str(tiny_folder), runtime="torch", threads=1)).__name__ == "TorchModel"


def test_a_folder_without_onnx_is_loaded_with_torch(copy, tiny_config):
    config = ModelConfig.read(copy / "config.json")
    for name in ("encode.onnx", "decode.onnx"):
        (copy / name).unlink()
    replace(config, files={"model.safetensors": config.files["model.safetensors"]}).write(copy / "config.json")
    model = load(copy, threads=1)
    assert type(model).__name__ == "TorchModel"
    assert model.encode(np.zeros((3, 8, 8), np.float32)).maps.shape == (2, 8, 8)


@pytest.mark.parametrize("name", ["encode.onnx", "decode.onnx", "model.safetensors"])
def test_a_changed_file_is_refused(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is not the file that config.json names"):
        load(copy)


def test_a_missing_file_is_refused(copy):
    (copy / "decode.onnx").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks decode\.onnx"):
        load(copy)


def test_an_unknown_model_lists_the_known_names():
    with pytest.raises(FileNotFoundError, match=r"no model 'nucleii'.*ships \((none|.*nuclei.*)\)"):
        find("nucleii")


def test_an_unknown_runtime_lists_the_known_ones(tiny_folder):
    with pytest.raises(ValueError, match="'jax'; use onnx or torch"):
        load(tiny_folder, runtime="jax")


def test_models_that_ship_are_found_by_name(copy, monkeypatch):
    monkeypatch.setattr(registry, "WEIGHTS", copy.parent)
    copy.parent.joinpath("notes").mkdir()
    assert names() == ["copy"]
    assert find("copy") == copy
    assert load("copy", threads=1).config.name == "tiny"
    with pytest.raises(FileNotFoundError, match=r"no model 'kopy'.*ships \(copy\)"):
        load("kopy")


def test_the_hash_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"promptless")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"promptless").hexdigest()


def test_the_model_hash_depends_on_every_file_and_not_on_their_order(tiny_config):
    files = {"a": "1", "b": "2"}
    one, other = replace(tiny_config, files=files), replace(tiny_config, files={"b": "2", "a": "1"})
    assert model_hash(one) == model_hash(other) != model_hash(replace(tiny_config, files={"a": "1", "b": "3"}))


def test_a_file_that_a_runtime_reads_must_have_a_hash(tmp_path, tiny_config):
    with pytest.raises(ValueError, match=r"no hash for decode\.onnx"):
        verify(tmp_path, replace(tiny_config, files={"encode.onnx": "0"}), ("encode.onnx", "decode.onnx"))
    with pytest.raises(FileNotFoundError):
        verify(tmp_path, replace(tiny_config, files={"x": "0"}), ())


def test_a_model_with_another_threshold_is_another_model(tiny_config):
    assert model_hash(tiny_config) != model_hash(replace(tiny_config, min_score=0.9))
    assert model_hash(tiny_config) == model_hash(replace(tiny_config))


def test_a_broken_adapter_is_to_be_copied_again(copy):
    config = ModelConfig.read(copy / "config.json")
    adapter = replace(config, adapter=AdapterConfig("base", "abc"))
    (copy / "decode.onnx").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"the adapter in .* lacks decode\.onnx; copy the adapter's whole folder"
    ):
        verify(copy, adapter, ())
    with pytest.raises(ValueError, match="no hash for generator; copy the adapter's whole folder again"):
        verify(copy, adapter, ("generator",))


def test_what_can_be_said_since_later_leaves_the_hash_of_older_ones_alone(tiny_config):
    adapter = AdapterConfig("base", "abc")
    older = {k: v for k, v in asdict(adapter).items() if k not in ("alpha", "dropout")}
    content = asdict(replace(tiny_config, adapter=adapter)) | {"adapter": older}
    for name in OPTIONAL:  # which older configurations do not say
        del content[name]
    before = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    assert model_hash(ModelConfig.from_dict(content, "older")) == before
    scaled = replace(tiny_config, adapter=replace(adapter, alpha=8))
    assert model_hash(scaled) != before
