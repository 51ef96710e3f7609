from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch.nn import functional

from made_up import discs, picture, point, rectangle
from promptless import windows
from promptless.config import WindowConfig
from promptless.networks.promptable import Promptable
from promptless.prompts import Prompt
from promptless.train.decoder import (
    MULTIMASK_EVERY,
    DecoderTask,
    JointTask,
    crop,
    freeze,
    mask_losses,
    step_of,
    window_target,
)
from promptless.train.loop import Schedule, State, one_step
from promptless.train.simulate import by_user

CONFIG = WindowConfig(stride=4, cells=8, chunk=4)
SCHEDULE = Schedule(steps=4, batch=2, rate=1e-2, warmup=1)


def batch(first=0, empty=False):
    places = [] if empty else [(12, 12, 7), (40, 44, 9), (14, 46, 6)]
    labels = np.stack([discs((64, 64), places)] * 2)
    from promptless.data.targets import generator_targets

    targets, weight = zip(*(generator_targets(one) for one in labels), strict=True)
    image = np.repeat((picture(labels) / 255).astype(np.float32)[:, None], 3, axis=1)
    arrays = {"image": image, "labels": labels, "targets": np.stack(targets), "weight": np.stack(weight)}
    return {name: torch.from_numpy(a) for name, a in arrays.items()} | {"index": torch.arange(first, first + 2)}


def digest(module):
    """Return a hash of a module's parameters and buffers."""
    content = b"".join(value.numpy().tobytes() for value in module.state_dict().values())
    return hashlib.sha256(content).hexdigest()


def made(kind, tiny, tiny_config):
    network = Promptable(tiny.size)
    network.load_state_dict(tiny.state_dict())
    return kind(network, tiny_config.window, tiny_config.proposals, per_image=4, seed=0)


def test_the_generator_stays_as_it_is(tiny, tiny_config):
    task = made(DecoderTask, tiny, tiny_config)
    before, decoder = digest(task.module.generator), digest(task.module.decoder)
    state = State.fresh(task.module, SCHEDULE)
    for first in (0, 2):
        one_step(task, batch(first), state, SCHEDULE)
    assert digest(task.module.generator) == before
    assert digest(task.module.decoder) != decoder


def test_the_positional_matrix_stays_as_it_is(tiny, tiny_config):
    task = made(DecoderTask, tiny, tiny_config)
    matrix = task.module.decoder.prompt_encoder.shared_embedding.positional_embedding
    before = matrix.detach().clone()
    one_step(task, batch(), State.fresh(task.module, SCHEDULE), SCHEDULE)
    assert torch.equal(matrix, before)


def test_together_both_learn_and_batch_norm_keeps_its_statistics(tiny, tiny_config):
    task = made(JointTask, tiny, tiny_config)
    generator = task.module.generator
    before, running = digest(generator), generator.stem[0][1].running_mean.clone()
    losses = one_step(task, batch(), State.fresh(task.module, SCHEDULE), SCHEDULE)
    assert digest(generator) != before
    assert torch.equal(generator.stem[0][1].running_mean, running)
    assert losses["loss"] > losses["generator_loss"]


def test_freezing_turns_gradients_and_statistics_off():
    module = freeze_me = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    freeze(freeze_me)
    assert not any(p.requires_grad for p in module.parameters())
    assert not module.training


def test_the_same_batch_asks_the_same(tiny, tiny_config):
    one, other = (made(DecoderTask, tiny, tiny_config)(batch()) for _ in range(2))
    assert all(float(one[name].detach()) == float(other[name].detach()) for name in one)


def test_patches_without_objects_do_no_harm(tiny, tiny_config):
    losses = made(DecoderTask, tiny, tiny_config)(batch(empty=True))
    assert float(losses["loss"].detach()) == 0


@pytest.mark.parametrize(("step", "multimask"), [(0, False), (MULTIMASK_EVERY - 1, True)])
def test_one_step_in_a_few_trains_the_candidates(tiny, tiny_config, step, multimask, monkeypatch):
    task, asked = made(DecoderTask, tiny, tiny_config), []
    outputs = task.module.decoder.outputs
    monkeypatch.setattr(
        task.module.decoder,
        "outputs",
        lambda *a, multimask: asked.append(multimask) or outputs(*a, multimask=multimask),
    )
    while not asked:  # clicks are drawn by chance; batches of two share a step
        task(batch(2 * step))
        step += MULTIMASK_EVERY
    assert asked == [multimask]


def test_windows_are_cut_as_when_segmenting(rng):
    level = rng.normal(size=(3, 10, 12)).astype(np.float32)
    for start in ((0, 0), (-3, 7), (5, -2), (4, 6)):
        window = windows.Window(start, 1)
        assert np.array_equal(
            crop(torch.from_numpy(level), window, 8).numpy(), windows.crop(windows.Level(level, (0, 0)), window, CONFIG)
        )


@pytest.mark.parametrize("pool", [2, 4])
def test_levels_are_pooled_as_when_segmenting(rng, pool):
    level = rng.normal(size=(3, 10, 13)).astype(np.float32)
    expected = functional.avg_pool2d(torch.from_numpy(level)[None], pool, ceil_mode=True)[0].numpy()
    assert windows.pooled(level, pool) == pytest.approx(expected, abs=1e-5)


