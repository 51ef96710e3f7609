from __future__ import annotations

import pytest
import torch

from promptless.networks.unet import UNet, fitted_heads


@pytest.fixture
def network():
    torch.manual_seed(1)
    return UNet((4, 6, 8, 10), outputs=2).eval()


@pytest.mark.parametrize("shape", [(16, 24), (64, 8)])
def test_maps_are_at_full_size_and_features_at_stride_4(network, shape):
    features = network(torch.rand(2, 3, *shape))
    assert features.maps.shape == (2, 2, *shape)
    assert features.embedding.shape == (2, 8, shape[0] // 4, shape[1] // 4)
    assert network.stride == 8


def test_a_network_of_three_levels_has_its_features_at_the_bottom():
    assert UNet((4, 6, 8), outputs=2).eval()(torch.rand(1, 3, 16, 16)).embedding.shape == (1, 8, 4, 4)


def test_a_pixel_depends_on_its_surroundings_alone(network):
    image = torch.rand(1, 3, 256, 32)
    other = image.clone()
    other[:, :, 224:] = torch.rand(1, 3, 32, 32)
    a, b = (network(x).maps for x in (image, other))
    assert torch.equal(a[:, :, :96], b[:, :, :96])
    assert not torch.equal(a[:, :, 224:], b[:, :, 224:])


def test_moving_the_image_by_the_stride_moves_the_maps(network):
    image = torch.rand(1, 3, 256, 32)
    maps, moved = network(image).maps, network(image[:, :, 8:]).maps
    assert torch.allclose(moved[:, :, 96:-96], maps[:, :, 104:-96], atol=1e-5)


def test_every_parameter_gets_a_gradient(network):
    features = network.train()(torch.rand(2, 3, 32, 32))
    (features.maps.square().sum() + features.embedding.sum()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


@pytest.mark.parametrize(("before", "after"), [(2, 5), (5, 2), (2, 1), (2, 2)])
def test_a_network_of_more_maps_or_fewer_takes_over_those_that_it_has(before, after):
    torch.manual_seed(0)
    known, fresh = UNet((4, 8, 8), before).eval(), UNet((4, 8, 8), after).eval()
    image, n = torch.rand(1, 3, 16, 16), min(before, after)
    own = fresh.head.weight.detach().clone()
    fresh.load_state_dict(fitted_heads(known.state_dict(), fresh.state_dict()))
    assert torch.allclose(fresh(image).maps[:, :n], known(image).maps[:, :n], atol=1e-6)
    assert torch.equal(fresh.head.weight[n:], own[n:])
