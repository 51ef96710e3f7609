"""One loader for every model: by name, from what ships with promptless, or from a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from promptless.config import ModelConfig
from promptless.io.hashes import sha256
from promptless.model import Model

WEIGHTS = Path(__file__).parent / "weights"
CONFIG = "config.json"


def load(name_or_folder: str | Path, *, runtime: str | None = None, threads: int | None = None) -> Model:
    """Load a model that ships ("nuclei") or a model folder, after checking every file against its hash.

    `runtime` is "onnx" or "torch"; without it, "onnx" where the folder has ONNX files, else "torch".
    `threads` is the number of processor threads; without it, all that the process may use.
    """
    folder = find(name_or_folder)
    config = ModelConfig.read(folder / CONFIG)
    if runtime is None:
        runtime = "onnx" if set(NEEDED["onnx"]) <= set(config.files) else "torch"
    if runtime not in RUNTIMES:
        raise ValueError(f"there is no runtime {runtime!r}; use {' or '.join(RUNTIMES)}")
    verify(folder, config, NEEDED[runtime])
    return RUNTIMES[runtime](folder, config, threads)


def names() -> list[str]:
    """Return the names of the models that ship with promptless."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{CONFIG}"))


def fitting(n_axes: int) -> list[str]:
    """Return the names of the models that ship and are for images of `n_axes` spatial axes."""
    return [name for name in names() if len(ModelConfig.read(WEIGHTS / name / CONFIG).kind.axes) == n_axes]


def find(name_or_folder: str | Path) -> Path:
    """Return the folder of a model given by name or by path."""
    folder = Path(name_or_folder)
    if str(name_or_folder) in names():
        return WEIGHTS / str(name_or_folder)
    if (folder / CONFIG).is_file():
        return folder
    known = ", ".join(names()) or "none"
    raise FileNotFoundError(
        f"there is no model {str(name_or_folder)!r}: it is neither the name of one that ships ({known}) "
        f"nor a folder with a {CONFIG}"
    )


def verify(folder: Path, config: ModelConfig, needed: tuple[str, ...]) -> None:
    """Raise where a file of a model folder is missing, or is not the one that `config.json` names."""
    unnamed = [name for name in needed if name not in config.files]
    if unnamed:
        raise ValueError(f"{folder / CONFIG} has no hash for {', '.join(unnamed)}; export the model again")
    for name, expected in config.files.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"the model in {folder} lacks {name}; install promptless again, or copy the whole folder"
            )
        if sha256(path) != expected:
            raise ValueError(f"{path} is not the file that {CONFIG} names (its sha256 differs); fetch the model again")


def model_hash(config: ModelConfig) -> str:
    """Return one hash that stands for a model: its configuration, which has the hash of every other file."""
    return hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode()).hexdigest()


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


NEEDED = {"onnx": ("encode.onnx", "decode.onnx"), "torch": ("model.safetensors",)}
"""The files that each runtime reads."""
RUNTIMES: dict[str, Callable[[Path, ModelConfig, int | None], Model]] = {"onnx": onnx_model, "torch": torch_model}
