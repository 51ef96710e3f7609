"""Multi-level aggregation (MLAM): embeddings of several depths and the crop itself to class logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptless.networks.volume.layers import convolution, corner_to_corner, grid_of, replicated


class Aggregation(nn.Module):
    """A head for each of `levels` embeddings, all at twice their grid, beside the crop; then a classifier.

    At published sizes four heads of 128 channels and the crop make 513.
    """

    def __init__(self, channels: int, levels: int, head: int, classes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.heads = nn.ModuleList(
            nn.Sequential(convolution(channels, head), convolution(head, head)) for _ in range(levels)
        )
        self.classifier = nn.Sequential(
            convolution(levels * head + 1, head), nn.Conv3d(head, classes, 3, padding=1, bias=False)
        )

    def forward(self, embeddings: Sequence[Tensor], crop: Tensor) -> Tensor:
        """Return logits (batch, classes, *spatial) from embeddings (batch, channel, *spatial / stride) of a crop."""
        spatial = crop.shape[2:]
        cells = grid_of(spatial, self.stride)
        whole, finer = (tuple(times * n for n in cells) for times in (self.stride, 2))
        seen = replicated(crop, (0,) * len(cells), tuple(a - b for a, b in zip(whole, spatial, strict=True)))
        levels = [
            corner_to_corner(head(embedding), finer) for head, embedding in zip(self.heads, embeddings, strict=True)
        ]
        skip = functional.interpolate(seen, size=finer, mode="trilinear", align_corners=False)
        logits = corner_to_corner(self.classifier(torch.cat([*levels, skip], dim=1)), whole)
        return logits[(slice(None), slice(None), *(slice(n) for n in spatial))]
