from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from promptless.train.distill import Distilling, DistillTask, HintTask, of_classes, of_student, seen, squared


def network(classes=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, classes, 1))


def supervised(answer, batch):
    entropy = functional.cross_entropy(answer, batch["labels"])
    return {"loss": 2 * entropy, "entropy": entropy}


def batch(n=4, labelled=None, classes=3, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn((n, 1, 6, 5), generator=rng),
        "labels": torch.randint(classes, (n, 6, 5), generator=rng),
        "teacher": torch.randn((n, classes, 6, 5), generator=rng).half(),
        "known": torch.rand((n, 6, 5), generator=rng) < 0.7,
        "labelled": torch.ones(n, dtype=torch.bool) if labelled is None else torch.tensor(labelled),
        "step": torch.tensor(3),
    }


def gradients(task, given):
    task.module.zero_grad()
    losses = task(given)
    losses["loss"].backward()
    return losses, [p.grad.clone() for p in task.module.parameters()]


def test_a_teacher_without_weight_leaves_the_supervised_task():
    given, net = batch(), network()
    losses, grads = gradients(DistillTask(net, supervised, squared, 0.0), given)
    net.zero_grad()
    plain = supervised(net(given["image"]), given)
    plain["loss"].backward()
    assert torch.equal(losses["loss"], plain["loss"])
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, net.parameters(), strict=True))
    assert losses["teacher"] > 0


def test_the_loss_is_the_mixture_of_both():
    given, net = batch(), network()
    answer = net(given["image"])
    told, apart = supervised(answer, given)["loss"], (answer - given["teacher"].float()) ** 2
    taught = torch.stack([apart[:, c][given["known"]].mean() for c in range(3)]).mean()
    for weight in (0.25, 1.0):
        loss = DistillTask(net, supervised, squared, weight)(given)["loss"]
        assert loss.item() == pytest.approx(((1 - weight) * told + weight * taught).item(), rel=1e-5)


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn_from_it():
    given, net = batch(), network()
    same = {**given, "teacher": net(given["image"]).detach()}
    losses, grads = gradients(DistillTask(net, supervised, squared, 1.0), same)
    assert losses["loss"] == 0
    assert all(not grad.any() for grad in grads)


def test_labels_of_items_that_have_none_are_not_looked_at():
    given = batch(labelled=[True, False, True, False])
    task = DistillTask(network(), supervised, squared, 0.5)
    other = {**given, "labels": given["labels"].clone()}
    other["labels"][1::2] = 0
    assert torch.equal(task(given)["loss"], task(other)["loss"])
    other["labels"][0] = 0
    assert not torch.equal(task(given)["loss"], task(other)["loss"])


def test_the_teacher_counts_only_where_it_is_known():
    given, task = batch(), DistillTask(network(), supervised, squared, 0.5)
    other = {**given, "teacher": torch.where(given["known"][:, None], given["teacher"], 1000)}
    assert torch.equal(task(given)["loss"], task(other)["loss"])


def test_probabilities_do_not_see_what_all_logits_share_and_logits_do():
    answer, teacher, known = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.ones(2, 4)
    soft, plain = of_classes(Distilling("t", on="softmax", temperature=2.0)), of_classes(Distilling("t"))
    assert soft(answer + 5, teacher, known).item() == pytest.approx(soft(answer, teacher, known).item(), rel=1e-4)
    assert plain(answer + 5, teacher, known) > 2 * plain(answer, teacher, known)


def test_a_hotter_softmax_has_gradients_of_the_same_size():
    teacher, known = torch.randn(1, 3, 50, generator=torch.Generator().manual_seed(0)), torch.ones(1, 50)

    def slope(temperature):
        answer = torch.zeros(1, 3, 50, requires_grad=True)
        of_classes(Distilling("t", on="softmax", temperature=temperature))(answer, teacher, known).backward()
        return answer.grad.norm().item()

    assert 0.5 < slope(10.0) * 10 / (slope(20.0) * 20) < 2


def test_hints_bring_features_of_other_widths_and_grids_together():
    student, teacher, given = network(), nn.Sequential(nn.Conv2d(1, 7, 2, 2), nn.Conv2d(7, 3, 1)), batch(n=2)
    whole = DistillTask(student, supervised, squared, 0.5)
    task = HintTask(whole, partial(seen, student, "1"), partial(seen, teacher, "0"), 0.3, given["image"])
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    losses, grads = gradients(task, given)
    plain = DistillTask(student, supervised, squared, 0.5)(given)
    assert losses["loss"].item() == pytest.approx((plain["loss"] + 0.3 * losses["features"]).item(), rel=1e-5)
    assert all(grad.any() for grad in grads)
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert set(of_student(task.module.state_dict())) == set(student.state_dict())
    optimiser = torch.optim.Adam(task.module.parameters(), 0.05)
    for _ in range(40):
        optimiser.zero_grad()
        last = task(given)
        last["features"].backward()
        optimiser.step()
    assert last["features"] < 0.5 * losses["features"]


def test_without_hints_the_names_stay():
    state = network().state_dict()
    assert of_student(state).keys() == state.keys()


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no layer 'neck' to compare in a Sequential"):
        seen(network(), "neck", torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": 1.5}, "weight is 1.5; it is a share"),
        ({"on": "maps"}, "on is 'maps'; it must be"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be above 0"),
        ({"temperature": 2.0}, 'changes nothing where on = "logits"'),
        ({"features": -1.0}, "it must be at least 0"),
        ({"labelled": 0}, "one labelled item at least"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        replace(Distilling("t"), **values)
