"""Backbones: promptable networks of the SAM family, published or ours, as one kind of value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder, SamVisionEncoder

from promptless.config import ModelConfig
from promptless.networks import sam
from promptless.networks.checkpoints import POSITIONS, WEIGHTS, fit
from promptless.networks.promptable import STRIDE, Promptable, finer
from promptless.networks.unet import UNet

CONFIG = "config.json"
MEAN, STD = (123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255)
"""What the published encoders expect of an image in [0, 1]: ImageNet's colours."""
FILE_PREFIXES = {"prompt_encoder.shared_embedding.positional_embedding": POSITIONS, "image_encoder.": "vision_encoder."}
"""How names of a `Backbone`'s weights begin, and how they begin in a file."""


@dataclass(frozen=True)
class Architecture:
    """What tells one published SAM (Kirillov et al. 2023) from another, with the sizes that all of them share."""

    width: int
    layers: int
    heads: int
    global_layers: tuple[int, ...]  # these attend to the whole image, the others within windows
    image: int = 1024  # pixels per side
    patch: int = 16  # pixels per side of a token
    window: int = 14  # tokens per side
    embedding: int = 256
    mlp: int = 2048  # of the decoder
    decoder_heads: int = 8

    def config(self) -> SamConfig:
        """Return the sizes as `transformers` has them."""
        vision = SamVisionConfig(
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            global_attn_indexes=list(self.global_layers),
            image_size=self.image,
            patch_size=self.patch,
            window_size=self.window,
            output_channels=self.embedding,
            num_pos_feats=self.embedding // 2,
        )
        prompt = SamPromptEncoderConfig(hidden_size=self.embedding, image_size=self.image, patch_size=self.patch)
        decoder = SamMaskDecoderConfig(
            hidden_size=self.embedding,
            mlp_dim=self.mlp,
            num_attention_heads=self.decoder_heads,
            iou_head_hidden_dim=self.embedding,
            layer_norm_eps=1e-5,  # as published; transformers' default is 1e-6
        )
        return SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)


ARCHITECTURES = {
    "sam_vit_b": Architecture(width=768, layers=12, heads=12, global_layers=(2, 5, 8, 11)),
    "sam_vit_l": Architecture(width=1024, layers=24, heads=16, global_layers=(5, 11, 17, 23)),
    "sam_vit_h": Architecture(width=1280, layers=32, heads=16, global_layers=(7, 15, 23, 31)),
}


