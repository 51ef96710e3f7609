"""Attention within cubic windows, with positions by their differences along every axis; any number of axes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptless.networks.lora import sharing
from promptless.networks.volume.layers import ceil_div, shared

Shape = tuple[int, ...]


class WindowAttention(nn.Module):
    """SAM's attention on the tokens (batch, *grid, channel) of a volume, each within its window.

    The projections and the tables of relative positions are those of a layer of the backbone, frozen, with shared
    memory. The table of the new axis starts as the mean of the two others, and is trained. Windows of a `shift` begin
    that many tokens later; where an axis has one window only, it is never shifted. What is padded up to whole windows
    is attended to by nobody.
    """

    def __init__(self, attention: nn.Module, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = int(attention.num_attention_heads), window, shift  # type: ignore[arg-type]
        self.qkv: nn.Module = sharing(attention.qkv)  # type: ignore[type-var, assignment]
        self.proj: nn.Module = sharing(attention.proj)  # type: ignore[type-var, assignment]
        self.rel_pos_h, self.rel_pos_w = shared(attention.rel_pos_h), shared(attention.rel_pos_w)  # type: ignore[arg-type]
        self.rel_pos_d = nn.Parameter((self.rel_pos_h + self.rel_pos_w) / 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return what every token gathers from its window."""
        grid = tuple(tokens.shape[1:-1])
        window = tuple(min(self.window, n) for n in grid)
        shift = tuple(self.shift if n > self.window else 0 for n in grid)
        parts = partitioned(rolled(padded(tokens, window), shift), window)  # (batch, windows, tokens, channel)
        mask = together(grid, window, shift)
        mixed = self.attended(parts, window, None if mask is None else mask.to(tokens.device))
        whole = rolled(assembled(mixed, whole_windows(grid, window), window), tuple(-n for n in shift))
        return whole[(slice(None), *(slice(n) for n in grid))]

    def attended(self, parts: Tensor, window: Shape, mask: Tensor | None) -> Tensor:
        """Return attention within windows (batch, windows, tokens, channel); `mask` (windows, tokens, tokens).

        A relative position adds to the attention of query q to key k the product of q with a table entry for each axis.
        This is a dot product: of those products for all positions of a key, with a key that has a one at its own.
        So nothing as large as the attention is made for it.
        """
        qkv = self.qkv(parts.flatten(0, 1))
        q, k, v = qkv.reshape(*qkv.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        ones = one_hot_positions(window).to(k)
        queries = torch.cat([q * q.shape[-1] ** -0.5, self.position_products(q, window)], dim=-1)
        keys = torch.cat([k, ones.expand(*k.shape[:2], *ones.shape)], dim=-1)
        values = functional.pad(v, (0, ones.shape[-1]))  # as wide as the keys: what fast kernels ask for
        if mask is not None:
            mask = mask[None].expand(parts.shape[0], *mask.shape).flatten(0, 1)[:, None]
        mixed = functional.scaled_dot_product_attention(queries, keys, values, mask, scale=1.0)[..., : v.shape[-1]]
        result: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return result.reshape(parts.shape)

    def position_products(self, q: Tensor, window: Shape) -> Tensor:
        """Return the products of queries (n, head, tokens, channel) with the table entries of all key positions.

        (n, head, tokens, positions): those along the first axis come first, then those along the next.
        """
        tables = (self.rel_pos_h, self.rel_pos_w, self.rel_pos_d)
        queries, products = q.reshape(*q.shape[:2], *window, q.shape[-1]), []
        for axis, (size, table) in enumerate(zip(window, tables, strict=True)):
            entries = by_difference(table, size, self.window).to(q)  # (query, key, channel)
            along = torch.einsum("...qc,qkc->...qk", queries.movedim(2 + axis, -2), entries)
            products.append(along.movedim(-2, 2 + axis).flatten(2, -2))
        return torch.cat(products, dim=-1)


def by_difference(table: Tensor, size: int, window: int) -> Tensor:
    """Return the entries (query, key, channel) of a table of relative positions for `size` places in a row.

    The table (differences, channel) is interpolated to the differences that a window has, as SAM does.
    """
    n = 2 * window - 1
    if table.shape[0] != n:
        table = functional.interpolate(table.T[None], size=n, mode="linear")[0].T
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places + window - 1]


def one_hot_positions(window: Shape) -> Tensor:
    """Return, for every place in a window, a one at its position along each axis: (tokens, sum of the window)."""
    places = torch.cartesian_prod(*(torch.arange(n) for n in window)).reshape(-1, len(window))
    return torch.cat([functional.one_hot(places[:, i], n) for i, n in enumerate(window)], dim=1)


def whole_windows(grid: Shape, window: Shape) -> Shape:
    """Return the smallest grid of whole windows that holds a grid."""
    return tuple(ceil_div(n, size) * size for n, size in zip(grid, window, strict=True))


def padded(tokens: Tensor, window: Shape) -> Tensor:
    """Return tokens (batch, *grid, channel) with zeros after the end of each axis, up to whole windows."""
    grid = tokens.shape[1:-1]
    missing = [large - n for n, large in zip(grid, whole_windows(tuple(grid), window), strict=True)]
    widths = [0, 0] + [n for size in reversed(missing) for n in (0, size)]
    return functional.pad(tokens, widths) if any(missing) else tokens


def rolled(tokens: Tensor, shift: Shape) -> Tensor:
    """Return tokens (batch, *grid, channel) moved to the front by `shift`; the first come round to the end."""
    if not any(shift):
        return tokens
    return tokens.roll(tuple(-n for n in shift), dims=tuple(range(1, 1 + len(shift))))


def partitioned(tokens: Tensor, window: Shape) -> Tensor:
    """Cut tokens (batch, *grid, channel) into windows (batch, windows, tokens, channel)."""
    n = len(window)
    split = [part for size, edge in zip(tokens.shape[1:-1], window, strict=True) for part in (size // edge, edge)]
    tokens = tokens.reshape(tokens.shape[0], *split, tokens.shape[-1])
    tokens = tokens.permute(0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1)
    return tokens.flatten(1, n).flatten(2, -2)


def assembled(windows: Tensor, grid: Shape, window: Shape) -> Tensor:
    """Undo `partitioned`: return tokens (batch, *grid, channel)."""
    n = len(window)
    counts = [size // edge for size, edge in zip(grid, window, strict=True)]
    tokens = windows.reshape(windows.shape[0], *counts, *window, windows.shape[-1])
    tokens = tokens.permute(0, *(axis for i in range(n) for axis in (1 + i, 1 + n + i)), 2 * n + 1)
    return tokens.reshape(windows.shape[0], *grid, windows.shape[-1])


def together(grid: Shape, window: Shape, shift: Shape) -> Tensor | None:
    """Return who attends to whom (windows, tokens, tokens), or None where all do.

    Tokens of a window belong together unless one of them came round the end, or is padding.
    """
    whole = whole_windows(grid, window)
    if whole == grid and not any(shift):
        return None
    groups = torch.zeros(whole, dtype=torch.int64)
    for axis, (n, size, by) in enumerate(zip(grid, whole, shift, strict=True)):
        place = (torch.arange(size) + by) % size  # where the token was
        group = 2 * (place >= n) + (place < by)
        groups = 4 * groups + group.reshape([-1 if i == axis else 1 for i in range(len(grid))])
    ids = partitioned(groups[None, ..., None], window)[0, ..., 0]
    return ids[:, :, None] == ids[:, None]
