from __future__ import annotations

import pytest
import torch

from promptless.networks.volume import rivals
from promptless.networks.volume.compact import CompactSizes, CompactUnet
from volumes import random_crop


def test_the_default_stays_below_a_million_parameters():
    assert 500_000 < sum(p.numel() for p in CompactUnet(CompactSizes(), 14).parameters()) < 1_000_000


def test_it_takes_multiples_itself_and_any_size_where_it_is_filled_up():
    sizes = CompactSizes((4, 6, 8))
    network = rivals.compact(sizes, 3).eval()
    assert sizes.multiple == 8
    assert network(random_crop(5, 17, 9)).shape == (1, 3, 5, 17, 9)
    crop = random_crop(16, 24, 16)
    assert torch.equal(network(crop), network.network(crop))


def test_a_voxel_is_told_from_its_neighbours():
    """Cells are two voxels long, and yet each voxel has a logit of its own, and counts for it."""
    torch.manual_seed(0)
    network, crop = CompactUnet(CompactSizes((4, 6)), 2).eval(), random_crop(8, 8, 8)
    crop.requires_grad_()
    logits = network(crop)
    assert len(logits[0, 0].unique()) > 0.9 * 8**3
    (slope,) = torch.autograd.grad(logits[0, 0, 3, 4, 5], crop)
    assert (slope[0, 0, 2:5, 3:6, 4:7] != 0).all()


@pytest.mark.parametrize("widths", [(4,), (4, 0)])
def test_sizes_that_make_no_network_are_refused(widths):
    with pytest.raises(ValueError, match=r"widths is \[.*it must be the channels of two levels or more"):
        CompactSizes(widths)
