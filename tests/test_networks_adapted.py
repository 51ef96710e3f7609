from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import SamModel

from adapting import WIDTHS, config_for, learned, published, small_base
from promptless.config import PARTS, AdapterConfig
from promptless.networks import adapted
from promptless.networks.adapted import GENERATOR, TRAINED, begun, n_trainable, part_of, plain
from promptless.networks.backbones import ARCHITECTURES, MEAN, STD, file_state, skeleton
from promptless.networks.sam import PromptDecoder
from promptless.networks.unet import UNet
from promptless.train.sac import in_pixels
from reference import SMALL

LIMIT = 25_000_000


@pytest.fixture(scope="module")
def small(tiny_folder):
    return small_base(tiny_folder)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return published(tmp_path_factory.mktemp("published"))


@pytest.fixture(params=["small", "large"])
def backbone(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def image():
    return torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def answers(network, image):
    """Return the embedding and the maps of an image, and what the decoder says of its first window."""
    encoded = network.encode(image)
    decoder = network.decoder
    cells = torch.nn.functional.pad(encoded.embedding, (0, 8, 0, 8))[:, :, : decoder.cells, : decoder.cells]
    prompts = torch.full((1, 2, 2), 20.0), torch.tensor([[1, 0]])
    masks = torch.zeros(1, 1, 4 * decoder.cells, 4 * decoder.cells), torch.zeros(1, dtype=torch.bool)
    return (encoded.embedding, encoded.maps, *decoder(cells, *prompts, *masks))


def copies(network):
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def train(network, image, steps=3):
    """Take a few steps that ask something of every output."""
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        sum((values**2).mean() + values.mean() for values in answers(network, image)).backward()
        optimiser.step()
    return network


def far(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("rank", [0, 3])
def test_at_the_start_the_answers_are_the_backbones(backbone, image, rank):
    network = begun(backbone, config_for(backbone, rank=rank)).eval()
    with torch.inference_mode():
        embedding, _, logits, iou = answers(network, image)
        assert torch.allclose(embedding, backbone.encode(image), atol=1e-5)
        network.decoder = PromptDecoder(backbone.prompt_encoder, backbone.mask_decoder, backbone.stride, 8)
        _, _, expected, expected_iou = answers(network, image)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert torch.allclose(iou, expected_iou, atol=1e-5)


def test_on_the_small_base_the_generator_begins_as_its_u_net(small, image):
    network = begun(small, config_for(small)).eval()
    with torch.inference_mode():
        assert torch.equal(network.generator(image).maps, small.trunk(image).maps)
    shared = begun(small, config_for(small, features="generator")).eval()
    with torch.inference_mode():
        assert torch.allclose(shared.encode(image).embedding, small.encode(image), atol=1e-5)


@pytest.mark.parametrize("features", ["backbone", "generator"])
def test_the_generators_features_are_shared_only_where_asked(small, image, features):
    network = begun(small, config_for(small, features=features)).eval()
    network.encode(image).embedding.sum().backward()
    reached = [p for p in network.generator.parameters() if p.grad is not None]
    assert bool(reached) == (features == "generator")
    assert all(p.grad is None for p in small.parameters())


def test_a_step_moves_what_trains_and_nothing_else(backbone, image):
    before_base = copies(backbone)
    network = begun(backbone, config_for(backbone)).train()
    before = copies(network)
    names = {name for name, p in network.named_parameters(remove_duplicate=False) if p.requires_grad}
    after = copies(train(network, image))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {name for name in before if name.startswith("generator.") and name not in names}
    assert moved - statistics == names
    assert any("lora_A" in name for name in names)
    assert {"mask_decoder", "generator"} <= {part for name in names for part in name.split(".")}
    assert all(torch.equal(value, before_base[name]) for name, value in backbone.state_dict().items())


def test_two_adapters_of_one_backbone_do_not_touch_each_other(backbone, image):
    one, other = (begun(backbone, config_for(backbone)) for _ in range(2))
    before = copies(other)
    train(one, image)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_training_mode_is_the_generators_alone(small):
    network = begun(small, config_for(small)).train()
    assert network.generator.training
    assert not any(module.training for module in network.encoder.modules())


@pytest.mark.parametrize("part", PARTS)
def test_parts_train_by_name(small, part):
    network = begun(small, config_for(small, rank=0, trained=(part,)))
    training = {id(p) for p in network.parameters() if p.requires_grad}
    chosen = {id(p) for p in part_of(network.backbone, part).parameters()}
    positions = {id(network.decoder.prompt_encoder.shared_embedding.positional_embedding)}
    assert training == (chosen - positions) | {id(p) for p in network.generator.parameters()}
    assert n_trainable(network) == sum(p.numel() for p in network.parameters() if id(p) in training)


@pytest.mark.parametrize("rank", [0, 2])
def test_what_is_saved_comes_back_within_half_precision(backbone, image, rank, tmp_path):
    trained = ("mask_decoder", "prompt_encoder", "neck")
    config = config_for(backbone, rank=rank, trained=trained)
    network = learned(begun(backbone, config))
    names = adapted.save(network, tmp_path)
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    again = adapted.load(backbone, tmp_path, config)
    assert not any(p.requires_grad for p in again.parameters())
    with torch.inference_mode():
        pairs = list(zip(answers(again, image), answers(network, image), strict=True))
        base = backbone.encode(image)
    assert all(far(a, b) < 1e-2 for a, b in pairs)
    assert far(pairs[0][0], base) > 5 * far(*pairs[0])


def test_merged_equals_unmerged(backbone, image):
    config = config_for(backbone, rank=3, trained=("mask_decoder", "neck"))
    network = learned(begun(backbone, config))
    before = copies(network)
    with torch.inference_mode():
        whole = plain(network, config)
        assert not any("lora" in name for name in whole.state_dict())
        for a, b in zip(answers(whole, image), answers(network, image), strict=True):
            assert far(a, b) < 1e-4
        assert far(whole.encode(image).embedding, backbone.encode(image)) > 1e-2
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("shape", [(96, 160), (256, 256)])
def test_the_mask_of_a_padded_image_is_that_of_the_published_sam(large, shape):
    """Its decoder attends to the padding, and positions are counted to the end of it."""
    published = SamModel(SMALL.config()).eval()
    published.load_state_dict(file_state(large), strict=False)
    network = begun(large, replace(config_for(large, rank=0), output="semantic")).eval()
    image = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(2))
    points, labels = torch.tensor([[[20.0, 50.0], [80.0, 90.0], [0.0, 0.0]]]), torch.tensor([[1, 0, -1]])
    normal = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    padded = functional.pad(normal, (0, SMALL.image - shape[1], 0, SMALL.image - shape[0]))
    with torch.inference_mode():
        expected = published(
            padded, input_points=points[:, None, :2].flip(-1), input_labels=labels[:, None, :2], multimask_output=False
        ).pred_masks[:, 0, 0]
        low_res = network.decoder.whole(network.encode(image).embedding, points, labels)
    assert far(low_res, expected) < 1e-4
    finer = functional.interpolate(expected[:, None], size=(SMALL.image, SMALL.image), mode="bilinear")[:, 0]
    assert far(in_pixels(low_res, 4, torch.Size(shape)), finer[:, : shape[0], : shape[1]]) < 1e-4


def test_another_backbone_is_refused_with_both_hashes(small, large):
    with pytest.raises(ValueError, match=rf"tiny \(sha256 {small.digest}\), not for sam_vit_b \(sha256 {large.digest}"):
        begun(large, config_for(small))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("large", {"trained": ("project",)}, "sam_vit_b has no 'project' to train"),
        ("large", {"features": "generator"}, "for our small base; sam_vit_b has no place"),
        ("small", {"features": "generator", "generator": (4, 8, 24)}, "as wide as tiny's own"),
    ],
)
def test_what_a_backbone_cannot_do_is_refused(name, change, message, request):
    backbone = request.getfixturevalue(name)
    with pytest.raises(ValueError, match=message):
        begun(backbone, config_for(backbone, **change))


