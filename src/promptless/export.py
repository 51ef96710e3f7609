"""From a trained network to a model folder: safetensors for torch, ONNX for everyone."""

from __future__ import annotations

import copy
import json
import math
import shutil
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.onnx import OnnxExporterError

from promptless.config import FLOAT32, ModelConfig, OnnxConfig
from promptless.io.hashes import sha256
from promptless.networks.checkpoints import WEIGHTS, half, single
from promptless.networks.direct import Direct
from promptless.networks.promptable import Encoded, Promptable
from promptless.networks.sam import PromptDecoder
from promptless.registry import CONFIG
from promptless.runtimes.onnx import DECODE, ENCODE

OPSET = 17
PARITY = "parity.json"
CARD = "README.md"
CARRIED = (CARD, "LICENSE", "LICENCE")
"""What a model's folder may hold besides, and its export holds, too."""
LARGE = 256
"""Constants with at least this many values are stored in half precision."""
HALF = "_half"
"""What is added to their names."""


class Network(Protocol):
    """What a network must have to become ONNX files: what ships, and an adapter with its backbone."""

    decoder: PromptDecoder

    def encode(self, image: Tensor) -> Encoded:
        """Return the embedding and the generator's maps of images (batch, 3, *spatial)."""


N = TypeVar("N", bound=nn.Module)


def export(network: Promptable, config: ModelConfig, folder: Path) -> ModelConfig:
    """Write a model folder, and return its configuration with the hashes of the files.

    Weights are stored in half precision and computed with in single. The network given is rounded
    likewise, so that all three files hold the same values.
    """
    rounded = rounded_in(network, folder)
    write_both(rounded, config, folder)
    return described(trained(config, network, folder), folder, (WEIGHTS, ENCODE, DECODE))


def export_direct(network: Direct, config: ModelConfig, folder: Path) -> ModelConfig:
    """Write likewise the folder of a model that finds its objects in one pass: one ONNX file, image to maps."""
    rounded = rounded_in(network, folder)
    write_onnx(rounded, folder / ENCODE, *maps_example(config))
    return described(trained(config, network, folder), folder, (WEIGHTS, ENCODE))


def trained(config: ModelConfig, network: Promptable | Direct, folder: Path) -> ModelConfig:
    """Return the configuration of a network in a folder: with its sizes, and what its file takes."""
    return replace(config, network=asdict(network.size), onnx=limits(folder / ENCODE, config))


def limits(path: Path, config: ModelConfig, arithmetic: str = FLOAT32) -> OnnxConfig:
    """Return what a file takes that looks at images."""
    (opset,) = (each.version for each in onnx.load(path).opset_import if not each.domain)
    return OnnxConfig(opset, None, config.pad, arithmetic)


def rounded_in(network: N, folder: Path) -> N:
    """Write the weights of a network into a folder, in half precision, and return a network that has the same."""
    folder.mkdir(parents=True, exist_ok=True)
    rounded = round_to_half(network).eval()
    save_file(half(rounded.state_dict()), folder / WEIGHTS)
    return rounded


def described(config: ModelConfig, folder: Path, names: tuple[str, ...]) -> ModelConfig:
    """Write the configuration of a model folder, and return it: with the hashes of these files."""
    config = replace(config, files={name: sha256(folder / name) for name in names})
    config.write(folder / CONFIG)
    return config


def vacant(folder: Path) -> None:
    """Refuse to export into a folder that holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there; choose another folder with -o")


def accompany(folder: Path, source: Path, parity: dict[str, Any]) -> None:
    """Put beside an exported model how near it comes to the one in `source`, and that one's card and licence."""
    told = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in parity.items()}
    (folder / PARITY).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for name in CARRIED:
        if (source / name).is_file():
            shutil.copy(source / name, folder / name)


def say_merged(folder: Path, config: ModelConfig, what: str) -> None:
    """Say in a folder's card, which may be there, that this is `what` an adapter and its backbone are together."""
    assert config.adapter is not None
    card = folder / CARD
    before = card.read_text(encoding="utf-8").rstrip() if card.is_file() else f"# {config.name}"
    card.write_text(
        f"{before}\n\n## Merged\n\nThis is {what}.\n\nMerged from the adapter {config.name} {config.version} (licence "
        f"{config.licence}) and its backbone {config.adapter.backbone} (sha256 of the weights {config.adapter.sha256}"
        ").\n",
        encoding="utf-8",
    )


def write_both(network: Network, config: ModelConfig, folder: Path) -> None:
    """Write `encode.onnx` and `decode.onnx` of a network."""
    write_onnx(Encode(network), folder / ENCODE, *encode_example(config))
    write_onnx(network.decoder, folder / DECODE, *decode_example(network, config))


class Encode(nn.Module):
    """A network's `encode` as a module with plain outputs."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return embedding and maps."""
        return tuple(self.network.encode(image))  # type: ignore[return-value]


def round_to_half(network: N) -> N:
    """Return the network with every weight rounded to half precision, in single precision."""
    twin = copy.deepcopy(network)
    twin.load_state_dict(single(half(network.state_dict())), assign=True)
    return twin


