from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import pytest
import torch
from torch.nn import functional

from promptless.config import from_dict
from promptless.networks.backbones import ARCHITECTURES, skeleton
from promptless.networks.volume.autoprosam import DECODERS, GENERATORS, AutoProSam, AutoProSamConfig
from promptless.networks.volume.generator import Points
from volumes import autoprosam, both_backbones, dice_and_cross_entropy, random_crop


@pytest.fixture(scope="module")
def backbones(tiny_folder, tmp_path_factory):
    return both_backbones(tiny_folder, tmp_path_factory.mktemp("published"))


@pytest.fixture(params=["small", "large"])
def backbone(request, backbones):
    return backbones[request.param]


@pytest.fixture
def large(backbones):
    return backbones["large"]


def real(classes, **asked):
    """Return AutoProSAM on ViT-B without weights."""
    with torch.device("meta"):
        return AutoProSam(
            skeleton("sam_vit_b", ARCHITECTURES["sam_vit_b"]), AutoProSamConfig("sam_vit_b", "", classes, **asked)
        )


def digests(tensors):
    return {name: hashlib.sha256(value.detach().numpy().tobytes()).hexdigest() for name, value in tensors.items()}


def far(a, b):
    return float((a - b).abs().max())


@pytest.mark.parametrize(
    ("classes", "every", "trained"),
    [(14, 115_441_536, 26_594_944), (16, 115_448_448, 26_601_856), (6, 115_413_888, 26_567_296)],
)
def test_on_vit_b_it_has_the_published_size(classes, every, trained):
    """methods.md 2.3: 115.44, 115.45, 115.41 million, of which 26.60, 26.60 and 26.57 train."""
    network = real(classes)
    assert sum(p.numel() for p in network.parameters()) == every
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == trained
    published = {14: (115.44, 26.60), 16: (115.45, 26.60), 6: (115.41, 26.57)}[classes]
    assert abs(every / 1e6 - published[0]) < 0.006
    assert abs(trained / 1e6 - published[1]) < 0.006


def test_a_crop_of_published_size_has_the_published_shapes():
    answer = real(14).answer(torch.empty(1, 1, 128, 128, 128, device="meta"))
    assert answer.logits.shape == (1, 14, 128, 128, 128)
    assert answer.prompt.shape == (1, 256, 32, 32, 32)


