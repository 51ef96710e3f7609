from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from promptless.networks.volume.folding import PatchEmbedding, impulse_response

SIZES = [(16, 4), (8, 4), (8, 2), (6, 3), (4, 4), (4, 1)]


def embedding(patch, upsampling, width=5, start="published"):
    torch.manual_seed(patch + upsampling)
    return PatchEmbedding(nn.Conv2d(3, width, patch, patch), upsampling, start)


def unfolded(made, crop):
    """The chain as it was published, one step after the other."""
    large = functional.interpolate(crop, scale_factor=float(made.upsampling), mode="trilinear", align_corners=False)
    slices = large[:, 0].movedim(-1, 1).flatten(0, 1)[:, None].repeat(1, 3, 1, 1)  # (batch * slices, 3, h, w)
    planes = functional.conv2d(slices, made.weight, made.bias, stride=made.patch)
    stacked = planes.unflatten(0, (crop.shape[0], -1)).permute(0, 2, 3, 4, 1)  # (batch, channel, h, w, slices)
    weight, bias = made.slices.weight, made.slices.bias
    return functional.conv3d(stacked, weight, bias, (1, 1, made.patch), groups=len(weight)).movedim(1, -1)


@pytest.mark.parametrize(("patch", "upsampling"), SIZES)
def test_one_convolution_equals_the_published_chain(patch, upsampling):
    made = embedding(patch, upsampling)
    crop = torch.randn(2, 1, *(made.stride * n for n in (3, 2, 4)))
    with torch.inference_mode():
        expected, tokens = unfolded(made, crop), made(crop)
    assert expected.std() > 0.05
    assert tokens.shape == expected.shape == (2, 3, 2, 4, 5)
    assert torch.allclose(tokens, expected, atol=1e-5)


def test_at_the_width_of_vit_b_it_still_is_equal():
    made = embedding(16, 4, width=768)
    crop = torch.randn(1, 1, 12, 16, 8)
    with torch.inference_mode():
        expected, tokens = unfolded(made, crop), made(crop)
    assert (tokens - expected).abs().max() < 1e-4
    kernel, bias = made.folded()
    assert kernel.shape == (768, 1, 6, 6, 6)
    assert bias.shape == (768,)
    assert made.stride == 4


def test_both_embeddings_learn_as_they_would_in_the_chain():
    made = embedding(8, 4)
    made.weight.requires_grad_(True)
    crop, seen = torch.randn(1, 1, 4, 6, 8), []
    for way in (made, lambda x: unfolded(made, x)):
        made.zero_grad()
        way(crop).square().sum().backward()
        seen.append({name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None})
    assert set(seen[0]) == {"weight", "slices.weight", "slices.bias"}
    assert all(torch.allclose(value, seen[1][name], rtol=1e-3, atol=1e-3) for name, value in seen[0].items())


def test_only_the_slice_embedding_trains_unless_told_otherwise():
    made = embedding(8, 4)
    assert [name for name, p in made.named_parameters() if p.requires_grad] == ["slices.weight", "slices.bias"]


def test_an_incomplete_token_sees_the_border_repeated():
    made, crop = embedding(16, 4), torch.randn(1, 1, 5, 8, 11)
    whole = functional.pad(crop, (0, 1, 0, 0, 0, 3), mode="replicate")
    with torch.inference_mode():
        assert torch.allclose(made(crop), unfolded(made, whole), atol=1e-5)


def test_started_as_sam_equal_slices_are_embedded_as_one_image():
    made = embedding(8, 4, start="sam")
    plane = torch.randn(1, 1, 6, 4)
    image = functional.interpolate(plane, scale_factor=4.0, mode="bilinear", align_corners=False).repeat(1, 3, 1, 1)
    with torch.inference_mode():
        expected = functional.conv2d(image, made.weight, made.bias, stride=8).movedim(1, -1)
        tokens = made(plane[..., None].repeat(1, 1, 1, 1, 2))
    assert torch.allclose(tokens[..., 0, :], expected, atol=1e-5)


def test_every_upsampled_pixel_is_a_mean_of_voxels():
    for patch, upsampling in SIZES:
        response = impulse_response(patch, upsampling)
        assert response.shape == (patch, patch // upsampling + 2)
        assert torch.allclose(response.sum(1), torch.ones(patch))


def test_tokens_must_begin_at_voxels():
    with pytest.raises(ValueError, match="upsampling is 3, which does not divide patches of 16"):
        embedding(16, 3)