def test_the_target_is_the_object_in_window_pixels():
    labels = discs((40, 40), [(12, 12, 6), (30, 30, 6)])
    target, inside = window_target(labels, 1, windows.Window((-1, 1), 1), CONFIG)
    assert np.array_equal(target[4:, :], labels[:28, 4:36] == 1)
    assert np.array_equal(inside, np.repeat([[0]] * 4 + [[1]] * 28, 32, axis=1))


def test_the_target_of_a_pooled_window_is_the_share_covered():
    labels = np.zeros((64, 64), np.int32)
    labels[8:40, 16:48] = 1
    target, inside = window_target(labels, 1, windows.Window((0, 0), 2), CONFIG)
    assert target[8:16, 12:20] == pytest.approx(np.ones((8, 8)))
    assert target[24:, :].max() == 0
    assert inside.all()
    assert target.sum() == pytest.approx(32 * 32 / 4, rel=0.01)


def test_a_perfect_mask_costs_nothing():
    target = torch.zeros(2, 16, 16)
    target[:, 4:9, 5:12] = 1
    wrong = torch.full((2, 1, 16, 16), -20.0)
    logits = torch.cat([wrong, 40 * target[:, None] - 20], dim=1)
    iou = torch.tensor([[0.0, 1.0]] * 2)
    losses = mask_losses(logits, iou, target, torch.ones(2, 16, 16), torch.tensor([True, True]))
    assert {name: float(v) for name, v in losses.items()} == pytest.approx(dict.fromkeys(losses, 0), abs=1e-4)


def test_a_false_alarm_teaches_the_predicted_iou_only():
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    iou = torch.tensor([[0.8]], requires_grad=True)
    losses = mask_losses(logits, iou, torch.zeros(1, 8, 8), torch.ones(1, 8, 8), torch.tensor([False]))
    losses["loss"].backward()
    assert not logits.grad.any()
    assert float(iou.grad) > 0


def test_pixels_beyond_the_image_do_not_count():
    target, inside = torch.zeros(1, 8, 8), torch.ones(1, 8, 8)
    inside[:, 4:] = 0
    target[:, :4, 2:6] = 1
    logits = (40 * target - 20)[:, None].clone()
    other = logits.clone()
    other[:, :, 4:] = 20
    one, two = (mask_losses(x, torch.ones(1, 1), target, inside, torch.tensor([True])) for x in (logits, other))
    assert all(float(one[name]) == float(two[name]) for name in one)


def test_an_example_is_what_segmenting_would_ask(tiny, tiny_config, rng):
    task = made(DecoderTask, tiny, tiny_config)
    from promptless.train.simulate import Question

    mask = rectangle((20, 30), (22, 34))
    prompt = Prompt(1, np.array([[25, 28]], np.float32), np.array([1]), mask.box.astype(np.float32), mask)
    level = rng.normal(size=(1, 4, 16, 16)).astype(np.float32)
    labels = np.zeros((1, 64, 64), np.int32)
    labels[0][mask.region] = 1
    cut, coords, marks, coarse, given, target, _, real = task.example(
        {1: torch.from_numpy(level)}, labels, 0, Question(prompt, 1)
    )
    window = windows.place(prompt, 1.0, CONFIG)
    expected = windows.tokens_of(prompt, window, CONFIG.points + 2, 1.0, CONFIG)
    assert np.array_equal(cut.numpy(), windows.crop(windows.Level(level[0], (0, 0)), window, CONFIG))
    assert np.array_equal(coords.numpy(), expected[0])
    assert np.array_equal(marks.numpy(), expected[1])
    assert np.array_equal(coarse.numpy()[0] > 0, target.numpy() > 0.5)
    assert (bool(given), bool(real)) == (True, True)
    assert not bool(task.example({1: torch.from_numpy(level)}, labels, 0, Question(point(1, 25, 28), 0))[-1])


def test_all_that_the_task_builds_goes_to_the_device_of_the_module(tiny_size, tiny_config, rng):
    with torch.device("meta"):  # a device that holds no values, and does not compute with another's
        network = Promptable(tiny_size)
    task = JointTask(network.to_empty(device="meta"), tiny_config.window, tiny_config.proposals, per_image=4, seed=0)
    labels = batch()["labels"].numpy()
    encoded = task.encode({"image": torch.zeros(2, 3, 64, 64, device="meta")})
    losses = task.losses(encoded, labels, [by_user(one, 4, rng) for one in labels], multimask=False)
    losses["loss"].backward()
    assert {value.device.type for value in losses.values()} == {"meta"}
    assert network.vision_encoder.neck.conv1.weight.grad.device.type == "meta"


def test_all_parts_of_a_batch_that_is_cut_train_the_same_outputs():
    whole = [step_of(batch(first)) for first in (0, 2, 4)]
    assert whole == [0, 1, 2]
    assert [step_of({**batch(first), "step": torch.tensor(1)}) for first in (4, 6)] == [1, 1]
