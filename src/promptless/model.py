"""What a model is to the steps that use it: functions on arrays, whichever runtime computes them."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from promptless.config import ModelConfig
from promptless.image import Shape
from promptless.prompts import Points

Array = NDArray[np.float32]


class ImageEmbedding(NamedTuple):
    """What a model has seen in an image (channel, *spatial) whose sides are multiples of `config.pad`."""

    features: Array  # (channel, *spatial / stride); of a semantic model with those of the padding, where it pads
    maps: Array  # (`config.maps`, *spatial): the prompt generator's logits: foreground, interior distance, classes


class Decoded(NamedTuple):
    """What a model answers to prompts: output 0 is the single mask, the others are candidates."""

    low_res_logits: Array  # (n, 1 + multimask, *window)
    iou_predictions: Array  # (n, 1 + multimask)


class Model(Protocol):
    """A promptable model with its prompt generator."""

    @property
    def config(self) -> ModelConfig:
        """What the model is for, and its sizes and thresholds."""

    def encode(self, image: Array) -> ImageEmbedding:
        """Look at an image (channel, *spatial) in [0, 1]."""

    def decode(
        self,
        windows: Array,
        point_coords: Array,
        point_labels: NDArray[np.int64],
        mask_logits: Array,
        has_mask: NDArray[np.bool_],
    ) -> Decoded:
        """Answer prompts on windows of an embedding; shapes as in `promptless.networks.sam.PromptDecoder`."""


class Undecoding:
    """What decodes nothing: a model that finds its objects in one pass, and leaves edited prompts to its teacher."""

    config: ModelConfig

    def decode(
        self,
        windows: Array,
        point_coords: Array,
        point_labels: NDArray[np.int64],
        mask_logits: Array,
        has_mask: NDArray[np.bool_],
    ) -> Decoded:
        """Refuse; see `promptless.loading.teacher_of`."""
        raise TypeError(f"{self.config.name} finds its objects in one pass and decodes no prompts; its teacher does")


def undecoded(maps: Array) -> ImageEmbedding:
    """Return what a model that decodes nothing has seen: maps (map, *spatial), and no features."""
    return ImageEmbedding(np.zeros((0, *maps.shape[1:]), np.float32), maps)


@runtime_checkable
class SemanticModel(Model, Protocol):
    """A model that can also answer with one mask of everything it has seen (SAM and SAC, as published)."""

    def whole(self, features: Array, point_coords: Array, point_labels: NDArray[np.int64]) -> Array:
        """Return the logits (*grid, four per cell and axis) of the one mask that one set of points yields.

        Beyond the image they are of what the model padded it with.
        `features` (channel, *grid) is an embedding, `point_coords` (tokens, ndim) are in pixels of the image that
        it is of, `point_labels` (tokens,) 1, 0, or -1 for padding.
        """


@runtime_checkable
class VoxelModel(Protocol):
    """A model that classifies every voxel of a scan, crop by crop."""

    @property
    def config(self) -> ModelConfig:
        """What the model is for, and how it looks at a scan (`config.volume`); its classes, the background left out."""

    def logits(self, crops: Array) -> Array:
        """Return the logits (n, 1 + classes, z, y, x) of crops (n, 1, z, y, x) with the intensities of `config`."""


AnyModel = Model | VoxelModel


class VoxelAnswer(NamedTuple):
    """What a model says of crops, and what it prompted itself with."""

    logits: Array  # (n, 1 + classes, z, y, x)
    prompt: Array  # (n, *spatial / stride): the length of the dense prompt at each of its cells


@runtime_checkable
class PromptedVoxelModel(VoxelModel, Protocol):
    """A model on volumes that can also show where its prompt is."""

    def answer(self, crops: Array) -> VoxelAnswer:
        """Return the logits of crops as `logits` does, and the prompt that led to them."""


@runtime_checkable
class PointedVoxelModel(PromptedVoxelModel, Protocol):
    """A model on volumes that a user can tell what is where."""

    def corrected(self, crops: Array, points: Points) -> VoxelAnswer:
        """Return what `answer` does of one crop, told the classes at some `points` (voxels of it)."""


class Room(NamedTuple):
    """Bytes of memory: how many a crop takes, and how many a device has free; None where that is the computer's own."""

    needed: int
    free: int | None = None


@runtime_checkable
class MeasuredVoxelModel(VoxelModel, Protocol):
    """A model on volumes that can foresee what memory a crop takes."""

    def room(self, crop: Shape) -> Room:
        """Return about what memory `logits` takes for one crop of so many voxels."""
