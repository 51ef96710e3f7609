"""The published SAM: its names and shapes by rule, and the code (`segment_anything`) where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from functools import partial

import pytest
import torch

from promptless.networks.backbones import Architecture

SMALL = Architecture(
    width=32, layers=3, heads=2, global_layers=(1,), image=256, window=6, embedding=32, mlp=64, decoder_heads=2
)


def modeling():
    """Return `segment_anything.modeling`; the parent package asks for torchvision, so a stub stands in for it."""
    if "segment_anything" not in sys.modules:
        spec = importlib.util.find_spec("segment_anything")
        if spec is None:
            pytest.skip("segment_anything is not installed")
        stub = types.ModuleType("segment_anything")
        stub.__path__ = list(spec.submodule_search_locations)
        sys.modules["segment_anything"] = stub
    return importlib.import_module("segment_anything.modeling")


def build(size, device="cpu"):
    """Return the published SAM at the sizes of an architecture, with random weights that matter."""
    parts, grid = modeling(), size.image // size.patch
    with torch.device(device):
        network = parts.Sam(
            image_encoder=parts.ImageEncoderViT(
                depth=size.layers,
                embed_dim=size.width,
                img_size=size.image,
                mlp_ratio=4,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                num_heads=size.heads,
                patch_size=size.patch,
                qkv_bias=True,
                use_rel_pos=True,
                global_attn_indexes=size.global_layers,
                window_size=size.window,
                out_chans=size.embedding,
            ),
            prompt_encoder=parts.PromptEncoder(
                embed_dim=size.embedding,
                image_embedding_size=(grid, grid),
                input_image_size=(size.image, size.image),
                mask_in_chans=16,
            ),
            mask_decoder=parts.MaskDecoder(
                num_multimask_outputs=3,
                transformer=parts.TwoWayTransformer(
                    depth=2, embedding_dim=size.embedding, mlp_dim=size.mlp, num_heads=size.decoder_heads
                ),
                transformer_dim=size.embedding,
                iou_head_depth=3,
                iou_head_hidden_dim=size.embedding,
            ),
        )
    if device == "cpu":
        for name, parameter in network.named_parameters():
            torch.nn.init.normal_(parameter, std=0.5 if "pos" in name else 0.2)
            if "norm" in name and name.endswith("weight"):
                parameter.data += 1
    return network.eval()


def meta_shapes(size):  # noqa: C901, PLR0915
    """Return the names and shapes of a checkpoint in Meta's layout, by rule."""
    width, embedding, grid = size.width, size.embedding, size.image // size.patch
    shapes = {"image_encoder.pos_embed": (1, grid, grid, width)}

    def layer(name, *weight, bias=True):
        shapes[f"{name}.weight"] = weight
        if bias:
            shapes[f"{name}.bias"] = weight[:1]

    def attention(name, inside):
        for projection in ("q_proj", "k_proj", "v_proj"):
            layer(f"{name}.{projection}", inside, embedding)
        layer(f"{name}.out_proj", embedding, inside)

    def transposed(name, inputs, outputs):
        layer(name, inputs, outputs, 2, 2, bias=False)
        shapes[f"{name}.bias"] = (outputs,)

    layer("image_encoder.patch_embed.proj", width, 3, size.patch, size.patch)
    for i in range(size.layers):
        block, side = f"image_encoder.blocks.{i}", grid if i in size.global_layers else size.window
        for name in ("norm1", "norm2"):
            layer(f"{block}.{name}", width)
        for name in ("rel_pos_h", "rel_pos_w"):
            shapes[f"{block}.attn.{name}"] = (2 * side - 1, width // size.heads)
        layer(f"{block}.attn.qkv", 3 * width, width)
        layer(f"{block}.attn.proj", width, width)
        layer(f"{block}.mlp.lin1", 4 * width, width)
        layer(f"{block}.mlp.lin2", width, 4 * width)
    layer("image_encoder.neck.0", embedding, width, 1, 1, bias=False)
    layer("image_encoder.neck.1", embedding)
    layer("image_encoder.neck.2", embedding, embedding, 3, 3, bias=False)
    layer("image_encoder.neck.3", embedding)

    shapes["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = (2, embedding // 2)
    for name in (*(f"point_embeddings.{i}" for i in range(4)), "not_a_point_embed", "no_mask_embed"):
        layer(f"prompt_encoder.{name}", 1, embedding, bias=False)
    for i, weight in {0: (4, 1, 2, 2), 1: (4,), 3: (16, 4, 2, 2), 4: (16,), 6: (embedding, 16, 1, 1)}.items():
        layer(f"prompt_encoder.mask_downscaling.{i}", *weight)

    for i in range(2):
        block = f"mask_decoder.transformer.layers.{i}"
        attention(f"{block}.self_attn", embedding)
        attention(f"{block}.cross_attn_token_to_image", embedding // 2)
        attention(f"{block}.cross_attn_image_to_token", embedding // 2)
        for name in ("norm1", "norm2", "norm3", "norm4"):
            layer(f"{block}.{name}", embedding)
        layer(f"{block}.mlp.lin1", size.mlp, embedding)
        layer(f"{block}.mlp.lin2", embedding, size.mlp)
    attention("mask_decoder.transformer.final_attn_token_to_image", embedding // 2)
    layer("mask_decoder.transformer.norm_final_attn", embedding)
    layer("mask_decoder.iou_token", 1, embedding, bias=False)
    layer("mask_decoder.mask_tokens", 4, embedding, bias=False)
    transposed("mask_decoder.output_upscaling.0", embedding, embedding // 4)
    layer("mask_decoder.output_upscaling.1", embedding // 4)
    transposed("mask_decoder.output_upscaling.3", embedding // 4, embedding // 8)
    heads = {f"output_hypernetworks_mlps.{i}": embedding // 8 for i in range(4)} | {"iou_prediction_head": 4}
    for name, outputs in heads.items():
        for i, rows in enumerate((embedding, embedding, outputs)):
            layer(f"mask_decoder.{name}.layers.{i}", rows, embedding)
    return shapes


def meta_state(size, seed=0):
    """Return random weights in Meta's layout."""
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in meta_shapes(size).items()}
