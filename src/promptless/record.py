"""The record of a run: what it was made with, and how long each step took."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np

from promptless import __version__
from promptless.config import ModelConfig
from promptless.image import Image
from promptless.model import Model
from promptless.registry import model_hash
from promptless.view import View

PACKAGES = ("numpy", "scipy", "scikit-image", "onnxruntime")
SCAN_PACKAGES = ("nibabel", "pydicom", "torch")
MODULES = {"scikit-image": "skimage"}
"""Packages that are imported under another name."""


@dataclass
class Steps:
    """Seconds spent in each step; `turn` is held by whoever runs a network, for which others wait."""

    seconds: dict[str, float] = field(default_factory=dict)
    turn: AbstractContextManager[Any] = field(default_factory=nullcontext)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time that the block takes to `step`."""
        began = time.perf_counter()
        yield
        self.add({step: time.perf_counter() - began})

    @contextmanager
    def networked(self, step: str) -> Iterator[None]:
        """Add the time that a network takes to `step`, but not the time until it may begin."""
        with self.turn, self.timed(step):
            yield

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add seconds by step that others spent."""
        for step, spent in seconds.items():
            self.seconds[step] = self.seconds.get(step, 0.0) + spent

    def rounded(self) -> dict[str, float]:
        """Return the seconds as they are written down."""
        return {step: round(value, 4) for step, value in self.seconds.items()}


def manifest(model: Model, view: View, arguments: dict[str, Any], steps: Steps) -> dict[str, Any]:
    """Return the record of a run: what it was made with, and how long each step took."""
    return {
        **made_with(model.config, arguments, PACKAGES),
        "image": {
            **pictured(view.image),
            "intensity_range": [float(view.low), float(view.high)],
            "zoom": float(view.zoom),
        },
        "tiles": len(view.tiles(arguments["tile"], arguments["halo"])),
        "seconds": steps.rounded(),
    }


def of_scan(image: Image, config: ModelConfig, arguments: dict[str, Any], crops: int, steps: Steps) -> dict[str, Any]:
    """Return the record of a run over a scan, which was cut into so many crops."""
    return {
        **made_with(config, arguments, (*PACKAGES, *SCAN_PACKAGES)),
        "image": {**pictured(image), "affine": None if image.affine is None else image.affine.tolist()},
        "tiles": crops,
        "seconds": steps.rounded(),
    }


def made_with(config: ModelConfig, arguments: dict[str, Any], packages: Iterable[str]) -> dict[str, Any]:
    """Return the versions of what is installed of `packages`, the model, and what was asked."""
    versions = {"promptless": __version__, "python": platform.python_version()}
    found = {name: installed(name) for name in packages}
    return {
        "versions": versions | {name: version for name, version in found.items() if version is not None},
        "model": named(config),
        "arguments": {name: plain(value) for name, value in arguments.items()},
    }


@cache
def installed(name: str) -> str | None:
    """Return the version of a package, None where it is not there; looking takes milliseconds, so once."""
    return metadata.version(name) if find_spec(MODULES.get(name, name)) else None


def pictured(image: Image) -> dict[str, Any]:
    """Return what was read."""
    return {
        "shape": list(image.data.shape),
        "dtype": str(image.data.dtype),
        "spacing": None if image.spacing is None else [float(size) for size in image.spacing],
        "unit": image.unit,
        **{name: plain(value) for name, value in asdict(image.origin).items()},
        "channel_names": list(image.origin.channel_names),
        "notes": list(image.origin.notes),
    }


def named(config: ModelConfig) -> dict[str, Any]:
    """Return what says which model it was, with its classes where it tells any."""
    record = {"name": config.name, "version": config.version, "hash": model_hash(config)}
    return record | ({"classes": list(config.classes)} if config.classes else {})


def plain(value: Any) -> Any:
    """Return a number of numpy's as Python's, which JSON can hold; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value
