"""SAM at any size (Kirillov et al. 2023), built from the parts in `transformers`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder, SamVisionEncoder

INITIALIZER_RANGE = 0.02
"""transformers' default of 1e-10 makes a fresh encoder answer zero to every image."""
POSITION_SCALE = 1.0
"""transformers' default, half the width, makes the positional encoding noise when it is trained from scratch."""


@dataclass(frozen=True)
class SamSize:
    """How large a SAM is. `embedding` is the width of the image embedding and of the decoder."""

    embedding: int = 128
    patch: int = 16  # pixels per side of a token
    width: int = 128
    layers: int = 4
    heads: int = 4
    window: int = 8  # tokens per side of the attention windows; every layer is windowed
    mlp: int = 512  # of the decoder
    decoder_heads: int = 8


def vision_encoder(size: SamSize) -> SamVisionEncoder:
    """Return a fresh image encoder that attends within windows only and knows positions by their differences.

    It therefore takes images of any size (multiples of the patch), and moves with them by whole windows.
    """
    config = SamVisionConfig(
        hidden_size=size.width,
        output_channels=size.embedding,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        patch_size=size.patch,
        image_size=size.patch * size.window,
        window_size=size.window,
        global_attn_indexes=[],
        use_abs_pos=False,
        num_pos_feats=size.embedding // 2,
        initializer_range=INITIALIZER_RANGE,
    )
    encoder = SamVisionEncoder(config)
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=INITIALIZER_RANGE)
            nn.init.zeros_(module.bias)
    return encoder


def encode(encoder: SamVisionEncoder, image: Tensor) -> Tensor:
    """Return the embedding (batch, channel, *grid) of an image (batch, channel, *spatial) of any size.

    The published forward pass accepts one size only, so its parts are called one by one.
    """
    tokens = encoder.patch_embed.projection(image).permute(0, 2, 3, 1)  # (batch, *grid, channel)
    if encoder.pos_embed is not None:
        tokens = tokens + encoder.pos_embed
    for layer in encoder.layers:
        tokens = layer(tokens)
    embedding: Tensor = encoder.neck(tokens)
    return embedding


class PromptDecoder(nn.Module):
    """SAM's prompt encoder and mask decoder over windows of `cells` x `cells` of the embedding.

    `stride` is the window's pixels per cell. The prompts come as tokens in array order, with labels
    1 object, 0 background, 2 and 3 a box's corners, -1 padding.
    """

    def __init__(self, prompt_encoder: SamPromptEncoder, mask_decoder: SamMaskDecoder, stride: int, cells: int) -> None:
        super().__init__()
        self.stride, self.cells, self.pixels = stride, cells, stride * cells
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.prompt_encoder.shared_embedding.positional_embedding.requires_grad_(False)

    @classmethod
    def fresh(cls, size: SamSize, stride: int, cells: int) -> PromptDecoder:
        """Return one with random weights."""
        vision = SamVisionConfig(
            hidden_size=size.width, output_channels=size.embedding, num_pos_feats=size.embedding // 2
        )
        vision.scale = POSITION_SCALE
        prompt = SamPromptEncoderConfig(hidden_size=size.embedding, image_size=stride * cells, patch_size=stride)
        decoder = SamMaskDecoderConfig(
            hidden_size=size.embedding,
            mlp_dim=size.mlp,
            num_attention_heads=size.decoder_heads,
            iou_head_hidden_dim=size.embedding,
        )
        every = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
        decoder._attn_implementation = "sdpa"
        return cls(SamPromptEncoder(every), SamMaskDecoder(decoder), stride, cells)

    def forward(
        self, windows: Tensor, point_coords: Tensor, point_labels: Tensor, mask_logits: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return low-resolution logits (n, 1 + multimask, pixels, pixels) and predicted IoUs (n, 1 + multimask).

        Output 0 is the single mask; the others are the candidates for an ambiguous prompt. The arguments
        are those of `outputs`.
        """
        prompts = point_coords, point_labels, mask_logits, has_mask
        single, candidates = (self.outputs(windows, *prompts, multimask=many) for many in (False, True))
        return torch.cat([single[0], candidates[0]], dim=1), torch.cat([single[1], candidates[1]], dim=1)

    def outputs(
        self,
        windows: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_logits: Tensor,
        has_mask: Tensor,
        *,
        multimask: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return the single mask of each window, or its candidates, with their predicted IoUs.

        `windows` (n, channel, cells, cells), `point_coords` (n, tokens, 2) in window pixels,
        `point_labels` (n, tokens), `mask_logits` (n, 1, 4 cells, 4 cells), `has_mask` (n,).
        """
        sparse = self.embed_tokens(point_coords, point_labels, (self.pixels, self.pixels))
        dense = self.embed_mask(mask_logits, has_mask)
        positions = self.positions((self.cells, self.cells)).expand(windows.shape[0], -1, -1, -1)
        logits, iou = self.mask_decoder(windows, positions, sparse, dense, multimask_output=multimask)
        return logits[:, 0], iou[:, 0]

    def whole(self, embedding: Tensor, point_coords: Tensor, point_labels: Tensor) -> Tensor:
        """Return the logits (n, 4 gy, 4 gx) of one mask per image, each from one set of points on all of it.

        `embedding` (n, channel, gy, gx), `point_coords` (n, tokens, 2) in pixels of the image, `point_labels`
        (n, tokens). This is SAM as published, and SAC's output (arXiv 2401.13220): one mask for the whole image,
        and, where the image was padded for the encoder, for its padding too, as far as `embedding` has that.
        """
        grid = (int(embedding.shape[2]), int(embedding.shape[3]))
        sparse = self.embed_tokens(point_coords, point_labels, (grid[0] * self.stride, grid[1] * self.stride))
        none = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand_as(embedding)
        positions = self.positions(grid).expand(embedding.shape[0], -1, -1, -1)
        logits, _ = self.mask_decoder(embedding, positions, sparse, none, multimask_output=False)
        mask: Tensor = logits[:, 0, 0]
        return mask

    def embed_tokens(self, coords: Tensor, labels: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return sparse embeddings (n, 1, tokens, channel): SAM's tables, with corners as points labelled 2 and 3.

        `shape` is that of the image, or window, in whose pixels `coords` are.
        """
        encoder = self.prompt_encoder
        xy = (coords.flip(-1) + 0.5)[:, None]  # SAM speaks x, y
        embedded: Tensor = encoder.shared_embedding(xy, shape)
        padding = (labels == -1)[:, None, :, None]
        embedded = torch.where(padding, encoder.not_a_point_embed.weight, embedded)
        for value, table in enumerate(encoder.point_embed):
            embedded = embedded + (labels == value)[:, None, :, None].to(embedded.dtype) * table.weight
        return embedded

    def embed_mask(self, logits: Tensor, has_mask: Tensor) -> Tensor:
        """Return dense embeddings (n, channel, cells, cells); "no mask" has one of its own, which zeros are not."""
        given = self.prompt_encoder.mask_embed(logits)
        none = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense: Tensor = torch.where(has_mask[:, None, None, None], given, none)
        return dense

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Return the positional encoding (1, channel, *grid) of the cells of a window, or of an image."""
        device = self.prompt_encoder.no_mask_embed.weight.device
        y, x = ((torch.arange(n, device=device, dtype=torch.float32) + 0.5) / n for n in grid)
        every = torch.stack([x.expand(grid[0], -1), y[:, None].expand(-1, grid[1])], dim=-1)
        encoded: Tensor = self.prompt_encoder.shared_embedding(every)  # (*grid, channel)
        return encoded.permute(2, 0, 1)[None]
