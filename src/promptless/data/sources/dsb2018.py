"""2018 Data Science Bowl, stage 1 training images (CC0): `images/ID.png`, `masks/ID.png`, `index.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from promptless.data.sample import Sample
from promptless.io import readers


def read(folder: Path, ids: Iterable[str]) -> Iterator[Sample]:
    """Yield the samples named by `ids`, grey images with one channel and stained ones with three."""
    index = folder / "index.json"
    if not index.is_file():
        raise FileNotFoundError(f"{index} is missing; `data` must name the folder that holds it, images/ and masks/")
    categories = {entry["id"]: entry["category"] for entry in json.loads(index.read_text())}
    for name in ids:
        pixels = readers.read(folder / "images" / f"{name}.png").data
        labels = readers.read(folder / "masks" / f"{name}.png").data[0].astype(np.int32)
        yield Sample(name, categories[name], pixels, labels)
