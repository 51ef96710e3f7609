"""One loader for every model: by name, from what ships with promptless, or from a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from promptless import registry
from promptless.config import DIRECT, ModelConfig
from promptless.model import Model, VoxelModel

if TYPE_CHECKING:
    from promptless.networks.adapted import Adapted
    from promptless.runtimes.torch import TorchVoxelModel

PROCESSOR = ("auto", "cpu")
"""Devices that onnxruntime computes on here."""


def load(
    name_or_folder: str | Path, *, runtime: str | None = None, threads: int | None = None, device: str = "auto"
) -> Model:
    """Load a model that ships ("nuclei"), a model folder or an adapter, after checking every file against its hash.

    `runtime` is "onnx" or "torch"; without it, "onnx" where the folder has ONNX files, else "torch". An adapter
    runs on torch, with the backbone that its `config.json` names. `device` is where torch computes: "auto" (a GPU
    where there is one), "cpu", "cuda", "cuda:1" or "mps"; a GPU that is named asks for torch, where the folder has
    weights for it. `threads` is the number of processor threads; without it, all that the process may use.
    A model on volumes (`config.volume`) is a `VoxelModel`.
    """
    folder = registry.find(name_or_folder)
    config = ModelConfig.read(folder / registry.CONFIG)
    if config.volume is not None:
        return voxel_model(folder, config, runtime, threads, device)  # type: ignore[return-value]  # as config tells
    needed = NEEDED_OF_DIRECT if config.output == DIRECT else NEEDED
    runtime = chosen(config, runtime, device, needed)
    if config.adapter is None:
        registry.verify(folder, config, needed[runtime])
        return RUNTIMES[runtime](folder, config, threads, device)
    if runtime != "torch":
        raise ValueError(f"{folder} holds an adapter, which runs on torch; `promptless adapter merge` makes ONNX of it")
    return adapted_model(folder, config, threads, device)


def chosen(config: ModelConfig, runtime: str | None, device: str, needed: Files) -> str:
    """Return the runtime that is asked for, else the one for a model on a device."""
    if runtime is not None and runtime not in RUNTIMES:
        raise ValueError(f"there is no runtime {runtime!r}; use {' or '.join(RUNTIMES)}")
    return runtime or suited(config, device, needed)


def suited(config: ModelConfig, device: str, needed: Files) -> str:
    """Return the runtime for a model on a device; `needed` are the files of each runtime."""
    held = {name for name, files in needed.items() if set(files) <= set(config.files)}
    gpu = device not in PROCESSOR
    return "onnx" if "onnx" in held and not (gpu and "torch" in held) else "torch"


def teacher_of(
    config: ModelConfig, folder: str | Path | None = None, *, threads: int | None = None, device: str = "auto"
) -> Model:
    """Load the teacher of a student, which decodes prompts where the student decodes nothing.

    It is the model that ships under the name that `config` has for it, or the one in `folder`, and must be that very
    model: the hash says.
    """
    assert config.teacher is not None, "a model that decodes nothing is taught"
    wanted = config.teacher
    try:
        teacher = load(wanted.name if folder is None else folder, threads=threads, device=device)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{config.name} leaves prompts to its teacher {wanted.name}, which is not here; name its folder with "
            "--teacher FOLDER, or `teacher=`"
        ) from error
    if registry.model_hash(teacher.config) != wanted.sha256:
        raise ValueError(
            f"the teacher of {config.name} is {wanted.name} (hash {wanted.sha256[:12]}), and "
            f"{teacher.config.name} {teacher.config.version} (hash {registry.model_hash(teacher.config)[:12]}) is not; "
            "name the folder of that one with --teacher FOLDER, or `teacher=`"
        )
    return teacher


def onnx_model(folder: Path, config: ModelConfig, threads: int | None, device: str) -> Model:
    """Open a model with onnxruntime."""
    from promptless.runtimes.onnx import OnnxDirect, OnnxModel

    check_processor(config, device)
    return (OnnxDirect if config.output == DIRECT else OnnxModel)(folder, config, threads)


def check_processor(config: ModelConfig, device: str) -> None:
    """Refuse a device that onnxruntime does not compute on here."""
    if device not in PROCESSOR:
        raise ValueError(
            f"{config.name} runs on onnxruntime, which computes on the processor here, not on {device!r}; "
            "leave --device out, or take a model with weights for torch"
        )


def torch_model(folder: Path, config: ModelConfig, threads: int | None, device: str) -> Model:
    """Open a model with torch, which must be installed."""
    try:
        from promptless.runtimes.torch import TorchDirect, TorchModel
    except ImportError as error:
        raise ImportError(f"the torch runtime needs {error.name}: pip install 'promptless[sam]'") from error
    return (TorchDirect if config.output == DIRECT else TorchModel).load(folder, config, threads, device)


def adapted_model(folder: Path, config: ModelConfig, threads: int | None, device: str) -> Model:
    """Open an adapter on its backbone, with torch, transformers and peft, which must be installed."""
    network = adapted_network(folder, config)
    from promptless.runtimes.torch import TorchModel

    return TorchModel(network, config, threads, device)


def adapted_network(folder: Path, config: ModelConfig) -> Adapted:
    """Return the network of an adapter on its backbone, after checking every file."""
    try:
        from promptless import library
        from promptless.networks import adapted
    except ImportError as error:
        raise ImportError(f"an adapter needs {error.name}: pip install 'promptless[sam]'") from error
    assert config.adapter is not None
    registry.verify(folder, config, adapted.files(config.adapter))
    return adapted.load(library.load(library.under(config.adapter)), folder, config)


def voxel_model(folder: Path, config: ModelConfig, runtime: str | None, threads: int | None, device: str) -> VoxelModel:
    """Open a model on volumes."""
    runtime = chosen(config, runtime, device, NEEDED_OF_VOXELS)
    registry.verify(folder, config, NEEDED_OF_VOXELS[runtime])
    if runtime == "torch":
        return torch_voxel_model(folder, config, threads, device)
    from promptless.runtimes.onnx import OnnxVoxelModel

    check_processor(config, device)
    return OnnxVoxelModel(folder, config, threads)


def torch_voxel_model(folder: Path, config: ModelConfig, threads: int | None, device: str) -> TorchVoxelModel:
    """Open a model on volumes with torch, on the backbone that it inflates, which its `config.json` names."""
    try:
        from promptless import library
        from promptless.networks.volume import models
        from promptless.runtimes import torch as runtime_of_torch
    except ImportError as error:
        raise ImportError(f"a model on volumes needs {error.name}: pip install 'promptless[sam]'") from error
    backbone = None if config.inflates is None else library.load(library.under(config.inflates))
    return runtime_of_torch.voxel_model(models.load(folder, config, backbone), config, threads, device)


Files = Mapping[str, tuple[str, ...]]
NEEDED: Files = {"onnx": ("encode.onnx", "decode.onnx"), "torch": ("model.safetensors",)}
"""The files that each runtime reads."""
NEEDED_OF_DIRECT: Files = {"onnx": ("encode.onnx",), "torch": NEEDED["torch"]}
"""Those of a model that decodes nothing."""
NEEDED_OF_VOXELS: Files = {"onnx": ("network.onnx",), "torch": ("trained.safetensors",)}
"""Those of a model on volumes."""
RUNTIMES: dict[str, Callable[[Path, ModelConfig, int | None, str], Model]] = {"onnx": onnx_model, "torch": torch_model}
"""The models that stand alone, behind one interface."""
