"""promptless: segment biomedical images with the Segment Anything Model, without prompting it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptless.evaluation import Evaluation as Evaluation
    from promptless.evaluation import evaluate as evaluate
    from promptless.image import Image as Image
    from promptless.pipeline import segment as segment
    from promptless.prompts import Prompts as Prompts
    from promptless.registry import load as load
    from promptless.result import Segmentation as Segmentation

__version__ = "0.1.0"
__all__ = ["Evaluation", "Image", "Prompts", "Segmentation", "evaluate", "load", "segment"]

_HOMES = {
    "Evaluation": "evaluation",
    "Image": "image",
    "Prompts": "prompts",
    "Segmentation": "result",
    "evaluate": "evaluation",
    "load": "registry",
    "segment": "pipeline",
}


def __getattr__(name: str) -> object:
    """Import a public name where it is first used, so that `promptless --help` answers at once."""
    if name not in _HOMES:
        raise AttributeError(f"promptless has no {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"promptless.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
