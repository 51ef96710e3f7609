"""What a model on volumes learns from: labels alone, or labels and a teacher's answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from promptless import loading
from promptless.data.volumes import SUFFIX
from promptless.io import scans
from promptless.io.hashes import sha256
from promptless.model import VoxelModel
from promptless.networks.volume.autoprosam import AXES, AutoProSam
from promptless.networks.volume.compact import CompactUnet
from promptless.networks.volume.rivals import AnySize
from promptless.registry import model_hash
from promptless.runtimes.torch import TorchVoxelModel
from promptless.train import answers, distill
from promptless.train.answers import Answer, Answers
from promptless.train.distill import Distilling, DistillTask, HintTask
from promptless.train.loop import Batch, Task
from promptless.train.volume import cases, teachers
from promptless.train.volume.cases import Case, Told
from promptless.train.volume.clicks import ClickTask
from promptless.train.volume.crops import Beside, Crops, nothing, reached
from promptless.train.volume.loss import UNKNOWN, VoxelTask, dice_and_entropy
from promptless.train.volume.recipe import UNLABELLED, VolumeRecipe
from promptless.train.volume.variety import VARIETIES, Matrix


@dataclass(frozen=True, eq=False)
class Taught(Case):
    """A case with what its teacher answers: logits (class, z, y, x). Without labels of its own it has the teacher's."""

    answer: Answer


def begun(
    recipe: VolumeRecipe, network: nn.Module, seen: Sequence[Case], run: Path, device: str, tell: Told
) -> tuple[Task, Dataset[Batch]]:
    """Return the task of a recipe, and its crops of labelled cases, and of what the teacher alone speaks of."""
    if recipe.distill is None:
        return labelled_task(recipe, network), crops_of(recipe, seen)
    teacher = loading.load(recipe.distill.teacher, device=device)
    assert isinstance(teacher, VoxelModel), "the recipe was checked"
    kept = Answers(answers.place(), recipe.distill.cache_gb)
    parts = list(taught(seen, teacher, kept, tell)), list(alone(recipe, teacher, kept, run, tell))
    turns = Turns([crops_of(recipe, part, turn, answered) for turn, part in enumerate(parts) if part])
    return task_of(recipe.distill, network, teacher, turns), turns


def labelled_task(recipe: VolumeRecipe, network: nn.Module) -> Task:
    """Return the task of a recipe without a teacher: labels alone, and clicks where the network can be clicked at."""
    if recipe.clicks is None:
        return VoxelTask(network)
    assert isinstance(network, AutoProSam), "the recipe was checked"
    return ClickTask(network, recipe.clicks, recipe.seed)


def crops_of(recipe: VolumeRecipe, seen: Sequence[Case], turn: int = 0, beside: Beside = nothing) -> Crops:
    """Return crops of cases; those of another turn are drawn otherwise."""
    volume = recipe.model.volume
    assert volume is not None
    return Crops(seen, volume.crop, recipe.seed + turn, VARIETIES[recipe.variety], recipe.mirrored, beside)


# What the teacher says.


def taught(seen: Sequence[Case], teacher: VoxelModel, kept: Answers, tell: Told) -> Iterator[Taught]:
    """Yield cases with what a teacher answers to them."""
    for i, case in enumerate(seen):
        tell(i / len(seen), f"asking {teacher.config.name} about {case.id}")
        yield Taught(case.id, case.image, case.labels, case.foreground, asked(case.image, teacher, kept))


def alone(recipe: VolumeRecipe, teacher: VoxelModel, kept: Answers, run: Path, tell: Told) -> Iterator[Taught]:
    """Yield the scans without labels as cases that have the teacher's; crops lie around what it found."""
    volume, paths = recipe.model.volume, recipe.scans
    assert volume is not None
    names = [path.name.removesuffix(SUFFIX) for path in paths]
    if len(set(names)) < len(names):
        raise ValueError(f"two scans without labels go by one name, such as {max(names, key=names.count)}; rename one")
    said = {**cases.said(volume), "labels of": model_hash(teacher.config)}
    for i, (name, path) in enumerate(zip(names, paths, strict=True)):
        tell(i / len(paths), f"asking {teacher.config.name} about {name}, which has no labels")

        def make(name: str = name, path: Path = path) -> Case:
            image = cases.image_at(scans.read(path), volume)
            return cases.of(name, image, classes(asked(image, teacher, kept)))

        case = cases.kept(run / UNLABELLED / name, {**said, "sha256": sha256(path)}, make)
        yield Taught(case.id, case.image, case.labels, case.foreground, asked(case.image, teacher, kept))


