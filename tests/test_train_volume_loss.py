from __future__ import annotations

import pytest
import torch

from promptless.train.volume.loss import UNKNOWN, VoxelTask, dice_and_entropy
from volumes import dice_and_cross_entropy, random_crop


def drawn(seed=0, classes=3, shape=(4, 5, 6), n=2):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn((n, classes, *shape), generator=rng), torch.randint(classes, (n, *shape), generator=rng)


@pytest.mark.parametrize("classes", [2, 3, 14])
def test_the_loss_is_the_one_written_down_plainly(classes):
    logits, labels = drawn(classes=classes)
    assert dice_and_entropy(logits, labels)["loss"] == pytest.approx(float(dice_and_cross_entropy(logits, labels)))


@pytest.mark.parametrize("absent", [False, True])
def test_the_loss_is_that_of_monai(absent):
    losses = pytest.importorskip("monai.losses")
    logits, labels = drawn()
    if absent:
        labels[labels == 2] = 0
    reference = losses.DiceCELoss(to_onehot_y=True, softmax=True, lambda_dice=0.5, lambda_ce=0.5)
    assert dice_and_entropy(logits, labels)["loss"] == pytest.approx(float(reference(logits, labels[:, None])))


def test_what_lies_beyond_the_scan_counts_for_nothing():
    logits, labels = drawn()
    exact = dice_and_entropy(logits, labels)
    around = (1, 2, 0, 3, 2, 0)
    wide = torch.nn.functional.pad(logits, around, value=9.0)
    more = dice_and_entropy(wide, torch.nn.functional.pad(labels, around, value=UNKNOWN))
    assert {name: float(value) for name, value in more.items()} == pytest.approx(
        {name: float(value) for name, value in exact.items()}
    )


def test_a_crop_beyond_the_scan_is_no_error():
    logits, labels = drawn()
    losses = dice_and_entropy(logits.requires_grad_(), torch.full_like(labels, UNKNOWN))
    losses["loss"].backward()
    assert torch.isfinite(logits.grad).all()


def test_a_perfect_answer_costs_nothing():
    _, labels = drawn()
    logits = 50.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    assert float(dice_and_entropy(logits, labels)["loss"]) == pytest.approx(0, abs=1e-4)


def test_a_task_asks_its_module():
    module = torch.nn.Conv3d(1, 3, 1)
    losses = VoxelTask(module)({"image": random_crop(4, 4, 4), "labels": torch.ones(1, 4, 4, 4, dtype=torch.int64)})
    assert set(losses) == {"loss", "dice", "entropy"}
    losses["loss"].backward()
    assert module.weight.grad is not None
