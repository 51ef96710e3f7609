"""What a user's clicks are worth: mean Dice of scans after so many of them, each in the largest mistake."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from promptless import load, segment
from promptless.clicks import LABELS, Click
from promptless.data import prepared, volumes
from promptless.data.volumes import VolumeSample
from promptless.io.scores import write_table
from promptless.model import VoxelModel
from promptless.train.recipes import split_in
from promptless.train.simulate import deepest
from promptless.train.volume.clicks import Labels, mistakes
from promptless.train.volume.measuring import mean_dice
from promptless.voxels import for_points


def clicking(folder: str, data: Path, part: str, counts: Sequence[int], limit: int | None, out: Path | None) -> None:
    """Print a row for each number of clicks: mean Dice, and wrong voxels."""
    model = load(folder, device="cpu")
    for_points(model)
    names = split_in(data / prepared.SPLIT)[part][:limit]
    truth, answers = dict[str, Labels](), {n: dict[str, Labels]() for n in counts}
    began = time.perf_counter()
    for sample in volumes.read(data, names):
        truth[sample.id] = sample.labels
        for n, labels in enumerate(corrected(sample, model, max(counts))):
            if n in answers:
                answers[n][sample.id] = labels
    each = (time.perf_counter() - began) / (len(truth) * (1 + max(counts)))
    print(f"{folder}, {len(truth)} scans of {part}, {each:.2f} s per answer")
    rows = [(n, mean_dice(truth, found), wrong(truth, found)) for n, found in answers.items()]
    print("| clicks | mean Dice | wrong voxels per scan |\n| --- | --- | --- |")
    for n, dice, voxels in rows:
        print(f"| {n} | {dice:.4f} | {voxels:.0f} |")
    if out is not None:
        write_table(out, ("clicks", "mean Dice", "wrong voxels per scan"), rows)


def corrected(sample: VolumeSample, model: VoxelModel, most: int) -> Iterator[Labels]:
    """Yield the labels of a scan without a click, with one, and so on; each is in the largest mistake that is left."""
    clicks: list[Click] = []
    for _ in range(1 + most):
        labels = segment(sample.image, model, points=clicks).labels
        yield labels
        found = next(mistakes(labels, sample.labels), None)
        if found is not None:
            mask, true = found
            (place,) = deepest(mask)
            clicks.append(Click(tuple(place.tolist()), true, LABELS))


def wrong(truth: dict[str, Labels], found: dict[str, Labels]) -> float:
    """Return how many voxels of a scan have a wrong class, in the mean."""
    return float(np.mean([np.count_nonzero(found[name] != labels) for name, labels in truth.items()]))
