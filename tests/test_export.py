from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file

from promptless.config import ModelConfig
from promptless.export import LARGE, OPSET, anonymise, export, round_to_half
from promptless.networks.promptable import Promptable, PromptableSize
from promptless.registry import sha256
from promptless.train import recipes

RECIPE = Path(__file__).parent.parent / "recipes" / "nuclei.toml"
FILES = ["decode.onnx", "encode.onnx", "model.safetensors"]
LIMIT = 12_000_000


def text_of(path):
    """Return all that an ONNX file says besides the values of its constants."""
    model = onnx.load(path)
    for constant in model.graph.initializer:
        constant.ClearField("raw_data")
    for node in model.graph.node:
        for attribute in node.attribute:
            attribute.t.ClearField("raw_data")
    return model.SerializeToString()


def test_a_model_folder_holds_three_files_and_their_hashes(tiny_folder):
    config = ModelConfig.read(tiny_folder / "config.json")
    assert sorted(p.name for p in tiny_folder.iterdir()) == ["config.json", *FILES]
    assert config.files == {name: sha256(tiny_folder / name) for name in FILES}
    assert (config.onnx.opset, config.onnx.multiple, config.onnx.crop) == (OPSET, config.pad, None)


def test_the_configuration_rebuilds_the_network(tiny_folder, tiny_size):
    config = ModelConfig.read(tiny_folder / "config.json")
    assert PromptableSize.from_dict(config.network) == tiny_size


@pytest.mark.parametrize("name", ["encode.onnx", "decode.onnx"])
def test_nothing_of_this_machine_is_in_the_file(tiny_folder, name):
    content = (tiny_folder / name).read_bytes()
    places = [b"/home", b"/usr", b"/tmp", b"site-packages", str(Path(__file__).parent.parent).encode()]
    assert [place for place in places if place in content] == []
    assert b".py" not in text_of(tiny_folder / name)


def test_what_an_exporter_notes_of_its_source_is_dropped():
    node = helper.make_node("Relu", ["x"], ["y"], doc_string="/home/me/model.py:12")
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "graph", tensors[:1], tensors[1:], doc_string="/home/me"))
    helper.set_model_props(model, {"source": "/home/me"})
    node_of = model.graph.node[0]
    node_of.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/me/model.py")
    anonymise(model)
    assert b"/home" not in model.SerializeToString()
    assert node_of.op_type == "Relu"


@pytest.mark.parametrize("name", ["encode.onnx", "decode.onnx"])
def test_large_constants_are_stored_in_half_precision(tiny_folder, name):
    constants = onnx.load(tiny_folder / name).graph.initializer
    large = [c for c in constants if np.prod(c.dims) >= LARGE and c.data_type != TensorProto.INT64]
    assert {c.data_type for c in large} == {TensorProto.FLOAT16}


def test_the_weights_are_those_of_the_network_rounded_to_half(tiny, tiny_folder):
    stored, state = load_file(tiny_folder / "model.safetensors"), tiny.state_dict()
    assert set(stored) == set(state)
    floating = [name for name, value in state.items() if value.is_floating_point()]
    assert all(torch.equal(stored[name], state[name].half()) for name in floating)


def test_rounding_leaves_the_network_itself_alone(tiny):
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    rounded = round_to_half(tiny).state_dict()
    assert all(torch.equal(before[name], value) for name, value in tiny.state_dict().items())
    assert any(not torch.equal(rounded[name], before[name]) for name in before)
    assert all(value.dtype == before[name].dtype for name, value in rounded.items())


def test_exporting_twice_gives_the_same_bytes(tiny, tiny_folder, tiny_config, tmp_path):
    export(tiny, tiny_config, tmp_path)
    assert all((tmp_path / name).read_bytes() == (tiny_folder / name).read_bytes() for name in FILES)


def test_the_sizes_that_ship_stay_below_the_limit(tmp_path):
    content = tomllib.loads(RECIPE.read_text())
    network = recipes.from_dict(PromptableSize, recipes.network_tables(content["network"], "recipe"), "recipe")
    export(Promptable(network), ModelConfig.from_dict(content["model"], "recipe"), tmp_path)
    size = {name: (tmp_path / name).stat().st_size for name in FILES}
    assert 1_000_000 < size["model.safetensors"] <= LIMIT
    assert size["encode.onnx"] + size["decode.onnx"] <= LIMIT
