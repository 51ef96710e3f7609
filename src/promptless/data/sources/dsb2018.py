"""2018 Data Science Bowl, stage 1 training images (CC0): `images/ID.png`, `masks/ID.png`, `index.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from promptless.data.sample import Sample


def read(folder: Path, ids: Iterable[str]) -> Iterator[Sample]:
    """Yield the samples named by `ids`, grey images with one channel and stained ones with three."""
    index = folder / "index.json"
    if not index.is_file():
        raise FileNotFoundError(f"{index} is missing; `data` must name the folder that holds it, images/ and masks/")
    categories = {entry["id"]: entry["category"] for entry in json.loads(index.read_text())}
    for name in ids:
        image = np.asarray(PillowImage.open(folder / "images" / f"{name}.png"))
        labels = np.asarray(PillowImage.open(folder / "masks" / f"{name}.png")).astype(np.int32)
        yield Sample(name, categories[name], channels_first(image), labels)


def channels_first(image: np.ndarray) -> np.ndarray:
    """Return (channel, y, x) with alpha dropped, and one channel where all are equal."""
    if image.ndim == 2:
        return image[None]
    planes = np.moveaxis(image[..., :3], -1, 0)
    grey = all(np.array_equal(planes[0], plane) for plane in planes[1:])
    return np.ascontiguousarray(planes[:1] if grey else planes)
