"""What a planar student learns from: patches with what labels say of them, and what its teacher says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from promptless.data import augment
from promptless.data.augment import VARIETIES, WIDE, Variety
from promptless.data.crowd import crowd
from promptless.data.sample import Sample
from promptless.data.targets import generator_targets
from promptless.train.generator import (
    INTERIOR_WEIGHT,
    cross_entropy,
    draw_sample,
    generator_losses,
    sampling_probability,
)
from promptless.train.loop import Batch
from promptless.train.taught import Answer


def told(answer: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Return the losses of a student's maps against labels: those of a prompt generator, and of the quality.

    What is labelled is an object of full quality, all else of none.
    """
    losses = generator_losses(answer[:, :2], batch["targets"], batch["weight"])
    quality = cross_entropy(answer[:, 2], batch["targets"][:, 0], batch["weight"])
    return {**losses, "loss": losses["loss"] + quality, "quality": quality}


def apart(answer: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
    """Return how far a student's maps are from its teacher's final masks, and from the score of each as its quality.

    `teacher` (batch, 3, *spatial) has foreground, interior distance and score; `known` (batch, *spatial) says how much
    each pixel counts.
    """
    foreground, interior, quality = (cross_entropy(answer[:, i], teacher[:, i], known) for i in range(3))
    return foreground + INTERIOR_WEIGHT * interior + quality


class Lessons(Dataset[Batch]):
    """Augmented patches for `promptless.train.distill.DistillTask`; item `i` depends on `seed` and `i` alone.

    Every `every`-th item is of `unlabelled` images, whose labels are the teacher's objects; `taught` has what the
    teacher says of every image, by id. Patches with copies of their own objects show what the teacher has not seen,
    so there labels count alone.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        unlabelled: Sequence[Sample],
        taught: Mapping[str, Answer],
        *,
        weights: Mapping[str, float],
        every: int,
        size: int,
        seed: int,
        variety: Variety = VARIETIES[WIDE],
        seen: Mapping[str, float] = {},
    ) -> None:
        self.samples, self.unlabelled, self.taught, self.every = samples, unlabelled, taught, every
        self.size, self.seed, self.variety, self.seen = size, seed, variety, seen
        self.probability = sampling_probability(samples, weights)

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, index])
        sample, labelled = self.drawn(index, rng), self.is_labelled(index)
        geometry = augment.draw_geometry(sample, self.size, rng, self.variety, self.seen.get(sample.id, 1.0))
        patch, labels = augment.take_patch(sample, geometry, self.size)
        answer = self.taught[sample.id]
        objects = augment.take_nearest(answer.labels, geometry, self.size)
        teacher, known = lesson(objects, answer.scores)
        if labelled and sample.category.startswith("fluorescence") and rng.uniform() < self.variety.crowded:
            patch, labels, _ = crowd(patch, labels, rng)
            known = np.zeros_like(known)
        targets, weight = generator_targets(labels)
        arrays = {
            "image": self.variety.colour(patch, labels, sample.category, rng),
            "targets": targets,
            "weight": weight,
            "teacher": teacher,
            "known": known,
            "labelled": np.array(labelled),
            "index": np.array(index),
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def is_labelled(self, index: int) -> bool:
        """Return whether an item is of an image with labels."""
        return not self.unlabelled or index % self.every != self.every - 1

    def drawn(self, index: int, rng: np.random.Generator) -> Sample:
        """Return the sample that an item is a patch of."""
        if self.is_labelled(index):
            return draw_sample(self.samples, self.probability, rng)
        return self.unlabelled[int(rng.integers(len(self.unlabelled)))]

    def names(self, indices: Sequence[int]) -> list[str]:
        """Return the ids of the samples that items are patches of."""
        return [self.drawn(index, np.random.default_rng([self.seed, index])).id for index in indices]


def lesson(objects: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a student learns of its teacher's objects, maps (3, *spatial), and how much each pixel counts."""
    targets, weight = generator_targets(augment.parted(objects))
    return np.concatenate([targets, np.clip(scores[objects], 0, 1)[None]]), weight
