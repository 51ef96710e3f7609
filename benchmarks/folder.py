"""What a folder of images costs, and how much of that is reading and writing."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from images import samples
from promptless import batch, load

MANY = 100


def folder_of_images(model_name: str) -> None:
    """Print images per second for `MANY` PNG files, and the share of each step."""
    model, every = load(model_name), samples("train")
    chosen = every[:: len(every) // MANY][:MANY]
    with tempfile.TemporaryDirectory() as root:
        source, target = Path(root) / "in", Path(root) / "out"
        source.mkdir()
        for sample in chosen:
            pixels = np.moveaxis(sample.pixels, 0, -1)
            PillowImage.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(source / f"{sample.id}.png")
        options = {"channel": None, "mpp": None, "min_score": None, "tile": 1024, "halo": 128}
        began = time.perf_counter()
        outcomes = list(batch.segment_all(batch.jobs([source]), model, target, **options))
        total = time.perf_counter() - began
        steps: Counter[str] = Counter()
        for outcome in outcomes:
            steps.update(json.loads(outcome.paths["manifest"].read_text())["seconds"])
    steps["write"] = total - sum(steps.values())
    shares = ", ".join(f"{step} {seconds / total:.0%}" for step, seconds in steps.most_common())
    n_objects = sum(outcome.n_objects for outcome in outcomes)
    print(f"{len(outcomes)} images, {n_objects} objects: {len(outcomes) / total:.2f} images/s")
    print(f"  {shares}")
