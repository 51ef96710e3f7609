"""SAM's image encoder in 3D, built from that of any backbone (AutoProSAM, arXiv 2308.14936; 3DSAM-adapter)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptless.networks.backbones import Backbone
from promptless.networks.lora import sharing
from promptless.networks.volume.attention import WindowAttention
from promptless.networks.volume.folding import PatchEmbedding
from promptless.networks.volume.layers import ChannelNorm, pooled, shared

TAPS = 4
"""How many places of the encoder are looked at: after a quarter of its layers, half, three quarters, all."""


class SpatialAdapter(nn.Module):
    """What lets neighbouring tokens (batch, *grid, channel) of a frozen encoder speak to each other.

    As published, a ReLU comes last, so it can only add; and nothing starts at zero, so the network does not start as
    SAM.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inside = width // 2
        self.down = nn.Linear(width, inside)
        self.mix = nn.Conv3d(inside, inside, 3, padding=1, groups=inside)
        self.up = nn.Linear(inside, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens with what the adapter adds."""
        return tokens + functional.relu(self.added(tokens))

    def added(self, tokens: Tensor) -> Tensor:
        """Return the adapter's share before the last ReLU."""
        inside = functional.relu(self.down(tokens)).movedim(-1, 1)
        share: Tensor = self.up(functional.relu(self.mix(inside)).movedim(1, -1))
        return share


class MendedAdapter(SpatialAdapter):
    """The same without the last ReLU, starting at nothing; ours."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens with what the adapter adds."""
        return tokens + self.added(tokens)


ADAPTERS: dict[str, Callable[[int], nn.Module]] = {
    "published": SpatialAdapter,
    "mended": MendedAdapter,
    "none": lambda width: nn.Identity(),
}


class Block(nn.Module):
    """A layer of SAM's encoder on the tokens (batch, *grid, channel) of a volume, with an adapter before it."""

    def __init__(self, layer: nn.Module, adapter: str, width: int, window: int, shift: int) -> None:
        super().__init__()
        self.adapter = ADAPTERS[adapter](width)
        self.norm1, self.norm2 = trained_copy(layer.layer_norm1), trained_copy(layer.layer_norm2)  # type: ignore[arg-type]
        self.attention = WindowAttention(layer.attn, window, shift)  # type: ignore[arg-type]
        self.mlp: nn.Module = sharing(layer.mlp)  # type: ignore[type-var, assignment]

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens after this layer."""
        tokens = self.adapter(tokens)
        tokens = tokens + self.attention(self.norm1(tokens))
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result


class Positions(nn.Module):
    """Where a token is: SAM's table for its place in a slice, frozen, and a new one for the slice, trained.

    Both are pooled to the grid, so they always span the crop; the public code pools the first from 64 to 32.
    """

    def __init__(self, table: Tensor, depth: int, start: str) -> None:
        super().__init__()
        self.table = shared(table)  # (1, *grid, channel)
        value = torch.zeros if start == "sam" else torch.ones
        self.depth = nn.Parameter(value(depth, table.shape[-1]))

    def forward(self, grid: tuple[int, ...]) -> Tensor:
        """Return positions (*grid, channel); the slices come last."""
        return pooled(self.table[0], grid[:-1])[..., None, :] + pooled(self.depth, grid[-1:])


class VolumeEncoder(nn.Module):
    """A backbone's image encoder inflated: a crop (batch, 1, *spatial), slices last, to embeddings of several depths.

    Attention and perceptrons, patch embedding and position tables are the backbone's, frozen, in shared memory.
    Trained are adapters, layer norms (copies), the tables of the third axis, slice and depth embedding, and necks.
    A backbone without a table of positions (our small base) gets no depth embedding either. Of our small base it is
    the SAM image encoder that is inflated; its U-Net, which works on planes, stays out.
    """

    def __init__(
        self,
        backbone: Backbone,
        taps: tuple[int, ...] = tuple(range(TAPS)),
        *,
        adapter: str = "published",
        start: str = "published",
        window: int = 8,
        depth: int = 32,
        upsampling: int = 4,
    ) -> None:
        super().__init__()
        vision = backbone.image_encoder
        width, layers = int(vision.config.hidden_size), list(vision.layers)
        self.patches = PatchEmbedding(vision.patch_embed.projection, upsampling, start)
        self.stride, self.width = self.patches.stride, width
        self.positions = None if vision.pos_embed is None else Positions(vision.pos_embed, depth, start)
        shifts = [window // 2 if i % 2 == 0 else 0 for i in range(len(layers))]
        self.blocks = nn.ModuleList(
            Block(layer, adapter, width, window, shift) for layer, shift in zip(layers, shifts, strict=True)
        )
        ends = evenly(len(layers), TAPS)
        self.taps = tuple(ends[i] for i in taps)
        self.necks = nn.ModuleList(neck(width, backbone.embedding) for _ in taps)

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        """Return an embedding (batch, channel, *spatial / stride) for each tap, the shallowest first."""
        tokens = self.patches(crop)
        if self.positions is not None:
            tokens = tokens + self.positions(tuple(tokens.shape[1:-1]))
        seen = {}
        for i, block in enumerate(self.blocks):
            tokens = block(tokens)
            if i in self.taps:
                seen[i] = tokens.movedim(-1, 1)
        return tuple(neck(seen[i]) for i, neck in zip(self.taps, self.necks, strict=True))


def neck(width: int, outputs: int) -> nn.Module:
    """Return SAM's neck in 3D."""
    return nn.Sequential(
        nn.Conv3d(width, outputs, 1, bias=False),
        ChannelNorm(outputs, eps=1e-6),
        nn.Conv3d(outputs, outputs, 3, padding=1, bias=False),
        ChannelNorm(outputs, eps=1e-6),
    )


def trained_copy(norm: nn.LayerNorm) -> nn.LayerNorm:
    """Return a layer norm with memory of its own, which trains."""
    copy = sharing(norm)
    for parameter in copy.parameters():
        parameter.data = parameter.detach().clone()
        parameter.requires_grad_(True)
    return copy


def evenly(n: int, parts: int) -> tuple[int, ...]:
    """Return which of `n` layers end each of `parts` equal parts, counted from 0: (2, 5, 8, 11) for 4 parts of 12."""
    return tuple(-(-n * i // parts) - 1 for i in range(1, parts + 1))
