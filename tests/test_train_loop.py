from __future__ import annotations

import csv
import logging
import multiprocessing
import os
import re
import signal
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from promptless.train import devices
from promptless.train.learned import copied
from promptless.train.loop import Schedule, State, fit, one_step
from promptless.train.run import reached
from promptless.train.stopping import Stop

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


class Pressed(Line):
    """Ctrl-C is pressed in the middle of step number `stop`."""

    def __call__(self, batch):
        if self.done == self.stop:
            self.stop = None
            os.kill(os.getpid(), signal.SIGINT)
        return super().__call__(batch)


@pytest.mark.parametrize("stop", [0, 3, 4, 10])
def test_ctrl_c_ends_the_step_and_keeps_it(undisturbed, tmp_path, stop):
    folder, _, mean = undisturbed
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(Pressed(stop), Points(), SCHEDULE, tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == stop + 1
    again = Line()
    resumed = fit(again, Points(), SCHEDULE, tmp_path, resume=True)
    assert again.done == SCHEDULE.steps - stop - 1
    assert (tmp_path / "log.csv").read_text() == (folder / "log.csv").read_text()
    assert all(torch.equal(resumed[name], value) for name, value in mean.items())


def test_ctrl_c_twice_does_not_wait():
    stop = Stop()
    stop(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT, None)


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


def test_the_mean_follows_the_weights(undisturbed):
    _, task, mean = undisturbed
    fresh, last = Line().module.state_dict()["0.weight"], task.module.state_dict()["0.weight"]
    assert 0 < (mean["0.weight"] - last).abs().max() < (fresh - last).abs().max()


class Plain(Line):
    """A task without batch norm, whose loss is a mean over the batch."""

    def __init__(self, stop=None):
        super().__init__(stop)
        self.module = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))


class Random(Plain):
    """A task with dropout."""

    def __init__(self, stop=None):
        super().__init__(stop)
        self.module.insert(2, nn.Dropout(0.5))


