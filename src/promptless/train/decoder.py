"""The decoder's task: windows around simulated prompts, on a frozen prompt generator."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from promptless.config import ProposalConfig, WindowConfig
from promptless.networks.adapted import Adapted
from promptless.networks.promptable import Encoded, Promptable
from promptless.resample import resample
from promptless.train.generator import map_losses
from promptless.train.loop import Batch
from promptless.train.simulate import NOTHING, Question, automatic, by_user
from promptless.windows import Window, mask_prompt, place, tokens_of

MULTIMASK_EVERY = 6
"""One step in this many trains the candidates for ambiguous prompts instead of the single mask."""


class PromptedTask(ABC):
    """What a network answers to prompts is what it learns from; its generator stays as it is."""

    def __init__(self, module: Promptable | Adapted, seed: int) -> None:
        self.module, self.seed = module, seed
        freeze(module.generator)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch of patches."""
        return self.decoding(self.encode(batch), batch)

    def encode(self, batch: Batch) -> Encoded:
        """Return what the network sees in a batch."""
        return self.module.encode(batch["image"].contiguous(memory_format=torch.channels_last))

    @abstractmethod
    def decoding(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of the answers to prompts on a batch."""


class DecoderTask(PromptedTask):
    """Cross-entropy and Dice per window, and the squared error of the predicted IoU.

    Two prompts in three are the generator's own, as `propose` makes them, false alarms included (they teach
    the predicted IoU what to reject); the others are a user's.
    """

    def __init__(
        self, module: Promptable | Adapted, windows: WindowConfig, proposals: ProposalConfig, per_image: int, seed: int
    ) -> None:
        super().__init__(module, seed)
        self.windows, self.proposals, self.per_image = windows, proposals, per_image

    def decoding(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of the masks that prompts on a batch yield."""
        multimask = step_of(batch) % MULTIMASK_EVERY == MULTIMASK_EVERY - 1
        labels = batch["labels"].cpu().numpy()
        questions = [
            self.questions(maps, own, np.random.default_rng([self.seed, int(index)]), multimask)
            for maps, own, index in zip(
                encoded.maps.detach().float().cpu().numpy(), labels, batch["index"], strict=True
            )
        ]
        return self.losses(encoded, labels, questions, multimask)

    def questions(
        self, maps: np.ndarray, labels: np.ndarray, rng: np.random.Generator, multimask: bool
    ) -> list[Question]:
        """Return at most `per_image` prompts for one patch; those that train the candidates are single clicks."""
        if multimask:
            return [
                q
                for q in by_user(labels, 2 * self.per_image, rng)
                if len(q.prompt.points) == 1 and q.prompt.box is None
            ]
        own = automatic(maps, labels, self.proposals)
        own = [own[i] for i in rng.permutation(len(own))[: self.per_image]]
        asked = by_user(labels, max(self.per_image // 3, self.per_image - len(own)), rng)
        own = own[: self.per_image - len(asked)]
        return own + asked

    def losses(
        self, encoded: Encoded, labels: np.ndarray, questions: list[list[Question]], multimask: bool
    ) -> dict[str, Tensor]:
        """Return the losses of all questions on a batch of encoded patches."""
        pools = {place(q.prompt, 1.0, self.windows).pool for asked in questions for q in asked}
        levels = {pool: functional.avg_pool2d(encoded.embedding, pool, ceil_mode=True) for pool in pools}
        inputs = [self.example(levels, labels, i, q) for i, asked in enumerate(questions) for q in asked]
        if not inputs:
            zero = encoded.embedding.sum() * 0.0
            return {"loss": zero, "mask": zero, "dice": zero, "iou": zero}
        windows, coords, marks, masks, given, targets, inside, real = (
            torch.stack(column).to(encoded.embedding.device) for column in zip(*inputs, strict=True)
        )
        logits, iou = self.module.decoder.outputs(windows, coords, marks, masks, given, multimask=multimask)
        return mask_losses(logits.float(), iou.float(), targets, inside, real)

    def example(
        self, levels: dict[int, Tensor], labels: np.ndarray, image: int, question: Question
    ) -> tuple[Tensor, ...]:
        """Return one window with its prompt, its target, where the target is known, and whether there is one."""
        config, prompt = self.windows, question.prompt
        window = place(prompt, 1.0, config)
        coords, marks = tokens_of(prompt, window, config.points + 2, 1.0, config)
        target, inside = window_target(labels[image], question.target, window, config)
        return (
            crop(levels[window.pool][image], window, config.cells),
            torch.from_numpy(coords),
            torch.from_numpy(marks),
            torch.from_numpy(mask_prompt(prompt, window, 1.0, config)[None]),
            torch.tensor(prompt.coarse is not None),
            torch.from_numpy(target),
            torch.from_numpy(inside),
            torch.tensor(question.target != NOTHING),
        )


class JointTask(DecoderTask):
    """Generator and decoder together: the losses of both. Batch norm keeps the statistics it has."""

    def __init__(
        self, module: Promptable | Adapted, windows: WindowConfig, proposals: ProposalConfig, per_image: int, seed: int
    ) -> None:
        super().__init__(module, windows, proposals, per_image, seed)
        module.generator.requires_grad_(True)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch of patches."""
        encoded = self.encode(batch)
        own = map_losses(encoded.maps.float(), batch)
        asked = self.decoding(encoded, batch)
        parts = {f"generator_{name}": value for name, value in own.items()}
        return {**asked, **parts, "loss": asked["loss"] + own["loss"]}


def step_of(batch: Batch) -> int:
    """Return the number of the step that a batch belongs to: what the loop says, else as if it were a whole batch."""
    if "step" in batch:
        return int(batch["step"])
    return int(batch["index"][0]) // len(batch["index"])


def freeze(module: nn.Module) -> None:
    """Keep a part as it is: no gradients, and batch norm in evaluation mode."""
    module.requires_grad_(False)
    module.eval()


def crop(level: Tensor, window: Window, cells: int) -> Tensor:
    """Return the window of an embedding (channel, *grid), zero beyond its border."""
    pads = [(max(0, -a), max(0, a + cells - n)) for a, n in zip(window.start, level.shape[1:], strict=True)]
    (top, bottom), (left, right) = pads
    padded = functional.pad(level, (left, right, top, bottom))
    y, x = (a + before for a, (before, _) in zip(window.start, pads, strict=True))
    return padded[:, y : y + cells, x : x + cells]


def window_target(
    labels: np.ndarray, number: int, window: Window, config: WindowConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the object in window pixels, each the share that it covers, and which pixels lie in the image."""
    start = tuple(float(w * config.stride * window.pool) for w in window.start)
    pitch = window.pool * config.pitch
    shape, step = (config.logits,) * labels.ndim, (pitch,) * labels.ndim
    target = resample((labels == number).astype(np.float32), shape, start, step)
    inside = np.ones(shape, np.float32)
    for axis, (first, n) in enumerate(zip(start, labels.shape, strict=True)):
        centre = first + (np.arange(config.logits) + 0.5) * pitch
        inside *= ((centre > 0) & (centre < n)).reshape([-1 if a == axis else 1 for a in range(labels.ndim)])
    return target, inside


def mask_losses(logits: Tensor, iou: Tensor, target: Tensor, inside: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Return the losses of masks (n, m, *window), of which the best of each window counts.

    False alarms (`real` False) have no mask to learn, only a predicted IoU of 0.
    """
    target, inside = target[:, None].expand_as(logits), inside[:, None]
    pixels = tuple(range(2, logits.ndim))
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (entropy * inside).sum(pixels) / inside.sum(pixels).clamp(min=1)
    probability = logits.sigmoid() * inside
    overlap = (probability * target).sum(pixels)
    dice = 1 - (2 * overlap + 1) / (probability.sum(pixels) + (target * inside).sum(pixels) + 1)
    best = (4 * entropy + dice).min(dim=1).indices[:, None]
    with torch.no_grad():
        predicted, true = (logits > 0) & (inside > 0), (target > 0.5) & (inside > 0)
        actual = (predicted & true).sum(pixels) / (predicted | true).sum(pixels).clamp(min=1)
        actual = torch.where(real[:, None], actual, torch.zeros_like(actual))
    weight = real.float() / real.sum().clamp(min=1)
    parts = {
        "mask": (entropy.gather(1, best)[:, 0] * weight).sum(),
        "dice": (dice.gather(1, best)[:, 0] * weight).sum(),
        "iou": functional.mse_loss(iou, actual),
    }
    return {"loss": 4 * parts["mask"] + parts["dice"] + 2 * parts["iou"], **parts}
