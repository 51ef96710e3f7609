from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from promptless.networks.backbones import ARCHITECTURES, skeleton
from promptless.networks.volume.encoder import ADAPTERS, Block, MendedAdapter, SpatialAdapter, VolumeEncoder, evenly
from promptless.train.memory import sparing
from volumes import both_backbones, random_crop


@pytest.fixture(scope="module")
def backbones(tiny_folder, tmp_path_factory):
    return both_backbones(tiny_folder, tmp_path_factory.mktemp("published"))


@pytest.fixture(params=["small", "large"])
def backbone(request, backbones):
    return backbones[request.param]


def encoder(backbone, seed=0, **asked):
    torch.manual_seed(seed)
    return VolumeEncoder(backbone, window=4, depth=8, **asked)


def real(name, **asked):
    with torch.device("meta"):
        return VolumeEncoder(skeleton(name, ARCHITECTURES[name]), **asked)


def n_parameters(modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def n_trained(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_vit_b_is_inflated_to_published_size():
    inflated = real("sam_vit_b")
    assert [n_parameters([block.adapter]) for block in inflated.blocks] == [601_728] * 12
    assert n_parameters(norm for block in inflated.blocks for norm in (block.norm1, block.norm2)) == 36_864
    assert round(n_trained(inflated) / 1e6, 2) == 15.21
    assert n_trained(inflated) == 15_209_984


@pytest.mark.parametrize(
    ("name", "width", "layers"), [("sam_vit_b", 768, 12), ("sam_vit_l", 1024, 24), ("sam_vit_h", 1280, 32)]
)
def test_the_shapes_on_the_way_are_the_published_ones(name, width, layers):
    inflated, crop = real(name), torch.empty(1, 1, 128, 128, 128, device="meta")
    assert inflated.patches(crop).shape == (1, 32, 32, 32, width)
    assert inflated.positions((32, 32, 32)).shape == (32, 32, 32, width)
    assert inflated.positions.depth.shape == (32, width)
    taps = inflated(crop)
    assert [tap.shape for tap in taps] == [(1, 256, 32, 32, 32)] * 4
    assert inflated.taps == tuple(layers * i // 4 - 1 for i in (1, 2, 3, 4))


def test_exactly_the_published_parts_train():
    trained = {name for name, p in real("sam_vit_b").named_parameters() if p.requires_grad}
    parts = {".".join(part for part in name.split(".") if not part.isdigit()) for name in trained}
    assert parts == {
        *(f"blocks.adapter.{layer}.{kind}" for layer in ("down", "mix", "up") for kind in ("weight", "bias")),
        *(f"blocks.{norm}.{kind}" for norm in ("norm1", "norm2") for kind in ("weight", "bias")),
        "blocks.attention.rel_pos_d",
        "patches.slices.weight",
        "patches.slices.bias",
        "positions.depth",
        "necks.weight",
        "necks.bias",
    }


def test_windows_are_shifted_in_every_other_block():
    assert [block.attention.shift for block in real("sam_vit_b").blocks] == [4, 0] * 6


def test_a_block_on_one_slice_is_sams_layer(backbone):
    """One slice has one position along the new axis, which adds the same to all: a softmax does not see it."""
    layer = backbone.image_encoder.layers[0]
    block = Block(layer, "none", backbone.image_encoder.config.hidden_size, layer.window_size, 0)
    side, width = layer.window_size, layer.layer_norm1.weight.numel()
    tokens = torch.randn((2, 2 * side, 3 * side, width), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = layer(tokens)
        assert (expected - tokens).std() > 1e-2
        assert torch.allclose(block(tokens[..., None, :])[..., 0, :], expected, atol=1e-4)


def test_with_mended_adapters_the_encoder_starts_as_without_any(backbones):
    backbone = backbones["large"]
    made = encoder(backbone, adapter="mended", start="sam")
    plain = encoder(backbone, adapter="none", start="sam")
    crop = random_crop(20, 16, 12)
    with torch.inference_mode():
        plain.necks.load_state_dict(made.necks.state_dict())
        assert all(torch.equal(a, b) for a, b in zip(made(crop), plain(crop), strict=True))


def test_the_published_adapter_only_adds_and_the_mended_starts_at_nothing():
    tokens = torch.randn(1, 3, 4, 5, 16)
    with torch.inference_mode():
        added = SpatialAdapter(16)(tokens) - tokens
        assert added.min() >= 0
        assert added.max() > 0
        assert torch.equal(MendedAdapter(16)(tokens), tokens)
    mended = MendedAdapter(16)
    mended(tokens).square().sum().backward()
    assert mended.up.weight.grad.abs().sum() > 0


def test_the_adapter_is_what_was_published():
    """Linear, ReLU, depth-wise 3x3x3 convolution, ReLU, linear, ReLU, and the tokens themselves."""
    adapter, tokens = SpatialAdapter(8), torch.randn(1, 3, 4, 5, 8)
    with torch.inference_mode():
        inside = functional.relu(functional.linear(tokens, adapter.down.weight, adapter.down.bias))
        mixed = functional.conv3d(
            inside.permute(0, 4, 1, 2, 3), adapter.mix.weight, adapter.mix.bias, padding=1, groups=4
        ).permute(0, 2, 3, 4, 1)
        added = functional.linear(functional.relu(mixed), adapter.up.weight, adapter.up.bias)
        assert torch.allclose(adapter(tokens), tokens + functional.relu(added), atol=1e-6)


def test_the_adapter_comes_before_the_layer_and_its_residual(backbones):
    layer, tokens = backbones["large"].image_encoder.layers[0], torch.randn(1, 3, 4, 5, 32)
    block, plain = Block(layer, "published", 32, 4, 2), Block(layer, "none", 32, 4, 2)
    with torch.inference_mode():
        assert torch.equal(block(tokens), plain(block.adapter(tokens)))


def test_adapters_are_chosen_by_name():
    assert set(ADAPTERS) == {"published", "mended", "none"}
    assert n_parameters([ADAPTERS["none"](16)]) == 0


@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 5, 9), (1, 1, 1), (40, 8, 3)])
def test_crops_of_any_size_are_encoded(backbone, shape):
    made = encoder(backbone)
    with torch.inference_mode():
        taps = made(random_crop(*shape))
    cells = tuple(-(-n // made.stride) for n in shape)
    assert [tap.shape for tap in taps] == [(1, backbone.embedding, *cells)] * 4
    assert all(tap.isfinite().all() for tap in taps)
    assert all((tap.std() > 0) for tap in taps)


def test_a_batch_is_its_items(backbone):
    made = encoder(backbone)
    one, other = random_crop(18, 9, 12, seed=1), random_crop(18, 9, 12, seed=2)
    with torch.inference_mode():
        apart = [torch.cat(taps) for taps in zip(made(one), made(other), strict=True)]
        together = made(torch.cat([one, other]))
    assert (apart[0][0] - apart[0][1]).abs().max() > 0.1
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(apart, together, strict=True))


def test_positions_span_the_crop_and_at_published_size_are_pooled_by_two():
    inflated = real("sam_vit_b").positions.to_empty(device="cpu")
    torch.nn.init.normal_(inflated.table)
    torch.nn.init.normal_(inflated.depth)
    expected = functional.avg_pool2d(inflated.table.movedim(-1, 1), 2)[0].movedim(0, -1)
    with torch.inference_mode():
        assert torch.allclose(inflated((32, 32, 32)), expected[:, :, None] + inflated.depth, atol=1e-5)


def test_the_depth_embedding_starts_at_one_and_our_base_has_none(backbones):
    assert torch.equal(encoder(backbones["large"]).positions.depth, torch.ones(8, 32))
    assert encoder(backbones["small"]).positions is None


def test_taps_that_nobody_wants_have_no_neck(backbones):
    made = encoder(backbones["large"], taps=(3,))
    with torch.inference_mode():
        assert len(made(random_crop(8, 8, 8))) == len(made.necks) == 1
    assert made.taps == (2,)


def test_lean_memory_gives_the_same_gradients_and_keeps_less(backbones):
    seen = []
    for memory in ("fast", "lean"):
        made, kept = encoder(backbones["large"]), []
        with sparing(made, memory):
            with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):  # noqa: B023
                loss = sum(tap.square().mean() for tap in made(random_crop(20, 16, 12)))
            loss.backward()
        gradients = {name: p.grad for name, p in made.named_parameters() if p.requires_grad}
        seen.append((loss.detach(), gradients, sum(kept)))
    (loss, gradients, kept), (lean_loss, lean_gradients, lean_kept) = seen
    assert torch.equal(loss, lean_loss)
    assert all(torch.equal(value, lean_gradients[name]) for name, value in gradients.items())
    assert lean_kept < kept / 2


def test_half_precision_is_near(backbones):
    made, crop = encoder(backbones["large"]), random_crop(16, 16, 12)
    with torch.inference_mode():
        exact = made(crop)[-1]
        with torch.autocast("cpu", torch.bfloat16):
            near = made(crop)[-1].float()
    assert (near - exact).abs().mean() < 0.1 * exact.abs().mean()


@pytest.mark.parametrize(
    ("layers", "taps"),
    [(12, (2, 5, 8, 11)), (24, (5, 11, 17, 23)), (32, (7, 15, 23, 31)), (4, (0, 1, 2, 3)), (1, (0,) * 4)],
)
def test_taps_are_a_quarter_apart(layers, taps):
    assert evenly(layers, 4) == taps
