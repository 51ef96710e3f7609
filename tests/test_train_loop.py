from __future__ import annotations

import csv
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from promptless.train.loop import Schedule, fit, trainable

SCHEDULE = Schedule(steps=12, batch=4, rate=0.05, warmup=3, checkpoint_every=5)


class Points(Dataset):
    """Item `i` depends on `i` alone: a point, and on which side of a line it lies."""

    def __getitem__(self, index):
        x = torch.randn(2, generator=torch.Generator().manual_seed(index))
        return {"x": x, "y": (x.sum() > 0).float()}


class Line:
    """A task; it is killed when its step number `stop` begins."""

    def __init__(self, stop=None):
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.done, self.stop = 0, stop

    def __call__(self, batch):
        if self.done == self.stop:
            raise KeyboardInterrupt
        self.done += 1
        loss = nn.functional.binary_cross_entropy_with_logits(self.module(batch["x"])[:, 0], batch["y"])
        return {"loss": loss, "half": loss / 2}


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder, task = tmp_path_factory.mktemp("run"), Line()
    return folder, task, fit(task, Points(), SCHEDULE, folder)


@pytest.mark.parametrize("stop", [1, 4, 5, 8, 11])
def test_a_run_that_was_killed_and_resumed_is_the_same(undisturbed, tmp_path, stop):
    folder, task, mean = undisturbed
    with pytest.raises(KeyboardInterrupt):
        fit(Line(stop), Points(), SCHEDULE, tmp_path)
    again = Line()
    resumed = fit(again, Points(), SCHEDULE, tmp_path, resume=True)
    assert (tmp_path / "log.csv").read_text() == (folder / "log.csv").read_text()
    assert all(torch.equal(resumed[name], value) for name, value in mean.items())
    assert all(torch.equal(again.module.state_dict()[name], value) for name, value in task.module.state_dict().items())
    assert again.done < SCHEDULE.steps or stop < SCHEDULE.checkpoint_every


def test_without_resume_nothing_is_written_over_a_run(tmp_path):
    fit(Line(), Points(), replace(SCHEDULE, steps=5), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match="resume"):
        fit(Line(), Points(), SCHEDULE, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_complete_run_is_not_done_again(tmp_path):
    mean = fit(Line(), Points(), SCHEDULE, tmp_path)
    task = Line()
    again = fit(task, Points(), SCHEDULE, tmp_path, resume=True)
    assert task.done == 0
    assert all(torch.equal(again[name], value) for name, value in mean.items())
    assert len(rows(tmp_path)) == SCHEDULE.steps


def test_training_lowers_the_loss(tmp_path):
    fit(Line(), Points(), replace(SCHEDULE, steps=60, batch=16), tmp_path)
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_the_log_has_a_row_per_step_with_every_loss(undisturbed):
    table = rows(undisturbed[0])
    assert [int(row["step"]) for row in table] == list(range(1, 13))
    assert list(table[0]) == ["step", "rate", "loss", "half"]
    assert all(float(row["half"]) == pytest.approx(float(row["loss"]) / 2, rel=1e-4) for row in table)


def test_no_temporary_checkpoint_is_left(undisturbed):
    assert sorted(p.name for p in undisturbed[0].iterdir()) == ["checkpoint.pt", "log.csv"]


def test_the_rate_warms_up_and_then_falls_to_nothing():
    rates = [SCHEDULE.rate_at(step) for step in range(SCHEDULE.steps)]
    assert rates[:3] == pytest.approx([0.05 / 3, 0.1 / 3, 0.05])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_the_mean_follows_the_weights(undisturbed):
    _, task, mean = undisturbed
    fresh, last = Line().module.state_dict()["0.weight"], task.module.state_dict()["0.weight"]
    assert 0 < (mean["0.weight"] - last).abs().max() < (fresh - last).abs().max()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    class Broken(Line):
        def __call__(self, batch):
            return {"loss": super().__call__(batch)["loss"] * float("nan")}

    with pytest.raises(FloatingPointError, match="loss is nan at step 0"):
        fit(Broken(), Points(), SCHEDULE, tmp_path)


def test_frozen_parameters_are_left_out():
    module = nn.Linear(2, 3)
    module.bias.requires_grad_(False)
    assert [p.shape for p in trainable(module)] == [(3, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"precision": "float16"}, "bfloat16"), ({"steps": 0}, "at least 1"), ({"batch": 0}, "at least 1")],
)
def test_a_schedule_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        replace(SCHEDULE, **arguments)
