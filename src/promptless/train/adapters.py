"""From a recipe and a backbone to an adapter."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.measure import regionprops

from promptless import library
from promptless.config import Kind, ModelConfig
from promptless.data import prepared
from promptless.data.sample import Sample
from promptless.io.atomic import staging
from promptless.io.hashes import sha256
from promptless.networks import adapted
from promptless.networks.adapted import Adapted
from promptless.registry import CONFIG
from promptless.train.recipes import Progress, Recipe, follow

RUN = "run"
"""The folder within an adapter's that has its latest training: checkpoints, logs, data, report."""
SPREAD = (5, 95)
"""Percentiles of the diameters of objects between which a model says it knows objects."""


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    progress: Progress = lambda done, name: None,
) -> Path:
    """Train an adapter as a recipe says, and write it into `folder`, its checkpoints and logs into `folder`/run."""
    samples = list(prepared.read(recipe.data, recipe.ids["train"]))
    recipe, network = begun(recipe, samples)
    follow(recipe, network, samples, folder / RUN, resume=resume, progress=progress)
    write(network, recipe.model, folder)
    return folder


def begun(recipe: Recipe, samples: Sequence[Sample]) -> tuple[Recipe, Adapted]:
    """Return a recipe with what its backbone and its data say, and the network that training begins with."""
    assert recipe.adapter is not None
    backbone = library.load(recipe.adapter.backbone)
    config = replace(recipe.adapter, sha256=backbone.digest)
    model = replace(
        recipe.model,
        adapter=config,
        kind=fitted(recipe.model.kind, recipe.said, samples),
        window=replace(recipe.model.window, stride=backbone.stride),
        input_size=backbone.image_size,
    )
    recipe = replace(recipe, adapter=config, model=model)
    torch.manual_seed(recipe.seed)
    return recipe, adapted.begun(backbone, model)


def fitted(kind: Kind, said: Set[str], samples: Sequence[Sample]) -> Kind:
    """Return what a model is for, as its images show it where nothing was said: pixel size, sizes of objects."""
    sizes = [sample.mpp for sample in samples if sample.mpp is not None]
    shown: dict[str, Any] = {"object_px": span(samples)}
    if sizes:
        shown["pixel_size"] = float(np.median(sizes))
    return replace(kind, **{name: value for name, value in shown.items() if name not in said})


def span(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return between which diameters (of the disc of equal area) nearly all objects lie, in pixels."""
    diameters = [region.equivalent_diameter_area for sample in samples for region in regionprops(sample.labels)]
    low, high = np.percentile(diameters, SPREAD)
    return round(float(low), 1), round(float(high), 1)


def write(network: Adapted, model: ModelConfig, folder: Path) -> ModelConfig:
    """Write an adapter into a folder, `config.json` last, and return its configuration with the hash of each file."""
    folder.mkdir(parents=True, exist_ok=True)
    with staging(folder, CONFIG) as aside:
        names = adapted.save(network, aside)
        model = replace(model, files={name: sha256(aside / name) for name in names})
        model.write(aside / CONFIG)
        (folder / CONFIG).unlink(missing_ok=True)
        for name in (*names, CONFIG):
            (aside / name).replace(folder / name)
    return model
