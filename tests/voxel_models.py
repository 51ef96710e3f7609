"""Models on volumes without weights, made by hand."""

from __future__ import annotations

import numpy as np

from promptless.config import Intensity, Kind, ModelConfig, VolumeConfig
from promptless.image import Image
from promptless.model import Room, VoxelAnswer

BRIGHTNESS = Intensity("window", low=-1000, high=3000, mean=0, std=1)
"""Leaves most values as they are."""


def config(classes=("dim", "bright"), name="null_volume", **volume):
    """Return the configuration of a model on volumes."""
    chosen = {"crop": (8, 8, 8), "intensity": BRIGHTNESS, **volume}
    return ModelConfig(
        name, "1", "CC0-1.0", Kind(axes="zyx"), output="voxels", volume=VolumeConfig(**chosen), classes=classes
    )


class NullVoxelModel:
    """A model without weights: the class of a voxel grows with its value, every 100 one more.

    Each voxel's answer depends on that voxel alone, so crops must not matter at all.
    """

    def __init__(self, config=None, sure=10.0, **volume):
        self.config, self.sure, self.asked = config or globals()["config"](**volume), sure, []

    def logits(self, crops):
        self.asked.append(crops.shape)
        levels = 100 * np.arange(1 + len(self.config.classes), dtype=np.float32)
        return (-self.sure * np.abs(crops - levels[:, None, None, None]) / 100).astype(np.float32)


class PromptedNull(NullVoxelModel):
    """`NullVoxelModel` whose dense prompt is as long as the crop is bright, in cells of two voxels."""

    def answer(self, crops):
        n, _, *sides = crops.shape
        cells = crops.reshape(n, *(k for side in sides for k in (side // 2, 2))).mean(axis=(2, 4, 6))
        return VoxelAnswer(self.logits(crops), cells)


class PointedNull(PromptedNull):
    """`PromptedNull` that believes a user: what lies around a point, a voxel far, has the class of the point."""

    def corrected(self, crops, points):
        logits, prompt = self.answer(crops)
        for place, label in zip(points.coords, points.labels, strict=True):
            near = tuple(slice(max(0, round(float(p)) - 1), round(float(p)) + 2) for p in place)
            logits[0, :, *near] = -self.sure
            logits[0, label, *near] = self.sure
        return VoxelAnswer(logits, prompt)


class Seeing(NullVoxelModel):
    """A model whose answer depends on all of the crop: a local mean, and where in the crop a voxel lies."""

    def logits(self, crops):
        ramp = np.linspace(0, 50, crops.shape[-3], dtype=np.float32)[:, None, None]
        return super().logits(crops + crops.mean() / 3 + ramp)


class Hungry(NullVoxelModel):
    """A model whose crops take `each` bytes per voxel."""

    def __init__(self, each, free=None, **volume):
        super().__init__(**volume)
        self.each, self.free = each, free

    def room(self, crop):
        return Room(self.each * int(np.prod(crop)), self.free)


def blocks(shape=(20, 24, 28), spacing=(2.0, 1.0, 1.0), seed=0):
    """Return a scan (z, y, x) of blocks of three brightnesses, and the class of each voxel."""
    labels = np.zeros(shape, np.uint8)
    z, y, x = (n // 4 for n in shape)
    labels[z : 3 * z, y : 2 * y, x : 3 * x] = 1
    labels[z : 2 * z, 2 * y + 1 : 3 * y + 2, x : 2 * x] = 2
    noise = np.random.default_rng(seed).integers(-20, 20, shape)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = spacing
    affine[3, 3] = 1
    return Image((100 * labels + noise).astype(np.int16)[None], spacing, "mm", affine), labels
