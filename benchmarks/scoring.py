"""What `promptless evaluate` costs."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import tifffile

from images import timed
from promptless.metrics.comparison import Comparison
from promptless.metrics.rules import DEFAULT_OBJECT_RULES, OBJECT_RULES, find


def evaluation() -> None:
    """Print the time of scoring a pair of 1,000 x 1,000, and the cost of a pair of 10,240 x 10,240 in files."""
    pair = drawn_labels(1_000, 600, 1), drawn_labels(1_000, 600, 2)
    for name, rules in (("default rules", DEFAULT_OBJECT_RULES), ("all rules for objects", OBJECT_RULES)):
        seconds = timed(lambda r=rules: [rule.count(c) for c in [Comparison(*pair)] for rule in find(r)])
        print(f"1,000 x 1,000 pixels, 600 objects, {name}: {seconds:.3f} s")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{side}.tif" for side in ("truth", "predicted")]
        for seed, file in enumerate(files):
            options = {"shape": (10_240, 10_240), "dtype": np.uint32, "tile": (128, 1024), "compression": "zlib"}
            tifffile.imwrite(file, tiles_of_labels(seed), **options)
        command = [sys.executable, "-m", "promptless.cli", "evaluate", *map(str, files), "-q", "--rules", "objects"]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"10,240 x 10,240 pixels, 60,000 objects, compressed TIFF, all rules: {seconds:.1f} s, peak {peak:.0f} MB")


def tiles_of_labels(seed: int) -> Iterator[np.ndarray]:
    """Yield tiles (128, 1024) of a label image (10,240, 10,240) of 60,000 discs.

    Never the whole of it: the peak memory of a child begins with that of the process that starts it.
    """
    cell = drawn_labels(1024, 600, seed)
    for i, top, j in product(range(10), range(0, 1024, 128), range(10)):
        tile = cell[top : top + 128]
        yield np.where(tile, tile + np.uint32(600 * (10 * i + j)), 0).astype(np.uint32)


def drawn_labels(side: int, n: int, seed: int) -> np.ndarray:
    """Return a label image of `n` discs on a jittered grid, uint32."""
    rng = np.random.default_rng(seed)
    grid = int(np.ceil(np.sqrt(n)))
    step = side / grid
    radius = 0.45 * step
    labels = np.zeros((side, side), np.uint32)
    for i in range(n):
        middle = (np.array(divmod(i, grid)) + 0.5) * step + rng.normal(0, 0.05 * step, 2)
        region = tuple(slice(max(0, int(m - radius)), int(m + radius) + 2) for m in middle)
        y, x = (np.arange(s.start, min(s.stop, side)) - m for s, m in zip(region, middle, strict=True))
        labels[region][y[:, None] ** 2 + x[None] ** 2 < radius**2] = i + 1
    return labels