def test_windows_and_input_size_must_fit_the_backbone(large, small):
    config = config_for(large)
    with pytest.raises(ValueError, match=r"stride is 4, but a cell of sam_vit_b's embedding has 16"):
        begun(large, replace(config, window=replace(config.window, stride=4)))
    with pytest.raises(ValueError, match="input size of 512, but sam_vit_b takes at most 256"):
        begun(large, replace(config, input_size=512))
    begun(large, replace(config, input_size=64))
    begun(small, replace(config_for(small), input_size=64))


@pytest.mark.parametrize("do", [begun, lambda b, c: adapted.load(b, "here", c)])
def test_a_model_that_stands_alone_is_no_adapter(small, tiny_config, do):
    with pytest.raises(ValueError, match=r"(tiny is|here holds) no adapter"):
        do(small, tiny_config)


@pytest.mark.parametrize("values", [{"trained": ("decoder",)}, {"features": "both"}, {"rank": -1}])
def test_an_adapter_that_makes_no_sense_is_refused(values):
    with pytest.raises(ValueError, match=r"decoder; a backbone has mask_decoder|'both'; it must be|rank is -1"):
        AdapterConfig("tiny", "0", **values)


@pytest.mark.parametrize("file", [GENERATOR, TRAINED, "adapter_model.safetensors"])
def test_files_that_lack_a_weight_are_refused(small, file, tmp_path):
    config = config_for(small)
    adapted.save(begun(small, config), tmp_path)
    state = load_file(tmp_path / file)
    state.pop(next(iter(state)))
    save_file(state, tmp_path / file)
    with pytest.raises(ValueError, match=rf"{file} does not hold the weights .*missing"):
        adapted.load(small, tmp_path, config)


def test_an_adapter_for_vit_b_takes_at_most_25_megabytes(tmp_path):
    """The frozen weights stay on the meta device: they are not in an adapter."""
    backbone = skeleton("sam_vit_b", ARCHITECTURES["sam_vit_b"], "123")
    trained = ("mask_decoder", "prompt_encoder", "neck")
    config = config_for(backbone, rank=4, trained=trained, generator=AdapterConfig("", "").generator)
    network = begun(backbone, config)
    for part in network.trained().values():
        part.to_empty(device="cpu")
    for module in network.encoder.modules():
        if type(module).__name__ == "ModuleDict":
            module.to_empty(device="cpu")
    names = adapted.save(network, tmp_path)
    sizes = {name: (tmp_path / name).stat().st_size for name in names}
    assert 147_456 * 4 < sizes["adapter_model.safetensors"] < 700_000
    assert 10_000_000 < sum(sizes.values()) <= LIMIT


def test_the_generators_widths_are_its_own(large, image):
    network = begun(large, config_for(large, generator=(*WIDTHS, 24)))
    assert isinstance(network.generator, UNet)
    assert network.encode(image).maps.shape == (1, 2, 64, 96)