@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 5, 10), (3, 20, 1), (1, 1, 1)])
def test_crops_of_any_size_have_logits_of_their_size(backbone, shape):
    network = autoprosam(backbone)
    with torch.inference_mode():
        answer = network.answer(random_crop(*shape))
    assert answer.logits.shape == (1, 3, *shape)
    assert answer.logits.isfinite().all()
    assert answer.prompt.shape == (1, backbone.embedding, *(-(-n // network.stride) for n in shape))


def test_an_incomplete_crop_is_one_whose_border_goes_on(backbone):
    network, crop = autoprosam(backbone), random_crop(17, 5, 10)
    stride = network.stride
    missing = [-n % stride for n in crop.shape[2:]]
    whole = functional.pad(crop, [n for width in reversed(missing) for n in (0, width)], mode="replicate")
    with torch.inference_mode():
        assert far(network(crop), network(whole)[:, :, :17, :5, :10]) < 1e-5
    assert any(missing)


def test_a_batch_is_its_items(backbone):
    network = autoprosam(backbone)
    one, other = random_crop(18, 9, 12, seed=1), random_crop(18, 9, 12, seed=2)
    with torch.inference_mode():
        apart, together = torch.cat([network(one), network(other)]), network(torch.cat([one, other]))
    assert far(apart[0], apart[1]) > 0.1
    assert far(apart, together) < 1e-4


@pytest.mark.parametrize(("name", "axis"), [("z", 0), ("y", 1), ("x", 2)])
def test_the_slices_lie_along_the_named_axis(large, name, axis):
    """Whatever axis it is, moving it to the end and asking for slices along x gives the same."""
    network = autoprosam(large, slices=name, points=1)
    along_x = autoprosam(large, slices="x", points=1)
    for other in (network, along_x):
        torch.nn.init.constant_(other.generator.points.weight, 0.3)
    crop, coords = random_crop(12, 16, 20), torch.tensor([[[3.0, 9.0, 14.0]]])
    order = [*(i for i in range(3) if i != axis), axis]
    weights = torch.ones(1, 1, 1)
    with torch.inference_mode():
        expected = along_x.answer(crop.movedim(2 + axis, -1), Points(coords[..., order], weights))
        answer = network.answer(crop, Points(coords, weights))
        assert far(along_x(crop), answer.logits) > 1e-3 or name == "x"
    assert torch.equal(answer.logits.movedim(2 + axis, -1), expected.logits)
    assert torch.equal(answer.prompt.movedim(2 + axis, -1), expected.prompt)


def test_the_slice_axis_matters(large):
    crop = random_crop(12, 12, 12)
    with torch.inference_mode():
        logits = [autoprosam(large, slices=name)(crop) for name in "zyx"]
    assert min(far(logits[0], logits[1]), far(logits[0], logits[2]), far(logits[1], logits[2])) > 1e-3


def step(network, n=2):
    """Take a few steps that ask something of every output."""
    weights = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-2)
    crop = random_crop(12, 16, 9)
    points = Points(torch.full((1, 1, 3), 4.0), torch.ones(1, 1, 1)) if network.config.points else None
    for _ in range(n):
        optimiser.zero_grad()
        network(crop, points).square().mean().backward()
        optimiser.step()
    return network


@pytest.mark.parametrize(
    ("generator", "decoder"), [("last", "mlam"), ("first", "mlam"), ("none", "mlam"), ("last", "fine")]
)
def test_a_step_moves_all_that_trains_and_nothing_frozen(backbone, generator, decoder):
    network = autoprosam(backbone, generator=generator, decoder=decoder, points=int(generator != "none"))
    before, base = digests(network.state_dict()), digests(backbone.state_dict())
    after = digests(step(network).state_dict())
    moved = {name for name in before if before[name] != after[name]}
    assert moved == set(network.learned)
    assert len(moved) < len(before)
    assert digests(backbone.state_dict()) == base


def test_two_models_of_one_backbone_do_not_touch_each_other(large):
    one, other = autoprosam(large), autoprosam(large, seed=1)
    before = digests(other.state_dict())
    step(one)
    assert digests(other.state_dict()) == before


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_prompt_takes_the_place_of_the_named_tap(large, generator):
    network, seen = autoprosam(large, generator=generator), []
    network.decoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    crop = random_crop(12, 12, 12)
    with torch.inference_mode():
        prompt, taps = network.answer(crop).prompt, network.encoder(crop)
    changed = [i for i, (a, b) in enumerate(zip(taps, seen[0], strict=True)) if not torch.equal(a, b)]
    assert changed == {"last": [3], "first": [0], "none": []}[generator]
    assert prompt is None or torch.equal(prompt, seen[0][changed[0]])


@pytest.mark.parametrize("decoder", DECODERS)
def test_without_aggregation_one_head_sees_the_last_tap(large, decoder):
    network = autoprosam(large, decoder=decoder)
    n = {"mlam": 4, "fine": 4, "single": 1}[decoder]
    assert len(network.decoder.heads) == len(network.encoder.necks) == n
    with torch.inference_mode():
        assert network(random_crop(9, 9, 9)).shape == (1, 3, 9, 9, 9)
    assert all(p.grad is not None for p in step(network, 1).parameters() if p.requires_grad)


def test_a_point_changes_the_answer_once_it_has_been_learned(large):
    network = autoprosam(large, points=3)
    crop, there = random_crop(16, 16, 16), torch.tensor([[[2.0, 8.0, 14.0]]])
    with torch.inference_mode():
        plain = network(crop)
        assert torch.equal(network(crop, Points(there, torch.ones(1, 1, 3))), plain)
        torch.nn.init.normal_(network.generator.points.weight)
        assert torch.equal(network(crop), plain)
        assert torch.equal(network(crop, Points(there, torch.zeros(1, 1, 3))), plain)
        assert far(network(crop, Points(there, torch.ones(1, 1, 3))), plain) > 1e-3


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"generator": "middle"}, "generator is 'middle'; it must be one of last, first, none"),
        ({"slices": "sagittal"}, "slices is 'sagittal'; it must be one of z, y, x"),
        ({"adapter": "lora"}, "adapter is 'lora'"),
        ({"start": "zero"}, "start is 'zero'"),
        ({"decoder": "unet"}, "decoder is 'unet'"),
        ({"classes": 1}, "classes is 1"),
        ({"generator": "none", "points": 1}, "points go into the generator"),
        ({"generator": "first", "decoder": "single"}, 'take generator = "last"'),
    ],
)
def test_what_does_not_go_together_is_refused(large, asked, message):
    with pytest.raises(ValueError, match=message):
        autoprosam(large, **asked)


def test_points_without_a_generator_are_refused(large):
    with pytest.raises(ValueError, match="points go into the generator"):
        autoprosam(large, generator="none")(random_crop(8, 8, 8), Points(torch.zeros(1, 1, 3), torch.ones(1, 1, 1)))


def test_a_configuration_with_unknown_fields_is_refused():
    with pytest.raises(ValueError, match="says colour, which promptless does not know"):
        from_dict(AutoProSamConfig, {"backbone": "b", "sha256": "", "classes": 2, "colour": 1}, "here")
    config = AutoProSamConfig("b", "", 2, widths=(4, 8))
    assert from_dict(AutoProSamConfig, json.loads(json.dumps(asdict(config))), "here") == config


def two_shapes(n, rng, side=24):
    """Return noisy volumes (n, 1, side, side, side) with a bright ball and a dark box, and their labels."""
    places = torch.stack(torch.meshgrid(*[torch.arange(side)] * 3, indexing="ij"), -1)
    labels = torch.zeros(n, side, side, side, dtype=torch.int64)
    for item in labels:
        item[((places - torch.randint(7, 10, (3,), generator=rng)) ** 2).sum(-1) < 25] = 1
        start = torch.randint(13, 16, (3,), generator=rng)
        item[((places >= start) & (places < start + 8)).all(-1)] = 2
    brightness = torch.tensor([0.0, 1.0, -1.0])[labels]
    return (brightness + 0.5 * torch.randn(labels.shape, generator=rng))[:, None], labels


def test_it_learns_two_shapes(large):
    network = autoprosam(large, classes=3, widths=(8, 12, 16), head=16)
    crops, labels = two_shapes(2, torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = dice_and_cross_entropy(network(crops), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    with torch.inference_mode():
        found = network(crops).argmax(1)
    dice = [2 * ((found == k) & (labels == k)).sum() / ((found == k).sum() + (labels == k).sum()) for k in (1, 2)]
    assert losses[-1] < losses[0] / 3
    assert min(dice) > 0.85
