"""A small 3D U-Net that is quick on a processor: it halves its grid at once, and one linear layer sees all voxels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptless.networks.volume.layers import convolution

STRIDE = 2
"""Voxels per side of a cell of the first level."""


@dataclass(frozen=True)
class CompactSizes:
    """Channels of each level, of cells of 2, 4, 8, ... voxels."""

    widths: tuple[int, ...] = (16, 32, 64, 64)

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"widths is {list(self.widths)}; it must be the channels of two levels or more")

    @property
    def multiple(self) -> int:
        """What the lengths of crops are multiples of."""
        return int(STRIDE * 2 ** (len(self.widths) - 1))


class CompactUnet(nn.Module):
    """Logits (batch, classes, *spatial) of crops (batch, 1, *spatial), whose lengths are multiples of `multiple`.

    Cells overlap by a voxel on each side where they are made, and where they become logits of voxels again.
    """

    def __init__(self, sizes: CompactSizes, classes: int) -> None:
        super().__init__()
        fine, wide = sizes.widths[:-1], sizes.widths[1:]
        self.stem = nn.Conv3d(1, sizes.widths[0], 2 * STRIDE, STRIDE, STRIDE // 2)
        self.first = convolution(sizes.widths[0], sizes.widths[0])
        self.down = nn.ModuleList(level(a, b) for a, b in zip(fine, wide, strict=True))
        self.up = nn.ModuleList(convolution(a + b, a) for a, b in zip(fine, wide, strict=True))
        self.head = nn.ConvTranspose3d(sizes.widths[0], classes, 2 * STRIDE, STRIDE, STRIDE // 2)

    def forward(self, crop: Tensor) -> Tensor:
        """Return logits of the crop's voxels."""
        levels = [self.first(self.stem(crop))]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up in reversed(self.up):
            finer = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = up(torch.cat([levels.pop(), finer], dim=1))
        logits: Tensor = self.head(x)
        return logits


def level(inputs: int, outputs: int) -> nn.Sequential:
    """Return what halves the grid: the largest of eight cells, then two convolutions."""
    return nn.Sequential(nn.MaxPool3d(2), convolution(inputs, outputs), convolution(outputs, outputs))
