from __future__ import annotations

import torch
from torch.nn import functional

from promptless.networks.volume.layers import (
    ChannelNorm,
    InstanceNorm,
    cells_to_channels,
    channels_to_cells,
    corner_to_corner,
    pooled,
    replicated,
)


def test_a_single_voxel_is_left_as_it_is():
    assert torch.equal(InstanceNorm()(torch.full((1, 2, 1, 1, 1), 3.0)), torch.full((1, 2, 1, 1, 1), 3.0))
    x = torch.randn(2, 3, 4, 5)
    expected = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    assert torch.allclose(InstanceNorm()(x), expected, atol=1e-5)


def test_channels_are_normalised_at_every_place():
    norm, x = ChannelNorm(5, eps=1e-6), torch.randn(2, 5, 3, 4, 2)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    scaled = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
    expected = scaled * norm.weight[:, None, None, None] + norm.bias[:, None, None, None]
    with torch.inference_mode():
        assert torch.allclose(norm(x), expected, atol=1e-5)


def test_tables_are_pooled_to_any_grid():
    table = torch.randn(6, 4, 3)
    assert torch.equal(pooled(table, (6, 4)), table)
    expected = functional.adaptive_avg_pool2d(table.movedim(-1, 0), (5, 7)).movedim(0, -1)
    assert torch.allclose(pooled(table, (5, 7)), expected, atol=1e-6)
    assert torch.allclose(pooled(table[0], (1,))[0], table[0].mean(0))


def test_borders_are_repeated_on_each_axis():
    x = torch.arange(6.0).reshape(1, 1, 1, 2, 3)
    assert (
        replicated(x, (0, 1, 0), (1, 0, 2))[0, 0].tolist() == [[[0, 1, 2, 2, 2], [0, 1, 2, 2, 2], [3, 4, 5, 5, 5]]] * 2
    )


def test_corners_stay_where_they_are():
    x = torch.randn(1, 1, 3, 3, 3)
    large = corner_to_corner(x, (6, 5, 9))
    assert torch.allclose(large[..., [0, -1], :, :][..., [0, -1], :][..., [0, -1]], x[..., ::2, ::2, ::2], atol=1e-6)


def test_cells_become_channels_and_come_back():
    x = torch.randn(2, 3, 4, 6, 2)
    split = cells_to_channels(x, 2)
    assert split.shape == (2, 24, 2, 3, 1)
    assert torch.equal(split[0, 8:16, 1, 2, 0].flatten(), x[0, 1, 2:4, 4:6, 0:2].flatten())
    assert torch.equal(channels_to_cells(split, 2), x)
    planes = torch.randn(1, 8, 3, 5)
    assert torch.equal(channels_to_cells(planes, 2), functional.pixel_shuffle(planes, 2))
    assert torch.equal(cells_to_channels(channels_to_cells(planes, 2), 2), planes)
