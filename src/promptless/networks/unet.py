"""The prompt generator's U-Net (SAC, arXiv 2401.13220, section 3: an auxiliary network on the raw image)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Features(NamedTuple):
    """What one pass of the U-Net over an image yields."""

    maps: Tensor  # (batch, outputs, *spatial): logits at full resolution
    embedding: Tensor  # (batch, channel, *spatial / 4): decoder features at stride 4, without a fold


class UNet(nn.Module):
    """A U-Net with additive skips, convolution + batch norm + ReLU throughout.

    `widths` are the channels per level, from full resolution downwards; each level halves the grid.
    Spatial sizes must be multiples of `stride`. Nothing in it looks at the whole image, so that in
    evaluation mode the result at a pixel depends on its surroundings alone. With `fold` the first level
    is on a grid that is so much coarser than the image, and the head answers for each pixel of a cell.
    """

    def __init__(self, widths: tuple[int, ...], outputs: int, channels: int = 3, fold: int = 1) -> None:
        super().__init__()
        self.widths, self.fold, self.stride = widths, fold, fold * 2 ** (len(widths) - 1)
        wide, fine = widths[1:], widths[:-1]
        self.stem = nn.Sequential(folding(channels, widths[0], fold), convolution(widths[0], widths[0]))
        self.down = nn.ModuleList(
            nn.Sequential(convolution(a, b, stride=2), convolution(b, b)) for a, b in zip(fine, wide, strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(b, a, 1, bias=False) for a, b in zip(fine, wide, strict=True))
        self.up = nn.ModuleList(nn.Sequential(convolution(a, a), convolution(a, a)) for a in fine)
        self.head = nn.Conv2d(widths[0], outputs * fold**2, 1)

    def forward(self, image: Tensor) -> Features:
        """Return maps and stride-4 features of `image` (batch, channel, *spatial)."""
        levels = [self.stem(image)]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = levels.pop()
        embedding = x
        for level in reversed(range(len(levels))):
            x = functional.interpolate(self.lateral[level](x), scale_factor=2.0, mode="nearest")
            x = self.up[level](x + levels[level])
            if level == 2:
                embedding = x
        return Features(functional.pixel_shuffle(self.head(x), self.fold), embedding)


def fitted_heads(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state for a network of the state `own` that yields another number of maps.

    The first maps are those of `state`; what it lacks stays as in `own`.
    """
    fitted = dict(state)
    for name, value in state.items():
        if name.endswith(("head.weight", "head.bias")) and name in own and len(value) != len(own[name]):
            n = min(len(value), len(own[name]))
            fitted[name] = torch.cat([value[:n], own[name][n:]])
    return fitted


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    """Return a 3x3 convolution with batch norm and ReLU."""
    return normed(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), outputs)


def folding(inputs: int, outputs: int, fold: int) -> nn.Module:
    """Return a convolution of 3x3 cells of `fold` x `fold` pixels, one answer per cell, with batch norm and ReLU."""
    return normed(nn.Conv2d(inputs, outputs, 3 * fold, fold, padding=fold, bias=False), outputs)


def normed(convolution: nn.Module, outputs: int) -> nn.Module:
    """Return a convolution with batch norm and ReLU."""
    return nn.Sequential(
        convolution,
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
