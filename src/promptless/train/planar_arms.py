"""Ablations of recipes for planes: how their arms are trained, asked and judged."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from promptless import evaluation
from promptless.data import prepared
from promptless.data.sample import Sample
from promptless.evaluation import Evaluation
from promptless.image import Image
from promptless.loading import load
from promptless.model import Model, VoxelModel
from promptless.networks.adapted import Adapted
from promptless.networks.promptable import Promptable
from promptless.pipeline import coarse, segment
from promptless.runtimes.torch import TorchModel
from promptless.train import adapters, material, recipes
from promptless.train.arms import DECODED, GENERATOR, MODEL, RECIPE, SPLIT, Craft, Labels, Words
from promptless.train.choosing import choose, choose_coarse
from promptless.train.keeping import CANDIDATE, RUN, install
from promptless.train.measuring import image_of

LOOK = 1024
"""Pixels per side of the image that operations are counted for."""


def ids(recipe: Mapping[str, Any], folder: Path) -> Mapping[str, list[str]]:
    """Return the split that lies where a recipe says, from its own folder."""
    return recipes.split_in(folder / recipe["split"])


def train(place: Path, masks: str) -> int:
    """Train what the recipe of an arm says, or go on; return how many parameters do.

    Thresholds are chosen on dev for the very masks that the arm is judged by.
    """
    folder, recipe = place / MODEL, recipes.read(place / RECIPE)
    samples = material.read(recipe.data, dict(recipe.ids))
    run = folder / RUN
    learned = adapters.learn(recipe, samples, folder, resume=run.is_dir(), choose=CHOOSERS[masks])
    assert learned is not None
    install(run / CANDIDATE, folder)
    return learned.n_trainable


def samples(recipe: Mapping[str, Any], names: Sequence[str]) -> list[Sample]:
    """Return images with their labels."""
    return list(prepared.read(recipes.data_folder(recipe.get("data", recipe["source"])), names))


def segmented(sample: Sample, model: Model | VoxelModel, masks: str) -> Labels:
    """Return a sample's label image, as a model has it."""
    assert not isinstance(model, VoxelModel)
    return SEGMENTERS[masks](image_of(sample), model)


def decoded(image: Image, model: Model) -> Labels:
    """Return the label image that `segment` gives."""
    return segment(image, model).labels


def judged(
    recipe: Mapping[str, Any], samples: Sequence[Sample], predicted: Mapping[str, Labels], rules: tuple[str, ...]
) -> Evaluation:
    """Count what the rules need."""
    return evaluation.evaluate({sample.id: sample.labels for sample in samples}, dict(predicted), rules)


def operations(name: str | Path, model: Model | VoxelModel) -> float:
    """Return the floating-point operations of one look at `LOOK` x `LOOK` pixels; nothing is computed."""
    network = model.network if isinstance(model, TorchModel) else network_of(name)
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(network).to("meta").encode(torch.empty(1, 3, LOOK, LOOK))
    return float(counter.get_total_flops())


def network_of(name: str | Path) -> Adapted | Promptable:
    """Return the network in a model, by name or folder, as torch has it."""
    model = load(name, runtime="torch")
    assert isinstance(model, TorchModel)
    return model.network


SEGMENTERS: dict[str, Callable[[Image, Model], Labels]] = {DECODED: decoded, GENERATOR: coarse}
CHOOSERS = {DECODED: choose, GENERATOR: choose_coarse}
PLANES = Craft(
    rules=("pixel", "stardist", "msa", "aji+"),
    words=Words("image", f"of one look at {LOOK} x {LOOK} pixels, prompts apart"),
    phases=tuple(recipes.TASKS),
    masks=tuple(SEGMENTERS),
    says={"split": SPLIT},
    ids=ids,
    train=train,
    samples=samples,
    segment=segmented,
    judge=judged,
    operations=operations,
)
