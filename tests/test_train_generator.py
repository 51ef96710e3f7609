from __future__ import annotations

import numpy as np
import pytest
import torch

from made_up import discs, picture
from promptless.data import augment
from promptless.data.sample import Sample
from promptless.data.targets import generator_targets
from promptless.networks.unet import UNet
from promptless.train.generator import (
    GeneratorTask,
    Patches,
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


def test_patches_tell_which_sample_they_are_of(monkeypatch):
    drawn = []
    monkeypatch.setattr(augment, "take_patch", lambda sample, *rest: drawn.append(sample.id) or take(sample, *rest))
    patches = Patches(SAMPLES, WEIGHTS, 32, seed=5)
    for index in range(12):
        patches[index]
    assert patches.names(range(12)) == drawn
    assert set(drawn) == {"a0", "a3", "b3"}
