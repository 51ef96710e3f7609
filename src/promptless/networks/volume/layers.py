"""What the networks on volumes are made of; any number of axes where nothing else is said."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (batch, channel, *spatial), as in SAM's neck."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with mean 0 and variance 1 at every place, scaled and shifted."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class InstanceNorm(nn.Module):
    """Instance norm without weights. A single voxel has no spread to be measured by, and is left as it is."""

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (batch, channel, *spatial) with mean 0 and variance 1 in every channel of every item."""
        return x if x[0, 0].numel() == 1 else functional.instance_norm(x, eps=self.eps)


def convolution(inputs: int, outputs: int, eps: float = 1e-5) -> nn.Sequential:
    """Return a 3x3x3 convolution with instance norm and ReLU."""
    return nn.Sequential(nn.Conv3d(inputs, outputs, 3, padding=1, bias=False), InstanceNorm(eps), nn.ReLU(inplace=True))


def corner_to_corner(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a volume (batch, channel, *spatial) at another shape; its first and last voxels stay where they are.

    The public code interpolates so between its levels. The factor of an axis is (new - 1) / (old - 1).
    """
    return functional.interpolate(x, size=shape, mode="trilinear", align_corners=True)


def shared(parameter: Tensor) -> nn.Parameter:
    """Return a frozen parameter that shares its memory with the one given."""
    return nn.Parameter(parameter.detach(), requires_grad=False)


def pooled(table: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a table (*grid, channel) averaged down, or repeated up, to another grid."""
    for axis, n in enumerate(shape):
        lines = table.movedim(axis, -1)
        table = functional.adaptive_avg_pool1d(lines.flatten(0, -2), n).reshape(*lines.shape[:-1], n).movedim(-1, axis)
    return table


def replicated(x: Tensor, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
    """Return a volume (batch, channel, *spatial) with its border voxels repeated before and after each axis."""
    widths = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
    return functional.pad(x, widths, mode="replicate") if any(widths) else x


def ceil_div(n: int, size: int) -> int:
    """Return how many parts of `size` it takes to hold `n`.

    Without negative numbers: where a network is traced for ONNX, their division is cut off towards 0.
    """
    return (n + size - 1) // size


def grid_of(shape: torch.Size | tuple[int, ...], stride: int) -> tuple[int, ...]:
    """Return how many cells of `stride` voxels cover each axis."""
    return tuple(ceil_div(n, stride) for n in shape)


def cells_to_channels(x: Tensor, factor: int) -> Tensor:
    """Return a volume (batch, channel, *spatial) whose cells of `factor` voxels per side are channels."""
    batch, channels, *spatial = x.shape
    split = x.reshape(batch, channels, *(n for size in spatial for n in (size // factor, factor)))
    cells, within = range(2, split.ndim, 2), range(3, split.ndim, 2)
    return split.permute(0, 1, *within, *cells).flatten(1, 1 + len(spatial))


def channels_to_cells(x: Tensor, factor: int) -> Tensor:
    """Return what `cells_to_channels` was given."""
    batch, channels, *cells = x.shape
    n = len(cells)
    split = x.reshape(batch, channels // factor**n, *[factor] * n, *cells)
    order = (axis for i in range(n) for axis in (2 + n + i, 2 + i))
    return split.permute(0, 1, *order).reshape(batch, -1, *(factor * size for size in cells))
