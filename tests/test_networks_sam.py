from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from made_up import discs
from promptless.networks.sam import PromptDecoder, SamSize, encode, vision_encoder

SIZE = SamSize(embedding=32, patch=8, width=16, layers=2, heads=2, window=4, mlp=64, decoder_heads=2)
STRIDE, CELLS = 4, 8
PIXELS = STRIDE * CELLS
WINDOW = (PIXELS, PIXELS)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(3)
    return vision_encoder(SIZE).eval()


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(3)
    return PromptDecoder.fresh(SIZE, STRIDE, CELLS).eval()


def test_a_fresh_encoder_looks_at_the_image(encoder):
    """transformers' own initialisation answers almost zero to every image."""
    one, other = (encode(encoder, torch.rand(1, 3, 32, 32)) for _ in range(2))
    assert one.abs().max() > 0.1
    assert (one - other).abs().max() > 0.1


def test_encoding_is_that_of_transformers_at_its_own_size(encoder):
    image = torch.rand(2, 3, SIZE.patch * SIZE.window, SIZE.patch * SIZE.window)
    expected = encoder(image).last_hidden_state
    assert torch.allclose(encode(encoder, image), expected, atol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize("shape", [(32, 64), (40, 24), (8, 8)])
def test_images_of_any_multiple_of_the_patch_are_encoded(encoder, shape):
    assert encode(encoder, torch.rand(1, 3, *shape)).shape == (1, 32, shape[0] // 8, shape[1] // 8)


def test_the_embedding_moves_with_the_image_by_whole_windows(encoder):
    image, side = torch.rand(1, 3, 128, 32), SIZE.patch * SIZE.window
    whole, later = encode(encoder, image), encode(encoder, image[:, :, side:])
    assert torch.allclose(later[:, :, 1:-1], whole[:, :, SIZE.window + 1 : -1], atol=1e-5)


def test_what_lies_in_another_window_does_not_matter(encoder):
    image = torch.rand(1, 3, 128, 32)
    other = image.clone()
    other[:, :, 64:] = torch.rand(1, 3, 64, 32)
    assert torch.equal(encode(encoder, image)[:, :, :7], encode(encoder, other)[:, :, :7])


def test_the_positional_matrix_is_frozen(decoder):
    frozen = [name for name, p in decoder.named_parameters() if not p.requires_grad]
    assert frozen == ["prompt_encoder.shared_embedding.positional_embedding"]


def test_distinct_positions_have_distinct_encodings(decoder):
    encoded = decoder.positions((CELLS, CELLS))[0].flatten(1).T  # (cells, channel)
    distance = torch.cdist(encoded, encoded)
    assert distance[~torch.eye(len(distance), dtype=bool)].min() > 0.3


def test_near_positions_are_more_alike_than_far_ones(decoder):
    """With transformers' own scale the encoding is noise."""
    along = torch.linspace(0, PIXELS - 1, 64)
    coords = torch.stack([torch.full_like(along, 10), along], dim=-1)[:, None]
    encoded = decoder.embed_tokens(coords, torch.ones(64, 1, dtype=torch.int64), WINDOW)[:, 0, 0]
    near = (encoded[1:] - encoded[:-1]).norm(dim=-1).mean()
    far = (encoded[32:] - encoded[:32]).norm(dim=-1).mean()
    assert 3 * near < far


def test_points_are_embedded_as_transformers_embeds_them(decoder):
    coords = torch.rand(3, 5, 2) * PIXELS
    labels = torch.tensor([[1, 0, 1, -1, 0]]).expand(3, -1)
    sparse, dense = decoder.prompt_encoder(coords.flip(-1)[:, None], labels[:, None], None, None)
    padded = torch.cat([coords, torch.zeros(3, 1, 2)], dim=1), torch.cat([labels, torch.full((3, 1), -1)], dim=1)
    assert torch.allclose(decoder.embed_tokens(*padded, WINDOW), sparse, atol=1e-6)
    assert torch.equal(decoder.embed_mask(torch.zeros(3, 1, PIXELS, PIXELS), torch.zeros(3, dtype=bool)), dense)


def test_boxes_are_embedded_as_transformers_embeds_them(decoder):
    start, stop = torch.rand(4, 2) * 10, 15 + torch.rand(4, 2) * 10
    sparse, _ = decoder.prompt_encoder(None, None, torch.cat([start.flip(-1), stop.flip(-1)], -1)[:, None], None)
    ours = decoder.embed_tokens(torch.stack([start, stop], dim=1), torch.tensor([[2, 3]]).expand(4, -1), WINDOW)
    assert torch.allclose(ours, sparse, atol=1e-6)


def test_masks_are_embedded_as_transformers_embeds_them(decoder):
    mask = torch.randn(2, 1, PIXELS, PIXELS)
    _, dense = decoder.prompt_encoder(None, None, torch.zeros(2, 1, 4), mask)
    assert torch.equal(decoder.embed_mask(mask, torch.ones(2, dtype=bool)), dense)


def test_no_mask_is_not_a_mask_of_zeros(decoder):
    zeros = torch.zeros(2, 1, PIXELS, PIXELS)
    given, none = decoder.embed_mask(zeros, torch.tensor([True, False]))
    expected = decoder.prompt_encoder.no_mask_embed.weight[0]
    assert torch.equal(none, expected[:, None, None].expand(-1, CELLS, CELLS))
    assert (given - none).abs().max() > 0.01


def test_without_a_mask_the_values_of_the_mask_do_not_matter(decoder):
    mask, absent = torch.randn(1, 1, PIXELS, PIXELS), torch.zeros(1, dtype=bool)
    assert torch.equal(decoder.embed_mask(mask, absent), decoder.embed_mask(-mask, absent))


def test_decoding_is_that_of_transformers(decoder):
    """The whole published model, with our weights in it."""
    vision = SamVisionConfig(
        hidden_size=16,
        output_channels=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=PIXELS,
        patch_size=STRIDE,
        num_pos_feats=16,
        global_attn_indexes=[],
        window_size=2,
    )
    prompt = SamPromptEncoderConfig(hidden_size=32, image_size=PIXELS, patch_size=STRIDE)
    masks = SamMaskDecoderConfig(hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32)
    published = SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=masks)
    ).eval()
    published.prompt_encoder.load_state_dict(decoder.prompt_encoder.state_dict())
    published.mask_decoder.load_state_dict(decoder.mask_decoder.state_dict())
    matrix = decoder.prompt_encoder.shared_embedding.positional_embedding
    published.shared_image_embedding.positional_embedding.data = matrix.data
    windows, coords = torch.randn(2, 32, CELLS, CELLS), torch.rand(2, 3, 2) * PIXELS
    labels = torch.tensor([[1, 0, 1], [1, 1, 0]])
    padded = torch.cat([coords, torch.zeros(2, 1, 2)], dim=1), torch.cat([labels, torch.full((2, 1), -1)], dim=1)
    none = torch.zeros(2, 1, PIXELS, PIXELS), torch.zeros(2, dtype=bool)
    for multimask in (False, True):
        with torch.inference_mode():
            expected = published(
                image_embeddings=windows,
                input_points=coords.flip(-1)[:, None],
                input_labels=labels[:, None],
                multimask_output=multimask,
            )
            logits, iou = decoder.outputs(windows, *padded, *none, multimask=multimask)
        assert torch.allclose(logits, expected.pred_masks[:, 0], atol=1e-4)
        assert torch.allclose(iou, expected.iou_scores[:, 0], atol=1e-5)