def encode_example(config: ModelConfig) -> tuple[tuple[Tensor, ...], list[str], list[str], dict[str, dict[int, str]]]:
    """Return example inputs, names of inputs and outputs, and dynamic axes of `encode.onnx`."""
    axes, grid = {0: "n", 2: "y", 3: "x"}, {0: "n", 2: "gy", 3: "gx"}
    image = torch.rand(1, 3, 8 * config.pad, 12 * config.pad)
    return (image,), ["image"], ["embedding", "maps"], {"image": axes, "embedding": grid, "maps": axes}


def maps_example(config: ModelConfig) -> tuple[tuple[Tensor, ...], list[str], list[str], dict[str, dict[int, str]]]:
    """Return likewise those of the one file of a model that decodes nothing."""
    axes = {0: "n", 2: "y", 3: "x"}
    return (torch.rand(1, 3, 4 * config.pad, 6 * config.pad),), ["image"], ["maps"], {"image": axes, "maps": axes}


def decode_example(
    network: Network, config: ModelConfig
) -> tuple[tuple[Tensor, ...], list[str], list[str], dict[str, dict[int, str]]]:
    """Return example inputs, names of inputs and outputs, and dynamic axes of `decode.onnx`."""
    n, tokens, window = 3, config.window.points + 2, config.window
    inputs = (
        torch.randn(n, network.decoder.prompt_encoder.hidden_size, window.cells, window.cells),
        torch.rand(n, tokens, 2) * window.size,
        torch.randint(-1, 4, (n, tokens)),
        torch.zeros(n, 1, window.logits, window.logits),
        torch.tensor([True, False, True]),
    )
    names = ["windows", "point_coords", "point_labels", "mask_logits", "has_mask"]
    outputs = ["low_res_logits", "iou_predictions"]
    dynamic = {name: {0: "n"} for name in names + outputs}
    for name in ("point_coords", "point_labels"):
        dynamic[name][1] = "tokens"
    return inputs, names, outputs, dynamic


def write_onnx(
    module: nn.Module,
    path: Path,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    output_names: list[str],
    dynamic_axes: dict[str, dict[int, str]],
) -> None:
    """Trace a module and write it, constants in half precision and nothing of this machine in the file."""
    trace(module, path, inputs, input_names, output_names, dynamic_axes)
    graph = onnx.load(path)
    store_half(graph.graph)
    save(graph, path)


def trace(
    module: nn.Module,
    path: Path,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    output_names: list[str],
    dynamic_axes: dict[str, dict[int, str]],
) -> None:
    """Trace a module and write it in single precision; an operation that ONNX lacks is named."""
    try:
        follow(module, path, inputs, input_names, output_names, dynamic_axes)
    except OnnxExporterError as error:
        told = " ".join(str(error).split()).partition(". Please feel free")[0]
        raise ValueError(
            f"the network has an operation that opset {OPSET} of ONNX lacks, so it runs on torch alone: {told}"
        ) from error
    save(onnx.load(path), path)


def follow(
    module: nn.Module,
    path: Path,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    output_names: list[str],
    dynamic_axes: dict[str, dict[int, str]],
) -> None:
    """Let torch write what a module does with its inputs."""
    torch._C._jit_set_onnx_log_output_stream("stderr")  # where it fails torch prints the graph, among results else
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            inputs,
            path,
            input_names=input_names,
            output_names=output_names,
            dynamic_axes=dynamic_axes,
            opset_version=OPSET,
            dynamo=False,
        )


def save(graph: onnx.ModelProto, path: Path) -> None:
    """Check a graph, and write it with nothing of this machine in the file, nor sets of operations that it has not."""
    count_from_front(graph.graph)
    anonymise(graph)
    used = {node.domain for node in graph.graph.node}
    for unused in [each for each in graph.opset_import if each.domain not in used]:
        graph.opset_import.remove(unused)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


def count_from_front(graph: onnx.GraphProto) -> None:
    """Count the axes of transpositions from the first on; torch leaves negative ones of `movedim`, which ONNX lacks."""
    for node in graph.node:
        if node.op_type == "Transpose":
            for order in node.attribute:
                order.ints[:] = [axis % len(order.ints) for axis in order.ints]


def store_half(graph: onnx.GraphProto) -> None:
    """Store large constants as float16, each followed by a cast; onnxruntime folds the casts when it loads."""
    casts = []
    for constant in graph.initializer:
        values = numpy_helper.to_array(constant)
        if constant.data_type == TensorProto.FLOAT and values.size >= LARGE:
            name = constant.name
            constant.CopyFrom(numpy_helper.from_array(values.astype("float16"), name + HALF))
            casts.append(helper.make_node("Cast", [name + HALF], [name], to=TensorProto.FLOAT))
    for i, cast in enumerate(casts):
        graph.node.insert(i, cast)


def anonymise(model: onnx.ModelProto) -> None:
    """Drop what the exporter noted of the source code and its place."""
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
