"""The prompt generator in 3D: a plain U-Net from features to a dense prompt (AutoProSAM, arXiv 2308.14936)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptless.networks.volume.layers import convolution, corner_to_corner

EPS = 1e-4
"""Of the instance norms, as in the code that the published U-Net is taken from."""
SIGMA = 1.0
"""How far a user's point reaches, in cells of the features."""
GAIN = 128.0
"""How bright a point is to the first convolution. Its weights start at zero, beside features that they must stand out
from: with 1 or 16 clicks were not heeded after hundreds of steps (LOG.md)."""


class Points(NamedTuple):
    """A user's points. A weight of 0 makes a point count for nothing, so items of a batch may have fewer."""

    coords: Tensor  # (batch, n, ndim): voxels of the crop, array order
    weights: Tensor  # (batch, n, channel): 1 for it, -1 against it; of clicks 1 for a class, see `of_classes`


def of_classes(coords: Tensor, classes: Tensor, channels: int) -> Points:
    """Return points (batch, n, ndim) with a channel for each class, the background's being 0; -1 is of none."""
    return Points(coords, (classes[..., None] == torch.arange(channels, device=classes.device)).to(coords))


class DenseGenerator(nn.Module):
    """A 3D U-Net: features (batch, channel, *grid) to a dense prompt of the same shape; any grid.

    Each level halves the grid, rounding up. The first convolution has neither norm nor ReLU, as in the public code.
    `points` is the number of channels that a user's points have. They are inputs beside the features, whose weights
    start at zero: before they are trained points change nothing, and without points they never do.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], points: int = 0) -> None:
        super().__init__()
        wide, fine = widths[1:], widths[:-1]
        self.first = nn.Conv3d(channels, widths[0], 3, padding=1, bias=False)
        self.points = nn.Conv3d(points, widths[0], 3, padding=1, bias=False) if points else None
        if self.points is not None:
            nn.init.zeros_(self.points.weight)
        self.stem = convolution(widths[0], widths[0], EPS)
        self.down = nn.ModuleList(double(a, b) for a, b in zip(fine, wide, strict=True))
        self.up = nn.ModuleList(double(a + b, a) for a, b in zip(fine, wide, strict=True))
        self.head = nn.Conv3d(widths[0], channels, 1)

    def forward(self, features: Tensor, spots: Tensor | None = None) -> Tensor:
        """Return the prompt; `spots` (batch, points, *grid) is a user's points drawn on the features' grid."""
        x = self.first(features)
        if spots is not None:
            if self.points is None:
                raise ValueError("this model was made without user points; make one with `points` above 0")
            x = x + self.points(GAIN * spots)
        levels = [self.stem(x)]
        for down in self.down:
            levels.append(down(functional.max_pool3d(levels[-1], 2, ceil_mode=True)))
        x = levels.pop()
        for up in reversed(self.up):
            skip = levels.pop()
            x = up(torch.cat([skip, corner_to_corner(x, tuple(skip.shape[2:]))], dim=1))
        prompt: Tensor = self.head(x)
        return prompt


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Return two convolutions of a level."""
    return nn.Sequential(convolution(inputs, outputs, EPS), convolution(outputs, outputs, EPS))


def spots(points: Points, grid: tuple[int, ...], stride: int, sigma: float = SIGMA) -> Tensor:
    """Draw points as Gaussian spots (batch, channel, *grid) on a grid of `stride` voxels per cell; any rank.

    `sigma` is in cells. Where spots meet they add up.
    """
    drawn = points.weights.new_ones(points.coords.shape[:2])  # (batch, n), then an axis more at a time
    for axis, n in enumerate(grid):
        centres = (points.coords[..., axis, None] + 0.5) / stride - 0.5
        distance = torch.arange(n, device=centres.device) - centres  # (batch, n, cells)
        profile = torch.exp(-(distance**2) / (2 * sigma**2))
        drawn = drawn[..., None] * profile.reshape(*profile.shape[:2], *[1] * axis, n)
    return torch.einsum("bn...,bnc->bc...", drawn, points.weights)
