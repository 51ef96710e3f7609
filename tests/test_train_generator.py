from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from made_up import bright_and_dim, discs, picture
from promptless.classify import softmax
from promptless.data import augment
from promptless.data.augment import NEAR, VARIETIES
from promptless.data.sample import UNKNOWN, Sample
from promptless.data.targets import generator_targets
from promptless.networks.unet import UNet
from promptless.train.generator import (
    GeneratorTask,
    Patches,
    class_loss,
    class_weights,
    cross_entropy,
    dice_loss,
    generator_losses,
    sampling_probability,
)

take = augment.take_patch
WEIGHTS = {"a": 0.75, "b": 0.25}


def sample(category, n):
    labels = discs((48, 48), [(10, 10, 5), (10, 34, 5), (34, 10, 5), (34, 34, 5)][:n])
    return Sample(f"{category}{n}", category, picture(labels)[None], labels)


SAMPLES = [sample("a", 0), sample("a", 3), sample("b", 3)]


def logit(values):
    clipped = torch.from_numpy(np.clip(values, 1e-6, 1 - 1e-6))
    return torch.log(clipped / (1 - clipped))


def test_perfect_maps_cost_nothing_and_opposite_ones_much():
    targets, weight = generator_targets(SAMPLES[1].labels)
    perfect = generator_losses(logit(targets)[None], torch.from_numpy(targets)[None], torch.from_numpy(weight)[None])
    opposite = generator_losses(-logit(targets)[None], torch.from_numpy(targets)[None], torch.from_numpy(weight)[None])
    assert float(perfect["loss"]) == pytest.approx(0, abs=0.01)
    assert float(opposite["loss"]) > 5
    assert set(perfect) == {"loss", "foreground", "interior", "dice"}


def test_a_heavier_pixel_counts_more():
    target, logits = torch.tensor([[1.0, 1.0]]), torch.tensor([[5.0, -5.0]])
    light, heavy = (cross_entropy(logits, target, torch.tensor([[1.0, w]])) for w in (1, 3))
    assert light < heavy


def test_dice_is_0_for_the_same_and_near_1_for_the_opposite():
    target = (torch.rand(1, 40, 40) > 0.5).float()
    assert float(dice_loss(40 * target - 20, target)) == pytest.approx(0, abs=1e-3)
    assert float(dice_loss(20 - 40 * target, target)) > 0.99


def test_categories_are_drawn_as_often_as_the_recipe_says():
    probability = sampling_probability(SAMPLES, WEIGHTS)
    assert probability.tolist() == pytest.approx([0.25, 0.5, 0.25])  # four times the objects + 1: twice as often


def test_a_category_without_a_weight_is_refused():
    with pytest.raises(ValueError, match="no weight for b"):
        sampling_probability(SAMPLES, {"a": 1})


def test_a_patch_depends_on_seed_and_index_alone():
    one, other = (Patches(SAMPLES, WEIGHTS, 32, 5) for _ in range(2))
    other[0]
    assert all(torch.equal(one[3][name], value) for name, value in other[3].items())
    assert not torch.equal(one[3]["image"], one[4]["image"])
    assert not torch.equal(one[3]["image"], Patches(SAMPLES, WEIGHTS, 32, 6)[3]["image"])


def test_a_patch_is_drawn_at_the_scale_that_its_image_is_seen_at():
    plain, doubled = (
        Patches(SAMPLES, WEIGHTS, 64, 5, VARIETIES[NEAR], dict.fromkeys((s.id for s in SAMPLES), scale))
        for scale in (1.0, 2.0)
    )
    covered, doubly = (
        sum(float((patches[i]["labels"] > 0).sum()) / max(1, int(patches[i]["labels"].max())) for i in range(8))
        for patches in (plain, doubled)
    )
    assert doubly > 1.5 * covered


def test_a_patch_has_all_that_a_task_may_learn_from():
    item = Patches(SAMPLES, WEIGHTS, 32, 5)[7]
    targets, weight = generator_targets(item["labels"].numpy())
    assert item["image"].shape == (3, 32, 32)
    assert item["image"].dtype == torch.float32
    assert np.array_equal(item["targets"].numpy(), targets)
    assert np.array_equal(item["weight"].numpy(), weight)
    assert int(item["index"]) == 7


