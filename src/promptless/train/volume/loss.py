"""What a model on volumes learns by: a class for every voxel, by Dice and cross-entropy (AutoProSAM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptless.train.loop import Batch

UNKNOWN = -1
"""The label of a voxel beyond the scan: of no class, and of no weight."""
SMOOTH = 1e-5


class VoxelTask:
    """The published loss, on crops (batch, 1, z, y, x) and their labels (batch, z, y, x)."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch of crops."""
        return dice_and_entropy(self.module(batch["image"]).float(), batch["labels"])


def dice_and_entropy(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return half soft Dice, half cross-entropy of logits (batch, class, *spatial) against labels (batch, *spatial).

    Where all labels are known this is MONAI's DiceCELoss, both halves weighing 0.5: softmax, Dice of every class of
    every crop, the background and absent classes included.
    """
    known = labels != UNKNOWN
    entropy = functional.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum") / known.sum().clamp(min=1)
    dice = soft_dice(logits.softmax(1), labels, known)
    return {"loss": 0.5 * dice + 0.5 * entropy, "dice": dice, "entropy": entropy}


def soft_dice(chance: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Return 1 - soft Dice of probabilities (batch, class, *spatial), the mean over crops and classes."""
    classes = torch.arange(chance.shape[1], device=labels.device)
    truth = (labels[:, None] == classes.reshape(-1, *[1] * (labels.ndim - 1))).to(chance)  # (batch, class, *spatial)
    chance, axes = chance * known[:, None], tuple(range(2, chance.ndim))
    shared, both = (chance * truth).sum(axes), chance.sum(axes) + truth.sum(axes)
    return 1 - ((2 * shared + SMOOTH) / (both + SMOOTH)).mean()
