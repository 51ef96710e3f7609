"""Our backbones against the published code (pip install --no-deps segment-anything), at random weights.

The tolerance is three times what single precision alone costs (the published code in single against double), plus
a few units in the last place.
"""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import save_file

from promptless.networks.backbones import ARCHITECTURES, MEAN, STD, load_published
from promptless.networks.checkpoints import read
from reference import SMALL, build, meta_shapes


@pytest.fixture(scope="module")
def published():
    torch.manual_seed(0)
    return build(SMALL)


@pytest.fixture(scope="module")
def ours(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    torch.save(published.state_dict(), folder / "sam.pth")
    save_file(read(folder / "sam.pth").state, folder / "model.safetensors")
    return load_published("small", folder, architecture=SMALL)


def agree(found, compute, network):
    """Compare with `compute(network, dtype)`, within three times what single precision costs it."""
    single, double = compute(network, torch.float32), compute(copy.deepcopy(network).double(), torch.float64)
    for mine, one, other in zip(found, single, double, strict=True):
        assert one.std() > 1e-3
        tolerance = 3 * float((one - other).abs().max()) + 1e-6
        assert tolerance < 1e-2 * float(one.std())
        assert float((mine - one).abs().max()) <= tolerance


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_rule_for_names_and_shapes_is_that_of_the_published_code(name):
    network = build(ARCHITECTURES[name], "meta")
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == meta_shapes(ARCHITECTURES[name])


@torch.inference_mode()
def test_the_image_encoder_is_the_published_one(ours, published):
    image = torch.rand(2, 3, 256, 256)

    def compute(network, dtype):
        mean, std = (torch.tensor(values, dtype=dtype)[:, None, None] for values in (MEAN, STD))
        return [network.image_encoder((image.to(dtype) - mean) / std)]

    agree([ours.encode(image)], compute, published)


PROMPTS = {
    "points": ((torch.rand(3, 4, 2) * 256, torch.tensor([[1, 0, 1, 1]] * 3)), None, None),
    "boxes": (None, torch.rand(3, 4) * 100 + torch.tensor([0, 0, 100, 100]), None),
    "points and boxes": ((torch.rand(3, 1, 2) * 256, torch.ones(3, 1)), torch.rand(3, 4) * 256, None),
    "points and a mask": ((torch.rand(3, 1, 2) * 256, torch.ones(3, 1)), None, torch.randn(3, 1, 64, 64)),
}


@pytest.mark.parametrize("kind", PROMPTS)
@torch.inference_mode()
def test_prompt_encoder_and_mask_decoder_are_the_published_ones(ours, published, kind):
    points, boxes, masks = PROMPTS[kind]
    sparse, dense = published.prompt_encoder(points, boxes, masks)
    coords, labels = (None, None) if points is None else (points[0][:, None], points[1][:, None])
    our_sparse, our_dense = ours.prompt_encoder(coords, labels, None if boxes is None else boxes[:, None], masks)
    assert torch.allclose(our_sparse[:, 0], sparse, atol=1e-5)
    assert torch.allclose(our_dense, dense, atol=1e-5)

    embedding, position = torch.randn(1, 32, 16, 16), published.prompt_encoder.get_dense_pe()
    for multimask in (False, True):

        def compute(network, dtype, multimask=multimask):
            arguments = (value.to(dtype) for value in (embedding, position, sparse, dense))
            return network.mask_decoder(*arguments, multimask)

        found = ours.mask_decoder(
            embedding.expand(3, -1, -1, -1), position, sparse[:, None], dense, multimask_output=multimask
        )
        agree([value[:, 0] for value in found], compute, published)