def test_the_single_mask_comes_before_the_candidates(decoder):
    inputs = (
        torch.randn(2, 32, CELLS, CELLS),
        torch.rand(2, 4, 2) * PIXELS,
        torch.tensor([[1, 0, 2, 3], [1, -1, -1, -1]]),
        torch.randn(2, 1, PIXELS, PIXELS),
        torch.tensor([True, False]),
    )
    logits, iou = decoder(*inputs)
    single, candidates = (decoder.outputs(*inputs, multimask=many) for many in (False, True))
    assert logits.shape == (2, 4, PIXELS, PIXELS)
    assert torch.equal(logits[:, :1], single[0])
    assert torch.equal(iou[:, 1:], candidates[1])


def two_discs(n, rng):
    """Return arguments of `outputs` for `n` windows with two discs each and a click in one, all labels, and which."""
    places = rng.integers(6, 11, (n, 2)), rng.integers(21, 26, (n, 2))
    labels = np.stack([discs((PIXELS, PIXELS), [(*a, 5), (*b, 5)]) for a, b in zip(*places, strict=True)])
    which = rng.integers(1, 3, n)
    pixels = [np.argwhere(image == number) for image, number in zip(labels, which, strict=True)]
    clicks = np.stack([at[rng.integers(len(at))] for at in pixels]).astype(np.float32)
    seen = torch.nn.functional.pixel_unshuffle(torch.from_numpy((labels > 0).astype(np.float32))[:, None], STRIDE)
    windows = torch.cat([seen, seen], dim=1)  # the embedding says where a disc is, not which one is meant
    points = torch.from_numpy(clicks)[:, None], torch.ones(n, 1, dtype=torch.int64)
    none = torch.zeros(n, 1, PIXELS, PIXELS), torch.zeros(n, dtype=torch.bool)
    return (windows, *points, *none), torch.from_numpy(labels), torch.from_numpy(which)[:, None, None]


def test_the_decoder_learns_that_the_mask_moves_when_the_point_moves():
    torch.manual_seed(3)
    rng, learner = np.random.default_rng(0), PromptDecoder.fresh(SIZE, STRIDE, CELLS)
    optimiser = torch.optim.AdamW([p for p in learner.parameters() if p.requires_grad], lr=4e-3)
    for _ in range(220):
        arguments, labels, which = two_discs(16, rng)
        logits, _ = learner.outputs(*arguments, multimask=False)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], (labels == which).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    arguments, labels, which = two_discs(32, rng)
    with torch.inference_mode():
        found = learner.outputs(*arguments, multimask=False)[0][:, 0] > 0
    assert found[labels == which].float().mean() > 0.8
    assert found[labels == 3 - which].float().mean() < 0.1
