from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from promptless.networks.volume.decoder import Aggregation, FineAggregation


def test_at_published_width_the_classifier_sees_513_channels():
    with torch.device("meta"):
        made = Aggregation(256, 4, 128, 14, stride=4)
        logits = made([torch.empty(1, 256, 32, 32, 32)] * 4, torch.empty(1, 1, 128, 128, 128))
    assert made.classifier[0][0].in_channels == 513
    assert logits.shape == (1, 14, 128, 128, 128)
    assert sum(p.numel() for p in made.parameters()) == 7_129_728


@pytest.mark.parametrize("aggregation", [Aggregation, FineAggregation])
@pytest.mark.parametrize(("stride", "shape"), [(4, (8, 12, 4)), (4, (9, 5, 3)), (2, (7, 6, 4)), (8, (3, 4, 5))])
def test_logits_have_the_shape_of_the_crop(stride, shape, aggregation):
    torch.manual_seed(0)
    made = aggregation(6, 2, 4, 3, stride)
    cells = tuple(-(-n // stride) for n in shape)
    embeddings = [torch.randn(2, 6, *cells) for _ in range(2)]
    with torch.inference_mode():
        logits = made(embeddings, torch.randn(2, 1, *shape))
    assert logits.shape == (2, 3, *shape)
    assert logits.std() > 0.01


def test_the_image_comes_in_at_half_resolution():
    """At twice the grid of a stride of 4 every voxel is the mean of eight of the crop."""
    made, seen = Aggregation(6, 1, 4, 2, stride=4), []
    made.classifier[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    crop = torch.randn(1, 1, 8, 4, 12)
    with torch.inference_mode():
        made([torch.randn(1, 6, 2, 1, 3)], crop)
    assert seen[0].shape == (1, 5, 4, 2, 6)
    assert torch.allclose(seen[0][:, -1:], functional.avg_pool3d(crop, 2), atol=1e-6)


def test_every_level_and_the_image_reach_the_logits():
    made = Aggregation(6, 3, 4, 2, stride=2)
    inputs = [torch.randn(1, 6, 3, 3, 3, requires_grad=True) for _ in range(3)]
    crop = torch.randn(1, 1, 6, 6, 6, requires_grad=True)
    made(inputs, crop).square().sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in (*inputs, crop))


def test_the_fine_one_loses_no_voxel():
    """Each changes the logits, and has logits of its own."""
    torch.manual_seed(0)
    made, crop = FineAggregation(6, 2, 4, 3, stride=4), torch.randn(1, 1, 8, 4, 12, requires_grad=True)
    logits = made([torch.randn(1, 6, 2, 1, 3) for _ in range(2)], crop)
    (seen,) = torch.autograd.grad(logits.square().sum(), crop)
    assert (seen != 0).all()
    assert logits[0].flatten(1).unique(dim=1).shape[1] == crop.numel()


def test_the_fine_one_wants_cells_that_can_be_halved():
    with pytest.raises(ValueError, match=r'a token covers 1 voxel.*decoder = "fine" wants a multiple of 2'):
        FineAggregation(6, 2, 4, 3, stride=1)
