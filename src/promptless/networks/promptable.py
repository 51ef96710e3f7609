"""The small promptable base: a SAM whose encoder also sees what its prompt generator saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from promptless.networks import sam
from promptless.networks.checkpoints import single
from promptless.networks.sam import PromptDecoder, SamSize
from promptless.networks.unet import UNet

ENCODERS = ("unet", "vit", "both")
STRIDE = 4
"""Pixels per cell of the embedding."""


@dataclass(frozen=True)
class PromptableSize:
    """The sizes of all parts. `encoder` names what the image embedding is made of."""

    generator: tuple[int, ...] = (16, 32, 64, 128, 256)
    sam: SamSize = field(default_factory=SamSize)
    encoder: str = "both"
    cells: int = 16
    maps: int = 2  # of the prompt generator: `ModelConfig.maps`

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder is {self.encoder!r}; it must be one of {', '.join(ENCODERS)}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PromptableSize:
        """Return the size that a recipe or `config.json` describes."""
        values = dict(values)
        values["generator"] = tuple(values["generator"])
        values["sam"] = SamSize(**values.get("sam", {}))
        return cls(**values)


class Encoded(NamedTuple):
    """What one look at an image yields."""

    embedding: Tensor  # (batch, channel, *spatial / 4)
    maps: Tensor  # (batch, maps, *spatial): the generator's logits


class Promptable(nn.Module):
    """Prompt generator, image encoder and prompt decoder; images are (batch, 3, *spatial) in [0, 1]."""

    def __init__(self, size: PromptableSize) -> None:
        super().__init__()
        self.size = size
        self.generator = UNet(size.generator, outputs=size.maps)
        width = size.sam.embedding
        self.vision_encoder = None if size.encoder == "unet" else sam.vision_encoder(size.sam)
        self.project = None if size.encoder == "vit" else projection(size.generator[2], width)
        if self.vision_encoder is not None and self.project is not None:
            # A fresh encoder is noise to the decoder: its share of the embedding starts at zero and grows.
            nn.init.zeros_(self.vision_encoder.neck.layer_norm2.weight)
        self.decoder = PromptDecoder.fresh(size.sam, STRIDE, size.cells)

    @classmethod
    def load(cls, size: dict[str, Any], weights: Path) -> Promptable:
        """Build the network that `config.json` describes and give it the weights of a file, all of them."""
        network = cls(PromptableSize.from_dict(size))
        network.load_state_dict(single(load_file(weights)))
        return network

    def encode(self, image: Tensor) -> Encoded:
        """Return the image embedding, at stride 4, and the generator's maps."""
        features = self.generator(image)
        parts = []
        if self.project is not None:
            parts.append(self.project(features.embedding))
        if self.vision_encoder is not None:
            parts.append(finer(sam.encode(self.vision_encoder, image), self.size.sam.patch // STRIDE))
        return Encoded(sum(parts[1:], start=parts[0]), features.maps)


def finer(embedding: Tensor, times: int) -> Tensor:
    """Return an embedding on a grid that is `times` as fine."""
    return functional.interpolate(embedding, scale_factor=float(times), mode="nearest")


def projection(inputs: int, outputs: int) -> nn.Module:
    """Return what turns the generator's features into their share of the image embedding."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GELU(), nn.Conv2d(outputs, outputs, 1))
