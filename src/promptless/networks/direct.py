"""The small U-Net that finds objects in one pass: it says at once what the assembly of objects needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from promptless.networks.checkpoints import single
from promptless.networks.unet import UNet

STEM, HEAD = "stem.0.0.weight", ("head.weight", "head.bias")
MAPS = 3
"""What the network answers for each pixel: foreground, interior distance, quality."""


@dataclass(frozen=True)
class DirectSize:
    """The sizes of the network."""

    widths: tuple[int, ...] = (32, 32, 64, 128, 256)  # channels per level
    fold: int = 2  # pixels per cell and axis of the first level

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 1 or self.fold < 1:
            raise ValueError(f"widths are {self.widths}, fold is {self.fold}; a U-Net has two levels at least, fold 1")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DirectSize:
        """Return the size that `config.json` describes."""
        return cls(**{**values, "widths": tuple(values["widths"])})


STUDENTS = {"unet2d_s": DirectSize()}
"""Students by name."""


class Direct(nn.Module):
    """A U-Net from images (batch, 3, *spatial) in [0, 1] to logits (batch, 3, *spatial)."""

    def __init__(self, size: DirectSize) -> None:
        super().__init__()
        self.size = size
        self.unet = UNet(size.widths, MAPS, fold=size.fold)

    def forward(self, image: Tensor) -> Tensor:
        """Return the maps of images whose sides are multiples of `stride`."""
        maps: Tensor = self.unet(image).maps
        return maps

    @property
    def stride(self) -> int:
        """What sides of images must be multiples of."""
        return int(self.unet.stride)

    @classmethod
    def load(cls, size: dict[str, Any], weights: Path) -> Direct:
        """Build the network that `config.json` describes and give it the weights of a file, all of them."""
        network = cls(DirectSize.from_dict(size))
        network.load_state_dict(single(load_file(weights)))
        return network


def inherited(network: Direct, generator: UNet) -> dict[str, Tensor]:
    """Return a state with which `network` answers as a prompt generator would to the image shrunk by `fold`.

    It has as many levels, of as many channels at least; what it has besides starts fresh, and unheard. Its quality
    starts as the foreground.
    """
    if len(network.size.widths) != len(generator.widths) or any(
        own < old for own, old in zip(network.size.widths, generator.widths, strict=True)
    ):
        raise ValueError(
            f"a student of widths {network.size.widths} cannot begin as a generator of widths {generator.widths}: it "
            "must have as many levels, none of them narrower; say inherits = false, or choose another student"
        )
    fold, old = network.size.fold, generator.state_dict()
    old[STEM] = stretched(old[STEM], fold)
    for name in HEAD:
        foreground, interior = old[name][:1], old[name][1:2]
        old[name] = torch.cat([foreground, interior, foreground]).repeat_interleave(fold**2, 0)
    return {f"unet.{name}": grown(own, old[name]) for name, own in network.unet.state_dict().items()}


def stretched(kernel: Tensor, fold: int) -> Tensor:
    """Return the kernel that sees of an image what `kernel` (outputs, inputs, y, x) sees of it shrunk by `fold`."""
    return kernel.repeat_interleave(fold, 2).repeat_interleave(fold, 3) / fold**2


def grown(own: Tensor, old: Tensor) -> Tensor:
    """Return `own` with `old` in its corner; what is old hears nothing of what is new."""
    values = own.clone()
    if own.ndim > 1:
        values[: len(old)] = 0
    values[tuple(slice(n) for n in old.shape)] = old
    return values
