from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from conftest import threshold_the_image
from made_up import discs
from promptless.config import AdapterConfig, PointsConfig
from promptless.loading import load
from promptless.networks import adapted
from promptless.networks.backbones import Backbone, load_published
from promptless.networks.checkpoints import translate
from promptless.networks.unet import UNet
from promptless.pipeline import segment
from promptless.runtimes.torch import TorchModel
from promptless.train.adapters import train
from promptless.train.keeping import RUN
from promptless.train.loop import Schedule, State, one_step
from promptless.train.recipes import read
from promptless.train.sac import ForegroundTask, MaskLoss, SacJointTask, SacTask, foreground_losses
from reference import SMALL, meta_state
from test_networks_lora import hashes
from test_train_adapters import prepared_folder

POINTS = PointsConfig(positives=6, negatives=6)
SCHEDULE = Schedule(steps=60, batch=2, rate=5e-3, warmup=5)
LARGE = {4: (16, 4), 16: (12, 16)}
"""Cells and stride of a patch on which there is something to learn."""


def fresh(backbone, config, trained=("mask_decoder",)):
    """Return a semantic adapter that has learned nothing, whose generator thresholds the image."""
    torch.manual_seed(1)
    names = AdapterConfig(backbone.name, backbone.digest, rank=2, trained=trained, generator=(4, 8, 16))
    stride = replace(config.window, stride=backbone.stride)
    network = adapted.begun(backbone, replace(config, output="semantic", adapter=names, window=stride))
    threshold_the_image(network.generator)
    return network


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    save_file({translate(name): value for name, value in meta_state(SMALL).items()}, folder / "model.safetensors")
    return load_published("small", folder, "123", SMALL)


@pytest.fixture
def small_base(tiny):
    parts = tiny.vision_encoder, tiny.decoder.prompt_encoder, tiny.decoder.mask_decoder
    return Backbone("base", *parts, image_size=None, digest="456", trunk=tiny.generator, project=tiny.project)


@pytest.fixture(params=["published", "small base"])
def network(request, published, small_base, tiny_config):
    if request.param == "published":
        return fresh(published, tiny_config, ("mask_decoder", "neck"))  # its encoder is random: LoRA alone is slow
    return fresh(small_base, tiny_config)


def toy(cells=16, stride=4):
    """Return two patches of `cells` with one picture of discs."""
    places = [(0.22, 0.22, 0.12), (0.69, 0.62, 0.17), (0.19, 0.75, 0.1)]
    side = cells * stride
    labels = np.stack([discs((side, side), [tuple(round(v * side) for v in place) for place in places])] * 2)
    image = np.repeat((labels > 0).astype(np.float32)[:, None], 3, axis=1)  # as segmenting normalises it
    return {"image": torch.from_numpy(image), "labels": torch.from_numpy(labels), "index": torch.arange(2)}


def test_a_toy_image_is_learned_by_every_backbone_and_then_segmented_without_help(network, tiny_config):
    task, batch = SacTask(network, POINTS, MaskLoss(), seed=0), toy(*LARGE[network.backbone.stride])
    state = State.fresh(network, SCHEDULE)
    losses = [one_step(task, batch, state, SCHEDULE)["loss"] for _ in range(SCHEDULE.steps)]
    assert losses[-1] < 0.3 * losses[0]
    window = replace(tiny_config.window, stride=network.backbone.stride)
    model = TorchModel(network, replace(tiny_config, output="semantic", points=POINTS, window=window, pad=16))
    result = segment(batch["image"][0, 0].numpy(), model)
    mask, true = result.labels > 0, batch["labels"][0].numpy() > 0
    assert (mask & true).sum() / (mask | true).sum() > 0.8
    assert (result.prompts.items[0].point_labels == 1).sum() == 3


