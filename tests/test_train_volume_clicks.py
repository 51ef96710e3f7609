from __future__ import annotations

import numpy as np
import pytest
import torch

from promptless.networks.volume.generator import of_classes
from promptless.train.simulate import deepest
from promptless.train.volume.clicks import Clicking, ClickTask, click_on, mistakes
from promptless.train.volume.loss import UNKNOWN, VoxelTask
from volumes import autoprosam, both_backbones, random_crop

SIDE = 16


@pytest.fixture(scope="module")
def backbone(tiny_folder, tmp_path_factory):
    return both_backbones(tiny_folder, tmp_path_factory.mktemp("published"))["large"]


def wrongly():
    """Return true labels, and an answer that lacks half of a box, calls a ball otherwise, and makes up a voxel."""
    true = np.zeros((20, 20, 20), np.int64)
    true[2:10, 2:6, 2:6], true[12:16, 12:16, 12:16] = 1, 2
    found = true.copy()
    found[6:10, 2:6, 2:6], found[12:16, 12:16, 12:15], found[0, 19, 0] = 0, 1, 1
    return found, true


def test_mistakes_are_connected_of_one_class_and_the_largest_come_first():
    found, true = wrongly()
    told = list(mistakes(found, true))
    assert [(mask.area, of) for mask, of in told] == [(64, 1), (48, 2), (1, 0)]
    covered = np.zeros(true.shape, int)
    for mask, of in told:
        covered[mask.region] += mask.pixels
        assert (true[mask.region][mask.pixels] == of).all()
    assert np.array_equal(covered, found != true)


def test_what_is_not_known_is_no_mistake():
    found, true = wrongly()
    true[6:10, 2:6, 2:6] = UNKNOWN
    assert [of for _, of in mistakes(found, true)] == [2, 0]


def test_two_classes_that_touch_are_two_mistakes():
    true = np.zeros((6, 6, 6), np.uint8)
    true[1:3, 1:5, 1:5], true[3:5, 1:5, 1:5] = 1, 2
    assert sorted((mask.area, of) for mask, of in mistakes(np.zeros_like(true), true)) == [(32, 1), (32, 2)]


def test_the_deepest_point_is_as_far_inside_as_any(rng):
    found, true = wrongly()
    mask, _ = next(mistakes(found, true))
    (place,) = deepest(mask).astype(int)
    assert set(place[1:]) <= {3, 4}
    assert place[0] in (7, 8)


def test_clicks_lie_in_mistakes_and_say_what_is_there(rng):
    found, true = wrongly()
    for _ in range(20):
        for mask, of in mistakes(found, true):
            click = click_on(mask, of, rng)
            at = tuple(click[0, :3].astype(int))
            assert found[at] != true[at] == click[0, 3]
    assert list(mistakes(true, true)) == []


def batch(n=2, first=0, side=SIDE):
    labels = torch.zeros(n, side, side, side, dtype=torch.int64)
    labels[:, 4:10, 5:11, 3:9], labels[:, 11:14, 2:6, 8:14] = 1, 2
    image = torch.cat([random_crop(side, side, side, seed=first + i) for i in range(n)])
    return {"image": image, "labels": labels, "index": torch.arange(n) + first}


def steps(task, n=3):
    """Take some steps, and return the weights."""
    optimiser = torch.optim.AdamW([p for p in task.module.parameters() if p.requires_grad], lr=1e-2)
    for step in range(n):
        optimiser.zero_grad()
        task(batch(first=2 * step))["loss"].backward()
        optimiser.step()
    return {name: value.clone() for name, value in task.module.learned_state().items()}


def test_a_share_of_nothing_is_plain_training(backbone):
    plain = steps(VoxelTask(autoprosam(backbone, points=3)))
    without = steps(ClickTask(autoprosam(backbone, points=3), Clicking(share=0.0), seed=3))
    assert all(torch.equal(plain[name], without[name]) for name in plain)
    clicked = steps(ClickTask(autoprosam(backbone, points=3), Clicking(share=1.0), seed=3))
    assert any(not torch.equal(plain[name], clicked[name]) for name in plain)


