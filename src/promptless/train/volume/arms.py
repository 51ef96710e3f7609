"""Ablations of recipes for volumes: how their arms are trained, asked and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from promptless import evaluation
from promptless.data import prepared, volumes
from promptless.data.volumes import VolumeSample
from promptless.evaluation import Evaluation
from promptless.io.label_files import LabelImage
from promptless.model import Model, VoxelModel
from promptless.pipeline import segment
from promptless.runtimes.torch import TorchVoxelModel
from promptless.train.arms import DECODED, MODEL, RECIPE, Craft, Labels, Words
from promptless.train.keeping import CANDIDATE, RUN, install
from promptless.train.recipes import data_folder, split_in
from promptless.train.volume import recipe as recipes
from promptless.train.volume import training
from promptless.train.volume.measuring import RULE, TOLERANCE
from promptless.voxels import of_volume


def ids(recipe: Mapping[str, Any], folder: Path) -> Mapping[str, list[str]]:
    """Return the split that lies with a recipe's data."""
    return split_in(data_folder(recipe["data"]) / prepared.SPLIT)


def train(place: Path, masks: str) -> int:
    """Train what the recipe of an arm says, or go on; return how many parameters do.

    The scans as the model saw them are not kept.
    """
    folder = place / MODEL
    run = folder / RUN
    learned = training.learn(recipes.read(place / RECIPE), folder, resume=run.is_dir())
    assert learned is not None
    install(run / CANDIDATE, folder)
    rmtree(run / training.CASES)
    rmtree(run / recipes.UNLABELLED, ignore_errors=True)
    return learned.n_trainable


def samples(recipe: Mapping[str, Any], names: Sequence[str]) -> list[VolumeSample]:
    """Return scans with their labels."""
    return list(volumes.read(data_folder(recipe["data"]), names))


def segmented(sample: VolumeSample, model: Model | VoxelModel, masks: str) -> Labels:
    """Return the class of every voxel of a scan, as `segment` gives it."""
    assert isinstance(model, VoxelModel)
    return segment(sample.image, model).labels


def judged(
    recipe: Mapping[str, Any], samples: Sequence[VolumeSample], predicted: Mapping[str, Labels], rules: tuple[str, ...]
) -> Evaluation:
    """Count what the rules need; distances are in mm."""
    truth = {sample.id: LabelImage(sample.labels, sample.image.spacing) for sample in samples}
    classes = recipe["model"]["classes"]
    return evaluation.evaluate(truth, dict(predicted), rules, tolerance=TOLERANCE, classes=classes)


def operations(name: str | Path, model: Model | VoxelModel) -> float:
    """Return the floating-point operations of an answer to one of the model's own crops; nothing is computed."""
    assert isinstance(model, TorchVoxelModel)
    network = model.network
    weights = {name: value.to("meta") for name, value in (*network.named_parameters(), *network.named_buffers())}
    crop = torch.empty(1, 1, *of_volume(model.config).crop, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        functional_call(network, weights, (crop,))
    return float(counter.get_total_flops())


VOLUMES = Craft(
    rules=(RULE,),
    words=Words("scan", "of one crop"),
    phases=(recipes.TRAIN,),
    masks=(DECODED,),
    says={},
    ids=ids,
    train=train,
    samples=samples,
    segment=segmented,
    judge=judged,
    operations=operations,
)
