"""The one training loop. A method is a task: batch in, named losses out."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from promptless.train import devices, processes
from promptless.train.failures import NotFiniteError, explained
from promptless.train.memory import sparing
from promptless.train.processes import ALONE, Processes
from promptless.train.run import CHECKPOINT, Run
from promptless.train.schedule import APART, Schedule
from promptless.train.state import State, trainable
from promptless.train.stopping import deferred

__all__ = ["Batch", "Schedule", "State", "Task", "fit", "one_step", "trainable"]

Batch = dict[str, Tensor]
Watch = Callable[[int, Mapping[str, Tensor], float], None]
"""Shown the step, the running mean of what has been learned, and the share that is done."""


class Task(Protocol):
    """A method to train: maps a batch to its losses, of which "loss" is minimised.

    A batch comes on the device that `module` is on. "index" has the numbers of its items, "step" the number
    of the optimiser's step, which is the same for all parts of a batch that is cut.
    """

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch."""


def fit(
    task: Task,
    dataset: Dataset[Batch],
    schedule: Schedule,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    identity: Mapping[str, Any] | None = None,
    progress: Callable[[float, str], None] = lambda done, text: None,
    watch: Watch = lambda step, mean, done: None,
) -> dict[str, Tensor]:
    """Train `task.module` on `device` and return the running mean of what it learns, on the CPU.

    `dataset[i]` must depend on `i` alone: then a run that is killed and resumed from its last
    checkpoint in `folder` meets the same batches in the same order, and draws the same curve.
    `log.csv` there has one row per step. `identity` says, as JSON, what decides the result: a
    checkpoint with another one is refused. Started by `accelerate launch`, each process takes a
    share of every batch. `dataset.names(indices)`, where there is one, tells which images failed.
    `watch` is shown the running mean before the first step and after each, and the share that is done. Ctrl-C stops
    after the step that is being made, with a checkpoint.

    A schedule in minutes counts the time of the steps up to the last checkpoint, whoever made them, and not that of
    `watch`; its curve depends on the machine.
    """
    where = devices.find(device)
    devices.check(schedule.precision, where)
    world = processes.join(where)
    schedule.micro_batch(world.count)
    state = begun(task.module.to(where), schedule, world)
    checkpoint, identity = folder / CHECKPOINT, identity or {}
    if checkpoint.is_file():
        if not resume:
            raise FileExistsError(f"{checkpoint} is there; resume goes on from it, another folder begins anew")
        state.load(checkpoint, identity)
    run = Run(folder, state, schedule, world)
    if world.main:
        with run.aside():
            watch(state.step, state.mean, run.share)
    with sparing(task.module, schedule.memory), devices.chance_apart(where), deferred(world) as stop:
        for batch in batches(dataset, schedule, numbers_to_come(run), where, world):
            torch.manual_seed(state.step * world.count + world.rank)  # dropout is part of the curve
            with explained(state, dataset, folder):
                losses = one_step(task, batch, state, schedule, world)
                run.record(losses, identity)
            if world.main:
                progress(run.share, f"{schedule.told(state.step, state.seconds)}, loss {losses['loss']:.3f}")
                with run.aside():
                    watch(state.step, state.mean, run.share)
            if stop.asked:
                with explained(state, dataset, folder):
                    run.keep(identity)
                raise KeyboardInterrupt
            if run.share == 1:
                break
    return state.averaged()


def numbers_to_come(run: Run) -> Iterable[int]:
    """Return the numbers of the steps that are to be made; the clock does not say how many."""
    if run.share == 1:
        return range(0)
    return count(run.state.step) if run.schedule.steps is None else range(run.state.step, run.schedule.steps)


def begun(module: nn.Module, schedule: Schedule, world: Processes) -> State:
    """Return the state before the first step, the same in all processes."""
    world.agree(module.state_dict().values())
    return State.fresh(module, schedule)


def one_step(task: Task, batch: Batch, state: State, schedule: Schedule, world: Processes = ALONE) -> dict[str, float]:
    """Make one optimiser step on this process's share of a batch, change `state` accordingly, and return the losses.

    Where a loss or a gradient is not finite, the weights stay as they are.
    """
    for group in state.optimiser.param_groups:
        group["lr"] = schedule.rate_at(state.step, state.seconds)
    state.optimiser.zero_grad()
    parts = cut(batch, schedule.accumulate)
    each = [learn(task, part, state, schedule) for part in parts]
    losses = world.mean({name: sum(one[name] for one in each) / len(each) for name in each[0]}, state.device)
    if not math.isfinite(losses["loss"]):
        failed = [part for part, one in zip(parts, each, strict=True) if not math.isfinite(one["loss"])]
        raise NotFiniteError(f"the loss is {losses['loss']}", world.gathered(numbers(failed)))
    world.average_gradients(trainable(task.module))
    state.scaler.unscale_(state.optimiser)
    norm = clipped(task.module, schedule)
    if not math.isfinite(norm) and not state.overflowed():
        raise NotFiniteError(f"the norm of the gradients is {norm}", world.gathered(numbers(parts)))
    state.scaler.step(state.optimiser)
    state.scaler.update()
    world.agree(task.module.buffers())
    state.step += 1
    state.update_mean(min(schedule.average, (1 + state.step) / (10 + state.step)))
    return losses


def clipped(module: nn.Module, schedule: Schedule) -> float:
    """Clip the gradients of all weights together, or those of each part of a module apart; return their norm before."""
    parts = dict[str, list[nn.Parameter]]()
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            parts.setdefault(name.partition(".")[0] if schedule.clipping == APART else "", []).append(weight)
    return math.hypot(*(float(nn.utils.clip_grad_norm_(part, schedule.clip)) for part in parts.values()))


def learn(task: Task, part: Batch, state: State, schedule: Schedule) -> dict[str, float]:
    """Add the gradients of a micro-batch to those that are there, and return its losses."""
    batch = devices.moved({**part, "step": torch.tensor(state.step)}, state.device)
    with devices.arithmetic(schedule.precision, state.device):
        losses = task(batch)
    torch.autograd.backward(state.scaler.scale(losses["loss"] / schedule.accumulate))
    return {name: float(value.detach()) for name, value in losses.items()}


def cut(batch: Batch, n: int) -> list[Batch]:
    """Return `n` micro-batches of the same size."""
    columns = [tensor.chunk(n) for tensor in batch.values()]
    return [dict(zip(batch, column, strict=True)) for column in zip(*columns, strict=True)]


def numbers(parts: list[Batch]) -> list[int]:
    """Return the numbers of the items in micro-batches, where the data set gave them any."""
    return [int(i) for part in parts if "index" in part for i in part["index"]]


def batches(
    dataset: Dataset[Batch], schedule: Schedule, steps: Iterable[int], device: torch.device, world: Processes
) -> Iterator[Batch]:
    """Yield this process's shares of the batches of some steps, made by worker processes ahead of time."""
    n = schedule.batch
    shares = (list(world.share(range(step * n, (step + 1) * n))) for step in steps)
    yield from DataLoader(
        dataset,
        batch_sampler=shares,
        num_workers=devices.loaders(device, world.count),
        prefetch_factor=4,
        worker_init_fn=prepare_worker,
    )


def prepare_worker(worker: int) -> None:
    """Keep a loading process from competing for cores, and leave Ctrl-C to the training process."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