def test_about_a_share_of_the_crops_is_clicked_at_and_at_most_so_often(backbone):
    network = autoprosam(backbone, points=3)
    task = ClickTask(network, Clicking(share=0.5, most=2), seed=0)
    numbers = [int(task.clicked(batch(4, 4 * i, 14))[0].weights[k].sum()) for i in range(10) for k in range(4)]
    assert set(numbers) == {0, 1, 2}
    assert 10 <= numbers.count(0) <= 30


def test_clicks_depend_on_the_number_of_the_crop_alone(backbone):
    task = ClickTask(autoprosam(backbone, points=3), Clicking(share=1.0), seed=0)
    whole, meant = task.clicked(batch(2))
    alone, same = task.clicked({name: value[1:] for name, value in batch(2).items()})
    assert torch.equal(meant[1:], same)
    n = alone.coords.shape[1]
    assert torch.equal(whole.coords[1, :n], alone.coords[0])
    assert torch.equal(whole.weights[1, :n], alone.weights[0])
    assert not whole.weights[1, n:].any()


@torch.no_grad()
def test_what_is_clicked_at_counts_once_more(backbone):
    network, crops = autoprosam(backbone, points=3), batch()
    plain, more = (ClickTask(network, Clicking(share=1.0, heed=heed), seed=0)(crops) for heed in (0.0, 2.0))
    points, pointed = ClickTask(network, Clicking(share=1.0), seed=0).clicked(crops)
    assert more["loss"] == pytest.approx(float(plain["loss"] + 2 * more["clicked"]), rel=1e-4)
    logits = network(crops["image"], points)
    entropy = torch.nn.functional.cross_entropy(logits, crops["labels"], reduction="none")[pointed].mean()
    assert more["clicked"] == pytest.approx(float(entropy), rel=1e-4)
    places = points.coords[points.weights.any(-1)].long()
    items = points.weights.any(-1).nonzero()[:, 0]
    assert pointed[items, *places.T].all()


def test_a_click_says_its_class_in_a_channel_of_its_own():
    points = of_classes(torch.zeros(1, 3, 3), torch.tensor([[2, 0, UNKNOWN]]), 4)
    assert points.weights.tolist() == [[[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]]


def uncertain(index):
    """Return two crops of one picture: a ball that is an organ in one, and nothing in the other."""
    places = np.stack(np.indices((SIDE,) * 3), -1)
    ball = torch.from_numpy(((places - (8, 7, 8)) ** 2).sum(-1) < 20)
    image = ball + 0.2 * torch.randn(ball.shape, generator=torch.Generator().manual_seed(0))
    return {
        "image": image.expand(2, 1, *ball.shape),
        "labels": torch.stack([ball.long(), torch.zeros_like(ball).long()]),
        "index": torch.tensor([2 * index, 2 * index + 1]),
    }


def test_a_network_that_has_learned_of_clicks_obeys_them(backbone):
    network = autoprosam(backbone, classes=2, points=2, widths=(16, 24), head=16)
    task = ClickTask(network, Clicking(share=1.0, most=1), seed=0)
    network.encoder.requires_grad_(False)
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    for step in range(80):
        optimiser.zero_grad()
        task(uncertain(step))["loss"].backward()
        optimiser.step()
    crop, ball = uncertain(0)["image"][:1], uncertain(0)["labels"][0] == 1
    with torch.inference_mode():
        middle = torch.tensor([[[8.0, 7.0, 8.0]]])
        answers = [network(crop, of_classes(middle, torch.tensor([[of]]), 2))[0].argmax(0) for of in (0, 1)]
    assert [float((answer[ball] == of).float().mean()) > 0.9 for of, answer in enumerate(answers)] == [True, True]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 1.5}, "it lies between 0 and 1"),
        ({"most": 0}, "has at least one click"),
        ({"heed": -1.0}, "it is a weight, 0 or above"),
    ],
)
def test_nonsense_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Clicking(**values)