class Backbone(nn.Module):
    """Image encoder, prompt encoder and mask decoder, whatever their sizes; in evaluation mode, all weights frozen.

    `image_size` is the only size of image it takes, in pixels per side; None where it takes any multiple of
    `patch`. `digest` is the sha256 of its weights file: an adapter belongs to one backbone. `trunk` and `project`
    are our small base's: a U-Net, and what turns its features into their share of the image embedding.
    """

    def __init__(
        self,
        name: str,
        image_encoder: SamVisionEncoder,
        prompt_encoder: SamPromptEncoder,
        mask_decoder: SamMaskDecoder,
        image_size: int | None,
        mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
        std: tuple[float, float, float] = (1.0, 1.0, 1.0),
        digest: str = "",
        trunk: UNet | None = None,
        project: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.name, self.image_size, self.mean, self.std, self.digest = name, image_size, mean, std, digest
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.trunk = trunk
        self.project = project
        self.eval().requires_grad_(False)

    @property
    def embedding(self) -> int:
        """Channels of the image embedding."""
        return int(self.prompt_encoder.hidden_size)

    @property
    def patch(self) -> int:
        """Pixels per side of a token of the image encoder."""
        return int(self.image_encoder.config.patch_size)

    @property
    def stride(self) -> int:
        """Pixels per side of a cell of the image embedding."""
        return self.patch if self.project is None else STRIDE

    def encode(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the embedding (batch, channel, *spatial / stride) of an image (batch, 3, *spatial) in [0, 1].

        Where the backbone takes one size of image only, the embedding is cut back to the image. `features` (batch,
        channel, *spatial / 4) are taken in place of those of the backbone's own U-Net.
        """
        height, width = (-(-n // self.stride) for n in image.shape[2:])
        return self.encode_padded(image, features)[:, :, :height, :width]

    def encode_padded(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the embedding of an image likewise, with that of the padding around it.

        Where the backbone takes one size of image only, a smaller one is padded with the mean colour, as SAM's is. Who
        asks for a mask of the whole image needs all of it: SAM's decoder looks at the padding too, and counts
        positions to its end.
        """
        mean, std = (image.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        coarse = sam.encode(self.image_encoder, self.padded((image - mean) / std))
        if self.project is None:
            return coarse
        seen = self.trunk(image).embedding if features is None and self.trunk is not None else features
        embedding: Tensor = finer(coarse, self.patch // STRIDE) + self.project(seen)
        return embedding

    def padded(self, image: Tensor) -> Tensor:
        """Return a normalised image with zeros after its end, as large as the backbone wants it."""
        if self.image_size is None:
            return image
        missing = [self.image_size - n for n in image.shape[2:]]
        if min(missing) < 0:
            raise ValueError(
                f"{self.name} takes images of up to {self.image_size} x {self.image_size} pixels, "
                f"but this one has {' x '.join(map(str, image.shape[2:]))}; take smaller tiles"
            )
        return functional.pad(image, (0, missing[1], 0, missing[0]))


def skeleton(name: str, architecture: Architecture, digest: str = "") -> Backbone:
    """Return a backbone without weights, on torch's meta device, which takes no memory and computes nothing."""
    config = architecture.config()
    config.mask_decoder_config._attn_implementation = "sdpa"
    with torch.device("meta"):
        parts = (
            SamVisionEncoder(config.vision_config),
            SamPromptEncoder(config),
            SamMaskDecoder(config.mask_decoder_config),
        )
    return Backbone(name, *parts, image_size=architecture.image, mean=MEAN, std=STD, digest=digest)


def load_published(name: str, folder: Path, digest: str = "", architecture: Architecture | None = None) -> Backbone:
    """Load ViT-B, L or H in the layout of `transformers`; nothing in it is random, since nothing is initialised."""
    backbone = skeleton(name, architecture or ARCHITECTURES[name], digest)
    state = load_file(folder / WEIGHTS)
    fit(state, file_state(backbone)).check(str(folder / WEIGHTS), name)
    backbone.load_state_dict({name: state[file_name(name)] for name in backbone.state_dict()}, assign=True)
    return backbone.requires_grad_(False)


def load_promptable(folder: Path, digest: str = "") -> Backbone:
    """Load our small base: the SAM in a model that `promptless train` made; its U-Net belongs to the encoder."""
    config = ModelConfig.read(folder / CONFIG)
    network = Promptable.load(config.network, folder / WEIGHTS)
    if network.vision_encoder is None:
        raise ValueError(f"the model in {folder} has no image encoder (encoder = 'unet'), so it is no backbone")
    parts = network.vision_encoder, network.decoder.prompt_encoder, network.decoder.mask_decoder
    trunk = None if network.project is None else network.generator
    return Backbone(config.name, *parts, image_size=None, digest=digest, trunk=trunk, project=network.project)


def file_name(name: str) -> str:
    """Return how a weight of a backbone is called in a file."""
    for ours, theirs in FILE_PREFIXES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def file_state(backbone: Backbone) -> dict[str, Tensor]:
    """Return a backbone's weights as a file holds them."""
    return {file_name(name): value for name, value in backbone.state_dict().items()}


def recognise(state: Mapping[str, Tensor], source: str) -> str:
    """Return the name of the published architecture that weights are of."""
    widths = {architecture.width: name for name, architecture in ARCHITECTURES.items()}
    projection = state.get("vision_encoder.patch_embed.projection.weight")
    if projection is None:
        raise ValueError(f"{source} has no SAM image encoder; ViT-B, L and H of the first SAM are known")
    if len(projection) not in widths:
        known = ", ".join(f"{width} ({name})" for width, name in widths.items())
        raise ValueError(f"the image encoder in {source} is {len(projection)} wide; known are {known}")
    return widths[len(projection)]


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "sam_vit_b": partial(load_published, "sam_vit_b"),
    "sam_vit_l": partial(load_published, "sam_vit_l"),
    "sam_vit_h": partial(load_published, "sam_vit_h"),
    "nuclei": load_promptable,
}
"""How each kind of backbone is loaded from its folder."""
