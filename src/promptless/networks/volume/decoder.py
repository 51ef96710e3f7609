"""Multi-level aggregation (MLAM): embeddings of several depths and the crop itself to class logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptless.networks.volume.layers import (
    cells_to_channels,
    channels_to_cells,
    convolution,
    corner_to_corner,
    grid_of,
    replicated,
)

FINER = 2
"""How many times finer than that of the embeddings the grid is on which all is brought together."""


class Aggregation(nn.Module):
    """A head for each of `levels` embeddings, at twice their grid, beside the crop; then a classifier.

    As published, the crop is interpolated to that grid, and the logits from there to the voxels. At published sizes
    four heads of 128 channels and the crop make 513.
    """

    def __init__(self, channels: int, levels: int, head: int, classes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.heads = nn.ModuleList(
            nn.Sequential(convolution(channels, head), convolution(head, head)) for _ in range(levels)
        )
        self.classifier = self.classifying(levels * head, head, classes)

    def forward(self, embeddings: Sequence[Tensor], crop: Tensor) -> Tensor:
        """Return logits (batch, classes, *spatial) from embeddings (batch, channel, *spatial / stride) of a crop."""
        spatial = crop.shape[2:]
        cells = grid_of(spatial, self.stride)
        whole, finer = (tuple(times * n for n in cells) for times in (self.stride, FINER))
        seen = replicated(crop, (0,) * len(cells), tuple(a - b for a, b in zip(whole, spatial, strict=True)))
        levels = [
            corner_to_corner(head(embedding), finer) for head, embedding in zip(self.heads, embeddings, strict=True)
        ]
        logits = self.spread(self.classifier(torch.cat([*levels, self.skip(seen, finer)], dim=1)), whole)
        return logits[(slice(None), slice(None), *(slice(n) for n in spatial))]

    def classifying(self, inputs: int, head: int, classes: int) -> nn.Module:
        """Return what turns `inputs` channels of the levels, and those of the skip, into classes."""
        return nn.Sequential(convolution(inputs + 1, head), nn.Conv3d(head, classes, 3, padding=1, bias=False))

    def skip(self, crop: Tensor, finer: tuple[int, ...]) -> Tensor:
        """Return what a crop of whole cells adds to the levels, on their grid."""
        return functional.interpolate(crop, size=finer, mode="trilinear", align_corners=False)

    def spread(self, classified: Tensor, whole: tuple[int, ...]) -> Tensor:
        """Return what the classifier says as logits for every voxel."""
        return corner_to_corner(classified, whole)


class FineAggregation(Aggregation):
    """The same, which keeps every voxel; ours.

    The voxels of a cell become its channels, at which two convolutions look, and the classifier answers for each of
    them; so nothing is lost on the way through a coarser grid.
    """

    def __init__(self, channels: int, levels: int, head: int, classes: int, stride: int) -> None:
        if stride % FINER:
            raise ValueError(
                f'a token covers {stride} voxel(s) per axis; decoder = "fine" wants a multiple of {FINER}: '
                "take a smaller upsampling"
            )
        super().__init__(channels, levels, head, classes, stride)
        self.stem = nn.Sequential(convolution(self.factor**3, head), convolution(head, head))

    @property
    def factor(self) -> int:
        """How many voxels per side a cell of the finer grid has."""
        return self.stride // FINER

    def classifying(self, inputs: int, head: int, classes: int) -> nn.Module:
        """Return what turns `inputs` channels of the levels, and those of the stem, into classes of every voxel."""
        last = nn.Conv3d(head, classes * self.factor**3, 3, padding=1)
        return nn.Sequential(convolution(inputs + head, head), convolution(head, head), last)

    def skip(self, crop: Tensor, finer: tuple[int, ...]) -> Tensor:
        """Return what the stem makes of the crop's voxels."""
        features: Tensor = self.stem(cells_to_channels(crop, self.factor))
        return features

    def spread(self, classified: Tensor, whole: tuple[int, ...]) -> Tensor:
        """Return logits for every voxel, which the classifier gave as channels."""
        return channels_to_cells(classified, self.factor)
