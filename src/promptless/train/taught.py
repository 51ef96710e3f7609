"""What a teacher says of images: its final objects and their scores, asked once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptless.data.sample import Sample
from promptless.io.atomic import replacing
from promptless.model import Model
from promptless.pipeline import segment
from promptless.registry import model_hash
from promptless.train.measuring import Told, image_of


@dataclass(frozen=True, eq=False)
class Answer:
    """A teacher's objects in an image: labels (*spatial), and the score of each by label, 0 for the background."""

    labels: NDArray[np.uint16] | NDArray[np.int32]
    scores: NDArray[np.float32]


def answers(
    samples: Sequence[Sample], teacher: Model, folder: Path, tell: Told = lambda done, text: None
) -> dict[str, Answer]:
    """Return what `teacher` says of each sample, by id; what it has said before is read from `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for i, sample in enumerate(samples):
        tell(i / len(samples), f"{teacher.config.name} looks at image {i + 1} of {len(samples)}")
        found[sample.id] = answer(sample, teacher, folder)
    return found


def answer(sample: Sample, teacher: Model, folder: Path) -> Answer:
    """Return what `teacher` says of a sample: what is kept in `folder`, else what it says now, which is kept."""
    path = folder / f"{key(sample, teacher)}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            return Answer(kept["labels"], kept["scores"])
    result = segment(image_of(sample), teacher)
    small = result.labels.max(initial=0) <= np.iinfo(np.uint16).max
    labels = result.labels.astype(np.uint16) if small else result.labels
    said = Answer(labels, np.concatenate([np.zeros(1, np.float32), result.masks.scores.astype(np.float32)]))
    with replacing(path) as temporary:
        np.savez_compressed(temporary, labels=said.labels, scores=said.scores)
    return said


def key(sample: Sample, teacher: Model) -> str:
    """Return what stands for a teacher and an image: another of either has another answer."""
    told = f"{model_hash(teacher.config)} {sample.pixels.shape} {sample.pixels.dtype} {sample.mpp}"
    return hashlib.sha256(told.encode() + np.ascontiguousarray(sample.pixels).tobytes()).hexdigest()[:32]
