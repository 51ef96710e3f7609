"""The models that ship with promptless, and model folders: where they are, and whether they are whole."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from promptless.config import INSTANCES, ModelConfig
from promptless.io.hashes import sha256

WEIGHTS = Path(__file__).parent / "weights"
CONFIG = "config.json"


def names() -> list[str]:
    """Return the names of the models that ship with promptless."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{CONFIG}"))


def backbones() -> list[str]:
    """Return the names of those of them that can be adapted: what decodes prompts."""
    return [name for name in names() if ModelConfig.read(WEIGHTS / name / CONFIG).output == INSTANCES]


def fitting(n_axes: int) -> list[str]:
    """Return the names of the models that ship and are for images of `n_axes` spatial axes."""
    return [name for name in names() if len(ModelConfig.read(WEIGHTS / name / CONFIG).kind.axes) == n_axes]


def for_volumes() -> str:
    """Return which models are for volumes, in words."""
    kinds = {name: ModelConfig.read(WEIGHTS / name / CONFIG).kind for name in fitting(3)}
    named = ", ".join(f"{name} ({kind.modality})" for name, kind in kinds.items()) or "none ship yet"
    return (
        f"models for volumes: {named}; train others on labelled scans (docs/autoprosam.md): --model FOLDER takes them"
    )


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
    adapts = config.adapter is not None
    another = "copy the whole folder again, or export the model again"
    remedy = "copy the adapter's whole folder again" if adapts else f"install promptless again, {another}"
    unnamed = [name for name in needed if name not in config.files]
    if unnamed:
        raise ValueError(
            f"{folder / CONFIG} has no hash for {', '.join(unnamed)}; "
            + (remedy if adapts else "export the model again")
        )
    for name, expected in config.files.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"the {'adapter' if adapts else 'model'} in {folder} lacks {name}; {remedy}")
        if sha256(path) != expected:
            raise ValueError(f"{path} is not the file that {CONFIG} names (its sha256 differs); {remedy}")


def model_hash(config: ModelConfig) -> str:
    """Return one hash that stands for a model: its configuration, which has the hash of every other file.

    What models and adapters can say since a later version counts where it is said, so that older results keep their
    model.
    """
    content = asdict(config)
    for name, default in LATER.items():
        if content["adapter"] and content["adapter"][name] == default:
            del content["adapter"][name]
    for name in OPTIONAL:
        if content[name] is None:
            del content[name]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


OPTIONAL = ("volume", "teacher", "onnx", "min_share")
"""Parts of a configuration that came later, and that not every model has."""
LATER = {"alpha": None, "dropout": 0.0}
"""Fields of adapters that came later, and what stands for their absence."""
