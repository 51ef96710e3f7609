from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from promptless.networks.volume.attention import (
    WindowAttention,
    assembled,
    one_hot_positions,
    padded,
    partitioned,
    rolled,
    together,
    whole_windows,
)
from volumes import both_backbones


@pytest.fixture(scope="module")
def backbones(tiny_folder, tmp_path_factory):
    return both_backbones(tiny_folder, tmp_path_factory.mktemp("published"))


def plain(attention, tokens):
    """Every token against every other of the whole grid, of which those in other windows are crossed out.

    Windows are cells of the grid here: nothing is padded, rolled or cut.
    """
    grid, window = tokens.shape[1:-1], attention.window
    places = torch.cartesian_prod(*(torch.arange(n) for n in grid))
    shifts = torch.tensor([attention.shift if n > window else 0 for n in grid])
    cells = (places - shifts) // window
    same = (cells[:, None] == cells[None]).all(-1)
    flat = tokens.flatten(1, -2)
    q, k, v = attention.qkv(flat).unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4)
    weights = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    for axis, table in enumerate((attention.rel_pos_h, attention.rel_pos_w, attention.rel_pos_d)):
        fitted = functional.interpolate(table.T[None], size=2 * window - 1, mode="linear")[0].T
        difference = (places[:, None, axis] - places[None, :, axis] + window - 1).clamp(0, 2 * window - 2)
        weights = weights + torch.einsum("bhqc,qkc->bhqk", q, fitted[difference])
    mixed = weights.masked_fill(~same, -torch.inf).softmax(-1) @ v
    return attention.proj(mixed.transpose(1, 2).flatten(2)).reshape(tokens.shape)


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("grid", [(4, 4, 4), (8, 8, 8), (5, 9, 3), (6, 4, 7), (1, 2, 9), (1, 1, 1)])
def test_windows_give_what_plain_attention_over_the_grid_gives(backbones, name, shift, grid):
    layer = backbones[name].image_encoder.layers[0].attn
    attention = WindowAttention(layer, 4, shift)
    width = layer.proj.out_features
    tokens = torch.randn((2, *grid, width), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, mixed = plain(attention, tokens), attention(tokens)
    assert expected.std() > 1e-3
    assert torch.allclose(mixed, expected, atol=1e-4 * float(expected.abs().max()))


def test_the_relative_positions_of_all_axes_matter(backbones):
    attention = WindowAttention(backbones["large"].image_encoder.layers[0].attn, 4, 0)
    tokens = torch.randn((1, 4, 4, 4, 32), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before = attention(tokens)
        for table in (attention.rel_pos_h, attention.rel_pos_w, attention.rel_pos_d):
            kept = table.clone()
            table.data = torch.zeros_like(table)
            assert (attention(tokens) - before).abs().max() > 1e-3
            table.data = kept


def test_the_new_table_is_the_mean_of_the_two_and_alone_trains(backbones):
    attention = WindowAttention(backbones["large"].image_encoder.layers[0].attn, 4, 2)
    assert torch.allclose(attention.rel_pos_d, (attention.rel_pos_h + attention.rel_pos_w) / 2)
    assert [name for name, p in attention.named_parameters() if p.requires_grad] == ["rel_pos_d"]


def test_frozen_projections_share_the_backbones_memory(backbones):
    layer = backbones["large"].image_encoder.layers[0].attn
    attention = WindowAttention(layer, 4, 2)
    for own, theirs in ((attention.qkv, layer.qkv), (attention.proj, layer.proj)):
        assert own.weight.data_ptr() == theirs.weight.data_ptr()
    assert attention.rel_pos_h.data_ptr() == layer.rel_pos_h.data_ptr()


@st.composite
def grids(draw, largest=7):
    n = draw(st.integers(1, 4))
    sizes = st.lists(st.integers(1, largest), min_size=n, max_size=n)
    grid, window = tuple(draw(sizes)), tuple(draw(sizes))
    window = tuple(min(a, b) for a, b in zip(grid, window, strict=True))
    return grid, window, tuple(draw(st.integers(0, size // 2)) for size in window)


@given(grids())
def test_cutting_into_windows_can_be_undone(drawn):
    grid, window, shift = drawn
    tokens = torch.randn(2, *grid, 3)
    parts = partitioned(rolled(padded(tokens, window), shift), window)
    whole = rolled(assembled(parts, whole_windows(grid, window), window), tuple(-n for n in shift))
    assert torch.equal(whole[(slice(None), *(slice(n) for n in grid))], tokens)


@given(grids(largest=5))
def test_those_are_together_who_share_a_cell_of_the_grid(drawn):
    grid, window, shift = drawn
    mask = together(grid, window, shift)
    whole = whole_windows(grid, window)
    places = torch.stack(torch.meshgrid(*(torch.arange(n) for n in whole), indexing="ij"), -1)[None]
    places = partitioned(rolled(places, shift), window)[0]  # (windows, tokens, axis)
    real = (places < torch.tensor(grid)).all(-1)
    cells = (places - torch.tensor(shift)).div(torch.tensor(window), rounding_mode="floor")
    same = (cells[:, :, None] == cells[:, None]).all(-1)
    if mask is None:
        assert real.all()
        assert same.all()
        return
    assert torch.equal(mask & real[:, :, None], same & real[:, :, None] & real[:, None])
    assert mask.any(-1).all()  # else a softmax would be over nothing


def test_one_hot_positions_count_each_axis():
    assert one_hot_positions((2, 3)).tolist()[4] == [0, 1, 0, 1, 0]
