from __future__ import annotations

import torch
from torch import nn

from promptless.networks.footprint import Footprint, peak_bytes
from volumes import autoprosam, random_crop, small_base

FLOAT = 4


class Steps(nn.Module):
    """Four tensors one after the other, of which two are needed at a time."""

    def forward(self, x):
        for _ in range(4):
            x = x + 1
        return x


class Kept(nn.Module):
    """Four tensors that are all needed in the end."""

    def forward(self, x):
        return torch.cat([x + i for i in range(4)])


def test_what_is_gone_is_not_counted():
    one = 10 * 20 * FLOAT
    assert peak_bytes(Steps(), (10, 20)) == 2 * one
    assert peak_bytes(Kept(), (10, 20)) == 8 * one


def test_views_share_the_memory_of_what_they_show():
    with Footprint() as footprint:
        whole = torch.zeros(100)
        parts = [whole[i:].reshape(1, -1) for i in range(50)]
    assert footprint.peak == whole.nbytes
    assert len(parts) == 50


def test_what_is_foreseen_is_what_the_tensors_take(tiny_folder):
    network = autoprosam(small_base(tiny_folder)).eval()
    with torch.no_grad(), Footprint() as real:
        network(random_crop(24, 32, 28))
    foreseen = peak_bytes(network, (1, 1, 24, 32, 28))
    assert real.peak <= foreseen < 1.5 * real.peak  # attention is counted whole


def test_nothing_is_computed_and_the_network_stays_where_it_is(tiny_folder):
    network = autoprosam(small_base(tiny_folder))
    assert peak_bytes(network, (1, 1, 512, 512, 512)) > 2**30
    assert {p.device.type for p in network.parameters()} == {"cpu"}
