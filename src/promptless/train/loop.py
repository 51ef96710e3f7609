"""The one training loop. A method is a task: batch in, named losses out."""

from __future__ import annotations

import csv
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from promptless.train.learned import copied, learned, take

log = logging.getLogger(__name__)

Batch = dict[str, Tensor]


class Task(Protocol):
    """A method to train: maps a batch to its losses, of which "loss" is minimised."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. AdamW; linear warm-up, then (1 - step / steps) ** power."""

    steps: int
    batch: int
    rate: float = 1e-3
    warmup: int = 200
    power: float = 0.9
    weight_decay: float = 1e-2
    clip: float = 1.0
    average: float = 0.998  # decay of the running mean of the weights, which is what is kept
    precision: str = "float32"  # or "bfloat16": autocast of the forward pass
    checkpoint_every: int = 200  # steps

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f'precision is {self.precision!r}; it must be "float32" or "bfloat16"')
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps ({self.steps}) and batch ({self.batch}) must be at least 1")

    def rate_at(self, step: int) -> float:
        """Return the learning rate of `step` (0 is the first)."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        return float(self.rate * (1 - step / self.steps) ** self.power)


def fit(
    task: Task,
    dataset: Dataset[Batch],
    schedule: Schedule,
    folder: Path,
    *,
    resume: bool = False,
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
    watch: Callable[[int, Mapping[str, Tensor]], None] = lambda step, mean: None,
) -> dict[str, Tensor]:
    """Train `task.module` and return the running mean of what it learns (`promptless.train.learned`).

    `dataset[i]` must depend on `i` alone: then a run that is killed and resumed from its last
    checkpoint in `folder` meets the same batches in the same order, and draws the same curve.
    `log.csv` there has one row per step. `watch` is shown the running mean before the first step and after each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = State.fresh(task.module, schedule)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.is_file():
        if not resume:
            raise FileExistsError(f"{checkpoint} is there; resume goes on from it, another folder begins anew")
        state.load(checkpoint)
    rows = RunLog(folder / "log.csv", keep=state.step)
    began = time.monotonic()
    watch(state.step, state.mean)
    for batch in batches(dataset, schedule, start=state.step):
        losses = one_step(task, batch, state, schedule)
        rows.write({"step": state.step, "rate": schedule.rate_at(state.step - 1), **losses})
        progress(state.step, schedule.steps, losses["loss"])
        if state.step % schedule.checkpoint_every == 0 or state.step == schedule.steps:
            state.save(checkpoint)
            log.info("step %d of %d, %.0f s: %s", state.step, schedule.steps, time.monotonic() - began, losses)
        watch(state.step, state.mean)
    return state.mean


def one_step(task: Task, batch: Batch, state: State, schedule: Schedule) -> dict[str, float]:
    """Make one optimiser step, change `state` accordingly, and return the losses."""
    for group in state.optimiser.param_groups:
        group["lr"] = schedule.rate_at(state.step)
    with torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bfloat16"):
        losses = task(batch)
    loss = float(losses["loss"].detach())
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss} at step {state.step}; lower `rate` or `clip`")
    state.optimiser.zero_grad()
    torch.autograd.backward(losses["loss"])
    nn.utils.clip_grad_norm_(trainable(task.module), schedule.clip)
    state.optimiser.step()
    state.step += 1
    state.update_mean(task.module, min(schedule.average, (1 + state.step) / (10 + state.step)))
    return {name: float(value.detach()) for name, value in losses.items()}


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [p for p in module.parameters() if p.requires_grad]


def batches(dataset: Dataset[Batch], schedule: Schedule, start: int) -> Iterator[Batch]:
    """Yield the batches from step `start` on, made by one worker process ahead of time."""
    order = range(start * schedule.batch, schedule.steps * schedule.batch)
    yield from DataLoader(
        dataset,
        batch_size=schedule.batch,
        sampler=order,
        num_workers=1,
        prefetch_factor=4,
        worker_init_fn=prepare_worker,
    )


def prepare_worker(worker: int) -> None:
    """Keep a loading process from competing for cores, and leave Ctrl-C to the training process."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class State:
    """What a run must remember to go on: the weights that train, optimiser, running mean, step."""

    def __init__(self, module: nn.Module, optimiser: torch.optim.Optimizer, mean: dict[str, Tensor]) -> None:
        self.module, self.optimiser, self.mean, self.step = module, optimiser, mean, 0

    @classmethod
    def fresh(cls, module: nn.Module, schedule: Schedule) -> State:
        """Return the state before the first step."""
        optimiser = torch.optim.AdamW(trainable(module), lr=schedule.rate, weight_decay=schedule.weight_decay)
        return cls(module, optimiser, copied(learned(module)))

    def update_mean(self, module: nn.Module, decay: float) -> None:
        """Move the running mean towards the module's present state."""
        for name, value in learned(module).items():
            mean = self.mean[name]
            if mean.is_floating_point():
                mean.lerp_(value.detach(), 1 - decay)
            else:
                mean.copy_(value)

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        parts: dict[str, Any] = {
            "step": self.step,
            "module": learned(self.module),
            "optimiser": self.optimiser.state_dict(),
            "mean": self.mean,
        }
        temporary = path.with_suffix(".tmp")
        torch.save(parts, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Take over a checkpoint."""
        parts = torch.load(path, weights_only=True)
        take(self.module, parts["module"])
        self.optimiser.load_state_dict(parts["optimiser"])
        self.mean, self.step = parts["mean"], parts["step"]


class RunLog:
    """A CSV with a row per step; on resuming, rows after the checkpoint are dropped."""

    def __init__(self, path: Path, keep: int) -> None:
        self.path = path
        lines = path.read_text().splitlines()[: keep + 1] if keep and path.is_file() else []
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(line + "\n" for line in lines))
        temporary.replace(path)
        self.empty = not lines

    def write(self, row: dict[str, float]) -> None:
        """Append a row, with the header before the first."""
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if self.empty:
                writer.writeheader()
                self.empty = False
            writer.writerow({k: f"{v:.6g}" for k, v in row.items()})
