from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from made_up import discs, picture
from promptless.config import Kind, ModelConfig
from promptless.data.sample import Sample
from promptless.loading import load
from promptless.networks.adapted import files
from promptless.train.adapters import RUN, fitted, train
from promptless.train.recipes import read

PHASE = "\npatch = 64\nsteps = 2\nbatch = 1\nwarmup = 1\ncheckpoint_every = 1\n"
TINY = f"""
seed = 3
[adapter]
backbone = "nuclei"
rank = 2
[generator]{PHASE}
[decoder]{PHASE}per_image = 2
[joint]{PHASE}per_image = 2
[model]
name = "mine"
version = "1"
licence = "unknown"
"""


def prepared_folder(folder, n=4, mpp=0.25):
    """Make a prepared data set of `n` images: one for dev, one for test where there are more than two."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    names = "abcdefgh"[:n]
    for i, name in enumerate(names):
        labels = discs((96, 96), [(24, 24 + i, 11), (66, 60, 12), (30, 70, 10)])
        PillowImage.fromarray(picture(labels)).save(folder / "images" / f"{name}.png")
        PillowImage.fromarray(labels.astype(np.uint16)).save(folder / "masks" / f"{name}.png")
    entries = [{"id": name, "category": "grey", "mpp": mpp} for name in names]
    (folder / "index.json").write_text(json.dumps(entries))
    parts = {"train": list(names[:-2]) or [names[0]], "dev": [names[-1]], "test": [names[-2]] if n > 2 else []}
    (folder / "split.json").write_text(json.dumps(parts))
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "tiny.toml").write_text(TINY)
    return folder / "tiny.toml"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepared_folder(tmp_path_factory.mktemp("data") / "cells")


@pytest.fixture(scope="module")
def adapter(recipe, data, tmp_path_factory):
    """An adapter that was trained for a few steps."""
    folder = tmp_path_factory.mktemp("adapters") / "mine"
    train(read(recipe, data=data), folder)
    return folder


def test_a_recipe_with_a_backbone_and_data_yields_an_adapter(adapter, data):
    config = ModelConfig.read(adapter / "config.json")
    assert config.adapter.sha256 == load("nuclei").config.files["model.safetensors"]
    assert (config.adapter.backbone, config.adapter.rank, config.window.stride) == ("nuclei", 2, 4)
    assert set(config.files) == set(files(config.adapter))
    assert load(adapter, threads=1).encode(np.zeros((3, 128, 128), np.float32)).maps.shape == (2, 128, 128)
    assert all((adapter / RUN / phase / "log.csv").is_file() for phase in ("generator", "decoder", "joint"))


def test_checkpoints_hold_what_trains(adapter):
    parts = torch.load(adapter / RUN / "decoder" / "checkpoint.pt", weights_only=True)
    names = parts["mean"].keys()
    assert names == parts["module"].keys()
    assert all(".lora_" in name or "mask_decoder" in name for name in names)
    assert sum(value.numel() for value in parts["mean"].values()) < 1e6


def test_the_images_say_what_the_model_is_for(data):
    labels = discs((60, 60), [(15, 15, 5), (40, 40, 10)])
    samples = [Sample(str(mpp), "grey", picture(labels)[None], labels, mpp) for mpp in (0.2, 0.3, None)]
    kind = fitted(Kind(), frozenset(), samples)
    assert kind.pixel_size == pytest.approx(0.25)
    assert 9 < kind.object_px[0] < kind.object_px[1] < 22
    assert fitted(Kind(), frozenset({"pixel_size", "object_px"}), samples) == Kind()
    assert fitted(Kind(), frozenset(), samples[2:]).pixel_size == Kind().pixel_size
