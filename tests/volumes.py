"""Small networks on volumes, and volumes to put into them."""

from __future__ import annotations

import json

import numpy as np
import torch
from torch.nn import functional

from adapting import published, small_base
from promptless.config import VOXELS, ModelConfig, VolumeConfig
from promptless.networks.volume.autoprosam import AutoProSam, AutoProSamConfig
from scans import nifti

SIZES = {"widths": (4, 6, 8), "head": 8, "window": 4, "depth": 8}


def autoprosam(backbone, seed=0, **config):
    """Return a small AutoProSAM with random weights."""
    torch.manual_seed(seed)
    chosen = {"classes": 3, **SIZES, **config}
    return AutoProSam(backbone, AutoProSamConfig(backbone.name, backbone.digest, **chosen))


def voxel_config(backbone=None, network="autoprosam", sizes=None, **volume):
    """Return the configuration of a small model of two classes on volumes."""
    named = {} if backbone is None else {"backbone": backbone.name, "sha256": backbone.digest, **SIZES}
    return ModelConfig(
        name="shapes",
        version="1",
        licence="CC0-1.0",
        output=VOXELS,
        volume=VolumeConfig(network=network, **{"crop": (16, 16, 16), **volume}),
        classes=("ball", "box"),
        network={**named, **(sizes or {})},
    )


def random_crop(*shape, seed=0):
    return torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(seed))


def both_backbones(model_folder, folder):
    """Return our small base and a published architecture, both tiny."""
    return {"small": small_base(model_folder), "large": published(folder)}


def dice_and_cross_entropy(logits, labels):
    """The published loss, written down plainly."""
    truth = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).float()
    chance = logits.softmax(1)
    axes = tuple(range(2, logits.ndim))
    dice = (2 * (chance * truth).sum(axes) + 1e-5) / (chance.sum(axes) + truth.sum(axes) + 1e-5)
    return 0.5 * (1 - dice.mean()) + 0.5 * functional.cross_entropy(logits, labels)


RECIPE = """
data = "shapes"
seed = 3
variety = "wide"
flips = "x"
[train]
steps = 12
batch = 2
rate = 2e-2
warmup = 2
average = 0.5
checkpoint_every = 4
look_every = 6
[model]
name = "shapes"
version = "1"
licence = "CC0-1.0"
output = "voxels"
classes = ["ball", "box"]
[model.volume]
crop = [12, 16, 14]
[model.volume.intensity]
rule = "percentiles"
low = 0.5
high = 99.5
[model.network]
backbone = "nuclei"
adapter = "mended"
start = "sam"
widths = [4, 6]
head = 6
window = 4
"""
PARTS = {"train": ["a", "b"], "dev": ["c", "d"], "test": ["e"]}


def shapes(seed, shape=(11, 18, 16)):
    """Return a scan (z, y, x) of a bright ball and a brighter box on noise, and its labels."""
    rng = np.random.default_rng(seed)
    places, labels = np.indices(shape), np.zeros(shape, np.uint8)
    middle = np.array([n // 2 for n in shape]) + rng.integers(-1, 2, 3)
    labels[((places - middle[:, None, None, None]) ** 2).sum(0) < 20] = 1
    labels[2 : 6 + seed % 2, 1:6, 2:7] = 2
    return rng.normal(100.0 * labels, 20).astype(np.float32), labels


def scan_folder(folder, parts=PARTS, spacing=(1.0, 1.0, 1.0)):
    """Return a folder of labelled scans as training reads it."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate(name for names in parts.values() for name in names):
        affine = np.diag([*reversed(spacing), 1.0])
        for what, values in zip(("images", "labels"), shapes(number), strict=True):
            nifti(folder / what / f"{name}.nii.gz", values.T, affine)
    (folder / "split.json").write_text(json.dumps(parts))
    return folder