def test_what_is_frozen_stays_and_what_trains_moves(network):
    before = hashes(network)
    task = SacTask(network, POINTS, MaskLoss(), seed=0)
    state = State.fresh(network, SCHEDULE)
    for _ in range(2):  # LoRA's B starts at zero, so that A moves from the second step on
        one_step(task, toy(), state, SCHEDULE)
    changed = {name for name, value in hashes(network).items() if value != before[name]}
    trains = {name for name, p in network.named_parameters() if p.requires_grad}
    assert changed <= trains
    assert any("lora_" in name for name in changed)
    assert any("mask_decoder" in name for name in changed)
    assert not any("generator" in name or "prompt_encoder" in name for name in changed)


def test_together_the_generator_learns_by_its_own_loss_alone(network):
    """Points are discrete: the generator's gradient is that of its cross-entropy."""
    task, batch = SacJointTask(network, POINTS, MaskLoss(), seed=0), toy()
    losses = task(batch)
    assert float(losses["loss"].detach()) == pytest.approx(
        float((0.2 * losses["ce"] + 0.8 * losses["dice"] + losses["generator_bce"]).detach())
    )
    losses["loss"].backward()
    joint = {name: p.grad.clone() for name, p in network.generator.named_parameters()}
    network.zero_grad()
    ForegroundTask(network.generator)(batch)["loss"].backward()
    assert all(torch.allclose(joint[name], p.grad, atol=1e-6) for name, p in network.generator.named_parameters())
    assert any(grad.abs().sum() > 0 for grad in joint.values())


def test_the_generator_alone_learns_by_plain_cross_entropy():
    torch.manual_seed(2)
    task = ForegroundTask(UNet((4, 8, 16), 1))
    state = State.fresh(task.module, SCHEDULE)
    losses = [one_step(task, toy(), state, SCHEDULE) for _ in range(30)]
    assert losses[-1]["loss"] < 0.8 * losses[0]["loss"]
    assert set(losses[0]) == {"loss", "bce"}


def test_switching_all_labels_to_one_changes_the_mask(network):
    task, batch = SacTask(network, POINTS, MaskLoss(), seed=0), toy()
    encoded = task.encode(batch)
    coords, labels = task.prompts(encoded.maps[:, 0], batch["index"])
    assert (labels == 0).any()
    whole = network.decoder.whole
    with torch.no_grad():
        asked, all_positive = (whole(encoded.embedding, coords, marks) for marks in (labels, labels.abs()))
    assert (asked - all_positive).abs().max() > 0.01 * asked.std()