class Spoilt(Points):
    """From item 29 on, one in four is no number."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        spoilt = index >= 29 and index % 4 == 1
        return {**item, "x": item["x"] * float("nan") if spoilt else item["x"], "index": torch.tensor(index)}

    def names(self, indices):
        return [f"image{index}" for index in indices]


def weights(task):
    return nn.utils.parameters_to_vector(task.module.parameters()).detach()


@pytest.mark.parametrize("accumulate", [2, 4])
def test_a_batch_that_is_cut_gives_the_weights_of_the_whole(tmp_path, accumulate):
    whole, parts = Plain(), Plain()
    fit(whole, Points(), SCHEDULE, tmp_path / "whole")
    fit(parts, Points(), replace(SCHEDULE, accumulate=accumulate), tmp_path / "cut")
    assert parts.done == accumulate * whole.done
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=1e-6)
    logged = [[float(row["loss"]) for row in rows(tmp_path / name)] for name in ("whole", "cut")]
    assert logged[0] == pytest.approx(logged[1], abs=1e-5)


def killed(folder, where):
    """Train until the process kills itself at a moment of its own choice."""

    def kill(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    if where == "while a checkpoint is written":
        os.fsync = kill
    if where == "before a checkpoint is in its place":
        torch.save = kill
    task = Line(stop=16 if where == "in a step" else None)
    try:
        fit(task, Points(), replace(SCHEDULE, accumulate=2), folder)
    except KeyboardInterrupt:
        kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("where", ["in a step", "while a checkpoint is written", "before a checkpoint is in its place"])
def test_a_run_that_was_killed_with_9_and_resumed_is_the_same(tmp_path, where):
    schedule = replace(SCHEDULE, accumulate=2)
    mean = fit(Line(), Points(), schedule, tmp_path / "undisturbed")
    process = multiprocessing.get_context("fork").Process(target=partial(killed, tmp_path / "killed", where))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "killed" / "checkpoint.pt").exists() == (where == "in a step")
    resumed = fit(Line(), Points(), schedule, tmp_path / "killed", resume=True)
    assert (tmp_path / "killed" / "log.csv").read_text() == (tmp_path / "undisturbed" / "log.csv").read_text()
    assert all(torch.equal(resumed[name], value) for name, value in mean.items())
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == ["checkpoint.pt", "log.csv"]


def test_dropout_is_part_of_the_curve_and_of_nothing_else(tmp_path):
    mean = fit(Random(), Points(), SCHEDULE, tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        fit(Random(7), Points(), SCHEDULE, tmp_path / "killed")
    torch.rand(5)
    task = Random()
    expected = torch.random.get_rng_state()
    resumed = fit(task, Points(), SCHEDULE, tmp_path / "killed", resume=True)
    assert (tmp_path / "killed" / "log.csv").read_text() == (tmp_path / "undisturbed" / "log.csv").read_text()
    assert all(torch.equal(resumed[name], value) for name, value in mean.items())
    assert torch.equal(torch.random.get_rng_state(), expected)


def scaled(scale):
    """Return a task and its state before the first step, with a loss scale as float16 has it."""
    task = Plain()
    state = State.fresh(task.module, SCHEDULE)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return task, state


def one_batch():
    items = [Points()[i] for i in range(4)]
    return {name: torch.stack([item[name] for item in items]) for name in ("x", "y")}


def test_a_loss_scale_changes_no_step():
    (small, state), (large, other) = scaled(1.0), scaled(1024.0)
    for _ in range(3):
        one_step(small, one_batch(), state, replace(SCHEDULE, accumulate=2))
        one_step(large, one_batch(), other, replace(SCHEDULE, accumulate=2))
    torch.testing.assert_close(weights(small), weights(large), rtol=0, atol=1e-6)


def test_gradients_that_overflow_leave_a_step_out_until_the_scale_is_1():
    class Steep(Plain):
        def __call__(self, batch):
            loss = super().__call__(batch)["loss"]
            return {"loss": loss + (loss - loss.detach()).abs().sqrt()}

    _, state = scaled(4.0)
    task = Steep()
    state.module, before = task.module, weights(task).clone()
    state.optimiser = torch.optim.AdamW(task.module.parameters())
    for scale in (2.0, 1.0):
        one_step(task, one_batch(), state, SCHEDULE)
        assert state.scaler.get_scale() == scale
    with pytest.raises(FloatingPointError, match="norm of the gradients is nan"):
        one_step(task, one_batch(), state, SCHEDULE)
    assert torch.equal(weights(task), before)


@pytest.mark.parametrize(("accumulate", "images"), [(1, "image28, image29, image30, image31"), (4, "image29")])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_images(tmp_path, accumulate, images):
    schedule = replace(SCHEDULE, accumulate=accumulate)
    told = f"loss is nan at step 8, on patches of {images}; .* checkpoint is of step 5 in {tmp_path}; .*--resume"
    with pytest.raises(FloatingPointError, match=told):
        fit(Plain(), Spoilt(), schedule, tmp_path)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 5
    mended = fit(Plain(), Points(), schedule, tmp_path, resume=True)
    undisturbed = fit(Plain(), Points(), schedule, tmp_path / "undisturbed")
    assert all(torch.equal(mended[name], value) for name, value in undisturbed.items())


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_never_reaches_the_weights(tmp_path, what):
    class Broken(Plain):
        def __call__(self, batch):
            loss = super().__call__(batch)["loss"]
            # The root of 0 has an infinite slope: the loss is finite, its gradient is not.
            return {"loss": loss * float("inf") if what == "loss" else loss + (loss - loss.detach()).abs().sqrt()}

    task = Broken()
    before = weights(task).clone()
    with pytest.raises(FloatingPointError, match="at step 1; there is no checkpoint yet"):
        fit(task, Points(), SCHEDULE, tmp_path)
    assert torch.equal(weights(task), before)


def test_a_run_goes_on_with_another_cost_but_not_with_another_recipe(tmp_path):
    recipe = {"schedule": SCHEDULE.deciding(), "train": ["a", "b"]}
    with pytest.raises(KeyboardInterrupt):
        fit(Plain(7), Points(), SCHEDULE, tmp_path, identity=recipe)
    faster = replace(SCHEDULE, rate=0.1)
    other = {"schedule": faster.deciding(), "train": ["a"]}
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r'schedule.rate was 0.05 and is 0.1; train\[1\] was "b" and is not said'):
        fit(Plain(), Points(), faster, tmp_path, resume=True, identity=other)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    cheaper = replace(SCHEDULE, accumulate=2, memory="lean", checkpoint_every=3)
    fit(Plain(), Points(), cheaper, tmp_path, resume=True, identity={**recipe, "schedule": cheaper.deciding()})
    assert len(rows(tmp_path)) == SCHEDULE.steps


def test_the_betas_reach_the_optimiser(tmp_path):
    first, second = (Plain(), Plain())
    fit(first, Points(), SCHEDULE, tmp_path / "first")
    fit(second, Points(), replace(SCHEDULE, betas=(0.5, 0.9)), tmp_path / "second")
    assert not torch.allclose(weights(first), weights(second))


def test_bfloat16_trains_nearly_the_same(tmp_path):
    exact, rounded = Plain(), Plain()
    fit(exact, Points(), SCHEDULE, tmp_path / "exact")
    fit(rounded, Points(), replace(SCHEDULE, precision="bfloat16"), tmp_path / "rounded")
    assert 0 < (weights(exact) - weights(rounded)).abs().max() < 0.05
    assert {p.dtype for p in rounded.module.parameters()} == {torch.float32}


def test_float16_is_refused_where_there_is_no_gpu(tmp_path):
    with pytest.raises(ValueError, match="float16 needs a CUDA GPU, and the device is cpu; use bfloat16"):
        fit(Plain(), Points(), replace(SCHEDULE, precision="float16"), tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())


def test_the_module_is_moved_once_and_every_part_of_a_batch_to_it(tmp_path, monkeypatch):
    moves = []
    module_to, tensor_to = nn.Module.to, devices.moved
    monkeypatch.setattr(nn.Module, "to", lambda self, *where: moves.append(where) or module_to(self, *where))
    monkeypatch.setattr(devices, "moved", lambda batch, where: moves.append(set(batch)) or tensor_to(batch, where))
    fit(Plain(), Points(), replace(SCHEDULE, steps=2, accumulate=2), tmp_path, device="cpu")
    assert moves == [(torch.device("cpu"),), *[{"x", "y", "step"}] * 4]


def test_a_frozen_weight_stays_as_it_was_and_is_not_in_what_comes_back(tmp_path):
    task = Plain()
    task.module[0].requires_grad_(False)
    before = task.module[0].weight.clone()
    mean = fit(task, Points(), SCHEDULE, tmp_path)
    assert torch.equal(task.module[0].weight, before)
    assert set(task.module.state_dict()) - set(mean) == {"0.weight", "0.bias"}


def test_whoever_watches_is_shown_the_mean_before_and_after_each_step(tmp_path):
    seen, shares = {}, []

    def watch(step, mean, done):
        seen[step] = copied(mean)
        shares.append(done)

    mean = fit(Plain(), Points(), SCHEDULE, tmp_path, watch=watch)
    assert list(seen) == list(range(SCHEDULE.steps + 1))
    assert shares == pytest.approx([step / SCHEDULE.steps for step in seen])
    assert all(torch.equal(value, mean[name]) for name, value in seen[SCHEDULE.steps].items())
    assert not torch.equal(seen[0]["0.weight"], seen[1]["0.weight"])


def test_too_little_memory_says_what_to_change(tmp_path):
    class Large(Plain):
        def __call__(self, batch):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(torch.OutOfMemoryError, match=r'on cpu at step 1; .*raise `accumulate` or set memory = "lean"'):
        fit(Large(), Points(), SCHEDULE, tmp_path)


def test_the_log_says_how_fast_it_goes_and_the_table_does_not(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "promptless"):
        fit(Plain(), Points(), SCHEDULE, tmp_path)
    assert re.search(r"step 12/12, \d+ s, [\d.]+ images/s", caplog.text)
    assert list(rows(tmp_path)[0]) == ["step", "rate", "loss", "half"]


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what a test adds to it."""
    now = [100.0]
    monkeypatch.setattr("promptless.train.run.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


class Slow(Plain):
    """A step takes 10 seconds; the plug is pulled in one of them."""

    def __init__(self, clock, pulled=None):
        super().__init__()
        self.clock, self.pulled = clock, pulled

    def __call__(self, batch):
        self.clock[0] += 10
        if int(batch["step"]) == self.pulled:
            raise RuntimeError("the plug was pulled")
        return super().__call__(batch)


def test_so_many_minutes_are_so_many_minutes_of_steps_whatever_interrupts_them(tmp_path, clock):
    timed, watched = replace(SCHEDULE, steps=None, minutes=1, checkpoint_every=2), []

    def watch(step, mean, done):
        clock[0] += 1000  # to look is not to train
        watched.append(done)

    with pytest.raises(RuntimeError, match="plug"):
        fit(Slow(clock, pulled=3), Points(), timed, tmp_path, watch=watch)
    assert reached(tmp_path) == (2, 20)  # what came after the checkpoint is lost, and does not count
    fit(Slow(clock), Points(), timed, tmp_path, resume=True, watch=watch)
    assert [float(row["seconds"]) for row in rows(tmp_path)] == [10, 20, 30, 40, 50, 60]
    assert [float(row["rate"]) for row in rows(tmp_path)][3:] == pytest.approx(
        [timed.rate_at(9, seconds) for seconds in (30, 40, 50)], rel=1e-5
    )
    assert watched[-5:] == pytest.approx([1 / 3, 1 / 2, 2 / 3, 5 / 6, 1])
    fit(Slow(clock, pulled=6), Points(), timed, tmp_path, resume=True)  # nothing is left to do


class Parts:
    """A task whose two parts have gradients of very different size."""

    def __init__(self):
        torch.manual_seed(0)
        self.module = nn.ModuleDict({"large": nn.Linear(2, 1), "small": nn.Linear(2, 1)})

    def __call__(self, batch):
        out = 100 * self.module["large"](batch["x"]) + self.module["small"](batch["x"])
        return {"loss": ((out[:, 0] - batch["y"]) ** 2).mean()}


def test_parts_that_clip_their_own_gradients_learn_as_with_an_optimiser_each():
    schedule = replace(SCHEDULE, clipping="apart", clip=0.5, weight_decay=0.1)
    ours, theirs = Parts(), Parts()
    state = State.fresh(ours.module, schedule)
    each = {name: torch.optim.AdamW(part.parameters(), weight_decay=0.1) for name, part in theirs.module.items()}
    for step in range(5):
        batch = next(iter(torch.utils.data.DataLoader(Points(), sampler=range(4 * step, 4 * step + 4), batch_size=4)))
        one_step(ours, dict(batch), state, schedule)
        theirs.module.zero_grad()
        theirs(batch)["loss"].backward()
        for name, optimiser in each.items():
            nn.utils.clip_grad_norm_(theirs.module[name].parameters(), 0.5)
            optimiser.param_groups[0]["lr"] = schedule.rate_at(step)
            optimiser.step()
    for mine, other in zip(ours.module.parameters(), theirs.module.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize(("clipping", "norms"), [("together", (1.0, 0.01)), ("apart", (1.0, 1.0))])
def test_gradients_are_clipped_together_or_part_by_part(clipping, norms):
    task = Parts()
    state = State.fresh(task.module, SCHEDULE)
    batch = next(iter(torch.utils.data.DataLoader(Points(), batch_size=4, sampler=range(4))))
    one_step(task, dict(batch), state, replace(SCHEDULE, clipping=clipping, clip=1.0))
    found = [float(nn.utils.get_total_norm(p.grad for p in task.module[name].parameters())) for name in task.module]
    assert found == pytest.approx(norms, rel=1e-3)
