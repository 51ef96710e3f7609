from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from made_up import discs, picture
from promptless.data.augment import VARIETIES, WIDE
from promptless.data.sample import Sample
from promptless.data.targets import generator_targets
from promptless.train.distill import DistillTask
from promptless.train.lessons import Lessons, apart, lesson, told
from promptless.train.taught import Answer

LABELS = discs((64, 64), [(16, 16, 9), (20, 46, 8), (46, 30, 10)])
SCORES = np.array([0, 0.9, 0.6, 0.3], np.float32)
NEVER = replace(VARIETIES[WIDE], crowded=0.0)
ALWAYS = replace(VARIETIES[WIDE], crowded=1.0)


def sample(name, category="fluorescence_grey", labels=LABELS):
    return Sample(name, category, picture(LABELS)[None], labels)


def lessons(every=4, unlabelled=True, variety=NEVER):
    labelled, free = [sample("a"), sample("b")], [sample("x", "unlabelled")] if unlabelled else []
    taught = {one.id: Answer(LABELS.astype(np.uint16), SCORES) for one in [*labelled, *free]}
    return Lessons(
        labelled, free, taught, weights={"fluorescence_grey": 1.0}, every=every, size=48, seed=3, variety=variety
    )


def as_logits(values):
    clipped = torch.as_tensor(values).clamp(1e-6, 1 - 1e-6)
    return torch.log(clipped / (1 - clipped))


def batch_of(items):
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def test_an_item_depends_on_its_number_alone():
    first, second = lessons(), lessons()
    _ = first[5], first[9]
    assert all(torch.equal(first[2][name], second[2][name]) for name in first[2])
    assert not torch.equal(first[2]["image"], first[4]["image"])


def test_images_without_labels_take_turns():
    data = lessons(every=4)
    assert [bool(data[i]["labelled"]) for i in range(8)] == [True, True, True, False] * 2
    assert [name == "x" for name in data.names(range(8))] == [False, False, False, True] * 2
    assert all(bool(lessons(unlabelled=False)[i]["labelled"]) for i in range(8))


def test_a_teacher_that_says_what_the_labels_say_teaches_the_same():
    item = lessons()[0]
    assert torch.equal(item["teacher"][:2], item["targets"])
    assert torch.equal(item["known"], item["weight"])
    assert set(item["teacher"][2].unique().tolist()) <= set(SCORES.tolist())
    assert ((item["teacher"][2] > 0) == (item["targets"][0] > 0)).all()


def test_what_the_teacher_has_not_seen_it_teaches_nothing_of():
    crowded = [lessons(variety=ALWAYS)[i] for i in range(4)]
    assert [float(item["known"].sum()) > 0 for item in crowded] == [False, False, False, True]


def test_the_right_maps_cost_nothing_and_their_opposite_much():
    targets, weight = generator_targets(LABELS)
    maps = np.concatenate([targets, targets[:1]])
    batch = {"targets": torch.from_numpy(targets)[None], "weight": torch.from_numpy(weight)[None]}
    right, wrong = as_logits(maps)[None], -as_logits(maps)[None]
    assert float(told(right, batch)["loss"]) == pytest.approx(0, abs=0.02)
    assert float(told(wrong, batch)["loss"]) > 5
    assert set(told(right, batch)) == {"loss", "foreground", "interior", "dice", "quality"}
    teacher, known = (torch.from_numpy(part)[None] for part in lesson(LABELS, SCORES))
    assert float(apart(as_logits(teacher), teacher, known)) == pytest.approx(0, abs=0.02)
    assert float(apart(-as_logits(teacher), teacher, known)) > 3


def test_the_quality_that_is_learned_is_the_teachers_score():
    teacher, known = (torch.from_numpy(part)[None] for part in lesson(LABELS, SCORES))
    too_sure = teacher.clone()
    too_sure[:, 2] = (teacher[:, 2] > 0).float()
    assert float(apart(as_logits(too_sure), teacher, known)) > 0.1


def test_nothing_known_costs_nothing():
    teacher = torch.rand(2, 3, 8, 8)
    assert float(apart(torch.randn(2, 3, 8, 8), teacher, torch.zeros(2, 8, 8))) == 0


def test_weight_0_is_plain_training():
    """With labels for all, and a teacher without weight, the gradients are those of labels alone."""
    batch = {**batch_of([lessons(unlabelled=False)[i] for i in range(3)]), "step": torch.tensor(0)}
    torch.manual_seed(0)
    network = nn.Conv2d(3, 3, 3, padding=1)
    DistillTask(network, told, apart, 0.0)(batch)["loss"].backward()
    taught = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    told(network(batch["image"]), batch)["loss"].backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(taught, network.parameters(), strict=True))
