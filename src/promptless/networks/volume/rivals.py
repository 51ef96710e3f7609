"""What AutoProSAM is compared with: MONAI's networks, which take crops of any size here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import Tensor, nn
from torch.nn import functional


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
        missing = [max(2, -(-n // self.multiple)) * self.multiple - n for n in shape]
        logits: Tensor = self.network(functional.pad(crop, [n for size in reversed(missing) for n in (0, size)]))
        return logits[(slice(None), slice(None), *(slice(n) for n in shape))]


def unet(classes: int, features: Sequence[int] = (32, 32, 64, 128, 256, 32)) -> nn.Module:
    """Return a plain 3D U-Net of five levels, two convolutions each; the last of `features` are of the classifier."""
    network = monai("BasicUNet")(spatial_dims=3, in_channels=1, out_channels=classes, features=tuple(features))
    return AnySize(network, 16)


def swin_unetr(classes: int, feature_size: int = 12) -> nn.Module:
    """Return a SwinUNETR; 12 features make the small one (4 million parameters), 24 and 48 the others."""
    return AnySize(monai("SwinUNETR")(in_channels=1, out_channels=classes, feature_size=feature_size), 32)


def monai(name: str) -> Any:
    """Return one of MONAI's networks, which must be installed."""
    try:
        import_module("einops")  # MONAI's attention needs it, and says so late
        return getattr(import_module("monai.networks.nets"), name)
    except ImportError as error:
        raise ImportError(
            f"{name} is MONAI's and needs {error.name}: pip install 'promptless[train-volume]'"
        ) from error
