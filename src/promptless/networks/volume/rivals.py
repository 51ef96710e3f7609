"""What AutoProSAM is compared with, and what learns from it: networks that take crops of any size here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from promptless.crops import filled
from promptless.networks.volume.compact import CompactSizes, CompactUnet


class AnySize(nn.Module):
    """A network that halves its grid some times, on crops of any size: padded with zeros after their end, and cut.

    `multiple` is what the lengths that it takes are multiples of. At least two of them: norms need more than a voxel.
    """

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network, self.multiple = network, multiple

    def forward(self, crop: Tensor) -> Tensor:
        """Return logits (batch, classes, *spatial) of crops (batch, 1, *spatial)."""
        shape = crop.shape[2:]
        missing = [whole - n for n, whole in zip(shape, filled(shape, self.multiple), strict=True)]
        logits: Tensor = self.network(functional.pad(crop, [n for size in reversed(missing) for n in (0, size)]))
        return logits[(slice(None), slice(None), *(slice(n) for n in shape))]


@dataclass(frozen=True)
class UnetSizes:
    """Channels of a plain 3D U-Net's five levels; the last are of the classifier."""

    features: tuple[int, ...] = (32, 32, 64, 128, 256, 32)

    def __post_init__(self) -> None:
        if len(self.features) != 6 or min(self.features) < 1:
            raise ValueError(
                f"features is {list(self.features)}; it must be six counts of channels: those of five levels, and of "
                "the classifier"
            )


@dataclass(frozen=True)
class SwinUnetrSizes:
    """Channels of a SwinUNETR's first level; 12 make the small one (4 million parameters), 24 and 48 the others."""

    feature_size: int = 12

    def __post_init__(self) -> None:
        if self.feature_size < 12 or self.feature_size % 12:
            raise ValueError(f"feature_size is {self.feature_size}; it must be a multiple of 12, such as 12, 24 or 48")


def unet(sizes: UnetSizes, classes: int) -> nn.Module:
    """Return a plain 3D U-Net, two convolutions in each of its levels."""
    network = monai("BasicUNet")(spatial_dims=3, in_channels=1, out_channels=classes, features=sizes.features)
    return AnySize(network, 16)


def swin_unetr(sizes: SwinUnetrSizes, classes: int) -> nn.Module:
    """Return a SwinUNETR."""
    return AnySize(monai("SwinUNETR")(in_channels=1, out_channels=classes, feature_size=sizes.feature_size), 32)


def compact(sizes: CompactSizes, classes: int) -> nn.Module:
    """Return a U-Net that is quick on a processor."""
    return AnySize(CompactUnet(sizes, classes), sizes.multiple)


def monai(name: str) -> Any:
    """Return one of MONAI's networks, which must be installed."""
    try:
        import_module("einops")  # MONAI's attention needs it, and says so late
        return getattr(import_module("monai.networks.nets"), name)
    except ImportError as error:
        raise ImportError(
            f"{name} is MONAI's and needs {error.name}: pip install 'promptless[train-volume]'"
        ) from error
