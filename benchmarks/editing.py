"""How long a user waits for one edited prompt."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from images import samples, timed
from promptless import Embeddings, Prompts, Segmentation, edit, load, segment
from promptless.image import Image
from promptless.model import Model

SIDE = 1024


def editing(model_name: str) -> None:
    """Print the time of one moved prompt on 1024 x 1024 pixels, their embedding kept beside the result."""
    model, image = load(model_name), large_image()
    with tempfile.TemporaryDirectory() as folder:
        kept = Embeddings(Path(folder) / "image_embedding")
        result = segment(image, model, embeddings=kept)
        result.save(folder)
        moved = with_moved_point(result)
        fresh = timed(lambda: edit(result, moved, model))
        quick = timed(lambda: edit(result, moved, model, embeddings=kept))
        disk = timed(lambda: on_disk(folder, image, moved, model, kept))
    size = " x ".join(map(str, image.shape))
    print(f"one edited prompt, {size}, {result.n_objects} objects, embedding kept: {quick * 1e3:.0f} ms")
    print(f"  without a kept embedding: {fresh * 1e3:.0f} ms; with reading and writing the result: {disk * 1e3:.0f} ms")


def large_image() -> Image:
    """Return the corner of the large dev or training image with the most nuclei."""
    large = [s for s in (*samples("dev"), *samples("train")) if min(s.labels.shape) >= SIDE]
    chosen = max(large, key=lambda sample: sample.n_objects)
    return Image(chosen.pixels[:, :SIDE, :SIDE])


def with_moved_point(result: Segmentation) -> Prompts:
    """Return a result's prompts with the first point of the middle one moved by a pixel."""
    items = list(result.prompts.items)
    chosen = items[len(items) // 2]
    points = chosen.points.copy()
    points[0] += np.where(points[0] > 1, -1, 1)
    items[len(items) // 2] = replace(chosen, points=points)
    return Prompts(result.prompts.shape, tuple(items))


def on_disk(folder: str, image: Image, prompts: Prompts, model: Model, kept: Embeddings) -> None:
    """Read a saved result, edit it, and save it again elsewhere."""
    result = Segmentation.load(folder, "image", image)
    edit(result, prompts, model, embeddings=kept).save(Path(folder) / "edited")