def test_the_order_of_points_does_not_matter(network):
    task, batch = SacTask(network, POINTS, MaskLoss(), seed=0), toy()
    encoded = task.encode(batch)
    coords, labels = task.prompts(encoded.maps[:, 0], batch["index"])
    order = torch.randperm(coords.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one = network.decoder.whole(encoded.embedding, coords, labels)
        other = network.decoder.whole(encoded.embedding, coords[:, order], labels[:, order])
    assert one.numpy() == pytest.approx(other.numpy(), abs=1e-3 * float(one.abs().max()))


def test_points_are_padded_to_one_count_whatever_is_seen(network):
    task = SacTask(network, POINTS, MaskLoss(), seed=0)
    for level in (-9.0, 9.0):
        coords, labels = task.prompts(torch.full((2, 32, 32), level), torch.arange(2))
        assert coords.shape == (2, POINTS.tokens, 2)
        assert (labels[:, -1] == -1).all()


def test_without_prompts_the_task_trains_on_padding(network):
    task = SacTask(network, replace(POINTS, rule="none"), MaskLoss(), seed=0)
    _, labels = task.prompts(torch.zeros(2, 32, 32), torch.arange(2))
    assert (labels == -1).all()
    assert torch.isfinite(task(toy())["loss"])


def test_the_same_batch_asks_the_same(network):
    one, other = (SacTask(network, POINTS, MaskLoss(), seed=0)(toy()) for _ in range(2))
    assert {name: float(v.detach()) for name, v in one.items()} == {n: float(v.detach()) for n, v in other.items()}


@pytest.mark.parametrize("kind", ["ce_dice", "focal_dice"])
def test_a_perfect_mask_costs_nothing_and_terms_are_told(kind):
    target = (torch.arange(64).reshape(1, 8, 8) % 3 == 0).float()
    losses = MaskLoss(kind)(60 * target - 30, target)
    assert set(losses) == {"loss", "dice", kind.removesuffix("_dice")}
    assert {name: float(v) for name, v in losses.items()} == pytest.approx(dict.fromkeys(losses, 0), abs=1e-4)


def test_losses_are_those_of_the_papers():
    logits, target = torch.tensor([[[2.0, -1.0]]]), torch.tensor([[[1.0, 1.0]]])
    p = logits.sigmoid()
    entropy, dice = float(-p.log().mean()), float(1 - (2 * p.sum() + 1) / (p.sum() + 3))
    focal = float((0.25 * (1 - p) ** 2 * -p.log()).mean())
    mixed, sams = MaskLoss()(logits, target), MaskLoss("focal_dice")(logits, target)
    assert float(mixed["loss"]) == pytest.approx(0.2 * entropy + 0.8 * dice)
    assert float(sams["loss"]) == pytest.approx(20 * focal + dice)
    unfocused = MaskLoss("focal_dice", alpha=0.5, gamma=0.0, weights=(1.0, 0.0))(logits, target)
    assert float(unfocused["loss"]) == pytest.approx(entropy / 2)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="'mse'; it must be ce_dice or focal_dice"):
        MaskLoss("mse")


RECIPE = """
seed = 3
[adapter]
backbone = "nuclei"
rank = 2
generator = [4, 8, 16]
[generator]{phase}
[sac]{phase}loss = {{ kind = "focal_dice" }}
[sac_joint]{phase}
[model]
name = "mine"
version = "1"
licence = "unknown"
output = "semantic"
[model.points]
rule = "probability"
positives = 5
negatives = 0
"""


def test_a_recipe_trains_a_semantic_adapter_that_segments(tmp_path):
    phase = "\npatch = 64\nsteps = 2\nbatch = 1\nwarmup = 1\n"
    (tmp_path / "sac.toml").write_text(RECIPE.format(phase=phase))
    data = prepared_folder(tmp_path / "cells")
    train(read(tmp_path / "sac.toml", data=data), tmp_path / "mine")
    columns = {
        name: (tmp_path / "mine" / RUN / name / "log.csv").read_text().splitlines()[0].split(",")
        for name in ("generator", "sac", "sac_joint")
    }
    assert "bce" in columns["generator"]
    assert {"focal", "dice"} <= set(columns["sac"])
    assert {"ce", "dice", "generator_bce"} <= set(columns["sac_joint"])
    model = load(tmp_path / "mine", threads=1)
    assert model.config.points == PointsConfig("probability", 5, 0)
    assert model.config.input_size == 64  # tiles as large as the patches
    result = segment(np.zeros((100, 70), np.uint8), model)
    assert result.labels.shape == (100, 70)
    assert len(result.prompts) == 6


def test_a_generator_with_classes_learns_them_beside_the_foreground():
    labels = torch.zeros(2, 8, 8, dtype=torch.int32)
    labels[:, 2:6, 2:6] = 1
    batch = {"labels": labels, "classes": 2 * labels.long(), "class_weight": torch.ones(2, 8, 8)}
    good, bad = torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)
    good[:, 3], bad[:, 2] = (torch.where(labels > 0, 9.0, -9.0) for _ in range(2))
    losses = [foreground_losses(maps, batch) for maps in (good, bad)]
    assert losses[0]["classes"] < losses[1]["classes"]
    assert losses[0]["bce"] == losses[1]["bce"]
    assert torch.isclose(losses[0]["loss"], losses[0]["bce"] + losses[0]["classes"])
