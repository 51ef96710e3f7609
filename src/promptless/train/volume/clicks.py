"""A user's clicks, simulated: where a class is wrong, and what an inflated SAM learns of being told so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import measure
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from promptless import labels as label_images
from promptless.masks import Mask
from promptless.networks.volume.autoprosam import AutoProSam
from promptless.networks.volume.generator import Points, of_classes
from promptless.train.loop import Batch
from promptless.train.simulate import inside
from promptless.train.volume.loss import UNKNOWN, dice_and_entropy

Labels = NDArray[np.integer]
Told = NDArray[np.float32]
"""Clicks (n, 4): the place (z, y, x) of each, and its class."""
CLICKS = 2
"""Tells what is drawn here from what crops draw by the same numbers."""
NOBODY = np.full((1, 4), UNKNOWN, np.float32)
"""A click of no class, which counts for nothing, so that there is always one."""


@dataclass(frozen=True)
class Clicking:
    """How often a crop is clicked at in training, and how often then."""

    share: float = 0.5  # of the crops; in the others nobody clicks, so that the network stays good by itself
    most: int = 3  # clicks in a crop: one to so many, as likely
    heed: float = 0.03  # how much the cross-entropy of the mistakes that are clicked at counts, beside the usual loss

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"the share of crops that are clicked at is {self.share}; it lies between 0 and 1")
        if not self.heed >= 0:
            raise ValueError(f"heed is {self.heed}; it is a weight, 0 or above")
        if self.most < 1:
            raise ValueError(f"most is {self.most}; a crop that is clicked at has at least one click")


class ClickTask:
    """`VoxelTask` with a user: some crops are answered first as they are, and again with clicks on what was wrong."""

    def __init__(self, module: AutoProSam, clicking: Clicking, seed: int) -> None:
        self.module, self.clicking, self.seed = module, clicking, seed

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch of crops: those of `VoxelTask`, and of what was clicked at once more."""
        points, pointed = self.clicked(batch)
        logits = self.module(batch["image"], points).float()
        losses = dice_and_entropy(logits, batch["labels"])
        heeded = dice_and_entropy(logits, torch.where(pointed, batch["labels"], UNKNOWN))["entropy"]
        return {**losses, "loss": losses["loss"] + self.clicking.heed * heeded, "clicked": heeded}

    def clicked(self, batch: Batch) -> tuple[Points, Tensor]:
        """Return what a user clicks at in a batch, and the voxels (batch, *spatial) of the mistakes that are meant.

        It depends on the network, and on the numbers of the crops.
        """
        drawn = [np.random.default_rng([self.seed, int(index), CLICKS]) for index in batch["index"]]
        numbers = [int(rng.integers(self.clicking.most)) + 1 for rng in drawn]
        asked = [i for i, rng in enumerate(drawn) if rng.uniform() < self.clicking.share]
        told, pointed = [NOBODY] * len(drawn), np.zeros(batch["labels"].shape, bool)
        if asked:
            with torch.no_grad():
                found = self.module(batch["image"][asked]).argmax(1).cpu().numpy()
            labels = batch["labels"][asked].cpu().numpy()
            for i, wrong, true in zip(asked, found, labels, strict=True):
                meant = list(islice(mistakes(wrong, true), numbers[i]))
                told[i] = np.concatenate([NOBODY, *(click_on(mask, of, drawn[i]) for mask, of in meant)])
                for mask, _ in meant:
                    pointed[i][mask.region] |= mask.pixels
        padded = pad_sequence([torch.from_numpy(clicks) for clicks in told], batch_first=True, padding_value=UNKNOWN)
        clicks, device = padded.to(batch["image"].device), batch["labels"].device
        points = of_classes(clicks[..., :-1], clicks[..., -1], self.module.config.points)
        return points, torch.from_numpy(pointed).to(device)


def click_on(mask: Mask, true: int, rng: np.random.Generator) -> Told:
    """Return a click (1, 4) in a mistake, the likelier the further inside it lies."""
    return np.append(inside(mask, rng), np.array([[true]], np.float32), axis=1)


def mistakes(found: Labels, labels: Labels) -> Iterator[tuple[Mask, int]]:
    """Yield what is labelled wrongly, the largest first: connected parts of one true class, with that class."""
    wrong = np.where((found != labels) & (labels != UNKNOWN), labels.astype(np.int64) + 1, 0)
    parts = label_images.objects(measure.label(wrong, background=0, connectivity=1)).values()
    for mask in sorted(parts, key=lambda mask: -mask.area):
        yield mask, int(labels[mask.region][mask.pixels][0])
