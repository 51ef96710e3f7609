"""Distillation: a student learns from labels, and from what its teacher answers (AutoProSAM, arXiv 2308.14936).

The paper says that the supervised loss is mixed with the mean squared error between the outputs of teacher and
student, by a weight of about 0.5. [U] marks what it does not say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptless.train.loop import Batch

LOGITS, SOFTMAX = "logits", "softmax"
STUDENT, HINT = "student", "hint"
"""The parts of what is trained where hints are matched."""

Losses = Callable[[Tensor, Batch], dict[str, Tensor]]
"""What an answer is worth against the labels of a batch, as named losses of which "loss" counts."""
Seeing = Callable[[Tensor], tuple[Tensor, Tensor]]
"""What a network answers to an image, and features (batch, channel, *grid) that it makes on the way."""
Distance = Callable[[Tensor, Tensor, Tensor], Tensor]
"""How far an answer is from the teacher's, where that is known."""


@dataclass(frozen=True)
class Distilling:
    """A recipe's [distill] table: who teaches, and how."""

    teacher: str  # a model by name or folder
    weight: float = 0.5  # of the teacher's term, 1 - weight of the labels'; which of them has the paper's lambda: [U]
    on: str = LOGITS  # or "softmax": the outputs that are compared: [U]
    temperature: float = 1.0  # by which logits are divided before the softmax: [U]
    features: float = 0.0  # weight of the hints (FitNets): features of both compared; ours
    hints: tuple[str, str] | None = None  # the layers of student and teacher that are; None: the usual ones
    labelled: int | None = None  # so many of train, the first by hash, have labels; None: all. The rest has none
    cache_gb: float = 4.0  # of disk that the teacher's answers may take

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"the teacher's weight is {self.weight}; it is a share of the loss, from 0 to 1")
        if self.on not in (LOGITS, SOFTMAX):
            raise ValueError(f'on is {self.on!r}; it must be "{LOGITS}" or "{SOFTMAX}"')
        if self.temperature <= 0:
            raise ValueError(f"the temperature is {self.temperature}; it must be above 0")
        if self.on == LOGITS and self.temperature != 1:
            raise ValueError(
                f'a temperature of {self.temperature} changes nothing where on = "{LOGITS}"; leave it out, or compare '
                f'on = "{SOFTMAX}"'
            )
        if self.features < 0:
            raise ValueError(f"the weight of features is {self.features}; it must be at least 0, which leaves them out")
        if self.labelled is not None and self.labelled < 1:
            raise ValueError(f"labelled is {self.labelled}; a student needs one labelled item at least")

    def deciding(self) -> dict[str, Any]:
        """Return what decides what the student learns; where the teacher lies, and what is kept of it, does not."""
        return {name: value for name, value in asdict(self).items() if name not in ("teacher", "cache_gb")}


class DistillTask:
    """(1 - weight) of what labels say of an answer, and weight of its distance to the teacher's.

    A batch has "image", whatever `supervised` needs, "teacher" (batch, channel, *spatial), "known" (batch, *spatial),
    where the teacher's answer counts, and "labelled" (batch), which items have labels: one at least. The others take
    part with the teacher's term alone. With a weight of 0, and labels for all, this is the supervised task.
    """

    def __init__(self, module: nn.Module, supervised: Losses, distance: Distance, weight: float) -> None:
        self.module, self.supervised, self.distance, self.weight = module, supervised, distance, weight

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch."""
        return self.losses(self.module(batch["image"]), batch)

    def losses(self, answer: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of the student's answer to a batch."""
        answer, labelled = answer.float(), batch["labelled"]
        assert labelled.any(), "labelled and other items take turns"
        having = {name: value[labelled] if value.ndim else value for name, value in batch.items()}
        told = self.supervised(answer[labelled], having)
        taught = self.distance(answer, batch["teacher"].float(), batch["known"])
        return {**told, "loss": (1 - self.weight) * told["loss"] + self.weight * taught, "teacher": taught}


def squared(answer: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
    """Return the mean squared difference of maps (batch, channel, *spatial) over the places that are known."""
    apart = functional.mse_loss(answer, teacher, reduction="none").mean(1)
    return (apart * known).sum() / known.sum().clamp(min=1)


def of_classes(how: Distilling) -> Distance:
    """Return the distance between logits of classes, (batch, class, *spatial), or what a softmax makes of them.

    A softmax at another temperature counts with the square of it, so that gradients are as large (Hinton 2015).
    """
    if how.on == LOGITS:
        return squared
    hot = how.temperature

    def softened(answer: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
        return hot**2 * squared((answer / hot).softmax(1), (teacher / hot).softmax(1), known)

    return softened


# Hints.


class HintTask:
    """A distillation in which features of the student, taken to as many channels, also come near the teacher's.

    The teacher is asked about every batch, which its kept answers spare otherwise. What takes the student's features
    there, a convolution of one place, is trained and then forgotten (FitNets, arXiv 1412.6550). `example` is an image.
    """

    def __init__(self, task: DistillTask, student: Seeing, teacher: Seeing, weight: float, example: Tensor) -> None:
        self.task, self.student, self.teacher, self.weight = task, student, teacher, weight
        with torch.no_grad():
            own, shown = student(example)[1], teacher(example)[1]
        self.module = nn.ModuleDict({STUDENT: task.module, HINT: pointwise(own.shape[1], shown.shape[1], own.ndim - 2)})

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch."""
        answer, own = self.student(batch["image"])
        with torch.no_grad():
            _, shown = self.teacher(batch["image"])
        hint = at_grid(self.module[HINT](own), shown.shape[2:])
        apart, losses = functional.mse_loss(hint.float(), shown.float()), self.task.losses(answer, batch)
        return {**losses, "loss": losses["loss"] + self.weight * apart, "features": apart}


def seen(network: nn.Module, layer: str, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a network answers, and what one of its layers, by name, makes on the way."""
    if layer not in dict(network.named_modules()):
        raise ValueError(
            f"there is no layer {layer!r} to compare in a {type(network).__name__}; hints names one of the "
            "student, then one of the teacher"
        )
    made: list[Tensor] = []
    hook = network.get_submodule(layer).register_forward_hook(lambda module, given, answer: made.append(answer))
    try:
        answer = network(image)
    finally:
        hook.remove()
    return answer, made[-1]


def at_grid(features: Tensor, shape: torch.Size) -> Tensor:
    """Return features (batch, channel, *grid) on another grid over the same box."""
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(shape)]
    return functional.interpolate(features, size=shape, mode=mode, align_corners=False)


def pointwise(inputs: int, outputs: int, ndim: int) -> nn.Module:
    """Return a convolution of single places."""
    return {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[ndim](inputs, outputs, 1)


def of_student(mean: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what the student has learned, of what was trained with or without hints."""
    own = {name: value for name, value in mean.items() if not name.startswith(f"{HINT}.")}
    return {name.removeprefix(f"{STUDENT}."): value for name, value in own.items()}
