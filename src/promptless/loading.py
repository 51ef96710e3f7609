"""One loader for every model: by name, from what ships with promptless, or from a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from promptless import registry
from promptless.config import ModelConfig
from promptless.model import Model


def load(name_or_folder: str | Path, *, runtime: str | None = None, threads: int | None = None) -> Model:
    """Load a model that ships ("nuclei"), a model folder or an adapter, after checking every file against its hash.

    `runtime` is "onnx" or "torch"; without it, "onnx" where the folder has ONNX files, else "torch". An adapter
    runs on torch, with the backbone that its `config.json` names.
    `threads` is the number of processor threads; without it, all that the process may use.
    """
    folder = registry.find(name_or_folder)
    config = ModelConfig.read(folder / registry.CONFIG)
    if runtime is None:
        runtime = "onnx" if set(NEEDED["onnx"]) <= set(config.files) else "torch"
    if runtime not in RUNTIMES:
        raise ValueError(f"there is no runtime {runtime!r}; use {' or '.join(RUNTIMES)}")
    if config.adapter is None:
        registry.verify(folder, config, NEEDED[runtime])
        return RUNTIMES[runtime](folder, config, threads)
    if runtime != "torch":
        raise ValueError(f"{folder} holds an adapter, which runs on torch; `promptless adapter merge` makes ONNX of it")
    return adapted_model(folder, config, threads)


def onnx_model(folder: Path, config: ModelConfig, threads: int | None) -> Model:
    """Open a model with onnxruntime."""
    from promptless.runtimes.onnx import OnnxModel

    return OnnxModel(folder, config, threads)


def torch_model(folder: Path, config: ModelConfig, threads: int | None) -> Model:
    """Open a model with torch, which must be installed."""
    try:
        from promptless.runtimes.torch import TorchModel
    except ImportError as error:
        raise ImportError(f"the torch runtime needs {error.name}: pip install 'promptless[sam]'") from error
    return TorchModel.load(folder, config, threads)


def adapted_model(folder: Path, config: ModelConfig, threads: int | None) -> Model:
    """Open an adapter on its backbone, with torch, transformers and peft, which must be installed."""
    try:
        from promptless import library
        from promptless.networks import adapted
        from promptless.runtimes.torch import TorchModel
    except ImportError as error:
        raise ImportError(f"an adapter needs {error.name}: pip install 'promptless[sam]'") from error
    assert config.adapter is not None
    registry.verify(folder, config, adapted.files(config.adapter))
    backbone = library.load(config.adapter.backbone)
    return TorchModel(adapted.load(backbone, folder, config), config, threads)


NEEDED = {"onnx": ("encode.onnx", "decode.onnx"), "torch": ("model.safetensors",)}
"""The files that each runtime reads."""
RUNTIMES: dict[str, Callable[[Path, ModelConfig, int | None], Model]] = {"onnx": onnx_model, "torch": torch_model}
"""The models that stand alone, behind one interface."""
