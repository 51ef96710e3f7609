"""SAC's task as published (arXiv 2401.13220): one semantic mask of the whole patch from one set of points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from promptless.config import UPSCALING, PointsConfig
from promptless.discriminate import discriminate
from promptless.networks.adapted import Adapted
from promptless.networks.promptable import Encoded, Promptable
from promptless.networks.unet import UNet
from promptless.train.decoder import PromptedTask
from promptless.train.generator import class_loss, dice_loss
from promptless.train.loop import Batch


@dataclass(frozen=True)
class MaskLoss:
    """The segmentation loss: a loss of pixels and soft Dice. [U]: the paper's bibliography has all of them."""

    kind: str = "ce_dice"  # SAMed's mix [I]; or "focal_dice", SAM's own
    weights: tuple[float, float] | None = None  # of the pixels, of Dice; None: .2 and .8 [I, SAMed], 20 and 1 [I, SAM]
    alpha: float = 0.25  # of focal: the weight of foreground pixels, 1 - alpha being that of the others [I, SAM]
    gamma: float = 2.0  # of focal: how little well-classified pixels count [I, SAM]

    def __post_init__(self) -> None:
        if self.kind not in LOSSES:
            raise ValueError(f"the loss is {self.kind!r}; it must be {' or '.join(LOSSES)}")

    def __call__(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the losses of logits (batch, *spatial) against a foreground of 0 and 1; "loss" is their sum."""
        name, pixels, usual = LOSSES[self.kind]
        weights = self.weights or usual
        parts = {name: pixels(logits, target, self), "dice": dice_loss(logits, target)}
        return {"loss": weights[0] * parts[name] + weights[1] * parts["dice"], **parts}


def cross_entropy(logits: Tensor, target: Tensor, loss: MaskLoss) -> Tensor:
    """Return the mean binary cross-entropy."""
    return functional.binary_cross_entropy_with_logits(logits, target)


def focal(logits: Tensor, target: Tensor, loss: MaskLoss) -> Tensor:
    """Return the mean focal loss (Lin et al. 2017)."""
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    wrong = probability * (1 - target) + (1 - probability) * target
    weight = loss.alpha * target + (1 - loss.alpha) * (1 - target)
    return (weight * wrong**loss.gamma * entropy).mean()


PixelLoss = Callable[[Tensor, Tensor, MaskLoss], Tensor]
LOSSES: dict[str, tuple[str, PixelLoss, tuple[float, float]]] = {
    "ce_dice": ("ce", cross_entropy, (0.2, 0.8)),
    "focal_dice": ("focal", focal, (20.0, 1.0)),
}
"""The loss of pixels that goes with Dice, the name it is logged under, and the usual weights of both."""


class ForegroundTask:
    """The prompt generator as published: binary cross-entropy of one map against the mask."""

    def __init__(self, module: UNet) -> None:
        self.module = module

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch of patches."""
        return foreground_losses(self.module(batch["image"].contiguous(memory_format=torch.channels_last)).maps, batch)


class SacTask(PromptedTask):
    """What the generator sees becomes points, the points one mask; LoRA and the trained parts learn from that mask.

    The generator stays as it is. Sample i is asked the same points whenever its maps are the same.
    """

    def __init__(self, module: Adapted | Promptable, points: PointsConfig, loss: MaskLoss, seed: int) -> None:
        super().__init__(module, seed)
        self.points, self.loss = points, loss

    def decoding(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of the masks that the generator's points yield."""
        coords, labels = self.prompts(encoded.maps[:, 0], batch["index"])
        logits = self.module.decoder.whole(encoded.embedding, coords, labels)
        target = foreground(batch)
        return self.loss(in_pixels(logits.float(), self.module.decoder.stride / UPSCALING, target.shape[1:]), target)

    def prompts(self, logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return points (batch, tokens, 2) and their labels (batch, tokens), padded with -1 to one count for all.

        Padding is attended to, so the count is the same in every batch, and when segmenting.
        """
        asked = [
            discriminate(probability, self.points, np.random.default_rng([self.seed, int(i)])).padded(
                self.points.tokens
            )
            for probability, i in zip(logits.detach().float().sigmoid().cpu().numpy(), index, strict=True)
        ]
        coords, labels = (np.stack(column) for column in zip(*asked, strict=True))
        return torch.from_numpy(coords).to(logits.device), torch.from_numpy(labels).to(logits.device)


class SacJointTask(SacTask):
    """Generator and the rest together. Batch norm keeps the statistics it has.

    Points are discrete: no gradient of the mask's loss reaches the generator through them, so it learns by its own
    cross-entropy alone (and through its features, where an adapter's embedding takes these).
    """

    def __init__(self, module: Adapted | Promptable, points: PointsConfig, loss: MaskLoss, seed: int) -> None:
        super().__init__(module, points, loss, seed)
        module.generator.requires_grad_(True)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch of patches."""
        encoded = self.encode(batch)
        own = foreground_losses(encoded.maps, batch)["loss"]
        asked = self.decoding(encoded, batch)
        return {**asked, "generator_bce": own, "loss": asked["loss"] + own}


def foreground_losses(maps: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Return the generator's own losses: the cross-entropy of its first map (batch, map, *spatial), and of classes."""
    entropy = functional.binary_cross_entropy_with_logits(maps[:, 0].float(), foreground(batch))
    if maps.shape[1] == 1:
        return {"loss": entropy, "bce": entropy}
    classes = class_loss(maps[:, 1:].float(), batch["classes"], batch["class_weight"])
    return {"loss": entropy + classes, "bce": entropy, "classes": classes}


def foreground(batch: Batch) -> Tensor:
    """Return what belongs to any object (batch, *spatial), as 0 and 1."""
    return (batch["labels"] > 0).float()


def in_pixels(logits: Tensor, pitch: float, shape: torch.Size) -> Tensor:
    """Return logits (batch, *grid), `pitch` pixels apart, at every pixel (batch, *shape), without what is padding."""
    if pitch != 1:
        logits = functional.interpolate(logits[:, None], scale_factor=pitch, mode="bilinear", align_corners=False)[:, 0]
    return logits[:, : shape[0], : shape[1]]
