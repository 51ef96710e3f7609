from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch

from promptless.networks.promptable import ENCODERS, Promptable, PromptableSize


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_sees_the_image_at_stride_4(tiny_size, encoder):
    torch.manual_seed(2)
    network = Promptable(replace(tiny_size, encoder=encoder)).eval()
    one, other = (network.encode(torch.rand(1, 3, 40, 56)) for _ in range(2))
    assert one.embedding.shape == (1, 32, 10, 14)
    assert one.maps.shape == (1, 2, 40, 56)
    assert (one.embedding - other.embedding).abs().max() > 1e-4  # a fresh U-Net's features are small


def test_both_is_the_sum_of_the_two(tiny_size):
    torch.manual_seed(2)
    both = Promptable(tiny_size).eval()
    image, parts = torch.rand(1, 3, 32, 32), []
    for encoder in ("unet", "vit"):
        network = Promptable(replace(tiny_size, encoder=encoder)).eval()
        network.load_state_dict(both.state_dict(), strict=False)
        parts.append(network.encode(image).embedding)
    assert torch.allclose(both.encode(image).embedding, sum(parts), atol=1e-5)


def test_an_unknown_encoder_lists_the_known_ones():
    with pytest.raises(ValueError, match="'resnet'; it must be one of unet, vit, both"):
        PromptableSize(encoder="resnet")


def test_a_size_survives_json(tiny_size):
    assert PromptableSize.from_dict(json.loads(json.dumps(asdict(tiny_size)))) == tiny_size


def test_the_default_size_has_less_than_six_million_parameters():
    assert 2_000_000 < sum(p.numel() for p in Promptable(PromptableSize()).parameters()) < 6_000_000
