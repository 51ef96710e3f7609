"""promptless: segment biomedical images with the Segment Anything Model, without prompting it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptless.clicks import Click as Click
    from promptless.editing import edit as edit
    from promptless.embeddings import Embeddings as Embeddings
    from promptless.evaluation import Evaluation as Evaluation
    from promptless.evaluation import evaluate as evaluate
    from promptless.image import Image as Image
    from promptless.loading import load as load
    from promptless.pipeline import prompt as prompt
    from promptless.pipeline import segment as segment
    from promptless.prompts import Points as Points
    from promptless.prompts import Prompts as Prompts
    from promptless.result import Segmentation as Segmentation
    from promptless.result import VolumeSegmentation as VolumeSegmentation

__version__ = "0.1.0"
__all__ = [
    "Click",
    "Embeddings",
    "Evaluation",
    "Image",
    "Points",
    "Prompts",
    "Segmentation",
    "VolumeSegmentation",
    "edit",
    "evaluate",
    "load",
    "prompt",
    "segment",
]

_HOMES = {
    "Click": "clicks",
    "Embeddings": "embeddings",
    "Evaluation": "evaluation",
    "Image": "image",
    "Points": "prompts",
    "Prompts": "prompts",
    "Segmentation": "result",
    "VolumeSegmentation": "result",
    "edit": "editing",
    "evaluate": "evaluation",
    "load": "loading",
    "prompt": "pipeline",
    "segment": "pipeline",
}


def __getattr__(name: str) -> object:
    """Import a public name where it is first used, so that `promptless --help` answers at once."""
    if name not in _HOMES:
        raise AttributeError(f"promptless has no {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"promptless.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
