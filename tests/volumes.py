"""Small networks on volumes, and volumes to put into them."""

from __future__ import annotations

import torch
from torch.nn import functional

from adapting import published, small_base
from promptless.config import VOXELS, ModelConfig, VolumeConfig
from promptless.networks.volume.autoprosam import AutoProSam, AutoProSamConfig

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