def asked(image: NDArray[np.float32], teacher: VoxelModel, kept: Answers) -> Answer:
    """Return what a teacher answers to a scan as it sees it, or has answered before."""
    return kept.of(model_hash(teacher.config), image, partial(teachers.asked, teacher, image))


def classes(answer: Answer) -> NDArray[np.integer]:
    """Return the likeliest class of each voxel."""
    labels: NDArray[np.integer] = answer.argmax(0).astype(np.uint8 if len(answer) <= 256 else np.uint16)
    return labels


# Crops.


class Turns(Dataset[Batch]):
    """Crops of several sources by turns; the first source has labels, the others have none."""

    def __init__(self, sources: Sequence[Crops]) -> None:
        self.sources = sources

    def __getitem__(self, index: int) -> Batch:
        place, turn = divmod(index, len(self.sources))
        item = self.sources[turn][place]
        known, labelled = item["labels"] != UNKNOWN, torch.tensor(turn == 0)
        return {**item, "known": known, "labelled": labelled, "index": torch.tensor(index)}

    def names(self, indices: Sequence[int]) -> list[str]:
        """Return the ids of the cases that items are of."""
        n = len(self.sources)
        return [name for index in indices for name in self.sources[index % n].names([index // n])]


def answered(case: Case, middle: NDArray[np.float64], matrix: Matrix, crop: tuple[int, ...]) -> Batch:
    """Return the teacher's answer to a crop: its answer to the scan, cut and turned as the scan is."""
    assert isinstance(case, Taught)
    part, grid = reached(case.labels.shape, middle, matrix, crop)
    answer = torch.from_numpy(np.array(case.answer[(slice(None), *part)], np.float32))
    return {"teacher": functional.grid_sample(answer[None], grid, "bilinear", "border", align_corners=False)[0]}


# Tasks.


def task_of(how: Distilling, network: nn.Module, teacher: VoxelModel, crops: Turns) -> Task:
    """Return the task of a student, with hints where the recipe wants them."""
    task = DistillTask(network, of_labels, distill.of_classes(how), how.weight)
    if not how.features:
        return task
    if not isinstance(teacher, TorchVoxelModel):
        raise ValueError(
            f"features of {teacher.config.name} cannot be looked at: it runs on onnxruntime; take its folder with "
            "weights for torch, or leave features out"
        )
    own, its = how.hints or (usual(network), usual(teacher.network))
    with torch.random.fork_rng(devices=[]):
        example = crops[0]["image"][None]
        student, shown = (partial(watched, net, name) for net, name in ((network, own), (teacher.network, its)))
        return HintTask(task, student, shown, how.features, example)


def of_labels(answer: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Return what logits are worth against the labels of a batch."""
    return dice_and_entropy(answer, batch["labels"])


def watched(network: nn.Module, layer: str, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of crops, and the features of a layer, both along z, y, x and where the crops are."""
    answer, features = distill.seen(network, layer, image.to(next(network.parameters()).device))
    if isinstance(network, AutoProSam):
        features = features.movedim(-1, AXES.index(network.config.slices) - len(AXES))
    return answer.to(image.device), features.to(image.device)


def usual(network: nn.Module) -> str:
    """Return the layer whose features are compared unless the recipe names one: the deepest."""
    if isinstance(network, AutoProSam):
        return f"encoder.necks.{len(network.encoder.necks) - 1}"
    assert isinstance(network, AnySize)
    if isinstance(network.network, CompactUnet):
        return f"network.down.{len(network.network.down) - 1}"
    return f"network.{DEEPEST[type(network.network).__name__]}"


DEEPEST = {"BasicUNet": "down_4", "SwinUNETR": "encoder10"}
"""What MONAI calls the deepest level of its networks."""
