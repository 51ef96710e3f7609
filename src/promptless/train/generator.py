"""The prompt generator's task: foreground and interior distance from the image (SAC, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from promptless.data import augment
from promptless.data.augment import VARIETIES, WIDE, Variety
from promptless.data.crowd import crowd
from promptless.data.sample import UNKNOWN, Sample
from promptless.data.targets import generator_targets
from promptless.networks.unet import UNet
from promptless.train.loop import Batch

INTERIOR_WEIGHT = 2.0
"""Of the interior distance among the losses."""


class GeneratorTask:
    """Binary cross-entropy on both maps, weighted at contacts, soft Dice on the foreground; and classes."""

    def __init__(self, module: UNet) -> None:
        self.module = module

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch of patches."""
        logits = self.module(batch["image"].contiguous(memory_format=torch.channels_last)).maps.float()
        return map_losses(logits, batch)


def map_losses(logits: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Return the losses of all maps: those with targets, and behind them background and classes, where there are."""
    losses = generator_losses(logits, batch["targets"], batch["weight"])
    told = logits[:, batch["targets"].shape[1] :]
    if not told.shape[1]:
        return losses
    classes = class_loss(told, batch["classes"], batch["class_weight"])
    return {**losses, "loss": losses["loss"] + classes, "classes": classes}


def generator_losses(logits: Tensor, targets: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Return the losses of maps (batch, 2, *spatial) against `promptless.data.targets.generator_targets`."""
    foreground = cross_entropy(logits[:, 0], targets[:, 0], weight)
    interior = cross_entropy(logits[:, 1], targets[:, 1], weight)
    dice = dice_loss(logits[:, 0], targets[:, 0])
    return {
        "loss": foreground + INTERIOR_WEIGHT * interior + 0.5 * dice,
        "foreground": foreground,
        "interior": interior,
        "dice": dice,
    }


def class_loss(logits: Tensor, classes: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean cross-entropy of maps (batch, background and classes, *spatial); unknown ones cost 0."""
    loss = functional.cross_entropy(logits, classes, ignore_index=UNKNOWN, reduction="none")
    return (loss * weight).sum() / weight.sum().clamp(min=1)


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean binary cross-entropy, less the target's own entropy: 0 is perfect."""
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    floor = functional.binary_cross_entropy(target, target, reduction="none")
    return ((loss - floor) * weight).sum() / weight.sum().clamp(min=1)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 1 - soft Dice, the sums taken over the batch and all pixels."""
    probability = logits.sigmoid()
    return 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)


class Patches(Dataset[Batch]):
    """Augmented patches with all that a task may learn from; item `i` depends on `seed` and `i` alone.

    Where the data has classes, "classes" is the class map (`UNKNOWN` where no class is known), and "class_weight"
    how much each of its pixels counts.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        weights: Mapping[str, float],
        size: int,
        seed: int,
        variety: Variety = VARIETIES[WIDE],
        seen: Mapping[str, float] = {},
    ) -> None:
        self.samples, self.size, self.seed, self.variety, self.seen = samples, size, seed, variety, seen
        self.probability = sampling_probability(samples, weights)
        self.class_weights = class_weights(samples)

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, index])
        image, labels, classes = draw_patch(self.samples, self.probability, self.size, rng, self.variety, self.seen)
        targets, weight = generator_targets(labels)
        arrays = {"image": image, "labels": labels, "targets": targets, "weight": weight, "index": np.array(index)}
        if len(self.class_weights):
            known = classes != UNKNOWN
            arrays |= {"classes": classes, "class_weight": np.where(known, self.class_weights[classes], np.float32(0))}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def names(self, indices: Sequence[int]) -> list[str]:
        """Return the ids of the samples that items are patches of."""
        rngs = (np.random.default_rng([self.seed, index]) for index in indices)
        return [draw_sample(self.samples, self.probability, rng).id for rng in rngs]


class Patch(NamedTuple):
    """An augmented patch (3, size, size), its labels and its class map (size, size)."""

    image: np.ndarray
    labels: np.ndarray
    classes: np.ndarray


def draw_patch(
    samples: Sequence[Sample],
    probability: np.ndarray,
    size: int,
    rng: np.random.Generator,
    variety: Variety = VARIETIES[WIDE],
    seen: Mapping[str, float] = {},
) -> Patch:
    """Return an augmented patch from a sample drawn by `probability`, near the scale it is `seen` at (by id, or 1)."""
    sample = draw_sample(samples, probability, rng)
    geometry = augment.draw_geometry(sample, size, rng, variety, seen.get(sample.id, 1.0))
    patch, labels = augment.take_patch(sample, geometry, size)
    classes = augment.take_classes(sample, geometry, size) if sample.classes else np.where(labels > 0, UNKNOWN, 0)
    if sample.category.startswith("fluorescence") and rng.uniform() < variety.crowded:
        of_object = np.zeros(int(labels.max()) + 1, np.int64)
        of_object[labels] = classes
        patch, labels, origin = crowd(patch, labels, rng)
        classes = of_object[origin]
    return Patch(variety.colour(patch, labels, sample.category, rng), labels, classes)


def class_weights(samples: Sequence[Sample]) -> np.ndarray:
    """Return how much a pixel of the background and of each class counts; nothing where the data has no classes.

    That is the inverse square root of its share of all pixels of known class, such that the mean over these is 1:
    rare classes count, but not as much as frequent ones.
    """
    if not any(sample.classes for sample in samples):
        return np.zeros(0, np.float32)
    n = 1 + max(value for sample in samples for value in sample.classes.values())
    maps = (sample.class_map for sample in samples)
    pixels = np.sum([np.bincount(classes[classes != UNKNOWN], minlength=n) for classes in maps], axis=0)
    share = pixels / pixels.sum()
    weights = np.divide(1, np.sqrt(share), out=np.zeros(n), where=pixels > 0)
    return np.asarray(weights / (share * weights).sum(), np.float32)


def draw_sample(samples: Sequence[Sample], probability: np.ndarray, rng: np.random.Generator) -> Sample:
    """Return a sample drawn by `probability`: the first that is drawn for a patch."""
    return samples[rng.choice(len(samples), p=probability)]


def sampling_probability(samples: Sequence[Sample], weights: Mapping[str, float]) -> np.ndarray:
    """Return a probability per sample, such that each category is drawn as often as `weights` says.

    Within a category, an image with four times as many objects is drawn twice as often.
    """
    categories = [sample.category for sample in samples]
    missing = sorted(set(categories) - set(weights))
    if missing:
        raise ValueError(f"the recipe's `sampling` has no weight for {', '.join(missing)}; it has {sorted(weights)}")
    share = np.sqrt([1 + sample.n_objects for sample in samples])
    for category in set(categories):
        members = np.array([c == category for c in categories])
        share[members] *= weights[category] / share[members].sum()
    return np.asarray(share / share.sum())
