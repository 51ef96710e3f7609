"""The labelled images that figures are taken on, and how time is taken."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from promptless.data import prepared
from promptless.data.sample import Sample
from promptless.image import Image
from promptless.model import ImageEmbedding, Model
from promptless.tiles import Tile
from promptless.view import View, encode

SPLITS = Path(__file__).parents[1] / "recipes" / "splits" / "dsb2018.json"
GROUPS = {"fluorescence": ("fluorescence",), "stained tissue": ("HE_",), "bright-field": ("brightfield",), "all": ("",)}


def samples(split: str) -> list[Sample]:
    """Return the samples of a split."""
    root = os.environ.get("PROMPTLESS_DATA")
    if not root:
        raise SystemExit("set PROMPTLESS_DATA to the folder that holds dsb2018/")
    return list(prepared.read(Path(root) / "dsb2018", json.loads(SPLITS.read_text())[split]))


def embedded(image: Image, model: Model) -> tuple[View, ImageEmbedding]:
    """Return how the model looks at a whole image, and its embedding."""
    view, whole = View.of(image, model), tuple(slice(0, n) for n in image.shape)
    return view, encode(view, Tile(whole, whole), model)


def timed(action: Callable[[], object], runs: int = 7) -> float:
    """Return the median seconds of `action`, after one run that does not count."""
    action()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