def test_the_task_learns():
    torch.manual_seed(0)
    task = GeneratorTask(UNet((4, 8, 8), outputs=2))
    batch = torch.utils.data.default_collate([Patches(SAMPLES, WEIGHTS, 32, 5)[i] for i in range(4)])
    optimiser = torch.optim.Adam(task.module.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        losses.append(task(batch)["loss"])
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert float(losses[-1].detach()) < 0.7 * float(losses[0].detach())


def with_classes(plain):
    """Return a sample whose first object is of class 1, the second of class 3, and all others of none."""
    return replace(plain, classes=dict(list({1: 1, 2: 3}.items())[: plain.n_objects]))


TOLD = [with_classes(plain) for plain in SAMPLES]


def test_classes_change_nothing_else_in_a_patch():
    crowded = [replace(plain, category=f"fluorescence_{plain.category}") for plain in SAMPLES]
    weights = {"fluorescence_a": 0.75, "fluorescence_b": 0.25}
    plain, told = (Patches(s, weights, 40, 5) for s in (crowded, [with_classes(s) for s in crowded]))
    assert set(plain[0]) == {"image", "labels", "targets", "weight", "index"}
    for i in range(20):
        one, other = plain[i], told[i]
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert torch.equal(other["classes"] == 0, other["labels"] == 0)
        for number in range(1, int(other["labels"].max()) + 1):
            (value,) = other["classes"][other["labels"] == number].unique()
            assert int(value) in (UNKNOWN, 1, 3)


def test_rare_classes_count_more_and_unknown_ones_do_not():
    weights = class_weights(TOLD)
    maps = np.concatenate([sample.class_map.ravel() for sample in TOLD])
    assert len(weights) == 4
    assert weights[2] == 0  # no object is of class 2
    assert weights[1] > weights[0] > 0
    assert weights[maps[maps != UNKNOWN]].mean() == pytest.approx(1)
    item = next(p for p in (Patches(TOLD, WEIGHTS, 48, 5)[i] for i in range(50)) if (p["classes"] == UNKNOWN).any())
    assert (item["class_weight"][item["classes"] == UNKNOWN] == 0).all()
    assert item["class_weight"][item["classes"] == 0].unique().tolist() == pytest.approx([weights[0]])


def test_without_classes_there_are_no_weights():
    assert len(class_weights(SAMPLES)) == 0


def test_the_loss_of_classes_looks_at_known_pixels_only():
    classes = torch.tensor([[[0, 1], [2, UNKNOWN]]])
    weight = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])
    logits = 40 * torch.nn.functional.one_hot(classes.clamp(min=0), 3).movedim(-1, 1).float()
    assert float(class_loss(logits, classes, weight)) == pytest.approx(0, abs=1e-6)
    assert float(class_loss(logits.roll(1, dims=1), classes, weight)) == pytest.approx(40)
    nothing = torch.full_like(classes, UNKNOWN)
    assert float(class_loss(logits, nothing, torch.zeros_like(weight))) == 0


def test_a_generator_learns_classes_that_differ_in_brightness():
    torch.manual_seed(0)
    pixels, labels, classes = bright_and_dim()
    sample = Sample("a", "grey", pixels[None], labels, classes=classes)
    task = GeneratorTask(UNet((8, 8, 8), outputs=5))
    optimiser = torch.optim.Adam(task.module.parameters(), lr=2e-2)
    batch = whole_image(sample)
    for _ in range(50):
        losses = task(batch)
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
    assert set(losses) == {"loss", "foreground", "interior", "dice", "classes"}
    rolled = {number: 3 - value for number, value in classes.items()}  # another picture: the dim are bright
    other = np.array([20, *(230 if value == 2 else 150 for value in rolled.values())], np.uint8)[labels]
    with torch.no_grad():
        logits = task.module(whole_image(Sample("b", "grey", other[None], labels))["image"]).maps[0, 2:]
    found = softmax(logits.flatten(1).numpy()).argmax(axis=0).reshape(labels.shape)
    truth = np.array([0, *rolled.values()])[labels]
    assert (found == truth)[truth > 0].mean() > 0.9
    assert (found == truth).mean() > 0.95


def whole_image(sample):
    """Return a batch of one patch that is the image as it is."""
    targets, weight = generator_targets(sample.labels)
    image = np.repeat(sample.pixels.astype(np.float32) / 255, 3, axis=0)
    classes = sample.class_map
    arrays = {"image": image, "targets": targets, "weight": weight, "classes": classes}
    arrays["class_weight"] = np.where(classes > 0, 4, 1).astype(np.float32)
    return {name: torch.from_numpy(array)[None] for name, array in arrays.items()}


def test_patches_tell_which_sample_they_are_of(monkeypatch):
    drawn = []
    monkeypatch.setattr(augment, "take_patch", lambda sample, *rest: drawn.append(sample.id) or take(sample, *rest))
    patches = Patches(SAMPLES, WEIGHTS, 32, seed=5)
    for index in range(12):
        patches[index]
    assert patches.names(range(12)) == drawn
    assert set(drawn) == {"a0", "a3", "b3"}
