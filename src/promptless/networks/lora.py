"""LoRA (Hu et al. 2021) on q and v of every attention layer of an image encoder, by peft."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TypeVar

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from promptless.networks.backbones import Backbone
from promptless.networks.checkpoints import fit

RANK = 4
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""What PEFT calls its files."""
TARGETS = r"image_encoder\.layers\.\d+\.attn\.qkv\.[qv]"
"""The layers that are adapted; the mask decoder has projections of q and v too, which are not."""

Network = TypeVar("Network", bound=nn.Module)


class SplitQKV(nn.Module):
    """SAM's fused projection to queries, keys and values as three, so that peft can adapt each; the result is equal."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        self.q, self.k, self.v = (part(fused, i) for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Return queries, keys and values side by side."""
        return torch.cat([self.q(x), self.k(x), self.v(x)], dim=-1)

    def fused(self) -> nn.Linear:
        """Return the one projection that the three are parts of."""
        parts = self.q, self.k, self.v
        return linear(
            torch.cat([p.weight.detach() for p in parts]),
            None if self.q.bias is None else torch.cat([p.bias.detach() for p in parts]),
        )


def adapt(backbone: Backbone, rank: int = RANK, alpha: int | None = None, dropout: float = 0.0) -> PeftModel:
    """Return a backbone with fresh adapters, which are all that trains; it shares the weights of the one given.

    What they add is scaled by `alpha` / `rank`, by 1 without `alpha`.
    """
    if rank < 1:
        raise ValueError(f"the rank is {rank}; it must be at least 1 (4 is usual)")
    config = LoraConfig(
        r=rank,
        lora_alpha=rank if alpha is None else alpha,
        lora_dropout=dropout,
        target_modules=TARGETS,
        base_model_name_or_path=backbone.name,
        revision=backbone.digest,
    )
    return PeftModel(split(backbone), config)


def save(model: PeftModel, folder: Path) -> None:
    """Write the adapters, in PEFT's layout: `adapter_model.safetensors` and `adapter_config.json`."""
    # peft's own saving asks the hub about the base model, and writes an empty card over the adapter's.
    config = copy.copy(model.peft_config["default"])
    config.inference_mode = True
    config.save_pretrained(str(folder))
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS, metadata={"format": "pt"})


def fill(model: PeftModel, folder: Path) -> None:
    """Give fresh adapters the weights in `folder`, all of them."""
    path = folder / WEIGHTS
    state = load_file(path)
    wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
    fit(state, wanted).check(str(path), "the adapter that its config.json describes")
    set_peft_model_state_dict(model, state)


def load(backbone: Backbone, folder: Path) -> PeftModel:
    """Return a backbone with the adapters in `folder`, which must be for it, frozen."""
    config = PeftConfig.from_pretrained(str(folder))
    if config.revision != backbone.digest:
        raise ValueError(
            f"the adapter in {folder} is for {config.base_model_name_or_path} (sha256 {config.revision}), "
            f"not for {backbone.name} (sha256 {backbone.digest}); load the backbone that it was trained on"
        )
    return PeftModel.from_pretrained(split(backbone), str(folder))


def merge(model: PeftModel) -> Backbone:
    """Return the backbone with its adapters added into the weights, in the published layout; `model` stays as it is."""
    merged: Backbone = sharing(model).merge_and_unload(safe_merge=True)
    for attention in attentions(merged):
        attention.qkv = attention.qkv.fused()  # type: ignore[operator, union-attr]
    return merged


def split(backbone: Backbone) -> Backbone:
    """Return the backbone with q, k and v of its image encoder apart; it shares all other weights."""
    twin = sharing(backbone)
    for attention in attentions(twin):
        attention.qkv = SplitQKV(attention.qkv)  # type: ignore[arg-type]
    return twin


def attentions(backbone: Backbone) -> list[nn.Module]:
    """Return the attention layers of the image encoder."""
    return [layer.attn for layer in backbone.image_encoder.layers]


def sharing(network: Network) -> Network:
    """Return a copy of a network whose parameters are new, and share the memory of the old ones."""
    shared = {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in network.parameters()}
    return copy.deepcopy(network, dict(shared))


def part(fused: nn.Linear, index: int) -> nn.Linear:
    """Return a third of a fused projection, in memory of its own."""
    weight = fused.weight.detach().chunk(3)[index].clone()
    return linear(weight, None if fused.bias is None else fused.bias.detach().chunk(3)[index].clone())


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a frozen linear layer with these values."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer
